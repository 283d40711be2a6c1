"""Settings are validated once, and a bad value names its key."""

import os
from pathlib import Path

import pytest

from service.settings import Settings, SettingsError, load_settings

SECRET_VALUE = "do-not-print-me"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the developer's own environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_everything_has_a_default() -> None:
    """An empty environment gives a development set-up on loopback with SQLite."""
    settings = load_settings()
    assert (settings.app_env, settings.host, settings.port) == ("dev", "127.0.0.1", 8000)
    assert settings.database_url.get_secret_value() == "sqlite+aiosqlite:///callscope.db"
    assert (settings.max_concurrent_calls, settings.tenant_limit) == (100, 100)
    assert (settings.call_heartbeat_seconds, settings.stale_call_seconds) == (5, 120)
    assert settings.admin_tokens == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("APP_ENV", "staging"),
        ("PORT", "eighty"),
        ("PORT", "70000"),
        ("LOG_LEVEL", "LOUD"),
        ("MAX_CONCURRENT_CALLS", "0"),
        ("MAX_CONCURRENT_CALLS_PER_TENANT", "-1"),
        ("CALL_HEARTBEAT_SECONDS", "0"),
        ("STALE_CALL_SECONDS", "nan?"),
        ("OPENAI_BASE_URL", "api.example.com"),
        ("TRACE_URL_TEMPLATE", "https://traces.example.com/trace"),
        ("PROMETHEUS_URL", "prometheus:9090"),
        ("PROMETHEUS_URL", "http://prometheus:9090/?query=up"),
    ],
)
def test_a_bad_value_names_its_key(monkeypatch: pytest.MonkeyPatch, key: str, value: str) -> None:
    """The error begins with the key, so that whoever reads it knows where to look."""
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=f"^{key}: "):
        load_settings()


def test_limits_that_do_not_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call cannot go stale before its first heartbeat."""
    monkeypatch.setenv("STALE_CALL_SECONDS", "3")
    with pytest.raises(SettingsError, match="STALE_CALL_SECONDS must be longer than CALL_HEARTBEAT_SECONDS"):
        load_settings()


def test_production_names_every_secret_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them at once, and the values of those that are there in no message."""
    monkeypatch.setenv("APP_ENV", "prod")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET_VALUE)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    assert "ADMIN_TOKEN, OPENAI_WEBHOOK_SECRET must be set" in str(refused.value)
    assert SECRET_VALUE not in str(refused.value)


def test_secrets_show_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings can be logged or printed by mistake without giving anything away."""
    for key in ("ADMIN_TOKEN", "OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET", "PROMETHEUS_TOKEN"):
        monkeypatch.setenv(key, SECRET_VALUE)
    for key in ("DATABASE_URL", "REDIS_URL", "PROMETHEUS_URL"):
        monkeypatch.setenv(key, f"http://user:{SECRET_VALUE}@host")
    settings = load_settings()
    assert SECRET_VALUE not in repr(settings)
    assert SECRET_VALUE not in settings.model_dump_json()


def test_several_admin_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commas separate them, blanks around them do not matter, empty ones do not count."""
    monkeypatch.setenv("ADMIN_TOKEN", " new , old ,, ")
    assert load_settings().admin_tokens == ("new", "old")


def test_standard_variables_in_the_file_reach_the_exporters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``OTEL_*`` keys of ``.env`` are put into the environment, unless they are set there already."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    (tmp_path / ".env").write_text(
        "OTEL_SERVICE_NAME=from-file\nOTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318\nPORT=8123\n"
    )
    settings = load_settings()
    assert settings.port == 8123
    assert os.environ["OTEL_SERVICE_NAME"] == "from-environment"
    assert os.environ.pop("OTEL_EXPORTER_OTLP_ENDPOINT") == "http://127.0.0.1:4318"
