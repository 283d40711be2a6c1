"""Whatever is logged becomes one line of JSON."""

import json
import logging
import sys

from hypothesis import given
from hypothesis import strategies as st

from telemetry.logs.formatter import TRANSITION_KEYS, JsonFormatter
from telemetry.testing import TelemetryKit


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("any.logger", logging.WARNING, __file__, 1, message, args, None)
    made.__dict__.update(extra)
    return made


@given(st.text(), st.dictionaries(st.text(min_size=1).map("x.{}".format), st.text() | st.integers() | st.booleans()))
def test_a_record_is_one_line_whatever_it_says(message: str, extra: dict[str, object]) -> None:
    """Any text and any attributes make exactly one line, which parses and names its logger and level."""
    line = JsonFormatter().format(record("%s", message, **extra))
    assert not {"\n", "\r"} & set(line)
    parsed = json.loads(line)
    assert (parsed["logger"], parsed["level"]) == ("any.logger", "WARNING")
    assert set(extra) <= set(parsed)


def test_a_line_about_an_event_has_every_key_of_one(kit: TelemetryKit) -> None:
    """The keys of a transition come first and in their order, `null` where they do not apply."""
    kit.tracker.received("rtc_1", "acme")
    (line,) = kit.logs()
    assert tuple(line)[: len(TRANSITION_KEYS)] == TRANSITION_KEYS
    assert line["duration_ms"] is None


def test_a_line_about_anything_else_is_short() -> None:
    """A record of someone else's has time, level, logger and message, and no empty keys."""
    assert list(json.loads(JsonFormatter().format(record("hello")))) == ["ts", "level", "logger", "msg"]


def test_time_is_utc_to_the_millisecond() -> None:
    """The time of a line is when the record was made, in RFC 3339."""
    assert json.loads(JsonFormatter().format(record("", created=1_800_000_000.25)))["ts"] == "2027-01-15T08:00:00.250Z"


def test_an_exception_tells_where_and_what_kind_not_what_it_said() -> None:
    """An exception's class and where it passed are on the line; its message, which may quote a caller, is not."""
    failed, tenants = record("failed"), dict[str, str]()
    try:
        tenants["no tenant for +4915112345678"]
    except LookupError:
        failed.exc_info = sys.exc_info()
    line = JsonFormatter().format(failed)
    assert json.loads(line)["exception"].splitlines()[-1] == "KeyError"
    assert "test_formatter.py" in line
    assert "4915" not in line
    failed.exc_info = (None, None, None)
    assert json.loads(JsonFormatter().format(failed))["exception"] == "no exception"


def test_every_line_names_its_process() -> None:
    """Instance, host, pod and process id end each line, by short names; a platform without pods names none."""
    resource = {"service.instance.id": "i-1", "host.name": "callscope-0", "process.pid": 7, "service.name": "callscope"}
    line = json.loads(JsonFormatter(resource).format(record("hello")))
    assert list(line.items())[-3:] == [("instance", "i-1"), ("host", "callscope-0"), ("pid", 7)]
    assert "service.name" not in line
    on_a_pod = JsonFormatter(resource | {"k8s.pod.name": "callscope-0"})
    assert json.loads(on_a_pod.format(record("hello")))["pod"] == "callscope-0"
