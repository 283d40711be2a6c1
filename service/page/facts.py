"""The source of the pages' facts: the functions behind the JSON endpoints, each asked once for all viewers.

Where there is a fleet its numbers are shown, and this process's where that cannot be answered, as the endpoints do.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pydantic import Field

from service.api.call_detail import CallLookup
from service.api.capacity import RegisteredCall, registered, registered_call
from service.api.elsewhere import CallsElsewhere, Coverage, OpenCalls
from service.api.live import LiveAnswers, LiveMetrics
from service.api.ranking import RankedTenants, RankingAnswers, RankingPage
from service.api.scope import Answered, Extent, FleetNumbers, MetricsScopes
from service.api.summary import MetricsSummary, SummaryAnswers
from service.fleet.live.counts import Coverage as FleetCoverage
from service.http.readiness import Readiness
from service.http.responses import MetricsScope
from service.http.schemas import FrozenSchema, moment
from service.page.attention import (
    ATTENTION,
    LOOKED_AT,
    AttentionCall,
    AttentionQuestion,
    ToldAttention,
    attention_query,
    needing_attention,
    worst_of,
)
from service.page.memo import Memo
from service.page.verdicts import SYSTEM, Verdict, processes_verdict, service_verdicts, traffic_verdicts
from service.reconciliation.consistency import Findings, Reconciler
from service.records.calls import RecordsHealth
from service.records.store import CallPages
from service.tenants.repository import TenantRepository
from service.timeline.serializer import TraceUrls, rounded_if
from service.usage.report import UsageReader
from telemetry.calls.lifecycle import CallState
from telemetry.metrics.gauges import Limits
from telemetry.metrics.history import History, HistoryStretch
from telemetry.metrics.live_table import Selection
from telemetry.metrics.past import WindowName
from telemetry.semconv.attributes import TenantId
from telemetry.setup import Telemetry

MOMENT_SECONDS: Final = 0.9
"""Seconds for which figures stand: a little less than a tick."""
RANKING_SECONDS: Final = 5.0
"""Seconds for which a ranking stands, whose cost grows with the tenants."""
ATTENTION_SECONDS: Final = 3.0
COURSE_SECONDS: Final = 5.0
"""Seconds for which the course of a window stands, whose parts are a minute long at least."""
COMPARISON_SECONDS: Final = 20.0
"""Seconds for which a comparison of registry and live numbers stands, which looks at every tenant."""
RUNNING_LISTED: Final = 12
"""The most running calls listed."""


class Processes(FrozenSchema):
    """The processes whose calls are in; what counts, rates, shares and waits are of, ``scope`` says."""

    answering: int = Field(description="Processes whose calls are in.")
    known: int = Field(description="Processes that are there.")


class Strip(FrozenSchema):
    """The figures that stand on every page."""

    running: int = Field(description="Calls whose media session runs.")
    in_use: int = Field(description="Slots held, by running and pending calls.")
    limit: int = Field(description="Calls allowed at once.")
    calls_per_minute: float | None = Field(description="Received in the last five minutes, by the minute.")
    failed_share: float | None = Field(description="Of the calls that ended in the last five minutes.")
    turn_p95_seconds: float | None = Field(description="The wait for an answer, over five minutes.")
    processes: Processes
    age_seconds: float = Field(description="How old the numbers are.")


class Overview(FrozenSchema):
    """The facts of the first page, of all tenants or of one."""

    as_of: datetime
    since: datetime = Field(description="When counting began: the fleet's, or the start of the process.")
    scope: MetricsScope
    tenant_id: str | None = Field(description="`null`: all tenants together.")
    strip: Strip
    live: LiveMetrics = Field(description="The twelve numbers of `/api/v1/metrics/live`.")
    verdicts: tuple[Verdict, ...] = Field(description="What is well and what is not.")
    running: tuple[RegisteredCall, ...] = Field(description="Running calls, the longest without a sign of life first.")
    running_count: int = Field(description="How many there are; the list ends at 12.")
    attention: tuple[AttentionCall, ...] = Field(description="Calls of the last hour that need attention, worst first.")

    @property
    def own(self) -> bool:
        """True if counts, rates, shares and waits are those of one process of several."""
        return self.scope is MetricsScope.PROCESS and self.strip.processes.known > 1


@dataclass(frozen=True, slots=True)
class PageParts:
    """The parts of the service that pages show."""

    telemetry: Telemetry
    limits: Limits
    history: History
    readiness: Readiness
    records: Callable[[], RecordsHealth]
    tenants: TenantRepository
    lookup: CallLookup
    pages: CallPages
    usage: UsageReader
    urls: TraceUrls
    scopes: MetricsScopes
    """The rule by which the fleet or this process answers."""
    elsewhere: CallsElsewhere | None = None
    """The calls of a fleet's other processes; None without a fleet."""


