"""The configuration files as written: accepted by the real Collector, and keeping to the house rules."""

import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from telemetry.recent.record import CallOutcome
from telemetry.semconv.attributes import ATTRIBUTES, OUTCOME
from telemetry.semconv.genai import GENAI_ATTRIBUTES
from tests.collector.authority import certificates
from tests.collector.layers import COMBINATIONS, VENDORS, addresses, content, environment, text, variables
from tests.collector.rules import recordings
from tests.peers.collector import BINARY, CONFIG, layer
from tests.peers.network import free_port
from tests.peers.peers import run_with

LAYERS = ["base", "local", "production", "mtls", "content", "totals", *(f"vendors/{vendor}" for vendor in VENDORS)]
DELTA_VENDORS = {"azure", "datadog", "dynatrace", "elastic", "newrelic"}
SECRET = re.compile(r"(?i)(authorization|key|token|team|password)$")


def test_every_vendor_of_the_list_is_there() -> None:
    """The destinations are the twelve the documentation names."""
    assert set(VENDORS) == {
        *("aws", "azure", "datadog", "dynatrace", "elastic", "google-cloud"),
        *("grafana-cloud", "honeycomb", "newrelic", "otlp", "signoz", "splunk"),
    }


@pytest.mark.peers
@pytest.mark.parametrize("names", COMBINATIONS.values(), ids=COMBINATIONS.keys())
def test_the_real_collector_accepts_each_combination(names: tuple[str, ...], tmp_path: Path) -> None:
    """`validate` of the real Collector accepts every documented combination, given only the documented variables."""
    given = environment(*names, folder=tmp_path) | certificates(tmp_path).for_the_collector()
    arguments = [word for name in names for word in ("--config", layer(name))]
    result = run_with(given, BINARY, ["validate", *arguments])
    assert (result.returncode, result.stdout) == (0, ""), result.stdout


@pytest.mark.peers
@pytest.mark.parametrize("vendor", [vendor for vendor in VENDORS if addresses(vendor)])
def test_a_missing_address_stops_the_start(vendor: str, tmp_path: Path) -> None:
    """Where a destination's address has no default, leaving it out is an error at start, not data sent nowhere."""
    names = ("base", "production", f"vendors/{vendor}")
    given = {k: v for k, v in environment(*names, folder=tmp_path).items() if k not in addresses(vendor)}
    arguments = [word for name in names for word in ("--config", layer(name))]
    result = run_with(given, BINARY, ["validate", *arguments])
    assert result.returncode != 0
    assert "endpoint must be specified" in result.stdout


MAY_BE_EMPTY = {"OTLP_AUTHORIZATION", "SIGNOZ_INGESTION_KEY", "TOTALS_AUTHORIZATION"}
"""Self-hosted backends that ask nobody who they are."""
NEEDED = [
    (layer_name, variable)
    for layer_name in ("mtls", "totals", *(f"vendors/{vendor}" for vendor in VENDORS))
    for variable, has_default in variables(layer_name).items()
    if not has_default and variable not in MAY_BE_EMPTY
]


@pytest.mark.peers
@pytest.mark.parametrize(("name", "variable"), NEEDED)
def test_an_empty_variable_stops_the_start_and_is_named(name: str, variable: str, tmp_path: Path) -> None:
    """A key, an address or a path that is set to nothing is refused by `validate`, and with it by the start."""
    names = ("base", "production", name)
    given = environment(*names, folder=tmp_path) | certificates(tmp_path).for_the_collector() | {variable: ""}
    result = run_with(given, BINARY, ["validate", *(word for part in names for word in ("--config", layer(part)))])
    assert result.returncode != 0
    assert f"needs_{variable}: no bearer token provided" in result.stdout


def test_layers_that_replace_each_others_lists_are_named() -> None:
    """Of two destinations that set the same list apart, the documentation has a row with both and the list."""
    rows = [line for line in (CONFIG / "README.md").read_text().splitlines() if line.startswith("|")]
    collisions = [
        (one, other, path)
        for one, other in combinations(VENDORS, 2)
        for path, found in _lists(content(f"vendors/{one}")).items()
        if _lists(content(f"vendors/{other}")).get(path, found) != found
    ]
    assert collisions
    unnamed = [c for c in collisions if not any(all(f"`{word}`" in row for word in c) for row in rows)]
    assert unnamed == []


