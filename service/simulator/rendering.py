"""The ground truth as text for a terminal."""

from collections.abc import Mapping
from typing import Any

from service.simulator.ground_truth import LIVE_FIELDS

_MAX_COLUMNS = 5
"""Tenants with a column of their own in the summary."""
_PROGRESS = (
    ("placed", "placed"),
    ("active", "active_calls"),
    ("accepted", "accepted_calls"),
    ("over capacity", "rejected_calls_capacity"),
    ("ended", "ended_calls"),
    ("referred", "referred_calls"),
    ("failed", "failed_calls"),
    ("undelivered", "undelivered"),
)


def progress_line(ground_truth: Mapping[str, Any]) -> str:
    """Return a line that tells how far the traffic is."""
    totals = ground_truth["global"]
    return "  ".join(f"{label} {totals[field]:g}" for label, field in _PROGRESS)


def summary(ground_truth: Mapping[str, Any]) -> str:
    """Return the twelve live fields in all and by tenant, then what else was counted, then breaches of the protocol."""
    totals = ground_truth["global"]
    rows = [_row(field, ground_truth) for field in LIVE_FIELDS]
    others = [f"{field:40}{totals[field]:>12.10g}" for field in totals if field not in LIVE_FIELDS and totals[field]]
    breaches = [f"violation: {entry['what']} ({entry['call_id']})" for entry in ground_truth["violations"]]
    return "\n".join([_heading(ground_truth), *rows, "", *others, *breaches])


def _heading(ground_truth: Mapping[str, Any]) -> str:
    return f"{'':40}{'all':>12}" + "".join(f"{tenant_id:>14}" for tenant_id in _shown(ground_truth))


def _row(field: str, ground_truth: Mapping[str, Any]) -> str:
    tenants = "".join(f"{ground_truth['tenants'][tenant_id][field]:>14.10g}" for tenant_id in _shown(ground_truth))
    return f"{field:40}{ground_truth['global'][field]:>12.10g}{tenants}"


def _shown(ground_truth: Mapping[str, Any]) -> list[str]:
    """Return as many tenants as fit beside each other."""
    return list(ground_truth["tenants"])[:_MAX_COLUMNS]
