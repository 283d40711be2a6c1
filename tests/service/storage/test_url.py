"""The parameters of a PostgreSQL URL as libpq and hosted databases write them, in the driver's terms."""

import logging
import ssl
from pathlib import Path

import certifi
import pytest
from sqlalchemy import text

from service.storage.database import Database
from service.storage.url import DatabaseUrlError, ServerTarget, resolve, server_target

SECRET = "s3cr3t-passw0rd"
ROOT = certifi.where()


def target(parameters: str) -> ServerTarget:
    return server_target(resolve(f"postgres://ada:{SECRET}@db.example.com/calls?{parameters}"))


def test_parameters_become_arguments_of_the_driver() -> None:
    """Each parameter with a counterpart is translated, one without an effect here is dropped, none stays in the URL."""
    found = target(
        "application_name=desk&options=-c%20geqo%3Doff&connect_timeout=7&channel_binding=prefer&gssencmode=disable"
        "&sslmode=require&target_session_attrs=primary&client_encoding=UTF-8&keepalives=1&sslsni=1&pgbouncer=true"
    )
    assert found.url.query == {}
    assert found.pooled is True
    assert found.arguments["timeout"] == 7.0
    assert found.arguments["ssl"] == "require"
    assert found.arguments["target_session_attrs"] == "primary"
    assert found.arguments["server_settings"] == {"application_name": "desk", "options": "-c geqo=off"}


def test_hosts_stay_for_the_driver() -> None:
    """Several hosts, or the folder of a socket, are read by the driver itself."""
    assert server_target(resolve("postgresql:///calls?host=/var/run/postgresql")).url.query == {
        "host": "/var/run/postgresql"
    }
    several = "postgresql:///calls?host=a:5432&host=b:5432"
    assert server_target(resolve(several)).url.query == {"host": ("a:5432", "b:5432")}


@pytest.mark.parametrize("parameter", ["pgbouncer=false", "pgbouncer=0"])
def test_a_url_can_say_that_there_is_no_pooler(parameter: str) -> None:
    """What the URL says is not looked for."""
    assert target(parameter).pooled is False
    assert target("").pooled is None


@pytest.mark.parametrize(
    ("parameters", "verifies", "checks_name"),
    [
        (f"sslrootcert={ROOT}", ssl.CERT_REQUIRED, False),
        (f"sslmode=require&sslrootcert={ROOT}", ssl.CERT_REQUIRED, False),
        (f"sslmode=verify-ca&sslrootcert={ROOT}", ssl.CERT_REQUIRED, False),
        (f"sslmode=verify-full&sslrootcert={ROOT}", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-full", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-ca", ssl.CERT_REQUIRED, False),
        ("sslrootcert=system", ssl.CERT_REQUIRED, True),
    ],
)
def test_certificates_are_checked_as_libpq_does(parameters: str, verifies: ssl.VerifyMode, checks_name: bool) -> None:
    """A root certificate makes every mode check the chain; ``verify-full`` checks the name too, ``system`` always."""
    context = target(parameters).arguments["ssl"]
    assert (context.verify_mode, context.check_hostname) == (verifies, checks_name)


def test_no_tls_needs_no_certificates() -> None:
    """With ``sslmode=disable`` certificates are not even looked at."""
    assert target("sslmode=disable&sslrootcert=/nowhere.pem").arguments["ssl"] == "disable"


def test_channel_binding_that_is_demanded_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """A demand that the driver cannot meet does not stop the start, and is not passed over in silence."""
    with caplog.at_level(logging.WARNING):
        target("channel_binding=require")
    assert "channel_binding" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("parameters", "complaint"),
    [
        ("colour=blue", "the parameter 'colour' is not known; leave it out"),
        ("connect_timeout=soon", "connect_timeout must be whole seconds from 0 to 300"),
        ("connect_timeout=1e9", "connect_timeout must be whole seconds from 0 to 300"),
        ("connect_timeout=-1", "connect_timeout must be whole seconds from 0 to 300"),
        ("channel_binding=maybe", "channel_binding must be one of disable, prefer, require"),
        ("gssencmode=require", "gssencmode must be one of disable, prefer"),
        ("client_encoding=latin1", "client_encoding must be one of utf8, auto"),
        ("target_session_attrs=x", "target_session_attrs must be one of any, primary"),
        ("pgbouncer=perhaps", "pgbouncer must be one of true, 1"),
        ("sslmode=sometimes", "sslmode must be one of disable, allow"),
        ("sslrootcert=/nowhere.pem", "sslrootcert names /nowhere.pem, which is no file; correct the path"),
        ("sslcert=/nowhere.pem", "sslcert names /nowhere.pem, which is no file; correct the path"),
        (f"sslcert={ROOT}", "sslcert and sslkey hold no certificate with its key; name both files"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(parameters: str, complaint: str) -> None:
    """An unknown parameter and an impossible value are one sentence that names it, without the rest of the URL."""
    with pytest.raises(DatabaseUrlError) as refused:
        target(parameters)
    assert str(refused.value).startswith(f"DATABASE_URL: {complaint}")
    assert SECRET not in str(refused.value)


def test_a_file_takes_no_parameters(tmp_path: Path) -> None:
    """SQLite's driver would take some and fail at the first connection for others."""
    with pytest.raises(DatabaseUrlError, match="SQLite takes no parameters; leave out mode"):
        Database.from_url(f"sqlite:///{tmp_path}/a.db?mode=ro")


@pytest.mark.peers
async def test_parameters_reach_a_real_server(postgres_url: str) -> None:
    """What a URL of libpq asks for is so in the session."""
    parameters = (
        "application_name=desk&options=-c%20statement_timeout%3D4321&connect_timeout=9&channel_binding=prefer"
        "&gssencmode=disable&sslmode=prefer&target_session_attrs=any"
    )
    async with Database.from_url(f"{postgres_url}?{parameters}") as database, database.reading() as session:
        shown = [await session.scalar(text(f"SHOW {name}")) for name in ("application_name", "statement_timeout")]
    assert shown == ["desk", "4321ms"]
