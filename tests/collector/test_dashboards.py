"""The Grafana dashboards: well formed, about metrics that exist, and with data in every panel."""

import math
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.collector.dashboards import FILES, GRAFANA, Query, content, queries
from tests.collector.promql import groupings, labels_of, selectors, wrong_values
from tests.collector.rules import recordings
from tests.peers.emitter import OtlpEmitter
from tests.peers.peers import Peers
from tests.peers.prometheus import Prometheus
from tests.peers.waiting import until

TENANT = "acme"
QUERIES = list(queries())


@pytest.fixture(scope="module")
def prometheus(module_peers: Peers) -> Prometheus:
    """A Prometheus that has seen every instrument grow for a while, with traces."""
    prometheus = module_peers.prometheus()
    with OtlpEmitter(metrics_url=prometheus.otlp_metrics_url) as emitter:
        for _ in range(3):
            emitter.everything(TENANT)
            time.sleep(0.01)  # points of one series must differ in their millisecond
            emitter.flush()
    return prometheus


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
def test_a_panel_has_data(query: Query, prometheus: Prometheus) -> None:
    """After every instrument was used, each expression has a value that is a number."""
    expression = query.filled(TENANT)
    until(lambda: [s for s in prometheus.query(expression) if not math.isnan(s.value)], f"a value of {expression}")


@pytest.mark.parametrize("query", [query for query in QUERIES if query.exemplar], ids=str)
def test_a_latency_panel_has_exemplars(query: Query, prometheus: Prometheus) -> None:
    """Where a panel asks for exemplars Prometheus has some, each with the id of a trace."""
    exemplars = prometheus.query_exemplars(query.filled(TENANT))
    assert exemplars
    assert all(len(exemplar.trace_id) == 32 for exemplar in exemplars)


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
