"""Where tests run that share what their module starts: in one process, and in the event loop it runs in."""

import pytest
from pytest_asyncio import is_async_test

SHARED = "module_"
"""How the names of fixtures begin that all tests of a module share: those that change nothing another one sees."""

HARNESS = "module_harness"
"""How they begin if they run in the event loop of the tests."""


@pytest.hookimpl(tryfirst=True)  # before a parallel run reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share something in one process of a parallel run, and in the loop that it runs in."""
    for item in items:
        shared = [name for name in getattr(item, "fixturenames", ()) if name.startswith(SHARED)]
        if shared:
            item.add_marker(pytest.mark.xdist_group(item.path.relative_to(item.config.rootpath).as_posix()))
        if any(name.startswith(HARNESS) for name in shared) and is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)