class _Checked:
    """The directory behind facts: routes have looked whether there is such a tenant."""

    __slots__ = ()

    async def knows(self, tenant_id: str) -> bool:  # noqa: ARG002 -- the protocol's signature
        """Return True."""
        return True


class PageFacts:
    """The facts of every page. One is made for all viewers; see :class:`service.page.memo.Memo`."""

    def __init__(self, parts: PageParts) -> None:
        self.parts = parts
        live, clock = parts.telemetry.live, parts.telemetry.tracker.clock
        self._lives = LiveAnswers(live, _Checked(), parts.scopes)
        self._summarised = SummaryAnswers(live, parts.history, clock, _Checked(), parts.scopes)
        self._ranked = RankingAnswers(parts.history, clock, parts.scopes)
        self._reconciler = Reconciler(parts.telemetry.live, parts.telemetry.tracker)
        self._overviews: Memo[Answered[Overview]] = Memo(MOMENT_SECONDS)
        self._others: Memo[OpenCalls] = Memo(MOMENT_SECONDS)
        self._summaries: Memo[Answered[MetricsSummary]] = Memo(MOMENT_SECONDS)
        self._courses: Memo[Sequence[HistoryStretch]] = Memo(COURSE_SECONDS)
        self._rankings: Memo[RankedTenants] = Memo(RANKING_SECONDS)
        self._attention: Memo[tuple[AttentionCall, ...]] = Memo(ATTENTION_SECONDS)
        self._own_attention: Memo[tuple[AttentionCall, ...]] = Memo(ATTENTION_SECONDS)
        self._findings: Memo[Findings] = Memo(COMPARISON_SECONDS)
        self._found: Findings | None = None
        self._comparing: asyncio.Task[Findings] | None = None

    async def summary(self, tenant_id: str | None = None) -> Answered[MetricsSummary]:
        """Return the derived figures of one tenant, or of all."""
        return await self._summaries.get(tenant_id, lambda: self._summarised.of(None, tenant_id))

    async def overview(self, tenant_id: str | None = None) -> Overview:
        """Return what the first page shows, of one tenant or of all."""
        return (await self.answered_overview(tenant_id)).body

    async def answered_overview(self, tenant_id: str | None = None) -> Answered[Overview]:
        """Return the same with what its numbers cover."""
        return await self._overviews.get(tenant_id, lambda: self._overview(tenant_id))

    async def ranking(self, wanted: RankingPage) -> RankedTenants:
        """Return a page of the tenants ranked by a figure, at most some seconds old."""

        async def make() -> RankedTenants:
            return (await self._ranked.page(None, wanted)).body

        return await self._rankings.get(wanted, make)

    async def course(self, name: WindowName, selection: Selection, tenant_id: str | None) -> Sequence[HistoryStretch]:
        """Return the parts of a window, for a chart."""

        async def of_fleet(fleet: FleetNumbers) -> tuple[Sequence[HistoryStretch], FleetCoverage]:
            counts, course = await fleet.course(name, selection, tenant_id)
            return course, counts.coverage

        async def of_process() -> Sequence[HistoryStretch]:
            return self.parts.history.course(name, self.parts.telemetry.tracker.clock.now(), selection, tenant_id)

        async def make() -> Sequence[HistoryStretch]:
            return (await self.parts.scopes.answer(None, of_fleet, of_process)).body

        return await self._courses.get((name, selection, tenant_id), make)

    async def findings(self) -> Findings:
        """Return the comparison of registry and live numbers, at most some seconds old."""

        async def make() -> Findings:
            self._found = await asyncio.to_thread(self._reconciler.read)
            return self._found

        return await self._findings.get(None, make)

    async def _numbers(self, tenant_id: str | None) -> tuple[Answered[MetricsSummary], Answered[dict[str, float]]]:
        """Return figures and live numbers of the same processes."""
        figures, live = await self.summary(tenant_id), await self._lives.of(None, tenant_id)
        if figures.extent.scope is live.extent.scope:
            return figures, live
        # The store went away between the two, or came back: either is this process's to answer.
        own = MetricsScope.PROCESS
        return await self._summarised.of(own, tenant_id), await self._lives.of(own, tenant_id)

    async def _overview(self, tenant_id: str | None) -> Answered[Overview]:
        telemetry = self.parts.telemetry
        answered, live = await self._numbers(tenant_id)
        figures = answered.body
        others = await self._elsewhere()
        now = telemetry.tracker.clock.now()
        own = [registered_call(call, now) for call in telemetry.tracker.open_calls()]
        known = {call.call_id for call in own}
        further = [registered(call) for call in others.calls if call.call_id not in known]
        running = sorted(
            (
                call
                for call in (*own, *further)
                if call.state is CallState.STARTED and tenant_id in (None, call.tenant_id)
            ),
            key=lambda call: -call.last_seen_seconds,
        )
        tenant = None if tenant_id is None else TenantId(tenant_id)
        in_use = telemetry.tracker.usage(tenant).in_use
        in_use += sum(tenant_id in (None, call.tenant_id) for call in further)
        extent: Extent = live.extent.aged(max(answered.extent.age_seconds, others.coverage.age_seconds))
        overview = Overview(
            as_of=moment(now),
            since=extent.since,
            scope=extent.scope,
            tenant_id=tenant_id,
            strip=self._strip(figures, len(running), in_use, tenant, extent.age_seconds, others),
            live=LiveMetrics.model_validate(live.body),
            verdicts=await self._verdicts(tenant_id, figures, in_use, running, others.coverage),
            running=tuple(running[:RUNNING_LISTED]),
            running_count=len(running),
            attention=await self._needing_attention(tenant_id),
        )
        return Answered(overview, extent)

    async def _elsewhere(self) -> OpenCalls:
        """Return the open calls of the fleet's other processes; none without a fleet."""
        if self.parts.elsewhere is None:
            return OpenCalls((), Coverage())
        return await self._others.get(None, self.parts.elsewhere.open_calls)

    def _strip(
        self,
        figures: MetricsSummary,
        running: int,
        in_use: int,
        tenant: TenantId | None,
        age: float,
        others: OpenCalls,
    ) -> Strip:
        window = figures.windows.five_minutes
        by_minute = None if not window.seconds or window.received is None else window.received * 60 / window.seconds
        return Strip(
            running=running,
            in_use=in_use,
            limit=self.parts.limits.total() if tenant is None else self.parts.limits.of(tenant),
            calls_per_minute=rounded_if(by_minute),
            failed_share=window.error_rate,
            turn_p95_seconds=window.turn_latency_seconds.p95,
            processes=Processes(answering=others.coverage.answered, known=others.coverage.known),
            age_seconds=round(age, 3),
        )

    async def _verdicts(
        self,
        tenant_id: str | None,
        figures: MetricsSummary,
        in_use: int,
        running: Sequence[RegisteredCall],
        coverage: Coverage,
    ) -> tuple[Verdict, ...]:
        home, search = homes_of(tenant_id)
        own = figures.scope is MetricsScope.PROCESS and coverage.known > 1
        verdicts = list(traffic_verdicts(figures, in_use, running, home=home, search=search, own=own))
        if coverage.known > 1 and (tenant_id is None or not coverage.complete):
            link = f"{SYSTEM}#process" if tenant_id is None else f"{home}#running"
            verdicts.append(processes_verdict(coverage, link))
        if tenant_id is None:
            report = await self.parts.readiness.report()
            failed = {name: outcome.reason or "" for name, outcome in report.checks.items() if not outcome.ok}
            export = self.parts.telemetry.pipelines.health()
            verdicts += service_verdicts(failed, export, self.parts.records(), consistent=self._consistent())
        return tuple(verdicts)

    def _consistent(self) -> bool | None:
        """Return the outcome of the last comparison, and have another one made beside; None before the first."""
        if self._comparing is None or self._comparing.done():
            self._comparing = asyncio.ensure_future(self.findings())
            self._comparing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return None if self._found is None else not self._found.inconsistencies

    async def _needing_attention(self, tenant_id: str | None) -> tuple[AttentionCall, ...]:
        elsewhere = self.parts.elsewhere
        if elsewhere is None:
            return await self._needing_attention_here(tenant_id)

        async def make() -> tuple[AttentionCall, ...]:
            asked = elsewhere.told_by_all(ATTENTION, ToldAttention, {"tenant_id": tenant_id})
            own, (told, _) = await asyncio.gather(self._needing_attention_here(tenant_id), asked)
            return worst_of([own, *(letter.calls for letter in told)])

        return await self._attention.get(tenant_id, make)

    async def _needing_attention_here(self, tenant_id: str | None) -> tuple[AttentionCall, ...]:
        """Return the worst of this process's calls."""
        telemetry = self.parts.telemetry

        async def make() -> tuple[AttentionCall, ...]:
            now = telemetry.tracker.clock.now()
            silent = {str(call.call_id): now.since(call.last_seen) for call in telemetry.tracker.open_calls()}
            page = await asyncio.to_thread(telemetry.recent.search, attention_query(now, tenant_id), limit=LOOKED_AT)
            return needing_attention(page.calls, silent)

        return await self._own_attention.get(tenant_id, make)

    async def tell_attention(self, question: object) -> object:
        """Return the worst of this process's calls, for another process's page."""
        asked = AttentionQuestion.model_validate(question)
        calls = await self._needing_attention_here(asked.tenant_id)
        return ToldAttention(calls=calls).model_dump(mode="json")


def homes_of(tenant_id: str | None) -> tuple[str, str]:
    """Return the page of a tenant, or of all, and the search for its calls, ready for more parameters."""
    if tenant_id is None:
        return "/", "/search?"
    return f"/tenants/{tenant_id}", f"/search?tenant_id={tenant_id}&"
