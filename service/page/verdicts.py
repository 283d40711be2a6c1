"""Judgements of the service in sentences: well or not, each with the page that tells more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Final

from pydantic import Field

from service.api.capacity import RegisteredCall
from service.api.elsewhere import NAMED, Coverage
from service.api.summary import MetricsSummary, WindowSummary
from service.http.schemas import FrozenSchema
from service.page.words import REASONS
from service.records.calls import RecordsHealth, RecordsState
from service.timeline.explain import span_of_time
from telemetry.export.health import ExportHealth, SignalHealth
from telemetry.semconv.attributes import UNKNOWN_TENANT, RejectionReason

NEARLY_FULL: Final = 0.9
"""The share of the limit in use from which on it is worth a warning."""
FAILING_SHARE: Final = 0.02
"""The share of calls that end with an error, from which on it is."""
REJECTED_SHARE: Final = 0.01
"""The share of calls turned away, likewise."""
SLOW_ANSWER_SECONDS: Final = 2.0
"""The wait for an answer that 95 of 100 turns should not exceed."""
SILENT_SECONDS: Final = 30.0
"""Seconds without a sign of life after which a running call is worth a look."""
SHOWN_OF_ID: Final = 8
"""Characters of a process's id that tell it from the others."""
_BOTH: Final = 2
_MOST_PLACES: Final = 6
"""The most decimal places of a figure."""


class VerdictState(StrEnum):
    """The kinds of verdict."""

    WELL = "well"
    ATTENTION = "attention"
    UNKNOWN = "unknown"
    """There is nothing to judge by yet."""


class Verdict(FrozenSchema):
    """One judgement."""

    name: str = Field(description="What it is about; the same at every reading.")
    state: VerdictState
    text: str = Field(description="The judgement in a sentence.")
    link: str = Field(description="The page that tells more.")


def percent(share: float, limit: float | None = None) -> str:
    """Return a share as people write it: ``3.1 %``, ``12 %``, and never 0 or 100 for what is neither.

    Near a limit it has the decimal places that tell it from the limit: ``1.98 %`` and ``2.05 %`` beside 2 %.
    """
    return _apart(share, limit, _percent, lambda value, places: f"{value * 100:.{places}f} %")


def _percent(share: float) -> str:
    value = share * 100
    if value in (0, 100):
        return f"{value:.0f} %"
    if value < 0.1:  # noqa: PLR2004 -- a tenth of a percent
        return "< 0.1 %"
    if value > 99.9:  # noqa: PLR2004 -- the same from above
        return "> 99.9 %"
    return f"{value:.1f} %" if value < 10 else f"{min(value, 99):.0f} %"  # noqa: PLR2004 -- two digits


def _apart(
    value: float, limit: float | None, write: Callable[[float], str], exactly: Callable[[float, int], str]
) -> str:
    """Return the value as it is usually written, or with the places that tell it from the limit."""
    if limit is None or value == limit or write(value) != write(limit):
        return write(value)
    places = next((n for n in range(1, _MOST_PLACES) if exactly(value, n) != exactly(limit, n)), _MOST_PLACES)
    return exactly(value, places)


def counted(count: int, what: str) -> str:
    """Return a count with its noun: ``1 turn``, ``1,200 turns``."""
    return f"{count:,} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"


def traffic_verdicts(
    figures: MetricsSummary,
    in_use: int,
    running: Sequence[RegisteredCall],
    *,
    home: str,
    search: str,
    own: bool = False,
) -> Iterator[Verdict]:
    """Yield what can be said of one tenant, or of all together.

    Args:
        figures: Its derived figures.
        in_use: Slots held now.
        running: Its calls that run.
        home: The page of the tenant, or of all.
        search: The search for its calls, ready for more parameters.
        own: True if the figures are those of one process of several, which is then said.
    """
    yield _capacity(figures, in_use, home, own=own)
    hour, whose = figures.windows.hour, " of this process" if own else ""
    yield _rejections(hour, search, whose, nobodys=figures.tenant_id == UNKNOWN_TENANT)
    yield _failures(hour, search, whose)
    yield _answers(figures, search, whose)
    yield _silence(running, home)


def _verdict(name: str, *, well: bool | None, text: str, link: str) -> Verdict:
    state = VerdictState.UNKNOWN if well is None else VerdictState.WELL if well else VerdictState.ATTENTION
    return Verdict(name=name, state=state, text=text, link=link)


