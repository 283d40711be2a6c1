"""``callscope tenants`` as it is typed, on a real SQLite file."""

import asyncio
import getpass
import json
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from typer.testing import CliRunner, Result

from service.commands.tenants import app
from service.storage.database import Database
from service.tenants.sql import SqlTenantRepository

Run = Callable[..., Result]

ACME = {"tenant_id": "acme", "name": "Acme", "numbers": ["+18005550100"], "instructions": "You are Ada."}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'callscope.db'}"


@pytest.fixture
def run(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", url)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Callable[[object], Path]:
    def write(entries: object) -> Path:
        path = tmp_path / "tenants.json"
        path.write_text(json.dumps(entries))
        return path

    return write


def listed(run: Run) -> list[dict[str, object]]:
    result = run("list", "--json")
    assert result.exit_code == 0
    entries: list[dict[str, object]] = json.loads(result.stdout)
    return entries


def refused(result: Result) -> str:
    assert (result.exit_code, result.stdout) == (1, "")
    return reason_of(result)


def reason_of(result: Result) -> str:
    """Return what standard error holds beside the name of the database."""
    return "".join(line for line in result.stderr.splitlines(True) if not line.startswith("Database: "))


def test_an_imported_tenant_is_listed(run: Run, file: Callable[[object], Path]) -> None:
    """What a file states is shown in the table and, whole, as JSON."""
    result = run("import", file([ACME]))
    assert (result.exit_code, result.stdout) == (0, "1 created, 0 changed, 0 unchanged\n")
    table = run("list").stdout
    assert all(cell in table for cell in ("acme", "Acme", "enabled", "+18005550100", "default", "version 1"))
    assert listed(run) == [
        {**ACME, "max_concurrent_calls": None, "enabled": True, "transfer_targets": {}, "features": {}}
    ]


def test_what_is_listed_can_be_imported(run: Run, file: Callable[[object], Path]) -> None:
    """The JSON of the list is an import that changes nothing."""
    run("import", file([ACME, {"tenant_id": "beta", "features": {"capture_content": True}}]))
    result = run("import", file(listed(run)), "--json")
    assert json.loads(result.stdout) == {"created": [], "changed": [], "unchanged": ["acme", "beta"]}


def test_a_refused_import_lists_every_reason(run: Run, file: Callable[[object], Path]) -> None:
    """Each problem is one line on standard error with row, field and reason, and nothing is stored."""
    result = run("import", file([ACME, {"tenant_id": "_x"}, {"tenant_id": "b", "numbers": ["+18005550100", "x"]}]))
    assert refused(result).splitlines() == [
        "row 2: tenant_id: ids that begin with _ are reserved",
        "row 3: numbers: +18005550100 is in row 1 already",
        "row 3: numbers[1]: 'x' is not a telephone number, a short code of 2 to 6 digits, or sip: and a user's name",
    ]
    assert listed(run) == []


def test_an_import_of_a_taken_number_is_refused(run: Run, file: Callable[[object], Path]) -> None:
    """A number of a stored tenant is refused with the row that wants it."""
    run("import", file([ACME]))
    result = run("import", file([{"tenant_id": "b"}, {"tenant_id": "c", "numbers": ["+18005550100"]}]))
    assert refused(result) == "row 2: numbers: +18005550100 belongs to 'acme'\n"
    assert [entry["tenant_id"] for entry in listed(run)] == ["acme"]


def test_adding_a_tenant_with_everything(run: Run) -> None:
    """Every option of the command reaches the tenant."""
    result = run(
        *("add", "acme", "--name", "Acme [red]", "--number", "+1 800 555 0100", "--number", "+4930123456"),
        *("--max-concurrent-calls", 5, "--instructions", "You are Ada."),
        *("--transfer-target", "sales=tel:+14155550123", "--transfer-target", "desk=sip:a=b@example.com"),
    )
    assert result.exit_code == 0
    assert "Acme [red]" in result.stdout
    assert listed(run) == [
        {
            "tenant_id": "acme",
            "name": "Acme [red]",
            "numbers": ["+18005550100", "+4930123456"],
            "max_concurrent_calls": 5,
            "instructions": "You are Ada.",
            "enabled": True,
            "transfer_targets": {"desk": "sip:a=b@example.com", "sales": "tel:+14155550123"},
            "features": {},
        }
    ]


def test_adding_prints_json(run: Run) -> None:
    """With --json the added tenant is printed like in the list."""
    assert json.loads(run("add", "acme", "--json").stdout) == listed(run)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["add", "acme"], "tenant_id: 'acme' exists already"),
        (["add", "b", "--number", "+18005550100"], "numbers: +18005550100 belongs to 'acme'"),
        (["add", "B"], "tenant_id: must be 1 to 63 of a-z"),
        (["add", "b", "--number", "8005550100"], "numbers[0]: '8005550100' needs its country"),
        (["add", "b", "--transfer-target", "sales"], "transfer_targets: 'sales' is not NAME=URI"),
        (
            ["add", "b", "--transfer-target", "a=sip:a@b", "--transfer-target", "a=sip:c@d"],
            "transfer_targets: 'a=sip:c@d'",
        ),
        (["import", "none.yaml"], "file: No such file or directory"),
        (["list", "--database-url", "mysql://u:secret@host/x"], "DATABASE_URL: no driver for the scheme 'mysql'"),
        (["list", "--database-url", "sqlite:////no/folder/x.db"], "DATABASE_URL: the folder /no/folder does not exist"),
        (
            ["list", "--database-url", "postgresql://u:secret@127.0.0.1:1/x"],
            "DATABASE_URL: the server 127.0.0.1:1 cannot be reached",
        ),
    ],
)
def test_refusals_end_with_one_and_the_reason(
    run: Run, file: Callable[[object], Path], arguments: list[str], reason: str
) -> None:
    """A command that cannot be done says why on standard error, ends with 1, and shows no password."""
    run("import", file([ACME]))
    message = refused(run(*arguments))
    assert message.startswith(reason)
    assert "secret" not in message


