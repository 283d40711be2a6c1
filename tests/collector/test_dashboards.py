"""The Grafana dashboards: well formed, about metrics that exist, and with data in every panel."""

import math
import re
import time
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.reconciliation.figures import Field, ReconcileQuery, Scope
from service.reconciliation.promql import COUNTERS, ServiceSelector, gained
from telemetry.semconv import genai
from telemetry.semconv.catalogue import INSTRUMENTS
from tests.collector.dashboards import FILES, GRAFANA, Query, content, queries
from tests.collector.promql import groupings, labels_of, selectors, wrong_values
from tests.collector.rules import recordings
from tests.peers.collector import layer
from tests.peers.emitter import OtlpEmitter
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus
from tests.peers.waiting import until

TENANT = "acme"
QUERIES = list(queries())
WINDOWS = {
    "$__range": ", in the time shown",
    "ratio_rate1h": ", last hour",
    "[1h])": ", last hour",
    "[5m])": ", last 5 minutes",
    "60 * ": ", a minute",
}
"""What a panel's title ends in, by what its expression holds; the first that fits."""


@pytest.fixture(scope="module")
def prometheus(module_peers: Peers) -> Prometheus:
    """A Prometheus that takes what is pushed."""
    return module_peers.prometheus()


@pytest.fixture(scope="module")
def emitter(prometheus: Prometheus) -> Iterator[OtlpEmitter]:
    """Whoever has let every instrument of it grow for a while, with traces."""
    with OtlpEmitter(metrics_url=prometheus.otlp_metrics_url) as emitter:
        for _ in range(3):
            emitter.everything(TENANT)
            time.sleep(0.01)  # points of one series must differ in their millisecond
            emitter.flush()
        yield emitter


