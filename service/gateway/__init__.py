"""The path of a call through the gateway: intake, capacity, session, and the manager that owns them."""
