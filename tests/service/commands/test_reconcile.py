"""``callscope reconcile``: what is printed of an answer."""

import io

from rich.console import Console

from service.api.reconcile import EXAMPLE, ReconciledLedgers
from service.commands.reconcile import NOTHING_COUNTED, ReconcileTable


def _printed(found: ReconciledLedgers) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(ReconcileTable(found, every=False))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_ledgers_without_a_call_are_no_empty_table() -> None:
    """A service that has had no call yet says so, and its ledgers agree; one that has had some shows their numbers."""
    idle = EXAMPLE | {
        "consistent": True,
        "total": {ledger: {"figures": {"received": 0}, "margins": {}} for ledger in ("live", "records")},
        "tenants": {},
        "differences": (),
        "calls": (),
    }
    said = _printed(ReconciledLedgers.model_validate(idle))
    assert f"{NOTHING_COUNTED}\nThe ledgers agree." in said
    assert "┃" not in said
    shown = _printed(ReconciledLedgers.model_validate(EXAMPLE))
    assert (NOTHING_COUNTED in shown, "┃" in shown) == (False, True)
