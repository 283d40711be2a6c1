"""Traces of calls: one a call, from its reception to its end."""
