"""OpenTelemetry-native observability for multi-tenant voice calls."""
