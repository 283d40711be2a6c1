"""Every way in which a request fails is named, from whatever depth of the network stack it comes."""

import errno
import http.client
from enum import Enum

import grpc
import pytest
import requests
import urllib3

from telemetry.export.outcome import ExportFault, ExportOutcome, Failure, ObservedSender, RequestObserver, shortened
from telemetry.export.over_grpc import failure_of_call
from telemetry.export.over_http import failure_of_error
from tests.telemetry.export.running import end_spans, running, to
from tests.telemetry.otlp_receiver import Refuse, grpc_receiver, http_receiver


def nested(error: Exception) -> requests.ConnectionError:
    """The error as requests and urllib3 hand it on."""
    pool = urllib3.HTTPConnectionPool("collector")
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/v1/traces?key=secret", error))


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ConnectionRefusedError(), ExportFault.REFUSED),
        (ConnectionResetError(), ExportFault.DROPPED),
        (http.client.RemoteDisconnected("gone"), ExportFault.DROPPED),
        (TimeoutError(), ExportFault.TIMEOUT),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), ExportFault.UNREACHABLE),
        (OSError(errno.EHOSTUNREACH, "No route to host"), ExportFault.UNREACHABLE),
        (OSError(errno.EMFILE, "Too many open files"), ExportFault.UNKNOWN),
        (http.client.BadStatusLine("\x15\x03\x01\x00\x02\x02F"), ExportFault.NEEDS_TLS),
        (http.client.BadStatusLine("\x00\x00\x12\x04"), ExportFault.NOT_OTLP),
        (KeyError("x"), ExportFault.UNKNOWN),
    ],
)
def test_the_innermost_cause_names_the_fault(error: Exception, fault: ExportFault) -> None:
    """However deep it is wrapped, and without the address that the wrapping tells."""
    failure = failure_of_error(nested(error))
    assert failure.fault is fault
    assert "secret" not in str(failure)


def test_errors_that_refer_to_each_other_come_to_an_end() -> None:
    """A cycle of causes is walked once."""
    one, other = ValueError("one"), ValueError("other")
    one.__context__, other.__context__ = other, one
    assert failure_of_error(one) == Failure(ExportFault.UNKNOWN, "ValueError")


def test_what_is_no_grpc_status_could_not_be_sent() -> None:
    """An exception from before the call has no status to go by."""
    assert failure_of_call(ValueError("x")) == Failure(ExportFault.UNSENDABLE, "ValueError")


def test_a_status_nobody_expects_is_told_as_it_is() -> None:
    """Its name and the server's words, on one line."""
    with grpc_receiver() as receiver:
        receiver.behaviour = Refuse(code=grpc.StatusCode.ALREADY_EXISTS, message="twice\nof course")
        with running(to(receiver.endpoint, "grpc")) as pipelines:
            end_spans(pipelines, 1)
            assert not pipelines.flush()
            assert pipelines.health().traces.last_error == "failed (ALREADY_EXISTS twice of course)"


class Result(Enum):
    SUCCESS = 0
    FAILURE = 1


class Exporter:
    def __init__(self, result: Result | Exception) -> None:
        self.result = result
        self.batches: list[object] = []
        self.ended = 0

    def export(self, batch: object, /) -> Result:
        self.batches.append(batch)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def shutdown(self) -> None:
        self.ended += 1


@pytest.mark.parametrize(
    ("result", "failure"),
    [
        (Result.SUCCESS, None),
        (Result.FAILURE, Failure(ExportFault.UNSENDABLE)),
        (ValueError("x"), Failure(ExportFault.UNSENDABLE, "ValueError")),
    ],
)
def test_an_exporter_that_makes_no_request_is_believed(result: Result | Exception, failure: Failure | None) -> None:
    """A failure that no request explains is one of encoding; an exception is told by its type."""
    assert ObservedSender[object](Exporter(result), RequestObserver()).send(object()) == ExportOutcome(failure)


def test_a_closed_sender_says_so_and_closes_once() -> None:
    """What it cannot send any more may be worth keeping."""
    exporter = Exporter(Result.FAILURE)
    sender = ObservedSender[object](exporter, RequestObserver())
    sender.close()
    sender.close()
    outcome = sender.send(object())
    assert (outcome.failure, outcome.worth_keeping, exporter.ended) == (Failure(ExportFault.CLOSED), True, 1)


def test_an_acknowledgement_without_an_otlp_body_is_one() -> None:
    """Some backends answer 200 with a text or JSON of their own."""
    with http_receiver() as receiver:
        receiver.behaviour = Refuse(status=200, body=b'{"status":"ok"}')
        with running(to(receiver.endpoint, "http/protobuf")) as pipelines:
            end_spans(pipelines, 1)
            assert pipelines.flush()


def test_words_are_kept_short_and_on_one_line() -> None:
    """What a server says cannot fill or break a log."""
    assert shortened("a\r\n\tb\x1b[31m") == "a b [31m"
    assert len(shortened("x" * 1000)) == 160
