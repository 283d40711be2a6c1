"""Example calls of a whole fleet: each process tells those that it knows."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from service.api.elsewhere import Coverage
from service.api.exemplars import ExampleCall, Examples
from service.api.fleet_calls import FleetCalls
from service.fleet.mail import Mailbox

EXAMPLES: Final = "examples"


class _Question(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    tenant_id: str


class _Told(BaseModel):
    """Example calls by instrument, each with the upper bound of its bucket."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    examples: dict[str, tuple[tuple[float | None, ExampleCall], ...]]

    def by_bucket(self) -> Examples:
        return {name: dict(found) for name, found in self.examples.items()}


class ToldExamples:
    """See :class:`service.api.exemplars.FleetExamples`.

    Args:
        calls: asks the other processes.
        mailbox: answers them.
    """

    def __init__(self, calls: FleetCalls, mailbox: Mailbox) -> None:
        self._calls = calls
        self._mailbox = mailbox

    def tell(self, own: Callable[[str], Examples]) -> None:
        """Have other processes told this one's example calls of a tenant, which ``own``, in a thread, finds."""

        async def told(body: Any) -> object:  # noqa: ANN401 -- whatever JSON has
            return await asyncio.to_thread(_told, own, _Question.model_validate(body).tenant_id)

        self._mailbox.answer(EXAMPLES, told)

    async def read(self, tenant_id: str) -> tuple[Sequence[Examples], Coverage]:
        """Return the example calls of each other process that answers, and which those are."""
        letters, coverage = await self._calls.told_by_all(EXAMPLES, _Told, {"tenant_id": tenant_id})
        return [letter.by_bucket() for letter in letters], coverage


def _told(own: Callable[[str], Examples], tenant_id: str) -> object:
    found = own(tenant_id)
    told = _Told(examples={name: tuple(examples.items()) for name, examples in found.items()})
    return told.model_dump(mode="json")
