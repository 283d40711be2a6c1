"""Time-outs of the product whose end changes what becomes of a call, as long as the busiest machine needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Final

import pytest

from service import container as composition
from service.container import Container
from service.fleet.live import publisher
from service.gateway import durability, manager, session
from service.gateway.carriers.openai_realtime import CarrierTimeouts
from service.reconciliation import reconciliation
from service.records import calls
from service.storage import database

PATIENT_SECONDS: Final = 180.0
"""Seconds after which what has not happened will not happen, on any machine."""

CARRIER: Final = CarrierTimeouts(accept=PATIENT_SECONDS, control=PATIENT_SECONDS)
"""Time-outs for a carrier that answers each request: none of them ends by itself."""

_CONSTANTS: Final[tuple[tuple[ModuleType, str], ...]] = (
    (calls, "_CHECK_SECONDS"),
    (composition, "ANSWER_SECONDS"),
    (database, "BUSY_SECONDS"),
    (durability, "CLAIM_SECONDS"),
    (durability, "RECORD_SECONDS"),
    (manager, "ANSWER_SECONDS"),
    (publisher, "SILENCE_SECONDS"),
    (reconciliation, "FLUSH_SECONDS"),
    (reconciliation, "LIVE_SECONDS"),
    (session, "TRANSFER_SECONDS"),
)


@contextmanager
def patience() -> Iterator[None]:
    """Have a service wait for its database, its store and its carrier until they answer, while the block runs.

    A test that is about one of these time-outs sets it to what it needs within the block.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in _CONSTANTS:
            patch.setattr(module, name, PATIENT_SECONDS)
        yield


def wait_for_others(container: Container) -> None:
    """Have a service that has not started yet take the others of its fleet for alive, and wait for their answers."""
    if container.fleet is not None and container.mailbox is not None and container.counting is not None:
        store = container.fleet.store
        store.silence_seconds, store._silence = PATIENT_SECONDS, round(PATIENT_SECONDS * 1000)
        container.fleet.capacity.asking.decision_seconds = PATIENT_SECONDS
        container.mailbox.answer_seconds = PATIENT_SECONDS
        container.counting.numbers.ranking.fill_seconds = PATIENT_SECONDS
