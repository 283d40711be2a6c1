"""The shares of simulated calls in which something happens."""

from dataclasses import dataclass, fields

ENDINGS = ("hangups", "refers", "errors", "silent")
"""The shares of which each call gets at most one."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares from 0 to 1. Calls that none of the endings takes are ended by the agent."""

    hangups: float = 0.35
    """Calls the caller ends."""
    refers: float = 0.1
    """Calls handed to another destination."""
    errors: float = 0.03
    """Calls that end with a session that expires or a sideband that crashes."""
    silent: float = 0.05
    """Calls in which nobody speaks to the agent."""
    unknown: float = 0.03
    """Calls to numbers no tenant has."""
    duplicates: float = 0.05
    """Calls whose webhook is delivered more than once."""
    late: float = 0.02
    """Calls whose webhook arrives when the caller has left."""
    interruptions: float = 0.2
    """Answers the caller talks over."""
    tools: float = 0.2
    """Answers for which the model calls a function."""
    keys: float = 0.05
    """Turns in which the caller presses a key."""
    failures: float = 0.03
    """Answers that fail at first."""
    warnings: float = 0.02
    """Turns with an error that ends nothing."""
    breaks: float = 0.0
    """Calls whose sideband breaks once while they go on."""
    unusable: float = 0.0
    """Calls in which the carrier sends messages that no gateway can use."""
    ignored_refers: float = 0.0
    """Of the calls that are to be handed over, those of which the refer is taken and nothing comes of it."""

    def __post_init__(self) -> None:
        for share in fields(self):
            value = getattr(self, share.name)
            if not 0 <= value <= 1:
                raise ValueError(f"share {share.name!r} must be from 0 to 1, got {value}")
        together = sum(getattr(self, name) for name in ENDINGS)
        if together > 1:
            raise ValueError(f"shares {', '.join(ENDINGS)} together must not exceed 1, got {together:g}")


USUAL = Shares()
"""A day like any other."""
