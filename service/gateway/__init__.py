"""The path of a call through the gateway: admission, capacity, session, and the manager that owns them."""
