"""The groups the endpoints are documented in."""

METRICS = "metrics"
CALLS = "calls"
CARRIER = "carrier"
HEALTH = "health"
USAGE = "usage"
TENANTS = "tenants"

OPENAPI_TAGS = [
    {"name": METRICS, "description": "What has been counted, and the registry of calls behind it."},
    {"name": CALLS, "description": "The calls that are under way."},
    {"name": CARRIER, "description": "Where the carrier announces calls; signed, without a token."},
    {"name": USAGE, "description": "How long calls ran, for billing: exact, rounded, frozen and corrected."},
    {
        "name": TENANTS,
        "description": "Who may be called: numbers, limits, instructions, features; and who changed what.",
    },
    {"name": HEALTH, "description": "Whether the service is there, alive and ready; public."},
]
"""The value of FastAPI's argument ``openapi_tags``."""