@pytest.mark.peers
def test_destinations_with_authenticators_of_their_own_are_refused_together(tmp_path: Path) -> None:
    """A start with two of them ends and names the one that the second list left out, instead of sending without."""
    names = ("base", "production", "vendors/azure", "vendors/grafana-cloud")
    token = tmp_path / "token"
    token.write_text("t")
    given = environment(*names, folder=tmp_path) | {"AZURE_MONITOR_TOKEN_FILE": str(token)}
    given |= {f"COLLECTOR_{part}_LISTEN": "127.0.0.1:0" for part in ("GRPC", "HTTP", "HEALTH")}
    given |= {"COLLECTOR_METRICS_PORT": str(free_port()), "GRAFANA_CLOUD_INSTANCE_ID": "12345"}
    result = run_with(given, BINARY, [word for name in names for word in ("--config", layer(name))])
    assert result.returncode != 0
    assert re.search(r'authenticator.*"bearertokenauth/azure"', result.stdout), result.stdout


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_begins_with_what_it_adds_and_its_traps(name: str) -> None:
    """Each file opens with a comment that says what it is for, its traps, and every variable it reads."""
    header = text(name).split("\n\n", 1)[0]
    assert header.startswith("# ")
    assert "Trap:" in header
    assert {variable for variable in variables(name) if variable not in header} == set()


@pytest.mark.parametrize("name", LAYERS)
def test_memory_is_protected_first_and_batches_are_made_in_the_queue(name: str) -> None:
    """Every pipeline that names processors after the receiver begins with memory_limiter; no `batch` processor."""
    config = content(name)
    for pipeline, parts in _pipelines(config).items():
        if pipeline.endswith("/in"):
            assert parts["processors"][0] == "memory_limiter"
    assert not [key for key in config.get("processors", {}) if key.split("/")[0] == "batch"]
    for exporter, settings in config.get("exporters", {}).items():
        if not exporter.startswith("debug"):
            assert settings["sending_queue"]["batch"]["max_size"], exporter


@pytest.mark.parametrize("vendor", VENDORS)
def test_every_destination_queues_on_disk_and_takes_three_signals(vendor: str) -> None:
    """A destination for a fleet keeps its queue on disk, and says what becomes of metrics, traces and logs."""
    config = content(f"vendors/{vendor}")
    assert {pipeline.split("/")[0] for pipeline in _pipelines(config)} == {"metrics", "traces", "logs"}
    for exporter, settings in config["exporters"].items():
        if not exporter.startswith("debug"):
            assert settings["sending_queue"]["storage"] == "file_storage/queue"


@pytest.mark.parametrize("vendor", VENDORS)
def test_delta_vendors_are_converted_behind_the_service(vendor: str) -> None:
    """Exactly the vendors that want delta get the conversion, in their metrics pipeline."""
    metrics = {k: v for k, v in _pipelines(content(f"vendors/{vendor}")).items() if k.startswith("metrics/")}
    converted = any("cumulative_to_delta" in step for parts in metrics.values() for step in parts.get("processors", []))
    assert converted == (vendor in DELTA_VENDORS)


@pytest.mark.parametrize("name", LAYERS)
def test_secrets_come_from_the_environment_only(name: str) -> None:
    """Nothing that is named like a secret has a value of its own, nor a default."""
    for key, value in _leaves(content(name).get("exporters", {}) | content(name).get("extensions", {})):
        if SECRET.search(key):
            assert "${env:" in str(value), key
            assert ":-" not in str(value), key


def test_sampling_looks_at_attributes_that_exist() -> None:
    """The policies of tail sampling name attributes of the vocabulary, and values they can have."""
    policies = content("production")["processors"]["tail_sampling"]["policies"]
    known = {attribute.key: set(attribute.values) for attribute in (*ATTRIBUTES, *GENAI_ATTRIBUTES)}
    known[OUTCOME] |= set(CallOutcome)  # on a root span it says how the call turned out
    by_value = [policy["string_attribute"] for policy in policies if "string_attribute" in policy]
    assert by_value
    assert all(set(condition["values"]) <= known[condition["key"]] for condition in by_value)
    named = re.findall(r'span\.attributes\["([^"]+)"\]', text("production"))
    assert len(named) == 6
    assert set(named) <= set(known)


def test_sampling_keeps_what_breaks_the_objective() -> None:
    """The wait from which on an answer is kept is the one from which on it counts against the service level."""
    objectives = {found for rule in recordings() for found in re.findall(r'le="([^"]+)"', rule.expression)}
    kept = set(re.findall(r'voice\.turn\.(?:time_to_first_audio|unanswered)_s"\] > ([\d.]+)', text("production")))
    assert kept == objectives == {"1.5"}


def _pipelines(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    pipelines: dict[str, dict[str, Any]] = config["service"]["pipelines"] if "service" in config else {}
    return pipelines


def _lists(tree: dict[str, Any], path: str = "") -> dict[str, list[object]]:
    """Every list below, by its path."""
    found: dict[str, list[object]] = {}
    for key, value in tree.items():
        here = f"{path}::{key}" if path else str(key)
        if isinstance(value, dict):
            found |= _lists(value, here)
        elif isinstance(value, list):
            found[here] = value
    return found


def _leaves(tree: dict[str, Any]) -> list[tuple[str, object]]:
    pairs: list[tuple[str, object]] = []
    for key, value in tree.items():
        pairs += _leaves(value) if isinstance(value, dict) else [(key, value)]
    return pairs
