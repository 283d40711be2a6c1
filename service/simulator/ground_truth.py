"""The ground truth: the carrier's counts, made as it happens, and the comparison of a gateway's own with them."""

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import httpx2

GLOBAL = "global"
"""The scope of the numbers over all tenants."""

LIVE_FIELDS = (
    "active_calls",
    "accepted_calls",
    "rejected_calls_capacity",
    "rejected_calls_tenant_not_configured",
    "rejected_calls_instructions_missing",
    "instructions_db_errors",
    "fallback_instructions_used",
    "started_calls",
    "ended_calls",
    "failed_calls",
    "referred_calls",
    "minutes_processed",
)
"""A gateway's twelve live fields. The carrier cannot see ``instructions_db_errors``: always zero here."""

EXTRA_FIELDS = (
    "placed",
    "received",
    "abandoned",
    "unanswered",
    "undelivered",
    "left_open",
    "rejected_calls_carrier_error",
    "rejected_calls_tenant_lookup_failed",
    "rejected_calls_shutdown",
    "rejected_calls_other",
    "unanswered_calls_canceled",
    "ended_calls_completed",
    "ended_calls_hangup",
    "ended_calls_referred",
    "ended_calls_error",
    "ended_calls_max_duration",
    "ended_calls_silence",
    "ended_calls_shutdown",
    "accepts_lost",
    "deliveries",
    "duplicates_sent",
    "violations",
    "turns",
    "interruptions",
    "tool_calls",
    "keys_pressed",
    "silences",
    "responses_failed",
    "session_errors",
    "unusable_messages",
    "sidebands_broken",
    "sidebands_reattached",
    "refers_ignored",
    "tokens_input",
    "tokens_input_text",
    "tokens_input_audio",
    "tokens_cached",
    "tokens_output",
    "tokens_output_text",
    "tokens_output_audio",
    "tokens_transcription",
)
"""Further counts of the carrier. ``unanswered``: the caller was neither taken nor turned away;
``unanswered_calls_canceled``: the gateway learned so by asking to accept the call. ``ended_calls_…``: the reason that a
gateway sees for the call's end; together they are ``ended_calls``. ``ended_calls_shutdown``: the gateway closed the
sideband itself, as one does that stops. ``left_open``: the gateway closed the sideband and never asked for a hang-up.
``accepts_lost``: an accept was carried out and its answer never arrived. ``violations``: the gateway asked for what the
protocol does not allow (:class:`ProtocolBreach`)."""

MOST_AT_ONCE = "most_at_once"
"""The most calls that ran at the same time, in all and by tenant: from the acceptance that the gateway knows of to the
call's end. What a limit on calls is held against; the total's is not the sum of the tenants'."""

MAX_REPORTED_CALLS = 20_000
"""The truth lists so many of the latest calls; the numbers cover all."""


@dataclass(frozen=True, slots=True)
class ProtocolBreach:
    """Something a gateway must not do."""

    call_id: str
    what: str


@dataclass(frozen=True, slots=True)
class CallReport:
    """One finished call as the carrier saw it."""

    call_id: str
    tenant_id: str
    number: str
    """The dialled number."""
    script: str
    end: str
    """The way it came to its end: a value of :class:`service.simulator.record.End`."""
    accepted: bool
    started: bool
    referred: bool
    failed: bool
    rejection_status: int | None
    seconds: float
    """The sideband's opening to its end."""
    handshake_at: float | None
    """The moment before the first sideband's handshake was answered; this and the next two on a monotonic clock."""
    first_message_at: float | None
    """The first message of the gateway on a sideband."""
    cut_at: float | None
    """The moment before the carrier closed or broke the sideband that was last; None if the gateway left it."""
    first_audio_seconds: float | None
    """The first delivery of the webhook to the first audio of the agent."""
    turn_seconds: tuple[float, ...]
    """Of each answered turn: the end of the caller's speech to the first audio of the answer."""
    deliveries: tuple[int, ...]
    """The status of each webhook delivery in order; 0 where none came."""
    counts: dict[str, float]
    """The counts this call added to the ground truth."""


