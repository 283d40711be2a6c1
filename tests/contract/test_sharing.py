"""How a parallel run deals out tests that share something."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = """
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def module_part():
    return object()


@pytest.mark.parametrize("number", range(8))
def test_something_shared(number, module_part):
    Path(f"{number}.worker").write_text(os.environ["PYTEST_XDIST_WORKER"])
"""


def test_tests_that_share_something_run_in_one_process(tmp_path: Path) -> None:
    """Else each process would start it anew; a run with two processes leaves all of a module's to one."""
    (tmp_path / "test_shared.py").write_text(TESTS)
    parallel = ("-n", "2", "--dist", "loadgroup", "-p", "tests.support.sharing", "--rootdir", str(tmp_path))
    done = subprocess.run(  # noqa: S603 -- this very interpreter
        [sys.executable, "-m", "pytest", "-q", *parallel, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    workers = [file.read_text() for file in tmp_path.glob("*.worker")]
    assert (len(workers), len(set(workers))) == (8, 1), workers
