"""Pytest's side of the real programs: the fixtures, the marker, and their logs on a failing test."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.peers.alertmanager import Inbox
from tests.peers.peers import Peers

HERE = Path(__file__).parent
"""The folder of tests of the whole: the service as a process, beside real programs or watched from outside."""

REAL = {"peers", "module_peers", "redis_server", "postgres_server"}
"""The fixtures that bring a real program: a test that asks for one of them is marked `peers`."""

RUNNING = pytest.StashKey[list[Peers]]()
"""The programs a test (or its module) has, for its report."""


@pytest.fixture
def peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Real programs for one test, stopped at its end."""
    yield from _programs(request.node, tmp_path_factory)


@pytest.fixture(scope="module")
def module_peers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Real programs that the tests of one module share."""
    yield from _programs(request.node, tmp_path_factory)


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    """Whoever an Alertmanager tells."""
    with Inbox() as inbox:
        yield inbox


def _programs(owner: pytest.Item | pytest.Collector, folders: pytest.TempPathFactory) -> Iterator[Peers]:
    with Peers(folders.mktemp("peers")) as programs:
        owner.stash.setdefault(RUNNING, []).append(programs)
        yield programs


@pytest.hookimpl(tryfirst=True)  # before markers choose
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a real program."""
    for item in items:
        needed = REAL & set(getattr(item, "fixturenames", ()))
        if needed or (item.path.parent == HERE and item.path.name != "test_peers.py"):
            item.add_marker(pytest.mark.peers)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the programs' logs where a test failed."""
    report = yield
    if report.failed:
        for owner in (item, item.getparent(pytest.Module)):
            for programs in owner.stash.get(RUNNING, []) if owner else []:
                report.sections.extend(programs.logs())
    return report
