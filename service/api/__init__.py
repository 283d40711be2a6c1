"""The admin endpoints, one router factory a file; each takes what it needs as arguments."""
