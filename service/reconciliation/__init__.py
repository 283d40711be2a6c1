"""Whether the ledgers of the same calls agree: live counters, registry, call records, and a Prometheus-like backend.

How each is read, and what it can say of a window, is in ``docs/reconciliation.md``.
"""
