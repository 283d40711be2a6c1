"""The page about the service itself: process, stores, exports, comparison of registry and numbers, settings."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from platform import python_version
from typing import Final

from pydantic import SecretStr

from service.api.fleet import FleetState, fleet_state
from service.fleet.errors import StoreAwayError
from service.fleet.fleet import Fleet
from service.page.alerts import (
    SHIPPED,
    AlertCondition,
    AlertFacts,
    alert_conditions,
    other_received,
    worst_tenants,
)
from service.page.examination import Examination
from service.page.facts import PageFacts, PageParts
from service.page.memo import Memo
from service.page.rendering import plain, render
from service.page.sessions import MAX_SESSIONS, SessionsHealth
from service.page.viewing import View
from service.records.calls import RecordsHealth, RecordsState
from service.settings import Settings
from service.timeline.explain import span_of_time
from telemetry.metrics.past import WindowName

ALERTS_SECONDS: Final = 5.0
"""Seconds for which the alerts' conditions stand, for which every tenant is looked at."""
PROCESSES_SECONDS: Final = 2.0
_VERSIONS: Final = ("callscope", "opentelemetry-sdk", "fastapi", "sqlalchemy")


class SystemFacts:
    """The facts of the service that other pages do not show.

    Args:
        settings: The process's settings.
        instance_id: The process's id.
        dialect: The kind of database.
        examination: Finds out if what is exported arrives.
        sessions: Returns how many people are signed in.
        spill_room: Returns the bytes of records that the disk can take; may block on it.
        fleet: The fleet; None for a process that answers for itself alone.
    """

    def __init__(
        self,
        settings: Settings,
        instance_id: str,
        dialect: str,
        *,
        examination: Examination,
        sessions: Callable[[], SessionsHealth],
        spill_room: Callable[[], int],
        fleet: Fleet | None,
    ) -> None:
        self.settings = shown_settings(settings)
        self.instance_id = instance_id
        self.dialect = dialect
        self.examination = examination
        self.sessions = sessions
        self.fleet = fleet
        self.versions = {"Python": python_version()} | {name: version(name) for name in _VERSIONS}
        self._spill_room = spill_room
        self._alerts: Memo[Sequence[AlertCondition]] = Memo(ALERTS_SECONDS)
        self._processes: Memo[FleetState | str] = Memo(PROCESSES_SECONDS)

    async def alerts(self, facts: PageFacts) -> Sequence[AlertCondition]:
        """Return the conditions of the alerts that one process can judge, at most some seconds old."""
        return await self._alerts.get(None, lambda: asyncio.to_thread(self._judged, facts.parts))

    def _judged(self, parts: PageParts) -> Sequence[AlertCondition]:
        telemetry = parts.telemetry
        now, tracker = telemetry.tracker.clock.now(), telemetry.tracker
        windows = parts.history.of(now)
        found = AlertFacts(
            hour=windows[WindowName.HOUR],
            five_minutes=windows[WindowName.FIVE_MINUTES],
            worst=worst_tenants(tracker, parts.history, parts.limits),
            in_use=tracker.usage().in_use,
            limit=parts.limits.total(),
            oldest_silence_seconds=tracker.oldest_silence(),
            other_received=other_received(parts.history, now),
            sizes=telemetry.live.store.size(),
            export=telemetry.pipelines.health(),
            records=parts.records(),
            spill_room_bytes=self._spill_room(),
            store_away_seconds=None if self.fleet is None else self.fleet.member.away_seconds,
            fleet=self.fleet is not None,
        )
        return tuple(alert_conditions(found))

    async def processes(self) -> FleetState | str | None:
        """Return the fleet's processes, or why they are not known; None without a fleet."""
        fleet = self.fleet
        if fleet is None:
            return None

        async def make() -> FleetState | str:
            try:
                return fleet_state(await fleet.view(), fleet)
            except StoreAwayError as error:
                return f"The fleet's store does not answer ({error}); slots are decided upon in each process."

        return await self._processes.get(None, make)


def shown_settings(settings: Settings) -> Mapping[str, str]:
    """Return every setting as text, of secrets only whether they are set."""
    return {name.upper(): _shown(getattr(settings, name)) for name in sorted(type(settings).model_fields)}


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "set, not shown"
    if isinstance(value, tuple):
        if value and isinstance(value[0], SecretStr):
            return f"{len(value)} set, not shown"
        return ", ".join(map(str, value)) or "not set"
    return f"{value:g}" if isinstance(value, float) else plain(value)


