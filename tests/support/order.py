"""The order of tests: what takes long comes first, and `CALLSCOPE_TEST_ORDER` shuffles the rest."""

import os
import random
from itertools import groupby

import pytest

SLOW = ("endurance", "peers")
"""Markers of tests that a parallel run begins with: one that begins last keeps all but one core waiting."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests first; with a number in `CALLSCOPE_TEST_ORDER`, shuffle modules, and the tests of each.

    A module's tests stay together, since they may share a server. Every worker of a parallel run makes the same order.
    """
    seed = os.environ.get("CALLSCOPE_TEST_ORDER")
    if seed is not None:
        chance = random.Random(int(seed))  # noqa: S311 -- an order, not a secret
        modules = [list(tests) for _, tests in groupby(items, key=lambda item: item.path)]
        chance.shuffle(modules)
        for tests in modules:
            chance.shuffle(tests)
        items[:] = [item for tests in modules for item in tests]
    items.sort(key=lambda item: not any(item.get_closest_marker(marker) for marker in SLOW))
