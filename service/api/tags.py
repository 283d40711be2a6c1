"""The groups the endpoints are documented in."""

METRICS = "metrics"
CALLS = "calls"
HEALTH = "health"

OPENAPI_TAGS = [
    {"name": METRICS, "description": "What has been counted, and the registry of calls behind it."},
    {"name": CALLS, "description": "The calls that are under way."},
    {"name": HEALTH, "description": "Whether the service is there, alive and ready; public."},
]
"""What an app passes to FastAPI as ``openapi_tags``."""
