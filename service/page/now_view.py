"""The first page: verdicts, running calls, calls that need attention, tenants ranked."""

from typing import Any, Final

from markupsafe import Markup

from service.api.ranking import Order, Ordering, RankedTenant, RankingPage
from service.http.responses import MetricsScope
from service.page.charts import parts_of, sparkline
from service.page.facts import PageFacts
from service.page.rendering import render, with_query
from service.page.viewing import View
from telemetry.metrics.figures import FIGURES
from telemetry.metrics.history import HistoryStretch
from telemetry.metrics.live_table import Selection
from telemetry.metrics.past import WindowName

TENANTS_LISTED: Final = 20
HOUR_SECONDS: Final = 3600.0
RECEIVED: Final = Selection(("received_calls",))

COLUMNS: Final = (
    ("received", "Calls"),
    ("minutes", "Minutes"),
    ("error_rate", "Failed"),
    ("rejection_rate", "Turned away"),
    ("turn_latency_seconds.p95", "Answer p95"),
    ("capacity.peak_utilization", "Peak use"),
)
"""The columns by which tenants are ranked, by the figure's name, with their heads."""

WINDOWS: Final = (("5m", "5 min"), ("1h", "1 h"), ("24h", "24 h"), ("since_start", "since start"))


async def now_fragments(facts: PageFacts, view: View) -> dict[str, str]:
    """Return the fragments of the first page."""
    found = await facts.overview()
    return {
        "verdicts": render("verdicts.html", verdicts=found.verdicts, of_tenant=False),
        "running": render("running.html", overview=found, of_all=True),
        "attention": render("attention.html", overview=found, of_all=True),
        "tenants": await _tenants(facts, view, several=found.strip.processes.known > 1),
        "counts": render("counts.html", overview=found),
    }


async def _tenants(facts: PageFacts, view: View, *, several: bool) -> str:
    ordering = Ordering(view.sort, view.order, view.window)
    page = await facts.ranking(RankingPage.at(ordering, TENANTS_LISTED, view.cursor))
    return render(
        "tenants.html",
        page=page,
        rows=[{"tenant": tenant, "spark": await spark(facts, tenant.tenant_id)} for tenant in page.tenants],
        heads=[_head(view, name, title) for name, title in COLUMNS],
        windows=[
            {"name": said, "href": with_query("/", view.query, window=name, cursor=None), "on": name == view.window}
            for name, said in WINDOWS
        ],
        more=None if page.next_cursor is None else with_query("/", view.query, cursor=page.next_cursor),
        first=None if view.cursor is None else with_query("/", view.query, cursor=None),
        figure=_figure,
        own=several and page.scope is MetricsScope.PROCESS,
    )


async def spark(facts: PageFacts, tenant_id: str | None) -> Markup:
    """Return the calls a minute over the last hour, as a small picture."""
    course = await facts.course(WindowName.HOUR, RECEIVED, tenant_id)
    return sparkline(parts_of(course, _by_minute), HOUR_SECONDS, "Calls a minute over the last hour")


def _by_minute(part: HistoryStretch) -> tuple[float]:
    return (part.numbers[0] * 60 / part.seconds,)


def _figure(tenant: RankedTenant, name: str) -> float | None:
    """Return a figure of a tenant by its path, such as ``turn_latency_seconds.p95``."""
    value: Any = tenant.summary
    for part in name.split("."):
        value = getattr(value, part)
    found: float | None = value
    return found


def _head(view: View, name: str, title: str) -> dict[str, object]:
    on = view.sort == name
    turned = Order.ASCENDING if on and view.order == Order.DESCENDING else Order.DESCENDING
    sort = {"sort": name, "order": None if turned is Order.DESCENDING else turned.value, "cursor": None}
    return {
        "name": name,
        "title": title,
        "meaning": FIGURES[name].meaning,
        "href": with_query("/", view.query, **sort),
        "direction": ("descending" if view.order == Order.DESCENDING else "ascending") if on else None,
    }
