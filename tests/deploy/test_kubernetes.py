"""The Kubernetes manifests: valid by the API's own description, and in agreement with the service and the Collector."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from service.container import STOP_SECONDS
from service.server import LET_GO_SECONDS
from service.settings import Settings
from telemetry.logs.formatter import PROCESS_KEYS
from tests.collector.layers import variables
from tests.collector.rules import recordings
from tests.peers.binaries import ROOT, folder
from tests.peers.peers import run

EXAMPLE = ROOT / "deploy" / "kubernetes" / "example"
SERVICE = ROOT / "deploy" / "kubernetes" / "service"
SCHEMAS = folder() / "share" / "kubernetes" / "{{.ResourceKind}}{{.KindSuffix}}.json"

Manifest = dict[str, Any]


@pytest.fixture(scope="module")
def manifests() -> list[Manifest]:
    """What Kustomize makes of the example, which brings the service and the Collector."""
    result = run("kustomize", "build", EXAMPLE)
    assert result.returncode == 0, result.stdout
    return [manifest for manifest in yaml.safe_load_all(result.stdout) if manifest]


def _one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [
        m for m in manifests if m["kind"] == kind and re.sub(r"-[a-z0-9]{10}$", "", m["metadata"]["name"]) == name
    ]
    return found


def _pod(manifest: Manifest) -> Manifest:
    pod: Manifest = manifest["spec"]["template"]
    return pod


def _containers(manifests: list[Manifest]) -> Iterator[Manifest]:
    for manifest in manifests:
        if manifest["kind"] == "StatefulSet":
            yield from _pod(manifest)["spec"]["containers"]


@pytest.mark.peers
def test_the_manifests_are_valid(manifests: list[Manifest]) -> None:
    """`kubeconform` finds each resource in Kubernetes' own description, no key that is not there, and skips none."""
    built = yaml.safe_dump_all(manifests)
    result = _checked(built)
    assert result.returncode == 0, result.stdout
    assert f"Valid: {len(manifests)}, Invalid: 0, Errors: 0, Skipped: 0" in result.stdout
    wrong = _checked(built.replace("maxUnavailable:", "maxUnavailble:"))
    assert "maxUnavailble" in wrong.stdout
    assert wrong.returncode != 0


@pytest.mark.peers
def test_whatever_is_configured_is_a_setting(manifests: list[Manifest]) -> None:
    """Each key of the service's ConfigMap and Secret is a setting of it or a standard variable of OpenTelemetry."""
    known = {name.upper() for name in Settings.model_fields}
    for kind, source in (("ConfigMap", "data"), ("Secret", "data")):
        keys = set(_one(manifests, kind, "callscope")[source])
        assert {key for key in keys if not key.startswith("OTEL_")} <= known


@pytest.mark.peers
def test_a_stop_has_the_time_it_takes(manifests: list[Manifest]) -> None:
    """The pod may take longer to end than leaving the endpoints, draining and the stop itself take together."""
    pod = _pod(_one(manifests, "StatefulSet", "callscope"))["spec"]
    leaving = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    draining = float(_one(manifests, "ConfigMap", "callscope")["data"]["DRAIN_SECONDS"])
    assert draining > pod["containers"][0]["readinessProbe"]["periodSeconds"] * 2
    assert pod["terminationGracePeriodSeconds"] > leaving + draining + LET_GO_SECONDS + STOP_SECONDS


@pytest.mark.peers
def test_readiness_alone_asks_whether_calls_can_be_served(manifests: list[Manifest]) -> None:
    """Liveness and start ask whether the process answers: a database that is away must not restart it."""
    container = _pod(_one(manifests, "StatefulSet", "callscope"))["spec"]["containers"][0]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


