"""Reports about calls: events, the lifecycle that allows them, and the registry of open calls."""
