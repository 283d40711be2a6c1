"""The groups the endpoints are documented in."""

METRICS = "metrics"
CALLS = "calls"
HEALTH = "health"
USAGE = "usage"

OPENAPI_TAGS = [
    {"name": METRICS, "description": "What has been counted, and the registry of calls behind it."},
    {"name": CALLS, "description": "The calls that are under way."},
    {"name": USAGE, "description": "How long calls ran, for billing: exact, rounded, frozen and corrected."},
    {"name": HEALTH, "description": "Whether the service is there, alive and ready; public."},
]
"""What an app passes to FastAPI as ``openapi_tags``."""
