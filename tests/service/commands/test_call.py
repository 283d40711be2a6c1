"""``callscope call``, against a running service."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner

from service.cli import app
from telemetry.semconv.attributes import EndReason, Fault
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support import calls
from tests.support.server import serving


@pytest.fixture
def url(kit: TelemetryKit) -> Iterator[str]:
    """Where a service answers."""
    with serving(Gateway(kit).app()) as base:
        yield base


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    for name in ("CALLSCOPE_URL", "CALLSCOPE_TOKEN", "ADMIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COLUMNS", "100")
    return CliRunner()


def test_a_call_is_drawn(kit: TelemetryKit, url: str, runner: CliRunner) -> None:
    """The drawing of the call is printed, from what the service answers."""
    calls.ordinary(kit)
    shown = runner.invoke(app, ["call", "rtc_1", "--url", url, "--token", TOKEN])
    assert shown.exit_code == 0, shown.output
    assert "it was handed to billing" in shown.output
    assert "lookup_order" in shown.output


def test_the_environment_says_where_and_with_what(
    kit: TelemetryKit, url: str, runner: CliRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address and token come from the environment; of several tokens the first is sent, without what it may do."""
    calls.rejected(kit)
    monkeypatch.setenv("CALLSCOPE_URL", f"{url}/")
    monkeypatch.setenv("ADMIN_TOKEN", f"{TOKEN};read, another")
    shown = runner.invoke(app, ["call", "rtc_1"])
    assert (shown.exit_code, "limit of 10 was reached" in shown.output) == (0, True)


def test_a_trace_id_will_do(kit: TelemetryKit, url: str, runner: CliRunner) -> None:
    """The call is found by its trace's id too, as it stands in a log line."""
    calls.at_once(kit)
    found = kit.recent.call("rtc_1")
    assert found is not None
    shown = runner.invoke(app, ["call", str(found.summary.trace_id), "--url", url, "--token", TOKEN])
    assert (shown.exit_code, "Call rtc_1" in shown.output) == (0, True)


def test_json_is_what_the_service_answers(kit: TelemetryKit, url: str, runner: CliRunner) -> None:
    """As JSON, everything known is printed and nothing else."""
    calls.ordinary(kit)
    shown = runner.invoke(app, ["call", "rtc_1", "--json", "--url", url, "--token", TOKEN])
    assert json.loads(shown.output)["referred_to"] == "billing"


def test_the_picture_can_be_written(kit: TelemetryKit, url: str, runner: CliRunner, tmp_path: Path) -> None:
    """The picture goes to a file, for a ticket; a place that cannot be written to is told."""
    calls.ordinary(kit)
    target = tmp_path / "call.svg"
    command = ["call", "rtc_1", "--url", url, "--token", TOKEN, "--svg"]
    assert runner.invoke(app, [*command, str(target)]).exit_code == 0
    assert target.read_text().startswith("<svg ")
    refused = runner.invoke(app, [*command, str(tmp_path / "none" / "call.svg")])
    assert (refused.exit_code, "cannot write" in refused.output) == (1, True)


LONG_ID = f"rtc_u1_{'5' * 32}"


def test_calls_stay_a_table_on_a_narrow_screen(kit: TelemetryKit, url: str, runner: CliRunner) -> None:
    """At 80 columns a call is a line, its id whole, and nothing is said twice."""
    calls.started(kit, LONG_ID).ended(EndReason.HANGUP)
    shown = runner.invoke(app, ["calls", "--url", url, "--token", TOKEN], env={"COLUMNS": "80"})
    (line,) = [line for line in shown.output.splitlines() if LONG_ID in line]
    assert (len(line) <= 80, line.split()[1:3], line.split()[4:]) == (True, [LONG_ID, "acme"], ["hangup"])


@pytest.mark.parametrize(
    ("option", "finds", "misses"),
    [("--reason", "hangup", "capacity"), ("--flag", "tool_failed", "fallback"), ("--fault", "caller", "carrier")],
)
def test_calls_are_narrowed_down(
    kit: TelemetryKit, url: str, runner: CliRunner, option: str, finds: str, misses: str
) -> None:
    """By reason, flag and fault, as the API does."""
    call = calls.started(kit)
    with suppress(TimeoutError), call.tool("lookup", "call_1"):
        raise TimeoutError
    call.ended(EndReason.HANGUP, fault=Fault.CALLER)
    outputs = [
        runner.invoke(app, ["calls", "--url", url, "--token", TOKEN, option, value]).output for value in (finds, misses)
    ]
    assert ("rtc_1" in outputs[0], outputs[1]) == (True, "No such calls.\n")


def test_a_reason_that_is_none_is_told_once(url: str, runner: CliRunner) -> None:
    """With the option and everything it may be."""
    refused = runner.invoke(app, ["calls", "--url", url, "--token", TOKEN, "--reason", "bogus"])
    assert (refused.exit_code, "'--reason': Input should be 'capacity'" in refused.output) == (2, False)
    assert "--reason: Input should be 'capacity'" in " ".join(refused.output.split())


def test_what_the_service_refuses_is_told(url: str, runner: CliRunner) -> None:
    """An unknown call and a wrong token are told in the service's own words, with exit code 1."""
    unknown = runner.invoke(app, ["call", "rtc_none", "--url", url, "--token", TOKEN])
    assert (unknown.exit_code, unknown.output) == (
        1,
        "404: There is no call with this id, neither in memory nor on record.\n",
    )
    wrong = runner.invoke(app, ["call", "rtc_none", "--url", url])
    assert (wrong.exit_code, wrong.output.startswith("401: Send an admin token")) == (1, True)


@pytest.mark.parametrize("where", ["not an address", "127.0.0.1:8000", "ftp://127.0.0.1", "http://127.0.0.1:99999"])
def test_an_address_that_is_none_is_told(runner: CliRunner, where: str) -> None:
    """An address that cannot be one is refused with the address in the message, which is one sentence."""
    shown = runner.invoke(app, ["call", "rtc_1", "--url", where])
    assert (shown.exit_code, shown.output.startswith(f"cannot reach {where}: ")) == (1, True)
    assert re.search(r"[\w'/]; name the service with --url\n$", shown.output), shown.output


def test_a_service_that_is_not_there_is_told(runner: CliRunner) -> None:
    """Where nobody answers, the message says so."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        shown = runner.invoke(app, ["call", "rtc_1", "--url", where])
    assert (shown.exit_code, shown.output.startswith(f"cannot reach {where}: ")) == (1, True)


class Stranger(BaseHTTPRequestHandler):
    """Another service altogether."""

    def do_GET(self) -> None:
        status = 502 if "bad" in self.path else 200
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the base class's name for it
        pass


@pytest.fixture
def stranger() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_another_service_is_recognised(runner: CliRunner, stranger: str) -> None:
    """What answers something else is not taken for a call, and an error page is not printed."""
    shown = runner.invoke(app, ["call", "rtc_1", "--url", stranger])
    assert (shown.exit_code, "does not answer as this service does" in shown.output) == (1, True)
    assert runner.invoke(app, ["call", "bad", "--url", stranger]).output == "502: Bad Gateway\n"
