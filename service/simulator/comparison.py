"""Holds what a gateway says of itself against the ground truth."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httpx2

from service.simulator.ground_truth import LIVE_FIELDS

SECONDS_A_CALL = 0.25
"""Seconds the two ends may differ about one call: each starts and stops where it learns of it."""

GLOBAL = "global"
"""The scope of the numbers over all tenants."""

LIVE_PATH = "/api/v1/metrics/live"
"""The path of a gateway's live numbers; below it, by tenant id."""


@dataclass(frozen=True, slots=True)
class CountDifference:
    """One number that is not the same at both ends."""

    scope: str
    """``global`` or a tenant's id."""
    field: str
    ground_truth: float
    gateway: float | None
    """``None`` where the gateway does not know the tenant or the field."""


def differences(
    ground_truth: Mapping[str, Any],
    answers: Mapping[str, Any],
    *,
    ignored: Iterable[str] = (),
    seconds_a_call: float = SECONDS_A_CALL,
) -> list[CountDifference]:
    """Return where a gateway's live answers, ``{"global": {…}, "tenants": {id: {…}}}``, differ from the ground truth.

    Counts must be the same; minutes may differ by ``seconds_a_call`` for each started call. A tenant the gateway does
    not know must have had no call.
    """
    fields = [field for field in LIVE_FIELDS if field not in set(ignored)]
    pairs = [(GLOBAL, ground_truth["global"], answers["global"])]
    for tenant_id, row in ground_truth["tenants"].items():
        pairs.append((tenant_id, row, answers["tenants"].get(tenant_id, {})))
    return [
        CountDifference(scope, field, row[field], answer.get(field))
        for scope, row, answer in pairs
        for field in fields
        if not _agree(field, row, answer, seconds_a_call)
    ]


def _agree(field: str, ground_truth: Mapping[str, float], answer: Mapping[str, float], seconds_a_call: float) -> bool:
    said = answer.get(field)
    if said is None:
        return not answer and ground_truth[field] == 0
    if field == "minutes_processed":
        return abs(said - ground_truth[field]) * 60 <= ground_truth["started_calls"] * seconds_a_call
    return said == ground_truth[field]


async def live_answers(client: httpx2.AsyncClient, tenant_ids: Iterable[str]) -> dict[str, Any]:
    """Return a gateway's live numbers in all and by tenant; tenants it does not know are left out.

    ``client`` carries the gateway's address and the admin token. Raises :class:`httpx2.HTTPError`.
    """
    total = (await client.get(LIVE_PATH)).raise_for_status().json()
    tenants = {tenant_id: await _answer(client, tenant_id) for tenant_id in tenant_ids}
    return {"global": total, "tenants": {tenant_id: row for tenant_id, row in tenants.items() if row is not None}}


async def _answer(client: httpx2.AsyncClient, tenant_id: str) -> dict[str, Any] | None:
    answer = await client.get(f"{LIVE_PATH}/{tenant_id}")
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return None
    row: dict[str, Any] = answer.raise_for_status().json()
    return row
