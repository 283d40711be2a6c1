"""What the types forbid: an id or a trace's key on a measurement does not pass the type checker."""

from pathlib import Path

import pytest
from mypy import api

pytestmark = pytest.mark.xdist_group("types")  # they share what takes seconds to make

HEAD = """
from telemetry.metrics.cardinality import TenantLabels
from telemetry.metrics.sink import Record
from telemetry.semconv import attributes as attr
from telemetry.semconv.attributes import CallId, Label, TenantId


def measure(record: Record, labels: TenantLabels, call_id: CallId, tenant_id: TenantId) -> None:
"""

LEGAL = (
    "record(1, {attr.TENANT_ID: labels.label(tenant_id)})",
    "record(1, labels.attributes(tenant_id))",
    "record(1, {attr.END_REASON: Label('hangup')})",
)

ILLEGAL = {
    "a call's id as a value": "record(1, {attr.TENANT_ID: call_id})",
    "a tenant's id past the budget": "record(1, {attr.TENANT_ID: tenant_id})",
    "free text as a value": "record(1, {attr.TENANT_ID: 'acme'})",
    "a trace's key": "record(1, {attr.CALL_ID: labels.label(tenant_id)})",
    "a personal key": "record(1, {attr.CALLER: Label('x')})",
    "free text as a key": "record(1, {'tenant.id': Label('acme')})",
    "a mixed set of keys": "record(1, {attr.TENANT_ID: labels.label(tenant_id), attr.CALL_ID: Label('x')})",
}

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """What mypy says of a file with every legal and illegal statement, by line."""
    statements = [*LEGAL, *ILLEGAL.values()]
    snippet = tmp_path_factory.mktemp("types") / "snippet.py"
    snippet.write_text(HEAD + "\n".join(f"    {statement}" for statement in statements) + "\n")
    config = ["--config-file", str(ROOT / "pyproject.toml"), "--follow-imports", "silent"]
    output, _, _ = api.run([*config, "--no-error-summary", "--show-error-codes", str(snippet)])
    said: dict[int, str] = {}
    for line in output.splitlines():
        _, number, message = line.split(":", 2)
        said[int(number)] = said.get(int(number), "") + message
    first = HEAD.count("\n") + 1
    return {number - first: message for number, message in said.items()}


def test_what_is_a_label_passes(complaints: dict[int, str]) -> None:
    """Labels under metric keys type-check, so the checks below fail for the right reason."""
    assert not [complaints[index] for index in range(len(LEGAL)) if index in complaints]
    assert min(complaints) >= len(LEGAL), complaints


@pytest.mark.parametrize("what", list(ILLEGAL))
def test_what_is_no_label_does_not_pass(complaints: dict[int, str], what: str) -> None:
    """Anything else on a measurement is an error of the types."""
    index = len(LEGAL) + list(ILLEGAL).index(what)
    assert "[dict-item]" in complaints.get(index, ""), f"mypy lets {what} pass"
