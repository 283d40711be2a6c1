"""Where tests run that share what their module starts: in one process, and in the event loop it runs in."""

import pytest
from _pytest.nodeid import NodeId
from pytest_asyncio import is_async_test

SHARED = "module_"
"""How the names of fixtures begin that all tests of a module share: those that change nothing another one sees."""

HARNESS = "module_harness"
"""How they begin if they run in the event loop of the tests."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests that share something in one process of a parallel run, and in the loop that it runs in."""
    for item in items:
        shared = [name for name in getattr(item, "fixturenames", ()) if name.startswith(SHARED)]
        if shared:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(config.rootpath).as_posix()))
        if any(name.startswith(HARNESS) for name in shared) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)
        if config.getoption("loadgroup", default=False):
            _name_group(item)


def _name_group(item: pytest.Item) -> None:
    """Name the item's group in its id, by which the controller of a parallel run deals out groups.

    pytest-xdist 3.8 does so in an attribute that pytest 9.2 no longer reads: groups would be split without a word.
    """
    group = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
    if group:
        item._id = NodeId.parse(f"{item.nodeid}@{group}")
