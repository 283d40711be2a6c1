"""Errors of the fleet's store."""


class StoreAwayError(Exception):
    """The store does not answer now; the message is the kind of the failure and shows no address."""


class StoreUnusableError(ValueError):
    """The store cannot be what a fleet stands on; the message names variable, cause and cure in one sentence."""
