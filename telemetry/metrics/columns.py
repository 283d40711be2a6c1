"""One number of every tenant, side by side, in as few bytes as hold the largest of them.

A column is never changed once made: whoever holds one can read it while others are made from it. What a column is too
short for is zero, so one of zeros alone takes no room and tenants that come later need no rewriting.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, repeat
from operator import add, sub
from typing import Final, TypeAlias

Column: TypeAlias = "array[int]"
"""By the tenant's position."""

NOTHING: Final[Column] = array("B")
"""Zeros."""

_WIDTHS: Final = ((0xFF, "B"), (0xFFFF, "H"), (0xFFFF_FFFF, "I"), (0xFFFF_FFFF_FFFF_FFFF, "Q"))


def column(values: Sequence[int]) -> Column:
    """Return the values in as few bytes as hold them; raises ``OverflowError`` for a negative one."""
    most = max(values, default=0)
    if not most and not min(values, default=0):
        return NOTHING
    return array(next(code for limit, code in _WIDTHS if most <= limit), values)


def at(column: Column, position: int) -> int:
    """Return one tenant's number."""
    return column[position] if position < len(column) else 0


def stretch(column: Column, first: int, count: int) -> Iterator[int]:
    """Yield the numbers of so many tenants, from a position on."""
    return islice(chain(column[first : first + count], repeat(0)), count)


def plus(one: Column, other: Column) -> Column:
    """Return the sums, tenant by tenant."""
    short, long = sorted((one, other), key=len)
    return column(list(map(add, long, _padded(short)))) if short else long


def minus(later: Column, earlier: Column) -> Column:
    """Return what has been added to ``earlier`` to make it ``later``."""
    return column(list(map(sub, later, _padded(earlier)))) if earlier else later


def highest(one: Column, other: Column) -> Column:
    """Return the larger number of each tenant."""
    short, long = sorted((one, other), key=len)
    return column(list(map(max, long, _padded(short)))) if short else long


def _padded(short: Iterable[int]) -> Iterator[int]:
    return chain(short, repeat(0))
