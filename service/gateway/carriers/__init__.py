"""The carriers a call can come through, and what is theirs alone."""
