"""docker-compose.yml, the Dockerfile and .env.example: complete, pinned, without a secret."""

import fnmatch
import json
import os
import re
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings, load_settings
from service.tenants.importing import read_file
from tests.peers.binaries import ROOT, require
from tests.peers.peers import run_with
from tests.peers.prometheus import FLAGS, SHIPPED

COMPOSE = ROOT / "docker-compose.yml"
COMPOSE_FILE: Any = yaml.safe_load(COMPOSE.read_text())
EXAMPLE = (ROOT / ".env.example").read_text()
SIMULATED = ROOT / "examples" / "compose" / "simulator.env"
HAPROXY = ROOT / "examples" / "compose" / "haproxy.cfg"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REQUIRED = {
    *("ADMIN_TOKEN", "GRAFANA_PASSWORD", "OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET"),
    *("POSTGRES_PASSWORD", "REDIS_PASSWORD"),
}
UNCHECKED = {
    "collector": "no shell in the image",
    "tenants": "ends by itself",
    "simulator": "ends if it cannot place calls",
}
"""Services without a health check, and why."""

Services = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """What `docker compose config` makes of the file, given every secret."""
    given = {name: f"secret-{name.lower()}" for name in REQUIRED}
    given |= {"OPENAI_WEBHOOK_SECRET": f"whsec_{b64encode(bytes(24)).decode()}", "OPENAI_API_KEY": "sk-" + 40 * "x"}
    code, output = _config(tmp_path_factory.mktemp("compose"), given)
    assert code == 0, output
    resolved: Services = json.loads(output)["services"]
    return resolved


@pytest.mark.peers
@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_secret_is_named(name: str, tmp_path: Path) -> None:
    """Without one of the secrets nothing is started, and the message says which one is missing."""
    code, output = _config(tmp_path, dict.fromkeys(REQUIRED - {name}, "x"))
    assert code != 0
    assert f"required variable {name} is missing a value: set it in .env" in output


@pytest.mark.peers
def test_the_whole_picture_is_there(services: Services) -> None:
    """Two processes behind one address, the Collector, metrics, alerts, traces, dashboards, both stores, a carrier."""
    assert set(services) == {
        *("proxy", "callscope", "collector", "prometheus", "alertmanager", "jaeger", "grafana", "postgres", "valkey"),
        *("tenants", "simulator"),
    }


@pytest.mark.peers
def test_images_are_pinned(services: Services) -> None:
    """Every image but our own has a whole version."""
    foreign = {service["image"] for service in services.values() if "build" not in service}
    assert not [image for image in foreign if not re.search(r":v?\d+\.\d+(\.\d+)?(@sha256:[0-9a-f]{64})?$", image)]


@pytest.mark.peers
def test_every_mounted_file_exists(services: Services) -> None:
    """What is mounted from the repository is there, and cannot be written to."""
    mounts = [m for service in services.values() for m in service.get("volumes", []) if m["type"] == "bind"]
    assert mounts
    assert not [mount["source"] for mount in mounts if not Path(mount["source"]).exists()]
    assert all(mount["read_only"] for mount in mounts)


@pytest.mark.peers
def test_every_service_has_a_health_check(services: Services) -> None:
    """Whatever can check itself does."""
    unchecked = {name for name, s in services.items() if s.get("healthcheck", {"disable": True}).get("disable")}
    assert unchecked == set(UNCHECKED)


@pytest.mark.peers
def test_ports_are_open_on_this_machine_only(services: Services) -> None:
    """Nothing is published to the network."""
    assert {port["host_ip"] for service in services.values() for port in service.get("ports", [])} == {"127.0.0.1"}


