"""Errors of the fleet's store."""

from typing import Final

TOO_SLOW: Final = "TimeoutError"
"""The message of an error of a store that did not answer in time."""


class StoreAwayError(Exception):
    """The store does not answer now; the message is the kind of the failure and shows no address."""


class StoreUnusableError(ValueError):
    """The store cannot be what a fleet stands on; the message names variable, cause and cure in one sentence."""


class StoreSlowError(StoreUnusableError):
    """The store did not answer in time; perhaps it does when it is asked again."""
