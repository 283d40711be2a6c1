"""Measurements of calls: instruments, the reader behind the live numbers, and the figures derived from them."""
