"""Comparison of the ledgers of the same calls: live counters, registry, call records, a Prometheus-like backend.

How each is read, and what it can say of a window, is in ``docs/reconciliation.md``.
"""
