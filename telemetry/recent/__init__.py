"""The history of running calls and of the last ones that are over, in memory."""