@pytest.mark.peers
def test_the_service_understands_its_settings(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment the service is given is one that its settings accept, for production."""
    monkeypatch.chdir(tmp_path)
    for key, value in services["callscope"]["environment"].items():
        monkeypatch.setenv(key, value)
    settings = load_settings()
    assert settings.app_env == "prod"
    assert settings.redis_url is not None
    assert settings.database_url.get_secret_value().startswith("postgresql+asyncpg://")
    assert (settings.max_concurrent_calls_per_tenant, settings.number_hash_key) == (100, None)
    assert settings.trace_url_template == "http://127.0.0.1:16686/trace/{trace_id}"


@pytest.mark.peers
def test_every_setting_can_be_given(services: Services) -> None:
    """Each setting reaches the service, but for those whose default fits this picture."""
    left_at_their_defaults = {"HOST", "PORT", "PROMETHEUS_TOKEN"}
    settings = {name.upper() for name in Settings.model_fields} - left_at_their_defaults
    assert settings - set(services["callscope"]["environment"]) == set()


def test_every_variable_of_the_example_reaches_its_container() -> None:
    """Whatever is set in .env is read by the service, or by the one that it is a password or an address of."""
    environment = COMPOSE_FILE["x-callscope"]["environment"]
    others = {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "GRAFANA_PASSWORD"}
    others |= {"ALERT_PAGE_URL", "ALERT_TICKET_URL", "CALLSCOPE_RUNBOOK_URL"}
    named = set(re.findall(r"^#?([A-Z][A-Z_]+)=", EXAMPLE, re.MULTILINE))
    reached = {name for name in named if str(environment.get(name, "")).startswith(f"${{{name}:")}
    assert named - reached == others
    text = COMPOSE.read_text()
    assert {name for name in others if f"${{{name}:" not in text} == set()


def test_the_example_says_what_holds_without_it() -> None:
    """A commented value of the example is the default of the file."""
    environment = COMPOSE_FILE["x-callscope"]["environment"]
    for name, value in re.findall(r"^#([A-Z][A-Z_]+)=(.+)$", EXAMPLE, re.MULTILINE):
        assert environment[name] == f"${{{name}:-{value}}}", name


def test_two_processes_stand_behind_the_one_open_port() -> None:
    """The service publishes nothing; the proxy finds as many of them as there are, by their name."""
    services = COMPOSE_FILE["services"]
    assert services["callscope"]["deploy"] == {"replicas": 2}
    assert "ports" not in services["callscope"]
    assert services["proxy"]["ports"] == ["127.0.0.1:8000:8000"]
    assert services["proxy"]["environment"]["CALLSCOPE_NAME"] == "callscope"
    (network,) = COMPOSE_FILE["networks"]["front"]["ipam"]["config"]
    assert f"TRUSTED_PROXIES={network['subnet']}\n" in EXAMPLE
    assert COMPOSE_FILE["x-callscope"]["environment"]["TRUSTED_PROXIES"].endswith(f":-{network['subnet']}}}")


def test_memory_is_bounded_and_what_is_kept_is_on_volumes() -> None:
    """No container can take the machine's memory, and none that keeps something does so in itself."""
    services = COMPOSE_FILE["services"]
    assert [name for name, service in services.items() if "mem_limit" not in service] == []
    keeping = {"callscope", "prometheus", "alertmanager", "grafana", "postgres", "valkey"}
    named = {name: [v for v in s.get("volumes", []) if re.match(r"[a-z]+:/", v)] for name, s in services.items()}
    assert {name for name, volumes in named.items() if volumes} == keeping
    used = {volume.partition(":")[0] for volumes in named.values() for volume in volumes}
    assert used == COMPOSE_FILE["volumes"].keys()


def test_health_checks_do_not_pass_too_early() -> None:
    """PostgreSQL is asked over TCP, which it does not serve while it is set up; the others by what they then do."""
    checks = {name: s["healthcheck"].get("test") for name, s in COMPOSE_FILE["services"].items() if "healthcheck" in s}
    assert checks["postgres"][1:4] == ["pg_isready", "-q", "-h"]
    assert "/readyz" in checks["callscope"][-1]
    assert "/readyz" in checks["proxy"][-1]
    assert "PONG" in checks["valkey"][-1]
    assert "database" in checks["grafana"][-1]


def test_alerts_reach_an_alertmanager() -> None:
    """Its file and the addresses that the file names are there, and Prometheus is told where it is."""
    alertmanager = COMPOSE_FILE["services"]["alertmanager"]
    file = ROOT / "collector-config" / "alertmanager" / "alertmanager.yml"
    assert f"./{file.relative_to(ROOT)}:/etc/alertmanager/alertmanager.yml:ro" in alertmanager["volumes"]
    mounted = {config["target"] for config in alertmanager["configs"]}
    assert set(re.findall(r"url_file: (\S+)", file.read_text())) == mounted
    assert {config["source"] for config in alertmanager["configs"]} == COMPOSE_FILE["configs"].keys()


@pytest.mark.peers
def test_the_simulated_picture_needs_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file has all that is required, and settings the service takes; nothing in it is fit for production."""
    code, output = _config(tmp_path, {}, env_file=SIMULATED)
    assert code == 0, output
    services = json.loads(output)["services"]
    assert "simulator" in services
    monkeypatch.chdir(tmp_path)
    for key, value in services["callscope"]["environment"].items():
        monkeypatch.setenv(key, value)
    settings = load_settings()
    assert (settings.app_env, settings.openai_base_url) == ("dev", "http://simulator:9000/v1")


def test_the_simulated_picture_names_everything_required() -> None:
    """Each variable that docker-compose.yml demands has a value there."""
    given = dict(re.findall(r"^(\w+)=(.+)$", SIMULATED.read_text(), re.MULTILINE))
    demanded = set(re.findall(r"\$\{(\w+):\?", COMPOSE.read_text()))
    assert demanded == REQUIRED
    assert demanded - given.keys() == set()
    assert given["COMPOSE_PROFILES"] == "simulator"
    assert given["APP_ENV"] == "dev"


@pytest.mark.peers
def test_the_proxy_takes_its_settings() -> None:
    """The real program finds nothing wrong with the file."""
    haproxy = require("haproxy")
    environment = {"PATH": os.environ["PATH"], "CALLSCOPE_NAME": "localhost"}
    command: list[str | Path] = [haproxy, "-c", "-f", HAPROXY]
    checked = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)  # noqa: S603
    assert (checked.returncode, "warning" in checked.stderr.lower()) == (0, False), checked.stderr


@pytest.mark.peers
def test_the_spill_folder_is_on_a_volume(services: Services) -> None:
    """Call records that wait for the database outlive the container, whose own files cannot be written."""
    service = services["callscope"]
    (volume,) = [mount["target"] for mount in service["volumes"] if mount["type"] == "volume"]
    assert Path(service["environment"]["SPILL_FOLDER"]).is_relative_to(volume)
    assert service["read_only"]


@pytest.mark.peers
def test_prometheus_is_started_as_its_settings_say(services: Services) -> None:
    """The flags are those that the settings' header asks for and that the tests use."""
    assert set(FLAGS) <= set(services["prometheus"]["command"])
    header = SHIPPED.read_text().split("\n\n", 1)[0]
    assert not [flag for flag in FLAGS if flag not in header]


def test_there_is_no_secret_in_it() -> None:
    """Everything named like a secret is a variable without a default."""
    for line in COMPOSE.read_text().splitlines():
        if match := re.match(r"\s+(\w*(?:PASSWORD|TOKEN|KEY|SECRET)): (.+)", line):
            assert re.fullmatch(r"\$\{\w+:(\?set it in \.env|-)\}", match[2]), line
    assert "secret-" not in COMPOSE.read_text()


def test_the_example_lists_every_variable() -> None:
    """.env.example has each secret, without a value, and each other variable the file reads."""
    read = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
    assert {name for name in read if not re.search(rf"^#?{name}=", EXAMPLE, re.MULTILINE)} == set()
    assert {name for name in REQUIRED if not re.search(rf"^{name}=$", EXAMPLE, re.MULTILINE)} == set()


def test_the_simulated_tenants_can_be_imported() -> None:
    """The tenants of the example are ones that `tenants import` takes."""
    tenants = read_file(ROOT / "examples" / "tenants.yaml")
    assert [tenant.tenant_id for tenant in tenants] == ["acme", "globex", "initech"]


def test_the_image_is_built_from_what_is_locked() -> None:
    """Pinned base, two stages, dependencies by hash, and a user without rights at the end."""
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) for base in bases)
    installs = re.findall(r"pip install (.*?) -r", DOCKERFILE)
    assert installs == ["--require-hashes --no-deps"] * 2
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == ["10001"]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    """Each file and folder of a COPY exists and gets past .dockerignore, which lets nothing else in."""
    copied = {
        name for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]
    }
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == allowed
    assert not [name for name in copied if not (ROOT / name).exists()]
    assert not [name for name in copied if fnmatch.fnmatch(name, ".env*")]


def _config(folder: Path, given: dict[str, str], *, env_file: Path | None = None) -> tuple[int, str]:
    nothing = folder / "empty.env"
    nothing.touch()
    arguments: list[str | Path] = [
        "--env-file",
        env_file or nothing,
        "-f",
        COMPOSE,
        "--profile",
        "simulator",
        "config",
        "--format",
        "json",
    ]
    result = run_with({"PATH": os.environ["PATH"], "HOME": str(folder), **given}, "docker-compose", arguments)
    return result.returncode, result.stdout