def test_a_database_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    """A file that is no database is a refusal in the database's words, not a traceback."""
    (tmp_path / "text.db").write_text("This is text, and long enough to be read as a database's header." * 20)
    result = run("list", "--database-url", f"sqlite:///{tmp_path / 'text.db'}")
    assert refused(result) == (
        f"DATABASE_URL: {tmp_path / 'text.db'} is no SQLite database; move it away, or name another file\n"
    )


def test_a_wrong_setting_is_refused_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are checked like at the service's start, unless the command line names the database."""
    monkeypatch.setenv("PORT", "many")
    assert refused(run("list")).startswith("PORT: ")


def test_disabling_and_enabling(run: Run) -> None:
    """The switch shows the tenant's new state, and turning it twice is no error."""
    run("add", "acme")
    for command, state in (("disable", False), ("disable", False), ("enable", True)):
        result = run(command, "acme", "--json")
        assert result.exit_code == 0
        assert [entry["enabled"] for entry in json.loads(result.stdout)] == [state]
    assert "disabled" in run("disable", "acme").stdout


def test_long_lists_are_shown_whole(run: Run, file: Callable[[object], Path]) -> None:
    """More tenants than a page, and more numbers than a row shows, are all there."""
    entries = [{"tenant_id": f"t{n:04}"} for n in range(1001)]
    run("import", file([*entries, {"tenant_id": "z", "numbers": [f"+1800555010{n}" for n in range(5)]}]))
    assert len(listed(run)) == 1002
    assert "and 2 more" in run("list").stdout


@pytest.mark.parametrize("known", [True, False])
def test_the_audit_names_the_operator(run: Run, url: str, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """Changes are audited under the operating system's user, or as the command line's where there is none."""

    def nobody() -> NoReturn:
        raise KeyError("no such user")

    monkeypatch.setattr(getpass, "getuser", (lambda: "ada") if known else nobody)
    run("add", "acme")

    async def actors() -> list[str]:
        async with Database.from_url(url) as database:
            return [entry.actor for entry in (await SqlTenantRepository(database).audit()).entries]

    assert asyncio.run(actors()) == ["cli:ada" if known else "cli"]


def test_the_audit_shows_who_did_what(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest changes, of all or of one, as a table and as JSON, also of a tenant whose name looks like markup."""
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    run("add", "acme", "--name", "[red]Acme", "--number", "+18005550100")
    run("add", "beta")
    run("disable", "acme")
    table = run("audit").stdout
    assert all(
        cell in table for cell in ("cli:ada", "acme", "beta", "created", "changed", "enabled: false", "[red]Acme")
    )
    (disabled, created) = json.loads(run("audit", "acme", "--json").stdout)
    assert (disabled["action"], disabled["before"], disabled["after"]) == (
        "changed",
        {"enabled": True},
        {"enabled": False},
    )
    assert created["after"]["numbers"] == ["+18005550100"]
    assert [entry["tenant_id"] for entry in json.loads(run("audit", "--limit", 2, "--json").stdout)] == ["acme", "beta"]


def test_a_long_change_is_cut_in_the_table(
    run: Run, file: Callable[[object], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many numbers the table shows the first ones, on a narrow screen too, and JSON all."""
    run("import", file([{"tenant_id": "z", "numbers": [f"+1800555{n:04}" for n in range(50)]}]))
    assert "…" in run("audit").stdout
    monkeypatch.setenv("COLUMNS", "40")
    assert "…" in run("audit").stdout
    assert len(json.loads(run("audit", "--json").stdout)[0]["after"]["numbers"]) == 50
