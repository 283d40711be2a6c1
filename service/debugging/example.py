"""The call that the API's document shows."""

from typing import Any, Final

_TRACE: Final = "0af7651916cd43dd8448eb211c80319c"


def _moment(offset: float) -> dict[str, Any]:
    return {"at": f"2026-11-22T20:00:{offset:09.6f}Z", "offset_seconds": offset}


EXAMPLE: Final[dict[str, Any]] = {
    "call_id": "rtc_1",
    "tenant_id": "acme",
    "state": "rejected",
    "outcome": "rejected",
    "explanation": (
        "Rejected after 12 ms (capacity): there was no free slot; the tenant's limit of 10 was reached, with 10 in use."
    ),
    "caller": "…5678",
    "caller_hash": "c797d50ec17bf310",
    "dialled": "…0100",
    "received_at": "2026-11-22T20:00:00Z",
    "started_at": None,
    "ended_at": "2026-11-22T20:00:00.012000Z",
    "as_of": "2026-11-22T20:00:00.012000Z",
    "duration_seconds": 0.012,
    "duration_basis": "received",
    "setup_seconds": 0.012,
    "time_to_first_audio_seconds": None,
    "longest_wait_seconds": 0.012,
    "last_seen_seconds": 0.102,
    "decision": {
        **_moment(0.012),
        "outcome": "rejected",
        "setup_seconds": 0.012,
        "reason": "capacity",
        "limit": {"scope": "tenant", "limit": 10, "in_use": 10},
        "error_type": None,
    },
    "ending": None,
    "referred_to": None,
    "fallback_instructions": False,
    "from_record": False,
    "resumed": False,
    "transitions": [
        {**_moment(0.0), "transition": "received"},
        {**_moment(0.012), "transition": "rejected"},
    ],
    "phases": [
        {**_moment(0.0), "phase": "tenant_lookup", "duration_seconds": 0.011, "error_type": None},
        {**_moment(0.012), "phase": "reject", "duration_seconds": 0.09, "error_type": None},
    ],
    "turn_count": 0,
    "interruption_count": 0,
    "turns": [],
    "speech": [],
    "tools": [],
    "errors": [],
    "tokens": {
        "input": None,
        "output": None,
        "cached_input": None,
        "input_text": None,
        "input_audio": None,
        "output_text": None,
        "output_audio": None,
        "responses": 0,
        "partial": [],
        "models": [],
    },
    "trace": {
        "trace_id": _TRACE,
        "root_span_id": "b7ad6b7169203331",
        "sampled": True,
        "note": None,
        "url": f"https://traces.example/trace/{_TRACE}",
        "spans": [
            {
                **_moment(0.0),
                "span_id": "b7ad6b7169203331",
                "parent_span_id": None,
                "name": "call",
                "kind": "server",
                "scope": "callscope",
                "duration_seconds": 0.102,
                "open": False,
                "error": False,
                "attributes": {"tenant.id": "acme", "voice.call.rejection.reason": "capacity"},
                "events": [],
                "linked_trace_ids": [],
                "children": [],
            }
        ],
    },
    "logs": [
        {
            "at": "2026-11-22T20:00:00.012000Z",
            "level": "INFO",
            "logger": "callscope.calls",
            "message": "call rejected",
            "span_id": "b7ad6b7169203331",
            "attributes": {"event.name": "call.rejected", "voice.call.rejection.reason": "capacity"},
        }
    ],
    "events_truncated": False,
    "dropped": {},
    "gaps": [],
    "links": {
        "self": "/api/v1/calls/rtc_1",
        "timeline": "/api/v1/calls/rtc_1/timeline.svg",
        "trace": f"/api/v1/traces/{_TRACE}",
        "trace_backend": f"https://traces.example/trace/{_TRACE}",
    },
}
"""A call turned away at its tenant's limit."""
