"""What is built and installed: types for others to see, the licence, and the extras."""

import re
import subprocess
import sys
import sysconfig
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

pytestmark = pytest.mark.xdist_group("wheel")  # they share what takes seconds to make

ROOT = Path(__file__).parents[2]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as it would be published."""
    folder = tmp_path_factory.mktemp("wheel")
    building = "import sys; from hatchling.build import build_wheel; build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", building, str(folder)], cwd=ROOT, check=True, timeout=120)  # noqa: S603
    (built,) = folder.glob("*.whl")
    return built


def _metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_both_packages_ship_their_types(wheel: Path) -> None:
    """PEP 561: without the marker, a type checker takes every name for Any."""
    with ZipFile(wheel) as archive:
        assert {"telemetry/py.typed", "service/py.typed"} <= set(archive.namelist())


def test_the_licence_comes_along(wheel: Path) -> None:
    """The metadata name the licence, and its text is in the wheel."""
    assert _metadata(wheel)["License-Expression"] == "Apache-2.0"
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
        assert "Apache License" in archive.read(name).decode()


def test_the_library_alone_needs_no_server_and_no_database(wheel: Path) -> None:
    """What is required without an extra is OpenTelemetry and what it sends with."""
    required = [text for text in _metadata(wheel).get_all("Requires-Dist", []) if "extra ==" not in text]
    names = {re.split(r"[<>=\[ ;]", text)[0] for text in required}
    assert {name for name in names if not name.startswith("opentelemetry-")} == {
        "googleapis-common-protos",
        "grpcio",
        "requests",
    }


def test_a_project_of_somebody_else_sees_the_types(wheel: Path, tmp_path: Path) -> None:
    """In an environment with the wheel, the README's snippets type-check, and a wrong argument does not."""
    environment = tmp_path / "venv"
    create = [sys.executable, "-m", "venv", "--without-pip", str(environment)]
    subprocess.run(create, check=True, timeout=120)  # noqa: S603
    (packages,) = environment.glob("lib/python*/site-packages")
    with ZipFile(wheel) as archive:
        archive.extractall(packages)
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for number, snippet in enumerate(SNIPPETS):
        (tmp_path / f"snippet_{number}.py").write_text(snippet)
    wrong = 'from telemetry import start_telemetry\n\nstart_telemetry().tracker.received(1, "acme")\n'
    (tmp_path / "wrong.py").write_text(wrong)
    checking = [sys.executable, "-m", "mypy", "--python-executable", str(environment / "bin" / "python")]
    files = [*(f"snippet_{number}.py" for number in range(len(SNIPPETS))), "wrong.py"]
    checked = subprocess.run(  # noqa: S603
        [*checking, *files], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=600
    )
    problems = [line for line in checked.stdout.splitlines() if ": error:" in line]
    assert len(SNIPPETS) >= 2
    assert [line.split(":")[0] for line in problems] == ["wrong.py"], checked.stdout + checked.stderr
    assert "[arg-type]" in problems[0]
