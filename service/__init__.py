"""A call gateway on the telemetry library: webhook, tenants, capacity, sessions and the admin endpoints."""