def _capacity(figures: MetricsSummary, in_use: int, home: str, *, own: bool) -> Verdict:
    use = figures.windows.hour.capacity
    if use.limit is None:
        return _verdict("capacity", well=None, text="There is no limit to compare with.", link=home)
    if use.limit == 0:
        text = "The limit is 0: every call is turned away."
    elif in_use >= use.limit:
        text = f"All {use.limit} slots are taken: further calls are turned away."
    elif in_use == 0 and use.peak_in_use == 0 and not own:
        text = f"None of {use.limit} slots has been in use in the last hour."
    else:
        text = f"{in_use} of {use.limit} slots are in use{_peak(use.peak_in_use, in_use, own=own)}."
    return _verdict("capacity", well=in_use < NEARLY_FULL * use.limit, text=text, link=f"{home}#limit")


def _peak(most: int | None, in_use: int, *, own: bool) -> str:
    if most is None:
        return ""
    if own:
        return f"; this process alone held at most {most} in the last hour"
    # A peak below what is held now is from a moment before.
    return "" if most < in_use else f"; at most {most} in the last hour"


def _rejections(hour: WindowSummary, search: str, whose: str, *, nobodys: bool) -> Verdict:
    link = f"{search}outcome=rejected"
    if hour.rejection_rate is None:
        return _verdict("rejections", well=None, text=f"No call{whose} was decided upon in the last hour.", link=link)
    if not hour.rejection_rate:
        return _verdict("rejections", well=True, text=f"No call{whose} was turned away in the last hour.", link=link)
    shares = {reason: getattr(hour.rejection_shares, reason.value) or 0.0 for reason in RejectionReason}
    found = sorted(((share, REASONS[reason]) for reason, share in shares.items() if share), reverse=True)
    # One reason has the whole share, which is said already.
    parts = ", ".join(f"{percent(share, REJECTED_SHARE)} {why}" if len(found) > 1 else why for share, why in found)
    ours = sum(share for reason, share in shares.items() if reason is not RejectionReason.TENANT_NOT_CONFIGURED)
    if nobodys and hour.received is not None:
        # All of these calls are turned away, as there is no tenant to take them.
        calls = counted(hour.received, "call") + whose
        text = (
            f"{calls} reached no tenant in the last hour: {parts}."
            if ours
            else f"{calls} to numbers no tenant has, in the last hour."
        )
    else:
        rate = percent(hour.rejection_rate, REJECTED_SHARE)
        text = f"{rate} of calls{whose} were turned away in the last hour: {parts}."
    return _verdict("rejections", well=ours < REJECTED_SHARE, text=text, link=link)


def _failures(hour: WindowSummary, search: str, whose: str) -> Verdict:
    link = f"{search}outcome=failed"
    if hour.error_rate is None:
        return _verdict("failures", well=None, text=f"No call{whose} has ended in the last hour.", link=link)
    if not hour.error_rate:
        return _verdict("failures", well=True, text=f"No call{whose} ended with an error in the last hour.", link=link)
    rate = percent(hour.error_rate, FAILING_SHARE)
    text = f"{rate} of calls{whose} ended with an error in the last hour: {hour.failed} of {hour.ended}."
    return _verdict("failures", well=hour.error_rate < FAILING_SHARE, text=text, link=link)


def _answers(figures: MetricsSummary, search: str, whose: str) -> Verdict:
    link = f"{search}slower_than={SLOW_ANSWER_SECONDS:g}"
    waited = figures.windows.five_minutes.turn_latency_seconds.p95
    if waited is None:
        return _verdict("answers", well=None, text=f"No caller{whose} was answered in the last 5 minutes.", link=link)
    within = _apart(waited, SLOW_ANSWER_SECONDS, span_of_time, lambda value, places: f"{value:.{places}f} s")
    text = f"95 of 100 answers{whose} came within {within} in the last 5 minutes."
    return _verdict("answers", well=waited <= SLOW_ANSWER_SECONDS, text=text, link=link)


