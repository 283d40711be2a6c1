"""A second, naive implementation of the lifecycle, written from its table, to compare the real one with."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from telemetry.semconv.attributes import EndReason, RejectionReason, UnansweredReason


@dataclass
class ModelCall:
    tenant: str
    state: str = "pending"
    reported: set[str] = field(default_factory=lambda: {"received"})
    started: float = 0.0
    seen: float = 0.0
    billed: float = 0.0


class Model:
    """Counts by hand what the reports add up to. Times are multiples of a quarter second, so that sums are exact."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: dict[str, ModelCall] = {}
        self.begun = 0
        self.counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.durations: defaultdict[str, list[float]] = defaultdict(list)

    def numbers(self, tenant: str | None = None) -> dict[str, int | float]:
        tenants = list(self.counts) if tenant is None else [tenant]
        total: Counter[str] = Counter()
        for name in tenants:
            total.update(self.counts[name])
            total["active_calls"] += self._in(name, "started")
            total["pending_calls"] += self._in(name, "pending", "accepted")
        minutes = sum(self.seconds[name] for name in tenants) / 60
        return {**total, "minutes_processed": minutes}

    def received(self, call_id: str, tenant: str) -> None:
        if self._knows(call_id):
            self._violation(self.calls[call_id].tenant)
            return
        self.calls[call_id] = ModelCall(tenant, seen=self.now)
        self.begun += 1
        self.counts[tenant]["received_calls"] += 1

    def taken_over(self, call_id: str, tenant: str, state: str) -> None:
        if self._knows(call_id):
            return
        self.received(call_id, tenant)
        self.counts[tenant]["taken_over_calls"] += 1
        self.counts[tenant][f"taken_over_calls_{state}"] += 1
        if state != "pending":
            self.accepted(call_id)
        if state == "started":
            self.started(call_id)

    def unanswered(self, call_id: str, reason: UnansweredReason) -> None:
        if self._allowed(call_id, "unanswered", "pending"):
            self._move(call_id, "unanswered", "unanswered_calls")
            self.counts[self.calls[call_id].tenant][f"unanswered_calls_{reason}"] += 1

    def handed_over(self, call_id: str) -> None:
        if not self._allowed(call_id, "handed_over", "pending", "accepted", "started"):
            return
        call = self.calls[call_id]
        if call.state == "started":
            self.seconds[call.tenant] += max(0.0, self.now - call.started - call.billed)
        self._move(call_id, "handed_over", f"handed_over_calls_{call.state}", alive=False)

    def accepted(self, call_id: str) -> None:
        if self._allowed(call_id, "accepted", "pending"):
            self._move(call_id, "accepted", "accepted_calls")

    def rejected(self, call_id: str, reason: RejectionReason) -> None:
        if self._allowed(call_id, "rejected", "pending"):
            self._move(call_id, "rejected", f"rejected_calls_{reason.value}")

    def started(self, call_id: str) -> None:
        if self._allowed(call_id, "started", "accepted"):
            self._move(call_id, "started", "started_calls")
            self.calls[call_id].started = self.now

    def abandoned(self, call_id: str) -> None:
        if self._allowed(call_id, "abandoned", "accepted"):
            self._move(call_id, "abandoned", "abandoned_calls")

    def referred(self, call_id: str) -> None:
        if self._allowed(call_id, "referred", "started"):
            self._move(call_id, "started", "referred_calls")
            self.calls[call_id].reported.add("referred")

    def ended(self, call_id: str, reason: EndReason, error: str | None) -> None:
        if not self._allowed(call_id, "ended", "started"):
            return
        call = self.calls[call_id]
        until = call.seen if reason is EndReason.STALE else self.now
        duration = max(until - call.started, call.billed)
        self._move(call_id, "ended", "ended_calls", alive=False)
        self.counts[call.tenant][f"ended_calls_{reason}"] += 1
        self.seconds[call.tenant] += duration - call.billed
        self.durations[call.tenant].append(duration)
        if error is not None or reason is EndReason.ERROR:
            self.counts[call.tenant]["failed_calls"] += 1

    def finished(self, call_id: str, reason: EndReason) -> None:
        state = self.calls[call_id].state if call_id in self.calls else "over"
        if state == "pending":
            self.rejected(call_id, RejectionReason.CARRIER_ERROR)
        elif state == "accepted":
            self.abandoned(call_id)
        elif state == "started":
            self.ended(call_id, reason, None)

    def seen(self, call_id: str) -> None:
        if call_id in self.calls:
            self.calls[call_id].seen = self.now
        else:
            self._violation("_unknown")

    def billed(self, call_id: str) -> None:
        call = self.calls.get(call_id)
        if call is not None and call.state == "started":
            due = max(0.0, call.seen - call.started - call.billed)
            call.billed += due
            self.seconds[call.tenant] += due

    def billed_all(self) -> None:
        for call_id in self.calls:
            self.billed(call_id)

    def heartbeat(self, call_id: str) -> None:
        self.seen(call_id)
        self.billed(call_id)

    def passed(self, seconds: float) -> None:
        self.now += seconds

    def swept(self, silence: float) -> None:
        for call_id, call in list(self.calls.items()):
            if self.now - call.seen > silence:
                self.finished(call_id, EndReason.STALE)

    def _knows(self, call_id: str) -> bool:
        # A call that was left to another process may come back, as a call of its own.
        return call_id in self.calls and self.calls[call_id].state != "handed_over"

    def _allowed(self, call_id: str, transition: str, *states: str) -> bool:
        call = self.calls.get(call_id)
        if call is not None and call.state in states and transition not in call.reported:
            return True
        self._violation("_unknown" if call is None else call.tenant)
        return False

    def _move(self, call_id: str, state: str, field_name: str, *, alive: bool = True) -> None:
        call = self.calls[call_id]
        call.state = state
        call.reported.add(state)
        if alive and state in {"accepted", "started"}:
            call.seen = self.now
        self.counts[call.tenant][field_name] += 1

    def _violation(self, tenant: str) -> None:
        self.counts[tenant]["lifecycle_violations"] += 1

    def _in(self, tenant: str, *states: str) -> int:
        return sum(call.tenant == tenant and call.state in states for call in self.calls.values())
