"""A service in a fleet, over HTTP: what it shows of the fleet, and what changes for it."""

import os
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from service.app import app_of
from service.container import build_container
from service.settings import Settings
from tests.peers.peers import Peers
from tests.peers.waiting import until
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

pytestmark = pytest.mark.peers

TOKEN = "token-of-the-tests"


def settings_for(database: str, store: str, folder: Path, **further: object) -> Settings:
    values: dict[str, object] = {
        "app_env": "test",
        "admin_token": TOKEN,
        "database_url": database,
        "redis_url": store,
        "spill_folder": folder / "spill",
        "openai_api_key": "simulated",
        "openai_webhook_secret": "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        **further,
    }
    return Settings.model_validate(values)


def test_a_service_shows_its_fleet(sqlite_url: str, store_url: str, tmp_path: Path) -> None:
    """The routes, readiness and the capacity page say that slots are the fleet's, and who is in it."""
    container = build_container(settings_for(sqlite_url, store_url, tmp_path))
    headers = {"X-Admin-Token": TOKEN}
    with (
        serving(app_of(container)) as base,
        httpx2.Client(verify=TLS, base_url=base, headers=headers, timeout=TIMEOUT_SECONDS) as client,
    ):
        state = client.get("/api/v1/fleet").raise_for_status().json()
        assert (state["mode"], state["on_outage"], state["in_use"]) == ("fleet", "share", 0)
        (process,) = state["processes"]
        assert (process["instance_id"], process["alive"], process["this_process"]) == (
            container.instance_id,
            True,
            True,
        )
        assert state["disagreements"] == []
        assert client.get("/api/v1/metrics/capacity/debug").json()["mode"] == "fleet"
        ready = client.get("/readyz").json()
        assert ready["checks"]["fleet"] == {"ok": True, "reason": None}
        assert ready["information"]["fleet"]["processes"] == 1
        assert ready["information"]["mail"] == {"asked": 0, "answered": 0, "unanswered": 0, "dropped": 0}
        assert client.get("/api/v1/fleet", headers={"X-Admin-Token": "wrong"}).status_code == 401


def test_a_service_whose_store_goes_away(sqlite_url: str, tmp_path: Path, peers: Peers) -> None:
    """It stays ready, degraded, and says by which rule calls are let in meanwhile; the fleet's page answers 503."""
    store = peers.redis()
    container = build_container(settings_for(sqlite_url, store.url, tmp_path, capacity_on_outage="closed"))
    headers = {"X-Admin-Token": TOKEN}
    with (
        serving(app_of(container)) as base,
        httpx2.Client(verify=TLS, base_url=base, headers=headers, timeout=TIMEOUT_SECONDS) as client,
    ):
        store.kill()
        assert client.get("/api/v1/fleet").status_code == 503
        until(lambda: not client.get("/readyz").json()["checks"]["fleet"]["ok"], "the store to be missed")
        ready = client.get("/readyz").json()
        assert (ready["status"], ready["checks"]["fleet"]["ok"]) == ("degraded", False)
        assert "CAPACITY_ON_OUTAGE=closed" in ready["checks"]["fleet"]["reason"]
        assert client.get("/api/v1/metrics/capacity/debug").json()["mode"] == "local"


def test_without_a_store_nothing_of_a_fleet_is_there(sqlite_url: str, tmp_path: Path) -> None:
    """A process alone has no page of the fleet, no check of a store, and no mode."""
    container = build_container(settings_for(sqlite_url, "", tmp_path))
    assert container.fleet is None
    with (
        serving(app_of(container)) as base,
        httpx2.Client(verify=TLS, base_url=base, headers={"X-Admin-Token": TOKEN}, timeout=TIMEOUT_SECONDS) as client,
    ):
        assert client.get("/api/v1/fleet").status_code == 404
        assert "mode" not in client.get("/api/v1/metrics/capacity/debug").json()
        ready = client.get("/readyz").json()
        assert "fleet" not in ready["checks"].keys() | ready["information"].keys()


def test_nothing_loads_redis_without_a_store() -> None:
    """A service without REDIS_URL runs where redis is not installed."""
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from service.app import app_of\nfrom service.container import build_container\n"
        "from service.settings import Settings\napp_of(build_container(Settings(_env_file=None)))\n"
        "assert not [name for name in sys.modules if name.startswith('redis.')]"
    )
    environment = {name: value for name, value in os.environ.items() if name != "REDIS_URL"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)  # noqa: S603 -- this interpreter
