"""docker-compose.yml, the Dockerfile and .env.example: complete, pinned, without a secret."""

import fnmatch
import json
import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings, load_settings
from service.tenants.importing import read_file
from tests.peers.binaries import ROOT
from tests.peers.peers import run_with
from tests.peers.prometheus import FLAGS, SHIPPED

COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
REQUIRED = {
    *("ADMIN_TOKEN", "GRAFANA_PASSWORD", "OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET"),
    *("POSTGRES_PASSWORD", "REDIS_PASSWORD"),
}
UNCHECKED = {
    "collector": "no shell in the image",
    "tenants": "ends by itself",
    "simulator": "lives as long as the service",
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
    """The service, the Collector, metrics, traces, dashboards and both stores; and a simulated carrier."""
    assert set(services) == {
        *("callscope", "collector", "prometheus", "jaeger", "grafana", "postgres", "redis"),
        *("tenants", "simulator"),
    }


@pytest.mark.peers
def test_images_are_pinned(services: Services) -> None:
    """Every image but our own has a whole version."""
    foreign = {service["image"] for service in services.values() if "build" not in service}
    assert not [image for image in foreign if not re.search(r":v?\d+\.\d+(\.\d+)?$", image)]


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
    left_at_their_defaults = {"HOST", "PORT", "CALL_HEARTBEAT_SECONDS", "STALE_CALL_SECONDS", "PROMETHEUS_TOKEN"}
    settings = {name.upper() for name in Settings.model_fields} - left_at_their_defaults
    assert settings - set(services["callscope"]["environment"]) == set()


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


def _config(folder: Path, given: dict[str, str]) -> tuple[int, str]:
    nothing = folder / "empty.env"
    nothing.touch()
    arguments: list[str | Path] = [
        "--env-file",
        nothing,
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
