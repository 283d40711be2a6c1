"""A process forked after the start records nothing and says so."""

import json
import subprocess
import sys

CHILDREN = 3

SCRIPT = f"""
import json, logging, os, sys
from telemetry import EndReason, start_telemetry

class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []
    def emit(self, record):
        self.lines.append((record.levelname, record.getMessage()))

def report(telemetry, lines, call_id):
    call = telemetry.tracker.received(call_id, "acme")
    call.accepted()
    call.started()
    call.ended(EndReason.HANGUP)
    return {{"failures": telemetry.sink_failures, "lines": [line for line in lines.lines if line[0] == "ERROR"]}}

lines = Lines()
logging.getLogger().addHandler(lines)
with start_telemetry({{}}) as telemetry:
    running = telemetry.tracker.received("rtc_running", "acme")
    told = []
    # Held as a thread of the parent may hold them at the moment of a fork: a child that waits for them hangs.
    for child in range({CHILDREN}):
        reading, writing = os.pipe()
        with telemetry.tracker._lock, telemetry.sinks._lock, running.exclusive:
            pid = os.fork()
        if not pid:
            if child:
                running = telemetry.tracker.call("rtc_running")
                running.seen()
            os.write(writing, json.dumps(report(telemetry, lines, f"rtc_{{child}}")).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            told.append(json.load(answer))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    parent = report(telemetry, lines, "rtc_parent")
    telemetry.live.refresh(10)
    parent["started"] = telemetry.live.store.live("acme")["started_calls"]
    print(json.dumps({{"children": told, "parent": parent}}))
"""


def test_forked_children_count_what_they_cannot_record_and_log_it_once() -> None:
    """Each child logs one error and counts each event; the parent records as ever and counts none of theirs."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=60)  # noqa: S603 -- the script above
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told["children"]) == CHILDREN
    for child in told["children"]:
        assert child["failures"] == 4
        (line,) = child["lines"]
        assert line[0] == "ERROR"
        assert "forked after start_telemetry()" in line[1]
    assert told["parent"] == {"failures": 0, "lines": [], "started": 1}