_STATES: Final[Mapping[RecordsState, str]] = {
    RecordsState.WRITING: "the database takes everything",
    RecordsState.CATCHING_UP: "the database takes everything; what waited on disk is being written",
    RecordsState.SPILLING: "the database is away; records wait on this machine's disk",
    RecordsState.REFUSING: "neither database nor disk takes records; they wait in memory",
}


_CHECKS: Final[Mapping[str, str]] = {
    "database": "Database answers",
    "fleet": "Fleet's store answers",
    "draining": "Takes new calls",
    "registry": "Room for calls",
    "records": "Records are kept",
    "secrets": "Secrets are set",
}
"""The readiness checks in words, by their names."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with the words that explain it."""

    name: str
    value: float | str | None
    """None: there was none."""
    means: str
    ago: float | None = None
    """Seconds since it came about, of an error."""


def _records(health: RecordsHealth) -> Iterator[Figure]:
    yield Figure("State", health.state.value.replace("_", " "), _STATES[health.state])
    yield Figure("Open", health.open, "calls whose record is not final yet")
    yield Figure("Waiting", health.waiting, "records that wait in memory to be written")
    yield Figure("Spilled bytes", health.spilled_bytes, "records on this machine's disk, for when the database is back")
    yield Figure(
        "Refused", health.refused, "records lost since the start: the database or the memory did not take them"
    )
    yield Figure("Unkept", health.unkept, "calls that went on while their record was in memory alone, since the start")
    yield Figure(
        "Assumed",
        health.assumed,
        "calls taken without the database saying whose they are, so two processes may have one",
    )
    yield Figure("Lost", health.lost, "calls let go of since the start, as another process has them")
    yield Figure("Damaged lines", health.damaged_lines, "records on disk that could not be read since the start")
    away = health.database_away_seconds
    yield Figure(
        "Database away", None if away is None else span_of_time(away), "for how long the database has not answered"
    )
    yield Figure(
        "Last error",
        health.last_error,
        "the kind of the last failure; it stays when all is well again",
        health.last_error_seconds,
    )


def _memory(facts: PageFacts) -> Iterator[Figure]:
    calls, live = facts.parts.telemetry.recent.size, facts.parts.telemetry.live.store.size()
    yield Figure("Calls announced", calls.announced, "in memory, announced and not yet received")
    yield Figure("Open calls", calls.open_calls, "in memory, not over")
    yield Figure("Calls over", calls.calls_over, "in memory, the last ones that are over")
    yield Figure("Memory of calls", calls.estimated_bytes, "bytes, as estimated")
    yield Figure("Calls evicted", calls.evicted, "calls over that made room for newer ones since the start")
    yield Figure("Rows left out", calls.left_out, "turns, log lines and the like that a call was too long to keep")
    yield Figure("Tenants with numbers", live.tenants, "tenants whose live numbers are kept apart")
    yield Figure(
        "Tenants past the bound",
        live.folded_into_other,
        "data points counted under _other, as there are too many tenants",
    )
    yield Figure(
        "Series past the limit", live.overflowed, "data points counted under _other, as there are too many series"
    )


async def system_fragments(facts: PageFacts, system: SystemFacts, _view: View) -> dict[str, str]:
    """Return the fragments of the page."""
    found, parts = await facts.overview(), facts.parts
    report = await parts.readiness.report()
    findings = await facts.findings()
    alerts = await system.alerts(facts)
    return {
        "verdicts": render(
            "verdicts.html", verdicts=[one for one in found.verdicts if one.link.startswith("/system")], of_tenant=False
        ),
        "process": render("system_process.html", overview=found, system=system),
        "alerts": render("system_alerts.html", alerts=alerts, shipped=SHIPPED),
        "checks": render("system_checks.html", report=report, checks=_CHECKS),
        "stores": render(
            "system_stores.html",
            system=system,
            records=parts.records(),
            fleet=None if system.fleet is None else system.fleet.health(),
            sessions=system.sessions(),
            most_sessions=MAX_SESSIONS,
            processes=await system.processes(),
        ),
        "exports": render("system_exports.html", signals=parts.telemetry.pipelines.health().signals),
        "doctor": render("system_doctor.html", examined=system.examination.look()),
        "records": render("system_records.html", figures=[*_records(parts.records()), *_memory(facts)]),
        "registry": render("system_registry.html", findings=findings),
    }
