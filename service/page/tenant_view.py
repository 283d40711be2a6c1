"""A tenant's page: its figures, limit, numbers, instructions, charts, usage and changes."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from service.api.usage import usage_head
from service.http.problems import ProblemError
from service.page.charts import Chart, draw, parts_of
from service.page.facts import PageFacts
from service.page.memo import Memo
from service.page.rendering import number, render, with_query
from service.page.verdicts import percent
from service.page.viewing import View
from service.storage.database import DATABASE_ERRORS
from service.tenants.repository import TenantRepository
from service.tenants.spec import as_change
from service.tenants.tenant import Tenant
from service.timeline.explain import span_of_time
from service.usage.report import UsageReader
from service.usage.rules import UnknownTenantError
from telemetry.metrics.history import HistoryStretch
from telemetry.metrics.live_table import BOUNDS, MS_PER_SECOND, TIME, Selection, quantile
from telemetry.metrics.past import WindowName
from telemetry.semconv import catalogue

CHANGES_LISTED: Final = 8
VERSIONS_LISTED: Final = 5
SHORTEST_SECONDS: Final = 300.0
"""The shortest time that a chart covers."""
STANDS_SECONDS: Final = 10.0
"""Seconds for which what the database says stands, while a page is looked at."""

_TURNS: Final = catalogue.TURN_FIRST_AUDIO.name
_COUNTS: Final = ("received_calls", "failed_calls", "ended_calls", TIME)
_CHOSEN: Final = Selection(_COUNTS, (_TURNS,))
_SECONDS: Final = {WindowName.HOUR: 3600.0, WindowName.DAY: 86_400.0}


class TenantRecords:
    """The database's facts about tenants, for their pages; each asked once in some seconds."""

    def __init__(self, tenants: TenantRepository, usage: UsageReader) -> None:
        self._tenants = tenants
        self._usage = usage
        self._memo: Memo[dict[str, Any]] = Memo(STANDS_SECONDS)

    async def of(self, tenant_id: str) -> dict[str, Any]:
        """Return the tenant, its instructions' versions, its changes and its usage; None each while it is away."""
        return await self._memo.get(tenant_id, lambda: self._read(tenant_id))

    def forget(self) -> None:
        """Ask anew, after a change."""
        self._memo = Memo(STANDS_SECONDS)

    async def _read(self, tenant_id: str) -> dict[str, Any]:
        try:
            tenant = await self._tenants.by_id(tenant_id)
            versions = await self._tenants.instructions_history(tenant_id, limit=VERSIONS_LISTED)
            changes = await self._tenants.audit(tenant_id, limit=CHANGES_LISTED)
            usage = await self._month(tenant_id)
        except DATABASE_ERRORS:
            return {"away": True, "tenant": None, "versions": (), "changes": (), "usage": None}
        return {
            "away": False,
            "tenant": tenant,
            "versions": versions.versions,
            "changes": [as_change(entry) | {"at": entry.at} for entry in changes.entries],
            "usage": usage,
        }

    async def _month(self, tenant_id: str) -> dict[str, Any] | None:
        """Return the usage of this month, in UTC, so far; None without any."""
        first = datetime.now(UTC).date().replace(day=1)
        following = (first + timedelta(days=32)).replace(day=1)
        try:
            head = usage_head(first.isoformat(), following.isoformat(), "UTC", "tenant", tenant_id)
            lines = [line async for line in self._usage.lines(head.period, head.grouping, tenant_id=tenant_id)]
        except (UnknownTenantError, ProblemError):
            return None
        return {
            "month": f"{first:%B %Y}",
            "calls": sum(line.sums.calls for line in lines),
            "answered": sum(line.sums.answered for line in lines),
            "minutes": sum(line.sums.duration_ms for line in lines) / 60_000,
            "rounded_minutes": sum(line.sums.rounded_ms for line in lines) / 60_000,
        }


async def tenant_fragments(facts: PageFacts, records: TenantRecords, view: View) -> dict[str, str]:
    """Return the fragments of a tenant's page."""
    tenant_id = view.subject or ""
    found = await facts.overview(tenant_id)
    kept = await records.of(tenant_id)
    tenant: Tenant | None = kept["tenant"]
    window = WindowName.DAY if view.window == WindowName.DAY else WindowName.HOUR
    return {
        "verdicts": render("verdicts.html", verdicts=found.verdicts, of_tenant=True),
        "running": render("running.html", overview=found, of_all=False),
        "attention": render("attention.html", overview=found, of_all=False),
        "charts": render(
            "charts.html",
            charts=[{"chart": chart, "svg": draw(chart)} for chart in await tenant_charts(facts, tenant_id, window)],
            own=found.own,
            windows=[
                {"name": said, "href": with_query(f"/tenants/{tenant_id}", {}, window=query), "on": name is window}
                for name, said, query in ((WindowName.HOUR, "1 h", None), (WindowName.DAY, "24 h", "24h"))
            ],
        ),
        "settings": render(
            "tenant_settings.html",
            tenant_id=tenant_id,
            tenant=tenant,
            limit=found.strip.limit,
            may_change=not view.access.read_only,
            **{name: kept[name] for name in ("away", "versions")},
        ),
        "counts": render("counts.html", overview=found),
        "usage": render("tenant_usage.html", usage=kept["usage"], tenant_id=tenant_id, away=kept["away"]),
        "changes": render("tenant_changes.html", changes=kept["changes"], away=kept["away"]),
    }


async def tenant_charts(facts: PageFacts, tenant_id: str, window: WindowName) -> list[Chart]:
    """Return the charts of a tenant over a window: calls running, calls a minute, and the wait for an answer."""
    course = await facts.course(window, _CHOSEN, tenant_id)
    # A young process has but a part of the window, which would be a sliver of its chart.
    seconds = max(SHORTEST_SECONDS, min(_SECONDS[window], max((part.start for part in course), default=0.0)))

    def chart(title: str, names: tuple[str, ...], value: Any, written: Any) -> Chart:  # noqa: ANN401 -- functions
        return Chart(title, names, parts_of(course, value), written, seconds)

    return [
        chart("Calls running", ("on average", "at most"), _running, _count),
        chart("Calls a minute", ("received", "failed"), _by_minute, _count),
        chart("Wait for an answer", ("95 of 100 within", "half within"), _waited, _wait),
        chart("Failed, of those that ended", ("share",), _failed, percent),
    ]


def _count(value: float) -> str:
    return str(number(value)) if value % 1 else f"{value:,.0f}"


def _wait(value: float) -> str:
    return span_of_time(value) if value else "0 s"


def _running(part: HistoryStretch) -> tuple[float | None, ...]:
    peak = None if part.peak_in_use is None else float(part.peak_in_use)
    return (part.numbers[3] / MS_PER_SECOND / part.seconds, peak)


def _by_minute(part: HistoryStretch) -> tuple[float | None, ...]:
    return tuple(count * 60 / part.seconds for count in part.numbers[:2])


def _failed(part: HistoryStretch) -> tuple[float | None, ...]:
    _, failed, ended = part.numbers[:3]
    return (failed / ended if ended else None,)


def _waited(part: HistoryStretch) -> tuple[float | None, ...]:
    counts = part.numbers[len(_COUNTS) :]
    return quantile(0.95, BOUNDS[_TURNS], counts), quantile(0.5, BOUNDS[_TURNS], counts)
