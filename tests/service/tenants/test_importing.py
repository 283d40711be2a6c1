"""Files of tenants: both formats, every problem, and none that is half taken."""

import json
from pathlib import Path

import pytest

from service.tenants import importing
from service.tenants.errors import ImportRefusedError
from service.tenants.importing import read_entries, read_file

ENTRY = {
    "tenant_id": "acme",
    "name": "Acme",
    "numbers": ["+18005550100"],
    "max_concurrent_calls": 10,
    "instructions": "You are …",
    "enabled": True,
    "transfer_targets": {"sales": "tel:+14155550123"},
    "features": {"capture_content": False},
}

YAML = """
- tenant_id: acme
  name: Acme
  numbers: ["+18005550100"]
  max_concurrent_calls: 10
  instructions: You are …
  enabled: true
  transfer_targets: {sales: "tel:+14155550123"}
  features: {capture_content: false}
"""


def _file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def _problems(path: Path) -> list[str]:
    with pytest.raises(ImportRefusedError) as refused:
        read_file(path)
    return [str(problem) for problem in refused.value.problems]


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    """The documented shape is read from either format, with either ending and a byte order mark too."""
    files = [
        _file(tmp_path, "a.json", json.dumps([ENTRY])),
        _file(tmp_path, "a.JSON", b"\xef\xbb\xbf" + json.dumps([ENTRY]).encode()),
        _file(tmp_path, "a.yaml", YAML),
        _file(tmp_path, "a.yml", YAML),
    ]
    for path in files:
        (spec,) = read_file(path)
        assert spec.model_dump(mode="json") == ENTRY


def test_an_empty_list_is_an_import_of_nothing(tmp_path: Path) -> None:
    """No tenants is a valid statement about no tenants."""
    assert read_file(_file(tmp_path, "a.json", "[]")) == ()


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", "[", "file: is not readable as JSON: Expecting value: line 1 column 2 (char 1)"),
        ("a.json", "", "file: is not readable as JSON: Expecting value"),
        ("a.json", "[" * 100_000, "file: is not readable as JSON: "),
        ("a.json", "{}", "file: must be a list of tenants"),
        ("a.yaml", "", "file: must be a list of tenants"),
        ("a.yaml", "a: [", "file: is not readable as YAML: expected the node content"),
        ("a.yaml", "- !!python/object:os.system {}", "file: is not readable as YAML: "),
        ("a.yaml", "- 2027-13-45", "file: is not readable as YAML: month must be in 1..12"),
        ("a.yaml", "- \x00", "file: is not readable as YAML: "),
        ("a.yaml", b"- \xff", "file: is not UTF-8 text (byte 2)"),
        ("a.csv", "a,b", "file: must be named .json, .yaml, .yml"),
        ("a", "[]", "file: must be named .json, .yaml, .yml"),
    ],
)
def test_unreadable_files_say_why(tmp_path: Path, name: str, content: str | bytes, problem: str) -> None:
    """A file that is no list in a known format is one problem with its reason."""
    (found,) = _problems(_file(tmp_path, name, content))
    assert found.startswith(problem)


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path) -> None:
    """What cannot be opened is a problem of the file, in the operating system's words."""
    assert _problems(tmp_path / "none.json") == ["file: No such file or directory"]
    (tmp_path / "folder.json").mkdir()
    assert _problems(tmp_path / "folder.json") == ["file: Is a directory"]


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its limit a file is refused before it is read."""
    monkeypatch.setattr(importing, "MAX_BYTES", 1024 * 1024)
    assert _problems(_file(tmp_path, "a.json", " " * (1024 * 1024 + 1))) == ["file: is larger than 1 MiB"]


def test_every_problem_of_every_entry_is_listed() -> None:
    """All problems come at once, by row, also repeats between entries that are wrong in themselves."""
    entries: list[object] = [
        {"tenant_id": "acme", "numbers": ["+18005550100"], "enabled": "yes"},
        5,
        {"tenant_id": "_x", "numbers": [18005550101]},
        {"tenant_id": "acme", "numbers": ["+1 800 555 0100"], "colour": "red"},
        {"tenant_id": "fine"},
        {"numbers": ["+18005550100"]},
    ]
    with pytest.raises(ImportRefusedError) as refused:
        read_entries(entries)
    assert [str(problem) for problem in refused.value.problems] == [
        "row 1: enabled: Input should be a valid boolean",
        "row 2: entry: must be a mapping of fields",
        "row 3: tenant_id: ids that begin with _ are reserved",
        "row 3: numbers[0]: must be text: put the number in quotes",
        "row 4: tenant_id: acme is in row 1 already",
        "row 4: numbers: +18005550100 is in row 1 already",
        "row 4: colour: is not a field of a tenant",
        "row 6: numbers: +18005550100 is in row 1 already",
        "row 6: tenant_id: is required",
    ]


def test_a_yaml_number_without_quotes_is_explained(tmp_path: Path) -> None:
    """YAML's most likely slip, a number without quotes, is told as such."""
    path = _file(tmp_path, "a.yaml", "- {tenant_id: acme, numbers: [+18005550100]}")
    assert _problems(path) == ["row 1: numbers[0]: must be text: put the number in quotes"]
