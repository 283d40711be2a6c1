"""Settings are validated once, and a bad value names its key."""

import os
from base64 import b64encode
from pathlib import Path

import pytest

from service.commands.demo import demo_settings
from service.settings import Settings, SettingsError, load_settings

SECRET_VALUE = "do-not-print-me-whoever-reads"
WEBHOOK_SECRET = f"whsec_{b64encode(SECRET_VALUE.encode()).decode()}"
PROD = {
    "APP_ENV": "prod",
    "ADMIN_TOKEN": "0123456789abcdef",
    "OPENAI_API_KEY": "sk-0123456789abcdef0123456789",
    "OPENAI_WEBHOOK_SECRET": WEBHOOK_SECRET,
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting comes from the developer's own environment."""
    monkeypatch.chdir(tmp_path)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


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
    for key in ("ADMIN_TOKEN", "OPENAI_API_KEY", "PROMETHEUS_TOKEN"):
        monkeypatch.setenv(key, SECRET_VALUE)
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", WEBHOOK_SECRET)
    for key in ("DATABASE_URL", "REDIS_URL", "PROMETHEUS_URL"):
        monkeypatch.setenv(key, f"http://user:{SECRET_VALUE}@host")
    settings = load_settings()
    for shown in (repr(settings), settings.model_dump_json()):
        assert SECRET_VALUE not in shown
        assert WEBHOOK_SECRET not in shown


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


@pytest.mark.parametrize("written", ["{}\n", " {}", "\t{}\r\n"])
def test_blanks_and_line_breaks_at_an_end_do_not_count(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    """A secret that was read from a file works although the file ends with a line break."""
    for key, value in PROD.items():
        monkeypatch.setenv(key, written.format(value))
    settings = load_settings()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == PROD["OPENAI_API_KEY"]
    assert (settings.admin_tokens, settings.webhook_secrets) == ((PROD["ADMIN_TOKEN"],), (WEBHOOK_SECRET,))


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("OPENAI_API_KEY", "sk-01234\n56789abcdef0123456789", "has a blank or a line break in it"),
        ("OPENAI_API_KEY", '"sk-0123456789abcdef0123456789"', "is in quotation marks"),
        ("OPENAI_API_KEY", "changeme", "too short"),
        ("OPENAI_WEBHOOK_SECRET", f"'{WEBHOOK_SECRET}'", "is in quotation marks"),
        ("OPENAI_WEBHOOK_SECRET", WEBHOOK_SECRET[:-2], "is not base64"),
        ("OPENAI_WEBHOOK_SECRET", WEBHOOK_SECRET[3:], "does not begin with whsec_"),
        ("OPENAI_WEBHOOK_SECRET", "whsec_", "has nothing after whsec_"),
        ("OPENAI_WEBHOOK_SECRET", "whsec_!!!!", "is not base64"),
        ("OPENAI_WEBHOOK_SECRET", f"{WEBHOOK_SECRET},whsec_", "has nothing after whsec_"),
        ("OPENAI_WEBHOOK_SECRET", "whsec_YWJj", "needs 24 bytes"),
        ("ADMIN_TOKEN", "a", "needs 16 characters"),
        ("ADMIN_TOKEN", "changeme", "needs 16 characters"),
        ("ADMIN_TOKEN", "0123456789abcdef,changeme", "needs 16 characters"),
        ("NUMBER_HASH_KEY", "secret", "needs 16 characters"),
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "/nowhere/ca.pem does not exist"),
        ("ALL_PROXY", "socks://127.0.0.1:1080", "must begin with http://, https://, socks5://, socks5h://"),
        ("HTTPS_PROXY", "socks4://127.0.0.1:1080", "must begin with http://, https://, socks5://, socks5h://"),
    ],
)
def test_what_would_fail_later_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, key: str, value: str, problem: str
) -> None:
    """One sentence names the variable and the cause, and repeats no secret."""
    for name, good in PROD.items():
        monkeypatch.setenv(name, good)
    load_settings()
    monkeypatch.setenv(key, value)
    with pytest.raises(SettingsError, match=f"^{key}: .*{problem}") as refused:
        load_settings()
    assert "\n" not in str(refused.value)
    assert not [secret for secret in PROD.values() if len(secret) > 8 and secret in str(refused.value)]


def test_webhook_secrets_can_be_rotated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several are taken, separated by commas, each checked."""
    other = f"whsec_{b64encode(b'another secret of enough bytes').decode()}"
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", f"{WEBHOOK_SECRET}, {other},")
    assert load_settings().webhook_secrets == (WEBHOOK_SECRET, other)


@pytest.mark.parametrize(
    ("written", "encoding", "problem"),
    [("PORT=8123\n", "utf-16", "UTF-"), ("FALLBACK_INSTRUCTIONS=Grüß Gott\n", "latin-1", "is not UTF-8")],
)
def test_a_file_in_another_encoding_is_told(tmp_path: Path, written: str, encoding: str, problem: str) -> None:
    """The file is named, and what to do about it."""
    (tmp_path / ".env").write_text(written, encoding=encoding)
    with pytest.raises(SettingsError, match=f"^.env: .*{problem}.*save it as UTF-8"):
        load_settings()


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    """Editors on Windows write one; the first variable is read all the same."""
    (tmp_path / ".env").write_text("PORT=8123\n", encoding="utf-8-sig")
    assert load_settings().port == 8123


def test_brackets_around_a_host_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An IPv6 address may be written as in a URL."""
    monkeypatch.setenv("HOST", "[::1]")
    assert load_settings().host == "::1"


def test_what_does_not_work_without_secrets_is_listed() -> None:
    """Each secret that is missing is told with what it costs."""
    said = load_settings().without_secrets
    assert [sentence.split(" ", 1)[0] for sentence in said] == [
        "ADMIN_TOKEN",
        "OPENAI_WEBHOOK_SECRET",
        "OPENAI_API_KEY",
    ]


def test_the_example_file_is_taken(tmp_path: Path) -> None:
    """``cp .env.example .env`` names what prod still needs, and does not keep the demo from running."""
    example = Path(__file__).parents[2] / ".env.example"
    (tmp_path / ".env").write_text(example.read_text())
    with pytest.raises(SettingsError, match="ADMIN_TOKEN, OPENAI_API_KEY, OPENAI_WEBHOOK_SECRET must be set"):
        load_settings()
    settings = demo_settings("http://127.0.0.1:9/v1", WEBHOOK_SECRET)
    assert (settings.app_env, settings.hand_over_calls, len(settings.admin_tokens)) == ("dev", False, 1)