class GroundTruth:
    """Counts by tenant. Tenants come from configuration, so the table is bounded by it."""

    __slots__ = ("_accepted", "_accepted_of", "_counts", "_most", "_now", "_reports", "_running", "_violations")

    def __init__(self, tenant_ids: Iterable[str], now: Callable[[], float]) -> None:
        self._counts: dict[str, dict[str, float]] = {tenant_id: {} for tenant_id in tenant_ids}
        self._now = now
        self._running: dict[str, tuple[str, float]] = {}
        self._accepted: dict[str, str] = {}
        self._accepted_of: Counter[str] = Counter()
        self._most: Counter[str] = Counter()
        self._reports: deque[CallReport] = deque(maxlen=MAX_REPORTED_CALLS)
        self._violations: deque[ProtocolBreach] = deque(maxlen=MAX_REPORTED_CALLS)

    def add(self, tenant_id: str, field: str, amount: float = 1) -> None:
        """Count something under a tenant."""
        counts = self._counts[tenant_id]
        counts[field] = counts.get(field, 0) + amount

    def violated(self, tenant_id: str, violation: ProtocolBreach) -> None:
        """Count a breach of the protocol, and keep it for the report."""
        self.add(tenant_id, "violations")
        self._violations.append(violation)

    @property
    def accepted(self) -> Collection[str]:
        """The calls that are accepted and not over."""
        return self._accepted.keys()

    def began(self, tenant_id: str, call_id: str) -> None:
        """Note that a call was accepted, and the gateway knows it."""
        self._accepted[call_id] = tenant_id
        self._accepted_of[tenant_id] += 1
        self._most[GLOBAL] = max(self._most[GLOBAL], len(self._accepted))
        self._most[tenant_id] = max(self._most[tenant_id], self._accepted_of[tenant_id])

    def over(self, call_id: str) -> None:
        """Note that a call is over; does nothing if it was never accepted, or that is known."""
        tenant_id = self._accepted.pop(call_id, None)
        if tenant_id is not None:
            self._accepted_of[tenant_id] -= 1

    def started(self, tenant_id: str, call_id: str) -> None:
        """Note that a sideband opened."""
        self.add(tenant_id, "started_calls")
        self.add(tenant_id, "active_calls")
        self._running[call_id] = (tenant_id, self._now())

    def ended(self, tenant_id: str, call_id: str) -> float:
        """Note that a sideband closed; returns its seconds."""
        _, since = self._running.pop(call_id)
        seconds = self._now() - since
        self.add(tenant_id, "ended_calls")
        self.add(tenant_id, "active_calls", -1)
        self.add(tenant_id, "minutes_processed", seconds / 60)
        return seconds

    def reported(self, report: CallReport) -> None:
        """Note that a call is over."""
        self._reports.append(report)

    def counts(self) -> dict[str, Any]:
        """Return the numbers at this moment, in all and by tenant, the minutes of running calls included."""
        running = self._running_minutes()
        tenants = {
            tenant: _row(counts, running.get(tenant, 0.0)) | {MOST_AT_ONCE: self._most[tenant]}
            for tenant, counts in self._counts.items()
        }
        total = {field: sum(row[field] for row in tenants.values()) for field in LIVE_FIELDS + EXTRA_FIELDS}
        return {GLOBAL: total | {MOST_AT_ONCE: self._most[GLOBAL]}, "tenants": tenants}

    def as_json(self) -> dict[str, Any]:
        """Return the whole truth at this moment: the numbers, the latest calls, what broke the protocol."""
        return self.counts() | {
            "calls": [asdict(report) for report in self._reports],
            "violations": [asdict(violation) for violation in self._violations],
        }

    def _running_minutes(self) -> dict[str, float]:
        now, minutes = self._now(), dict[str, float]()
        for tenant_id, since in self._running.values():
            minutes[tenant_id] = minutes.get(tenant_id, 0.0) + (now - since) / 60
        return minutes


def _row(counts: Mapping[str, float], running_minutes: float) -> dict[str, float]:
    row = {field: counts.get(field, 0) for field in LIVE_FIELDS + EXTRA_FIELDS}
    return row | {"minutes_processed": row["minutes_processed"] + running_minutes}


_MAX_COLUMNS = 5
"""Tenants with a column of their own in the summary."""
_PROGRESS = (
    ("placed", "placed"),
    ("active", "active_calls"),
    ("accepted", "accepted_calls"),
    ("over capacity", "rejected_calls_capacity"),
    ("ended", "ended_calls"),
    ("referred", "referred_calls"),
    ("failed", "failed_calls"),
    ("undelivered", "undelivered"),
)


def progress_line(ground_truth: Mapping[str, Any]) -> str:
    """Return a line that tells how far the traffic is."""
    totals = ground_truth["global"]
    return "  ".join(f"{label} {totals[field]:g}" for label, field in _PROGRESS)


def summary(ground_truth: Mapping[str, Any]) -> str:
    """Return the twelve live fields in all and by tenant, and the most calls at once, then what else was counted.

    Breaches of the protocol come last, a line each.
    """
    totals = ground_truth["global"]
    fields = (*LIVE_FIELDS, MOST_AT_ONCE)
    rows = [_summary_row(field, ground_truth) for field in fields]
    others = [f"{field:40}{totals[field]:>12.10g}" for field in totals if field not in fields and totals[field]]
    breaches = [f"violation: {entry['what']} ({entry['call_id']})" for entry in ground_truth["violations"]]
    return "\n".join([_summary_heading(ground_truth), *rows, "", *others, *breaches])


def _summary_heading(ground_truth: Mapping[str, Any]) -> str:
    return f"{'':40}{'all':>12}" + "".join(f"{tenant_id:>14}" for tenant_id in _shown(ground_truth))


def _summary_row(field: str, ground_truth: Mapping[str, Any]) -> str:
    tenants = "".join(f"{ground_truth['tenants'][tenant_id][field]:>14.10g}" for tenant_id in _shown(ground_truth))
    return f"{field:40}{ground_truth['global'][field]:>12.10g}{tenants}"


def _shown(ground_truth: Mapping[str, Any]) -> list[str]:
    """Return as many tenants as fit beside each other."""
    return list(ground_truth["tenants"])[:_MAX_COLUMNS]


SECONDS_A_CALL = 0.25
"""Seconds the two ends may differ about one call: each starts and stops where it learns of it."""

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
    responses: Mapping[str, Any],
    *,
    ignored: Iterable[str] = (),
    seconds_a_call: float = SECONDS_A_CALL,
) -> list[CountDifference]:
    """Return where a gateway's live answers, ``{"global": {…}, "tenants": {id: {…}}}``, differ from the ground truth.

    Counts must be the same; minutes may differ by ``seconds_a_call`` for each started call. A tenant the gateway does
    not know must have had no call.
    """
    fields = [field for field in LIVE_FIELDS if field not in set(ignored)]
    pairs = [(GLOBAL, ground_truth["global"], responses["global"])]
    for tenant_id, row in ground_truth["tenants"].items():
        pairs.append((tenant_id, row, responses["tenants"].get(tenant_id, {})))
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


async def live_responses(client: httpx2.AsyncClient, tenant_ids: Iterable[str]) -> dict[str, Any]:
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