@pytest.mark.peers
def test_selectors_select_the_pods_they_mean(manifests: list[Manifest]) -> None:
    """Services, disruption budget, policies and the sets themselves each select one of the two kinds of pods."""
    labels = {m["metadata"]["name"]: _pod(m)["metadata"]["labels"] for m in manifests if m["kind"] == "StatefulSet"}
    selected = {
        **{m["metadata"]["name"]: m["spec"]["selector"] for m in manifests if m["kind"] == "Service"},
        "budget": _one(manifests, "PodDisruptionBudget", "callscope")["spec"]["selector"]["matchLabels"],
        **{
            f"policy of {m['metadata']['name']}": m["spec"]["podSelector"]["matchLabels"]
            for m in manifests
            if m["kind"] == "NetworkPolicy"
        },
    }
    chosen = {
        who: {name for name, has in labels.items() if selector.items() <= has.items()}
        for who, selector in selected.items()
    }
    assert chosen == {
        "callscope": {"callscope"},
        "callscope-pods": {"callscope"},
        "collector": {"collector"},
        "budget": {"callscope"},
        "policy of callscope": {"callscope"},
        "policy of collector": {"collector"},
    }
    peer = _one(manifests, "NetworkPolicy", "callscope")["spec"]["egress"][1]["to"][0]["podSelector"]["matchLabels"]
    assert peer.items() <= labels["collector"].items()


@pytest.mark.peers
def test_a_pod_says_which_it_is(manifests: list[Manifest]) -> None:
    """The pod's name is on the resource, from the platform, under the key that log lines show."""
    environment = {
        entry["name"]: entry
        for entry in _pod(_one(manifests, "StatefulSet", "callscope"))["spec"]["containers"][0]["env"]
    }
    assert "k8s.pod.name=$(POD_NAME)" in environment["OTEL_RESOURCE_ATTRIBUTES"]["value"]
    assert environment["POD_NAME"]["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"
    assert "k8s.pod.name" in PROCESS_KEYS


@pytest.mark.peers
def test_records_wait_on_a_volume(manifests: list[Manifest]) -> None:
    """The spill folder is below a volume of the pod's own, which outlives a smaller set."""
    stateful = _one(manifests, "StatefulSet", "callscope")["spec"]
    (claim,) = stateful["volumeClaimTemplates"]
    mounts = {m["name"]: m["mountPath"] for m in stateful["template"]["spec"]["containers"][0]["volumeMounts"]}
    spill = _one(manifests, "ConfigMap", "callscope")["data"]["SPILL_FOLDER"]
    assert spill.startswith(f"{mounts[claim['metadata']['name']]}/")
    assert stateful["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Retain"


@pytest.mark.peers
def test_nothing_runs_with_more_rights_than_it_needs(manifests: list[Manifest]) -> None:
    """No container is root, gains rights, writes to its image or has a capability; every image has a whole version."""
    containers = list(_containers(manifests))
    assert len(containers) == 2
    for container in containers:
        rights = container["securityContext"]
        assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() == {"memory"}
        assert re.search(r":\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$", container["image"])


@pytest.mark.peers
def test_the_collector_has_its_layers_and_their_variables(manifests: list[Manifest]) -> None:
    """Each file it is told to read is in its ConfigMap, and each variable without a default in its Secret."""
    container = _pod(_one(manifests, "StatefulSet", "collector"))["spec"]["containers"][0]
    read = [argument.rpartition("/")[2] for argument in container["args"]]
    assert set(read) == set(_one(manifests, "ConfigMap", "collector-config")["data"])
    needed = {key for key, has_default in variables("vendors/otlp").items() if not has_default}
    assert needed == set(_one(manifests, "Secret", "collector")["data"])


def test_the_autoscaler_reads_a_rule_that_exists() -> None:
    """The external metric is what the adapter makes of a recorded series, and what the autoscaler asks for."""
    (rule,) = yaml.safe_load((ROOT / "deploy/kubernetes/prometheus-adapter.yaml").read_text())["rules"]["external"]
    assert rule["metricsQuery"] in {recorded.name for recorded in recordings()}
    scaler = yaml.safe_load((SERVICE / "autoscaling.yaml").read_text())
    assert scaler["spec"]["metrics"][0]["external"]["metric"]["name"] == rule["name"]["as"]
    assert scaler["spec"]["scaleTargetRef"]["kind"] == "StatefulSet"


def _checked(manifests: str) -> subprocess.CompletedProcess[str]:
    """Check manifests by the schemas that `make peers` brought."""
    return run("kubeconform", "-strict", "-summary", "-schema-location", str(SCHEMAS), given=manifests)