def test_the_dashboards_are_the_five_that_are_documented() -> None:
    """There is a dashboard for the fleet, one tenant, capacity, minutes and quality."""
    assert {path.stem for path in FILES} == {"billing", "capacity", "fleet", "quality", "tenant"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_dashboard_is_well_formed(path: Path) -> None:
    """Its id is the file's, panels have ids of their own and do not overlap, each says what it shows."""
    board = content(path)
    assert board["uid"] == f"callscope-{path.stem}"
    panels = board["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(panels) + 1))
    assert all(panel["description"] and panel["title"] for panel in panels)
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    assert not [(a["title"], b["title"]) for a, b in combinations(panels, 2) if _overlap(a["gridPos"], b["gridPos"])]
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_panel_asks_for_what_exists(query: Query, prometheus: Prometheus) -> None:
    """Metrics, labels and label values of a panel are those of the catalogue or of a recording rule."""
    tree = prometheus.parse(query.filled(TENANT))
    recorded = {rule.name for rule in recordings()}
    known: set[str] = set()
    for selector in selectors(tree):
        if selector.metric not in recorded:
            labels = labels_of(selector.metric)
            assert labels, f"{selector.metric} is no metric of the catalogue"
            assert {m.label for m in selector.matchers} <= labels
            assert [m for m in selector.matchers if wrong_values(m)] == []
            known |= labels
    assert groupings(tree) <= known


@pytest.mark.parametrize("query", QUERIES, ids=str)
def test_a_panel_has_data(query: Query, prometheus: Prometheus, emitter: OtlpEmitter) -> None:
    """After every instrument was used, each expression has a value that is a number."""
    expression = query.filled(TENANT)
    emitter.flush()  # a process that reports no more is not counted for long
    until(lambda: [s for s in prometheus.query(expression) if not math.isnan(s.value)], f"a value of {expression}")


@pytest.mark.parametrize("query", [query for query in QUERIES if query.exemplar], ids=str)
@pytest.mark.usefixtures("emitter")
def test_a_latency_panel_has_exemplars(query: Query, prometheus: Prometheus) -> None:
    """Where a panel asks for exemplars Prometheus has some, each with the id of a trace."""
    exemplars = prometheus.query_exemplars(query.filled(TENANT))
    assert exemplars
    assert all(len(exemplar.trace_id) == 32 for exemplar in exemplars)


MINUTES = [query for query in QUERIES if "voice_call_time_seconds_total[$__range]" in query.expression]


@pytest.mark.parametrize("query", MINUTES, ids=str)
def test_minutes_are_counted_as_reconciliation_counts_them(query: Query) -> None:
    """A panel's minutes are the very expression by which reconciliation asks the backend for a window, over sixty."""
    said = query.filled(TENANT)
    window = ReconcileQuery(Scope.FLEET, 0, 300_000, TENANT if "tenant_id=" in said else None)
    asked = gained(COUNTERS[Field.MINUTES], window, ServiceSelector("callscope", ""))
    asked = re.sub(r'job="callscope",?', "", asked).replace("{}", "")
    asked = asked.replace("[300000ms]", "[5m]").replace("offset 300000ms", "offset 5m").replace("[3600000ms]", "[1h]")
    if "by (tenant_id)" not in said:
        asked = asked.replace(" by (tenant_id)", "")
    assert asked in said
    assert "/ 60" in said


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_title_says_the_window(path: Path) -> None:
    """The window of what a panel counts stands in its title; one value has a window of its own, not the graph's."""
    for panel in content(path)["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            window = next((words for sign, words in WINDOWS.items() if sign in expression), None)
            if window is not None:
                assert panel["title"].endswith(window), (panel["title"], window)
            if target.get("instant"):
                assert "$__rate_interval" not in expression, panel["title"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_calls_are_said_to_be_none(path: Path) -> None:
    """Where nothing was counted a ratio is no number: the panel that shows one value then says `no calls`."""
    for panel in content(path)["panels"]:
        expressions = [target["expr"] for target in panel["targets"]]
        if panel["type"] == "stat" and any(re.search(r"ratio_rate|quantile|/ [^6]", text) for text in expressions):
            defaults = panel["fieldConfig"]["defaults"]
            (mapping,) = defaults["mappings"]
            assert (defaults["noValue"], mapping["options"]["match"]) == ("no calls", "null+nan"), panel["title"]
            assert mapping["options"]["result"]["text"] == "no calls"


def test_what_is_in_use_and_its_limit_count_processes_alike() -> None:
    """No panel adds up calls of every process and shows the limit of one; none shows what a dead one said last."""
    for query in QUERIES:
        if "voice_call_active" in query.expression or "voice_call_pending" in query.expression:
            assert "time() - timestamp(voice_call_active) < 90" in query.expression, query
        assert "voice_capacity" not in query.expression, query


def test_a_quantile_between_ten_and_thirty_seconds_is_near() -> None:
    """Calls that last 21 s have a ninth decile that is within a bucket of 5 s of that, not at 27."""
    for instrument in INSTRUMENTS:
        if instrument.unit == "s" and instrument.boundaries and instrument.boundaries[-1] >= 30:
            steps = [b - a for a, b in pairwise(instrument.boundaries) if 10 <= a < 30]
            if instrument.name != genai.EXECUTE_TOOL_DURATION:  # the convention lists its bounds
                assert max(steps) <= 5, instrument.name


KEPT = {
    "voice_turn_time_to_first_audio_seconds": r'"voice.turn.time_to_first_audio_s"\] > (\S+)',
    "voice_call_time_to_first_audio_seconds": r'"voice.call.time_to_first_audio_s"\] > (\S+)',
    "voice_call_setup_duration_seconds": r'"voice.call.setup.duration_s"\] > (\S+)',
    "gen_ai_execute_tool_duration_seconds": r"start_time_unix_nano > (\S+)000000000",
}
"""Metrics, and where the production layer says past which value every trace is kept."""


def test_a_panel_with_exemplars_says_which_of_them_have_a_trace() -> None:
    """Most dots of healthy calls lead nowhere behind tail sampling: the panel says so, and past what all lead on."""
    sampling = layer("production").read_text()
    for path in FILES:
        for panel in content(path)["panels"]:
            asked = [target["expr"] for target in panel["targets"] if target.get("exemplar")]
            if asked:
                assert "behind tail sampling" in panel["description"], panel["title"]
            for metric, pattern in KEPT.items():
                (bound,) = re.findall(pattern, sampling)
                if any(f"{metric}_bucket" in expression for expression in asked):
                    assert f"past {float(bound):g} s" in panel["description"], panel["title"]


def test_an_exemplar_leads_to_the_traces() -> None:
    """The metrics' data source links exemplars, by the label Prometheus gives them, to one that is provisioned."""
    text = (GRAFANA / "provisioning" / "datasources" / "callscope.yml").read_text()
    sources = {source["uid"]: source for source in yaml.safe_load(text)["datasources"]}
    destinations = sources["callscope-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert [(d["name"], sources[d["datasourceUid"]]["type"]) for d in destinations] == [("trace_id", "jaeger")]


def test_the_dashboards_use_the_provisioned_source() -> None:
    """The data source a dashboard chooses by itself is the provisioned one."""
    for path in FILES:
        variable = content(path)["templating"]["list"][0]
        assert variable["current"]["value"] == "callscope-prometheus"


def _overlap(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return bool(
        a["x"] < b["x"] + b["w"] and b["x"] < a["x"] + a["w"] and a["y"] < b["y"] + b["h"] and b["y"] < a["y"] + a["h"]
    )