def _silence(running: Sequence[RegisteredCall], home: str) -> Verdict:
    silent = [call for call in running if call.last_seen_seconds > SILENT_SECONDS]
    link = f"{home}#running"
    if not silent:
        text = "Every running call shows signs of life." if running else "No call is running."
        return _verdict("silence", well=True, text=text, link=link)
    longest = span_of_time(max(call.last_seen_seconds for call in silent))
    are = "1 running call has" if len(silent) == 1 else f"{len(silent)} running calls have"
    return _verdict("silence", well=False, text=f"{are} shown no sign of life for up to {longest}.", link=link)


SYSTEM: Final = "/system"


def processes_verdict(coverage: Coverage, link: str) -> Verdict:
    """Return whether the processes of a fleet tell of their calls, and what stands in for those that do not."""
    silent = coverage.known - coverage.answered
    if not silent:
        text = f"{'Both' if coverage.known == _BOTH else f'All {coverage.known}'} processes answer."
        return _verdict("processes", well=True, text=text, link=link)
    named = ", ".join(name[:SHOWN_OF_ID] for name in coverage.silent[:NAMED]) or "not seen yet"
    does, its = ("does", "its") if silent == 1 else ("do", "their")
    found = (
        f"{its} calls are not shown, as the records cannot be read"
        if coverage.from_record is None
        else f"{its} open calls are shown from their records"
    )
    text = f"{silent} of {counted(coverage.known, 'process')} {does} not answer ({named}): {found}."
    return _verdict("processes", well=False, text=text, link=link)


def service_verdicts(
    failed: Mapping[str, str], export: ExportHealth, records: RecordsHealth, *, consistent: bool | None
) -> Iterator[Verdict]:
    """Yield what can be said of the service itself.

    Args:
        failed: The reason of each readiness check that fails, by its name.
        export: Health of the exports.
        records: Health of the call records.
        consistent: Whether registry and live numbers agree; None while that is being found out.
    """
    for name, reason in failed.items():
        if name != "records":  # there is a verdict of its own
            text = f"{name[:1].upper()}{name[1:]}: {reason}."
            yield _verdict(f"readiness-{name}", well=False, text=text, link=f"{SYSTEM}#checks")
    if not failed:
        yield _verdict("readiness", well=True, text="The service is ready for calls.", link=f"{SYSTEM}#checks")
    yield _exports(export)
    yield _records(records)
    if consistent is None:
        text = "Registry and live numbers are being compared."
    elif consistent:
        text = "Registry and live numbers agree."
    else:
        text = "Registry and live numbers disagree: a call may have leaked."
    yield _verdict("registry", well=consistent, text=text, link=f"{SYSTEM}#registry")


def _exports(health: ExportHealth) -> Verdict:
    link = f"{SYSTEM}#exports"
    enabled = [signal for signal in health.signals if signal.enabled]
    failing = [signal for signal in enabled if signal.failing]
    if failing:
        *others, last = (str(signal.signal.value) for signal in failing)
        names = f"{', '.join(others)} and {last}" if others else last
        text = f"The export of {names} has failed for {_longest(failing)}."
        return _verdict("exports", well=False, text=text, link=link)
    if not enabled:
        text = "Telemetry is exported nowhere: no endpoint is set."
        return _verdict("exports", well=None, text=text, link=link)
    dropped = sum(signal.dropped for signal in enabled)
    if dropped:
        were = "was" if dropped == 1 else "were"
        text = f"Telemetry is exported; {counted(dropped, 'item')} {were} dropped since the start."
        return _verdict("exports", well=False, text=text, link=link)
    return _verdict("exports", well=True, text="Telemetry is exported without loss.", link=link)


def _longest(failing: Sequence[SignalHealth]) -> str:
    return span_of_time(max(signal.age_seconds for signal in failing))


def _records(health: RecordsHealth) -> Verdict:
    link = f"{SYSTEM}#records"
    if health.state is RecordsState.WRITING:
        lost = (
            f"; {health.refused:,} {'was' if health.refused == 1 else 'were'} lost since the start"
            if health.refused
            else ""
        )
        text = f"Call records are written{lost}."
        return _verdict("records", well=not health.refused, text=text, link=link)
    said: dict[RecordsState, str] = {
        RecordsState.CATCHING_UP: "Call records of a while without database are being written.",
        RecordsState.SPILLING: "The database is away: call records wait on disk, calls go on.",
        RecordsState.REFUSING: "Neither database nor disk takes call records: they wait in memory and may be lost.",
    }
    return _verdict("records", well=False, text=said[health.state], link=link)
