"""What commands print for people: as wide as the screen allows, and never with a name or a number cut."""

import os
import sys
from typing import Final

from rich.console import Console

UNLIMITED: Final = 10_000
"""Columns where nobody looks at a screen: a pipe or a file gets every line whole."""


def console() -> Console:
    """Return a console as wide as the terminal; without one, wide enough to cut nothing."""
    watched = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if watched else UNLIMITED)
