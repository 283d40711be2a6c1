"""Traces of calls: one a call, from its announcement to its end."""
