"""One call, as data and as a picture, by its id and by its trace."""

from itertools import chain
from urllib.parse import quote
from xml.etree import ElementTree as ET

import httpx2
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from service.timeline.detail import EXAMPLE, CallDetail
from telemetry.semconv.attributes import EndReason
from telemetry.testing import TelemetryKit
from tests.service.api.gateway import TOKEN, Gateway
from tests.support import calls
from tests.support.server import serving

CALL = "/api/v1/calls/rtc_1"


def test_a_rejected_call_says_which_limit_at_what_value(admin: httpx2.Client, gateway: Gateway) -> None:
    """The answer has the decision, its reason and the limit, and a sentence that says it."""
    calls.rejected(gateway.kit)
    call = admin.get(CALL).json()
    assert (call["state"], call["outcome"]) == ("rejected", "rejected")
    assert call["decision"]["reason"] == "capacity"
    assert call["decision"]["limit"] == {"scope": "tenant", "limit": 10, "in_use": 10}
    assert "limit of 10 was reached, with 10 in use" in call["explanation"]
    assert [phase["phase"] for phase in call["phases"]] == ["tenant_lookup", "reject"]


def test_an_ended_call_is_told_whole(admin: httpx2.Client, gateway: Gateway) -> None:
    """Phases, turns, speech, tools, errors, tokens, spans, log lines and links are all in one answer."""
    calls.ordinary(gateway.kit)
    call = admin.get(CALL).json()
    assert [turn["number"] for turn in call["turns"]] == list(range(1, 8))
    assert call["turns"][0]["time_to_first_audio_seconds"] == pytest.approx(0.7)
    assert call["turns"][1]["interrupted"]
    assert {tool["tool"]: tool["error_type"] for tool in call["tools"]} == {
        "lookup_order": None,
        "book_table": "TimeoutError",
    }
    assert (call["tokens"]["input"], call["tokens"]["cached_input"], call["tokens"]["responses"]) == (600, None, 5)
    assert [error["detail"] for error in call["errors"]] == ["rate_limit_exceeded"]
    assert {line["attributes"]["event.name"] for line in call["logs"]} >= {"call.received", "call.ended"}
    assert call["referred_to"] == "billing"
    assert (call["duration_basis"], call["events_truncated"], call["dropped"]) == ("started", False, {})


def test_offsets_and_times_agree(admin: httpx2.Client, gateway: Gateway) -> None:
    """Each moment is told twice, from the reception and by the wall clock, and means the same."""
    calls.ordinary(gateway.kit)
    call = CallDetail.model_validate_json(admin.get(CALL).content)
    rows = (call.transitions, call.phases, call.turns, call.speech, call.tools, call.errors)
    for moment in chain.from_iterable(rows):
        assert (moment.at - call.received_at).total_seconds() == pytest.approx(moment.offset_seconds, abs=2e-6)


def test_spans_are_one_tree_without_orphans(admin: httpx2.Client, gateway: Gateway) -> None:
    """There is one root, everything hangs below it, and a parent began before its children."""
    calls.ordinary(gateway.kit)
    trace = admin.get(CALL).json()["trace"]
    (root,) = trace["spans"]
    assert (root["name"], root["span_id"], root["parent_span_id"]) == ("call", trace["root_span_id"], None)

    def walk(span: dict[str, object]) -> int:
        count = 1
        for child in span["children"]:  # type: ignore[attr-defined]
            assert child["parent_span_id"] == span["span_id"]
            assert child["offset_seconds"] >= span["offset_seconds"]
            count += walk(child)
        return count

    assert walk(root) == len(list(gateway.kit.spans()[0].walk()))


def test_a_running_call_shows_its_open_spans(admin: httpx2.Client, gateway: Gateway) -> None:
    """While a call runs, what is under way is open: its root, its session, its turn, the wait."""
    calls.running(gateway.kit)
    call = admin.get(CALL).json()
    (root,) = call["trace"]["spans"]
    session = next(child for child in root["children"] if child["name"] == "session")
    assert (root["open"], root["duration_seconds"], session["open"]) == (True, None, True)
    assert (call["turns"][-1]["duration_seconds"], call["turns"][-1]["end_reason"]) == (None, None)
    assert call["ended_at"] is None


def test_a_long_call_says_what_was_cut(admin: httpx2.Client, gateway: Gateway) -> None:
    """A call of 500 turns answers with a bounded number of them, and says how many it left out, and where."""
    calls.hour_long(gateway.kit)
    answer = admin.get(CALL)
    call = answer.json()
    assert call["events_truncated"]
    assert call["turn_count"] == len(call["turns"]) + call["dropped"]["turns"] == 556
    assert {gap["kind"]: gap["count"] for gap in call["gaps"]}["turns"] == call["dropped"]["turns"]
    assert "left out" in call["trace"]["note"]
    assert len(answer.content) < 500_000


def test_the_links_lead_where_they_say(admin: httpx2.Client, gateway: Gateway) -> None:
    """By its own link, by its trace and by its picture the call is found; the backend's link has the trace's id."""
    calls.ordinary(gateway.kit)
    call = admin.get(CALL).json()
    links = call["links"]
    assert admin.get(links["self"]).json() == call
    assert admin.get(links["trace"]).json() == call
    assert admin.get(links["timeline"]).headers["content-type"] == "image/svg+xml"
    assert links["trace_backend"] == f"https://traces.example/trace/{call['trace']['trace_id']}"


@pytest.mark.parametrize("call_id", ["a/b", "a?b=c#d", "%2F..", "ключ", "x" * 2000, "a b", "timeline.svg"])
def test_any_id_can_be_asked_for(admin: httpx2.Client, gateway: Gateway, call_id: str) -> None:
    """Whatever a carrier calls its calls, the link in the answer leads back to the call."""
    calls.announced(gateway.kit, call_id)
    call = admin.get(f"/api/v1/calls/{quote(call_id, safe='')}").json()
    assert call["call_id"] == call_id
    assert admin.get(call["links"]["self"]).json()["call_id"] == call_id
    assert admin.get(call["links"]["timeline"]).status_code == 200


def test_an_unsampled_trace_says_so() -> None:
    """A call whose trace head sampling left out has no spans and says why; the rest is there."""
    with TelemetryKit(sampler=ALWAYS_OFF) as kit, serving(Gateway(kit).app()) as url:
        calls.ordinary(kit)
        call = httpx2.get(url + CALL, headers={"X-Admin-Token": TOKEN}, trust_env=False).json()
    assert (call["trace"]["sampled"], call["trace"]["spans"]) == (False, [])
    assert "Head sampling" in call["trace"]["note"]
    assert len(call["turns"]) == 7


def test_the_picture_is_a_document_of_its_own(admin: httpx2.Client, gateway: Gateway) -> None:
    """The picture is well-formed, is not cached, and may run nothing."""
    calls.ordinary(gateway.kit)
    answer = admin.get(f"{CALL}/timeline.svg")
    assert ET.fromstring(answer.text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 -- our own document
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", [CALL, f"{CALL}/timeline.svg", f"/api/v1/traces/{'0' * 31}1"])
def test_what_is_not_here_is_a_problem(admin: httpx2.Client, path: str) -> None:
    """An unknown call or trace is 404, with problem details."""
    answer = admin.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"].startswith("There is no call with this ")


@pytest.mark.parametrize("trace_id", ["1", "0" * 33, "g" * 32, "A" * 32, "-" + "0" * 31])
def test_a_trace_is_asked_for_by_its_whole_id(admin: httpx2.Client, trace_id: str) -> None:
    """Anything but 32 lower-case hexadecimal digits is 422 and names the part that is wrong."""
    answer = admin.get(f"/api/v1/traces/{trace_id}")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "path.trace_id")


def test_numbers_are_masked(admin: httpx2.Client, gateway: Gateway) -> None:
    """No answer has more of a number than its last four digits."""
    calls.ordinary(gateway.kit)
    for path in (CALL, f"{CALL}/timeline.svg", "/api/v1/calls?state=all"):
        text = admin.get(path).text
        assert [number for number in (calls.CALLER, calls.DIALLED, "4930123456") if number[1:] in text] == []


def test_the_example_is_a_call() -> None:
    """What the document shows can be read back as a call."""
    assert CallDetail.model_validate(EXAMPLE).call_id == "rtc_1"


def test_a_call_that_ended_while_it_was_looked_for_is_still_there(admin: httpx2.Client, gateway: Gateway) -> None:
    """A call that runs and one that is over are found at the same place."""
    call = calls.started(gateway.kit)
    assert admin.get(CALL).json()["state"] == "started"
    call.ended(EndReason.HANGUP)
    assert admin.get(CALL).json()["outcome"] == "hangup"
