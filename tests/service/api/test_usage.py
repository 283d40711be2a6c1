"""Usage over real HTTP: every answer held to its schema, on both kinds of database."""

import asyncio
import csv
import io
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate
from sqlalchemy import update

from service.api.usage import usage_router
from service.api.usage_freezes import usage_freezes_router
from service.api.usage_roundings import usage_roundings_router
from service.http.errors import use_problem_details
from service.http.openapi import OPENAPI_TAGS
from service.http.security import AdminAttempts, require_admin
from service.http.tokens import HEADER, AdminTokens
from service.records.store import CALLS as CALLS_TABLE
from service.records.store import RecordStore
from service.storage.database import Database
from service.usage.freezing import Freezer
from service.usage.report import UsageReader
from service.usage.serializer import safe_cell
from telemetry.clock import SystemClock
from telemetry.recent.record import CallOutcome
from telemetry.testing import FakeClock
from tests.service.usage.ledger import Made, written
from tests.support.contract import Contract
from tests.support.server import TIMEOUT_SECONDS, TLS, serving

TOKEN = "correct horse"
USAGE = "/api/v1/usage"
NOVEMBER = {"from": "2025-11-01", "to": "2025-12-01", "tz": "Europe/Berlin"}

CALLS = [
    Made("2025-11-03T10:00:00+01:00", 61.25, "acme"),
    Made("2025-11-03T23:59:30+01:00", 60, "acme"),
    Made("2025-11-04T10:00:00+01:00", 0, "acme", CallOutcome.REJECTED),
    Made("2025-11-04T11:00:00+01:00", 10, "globex", CallOutcome.FAILED),
]


def _a_year_later() -> FakeClock:
    """The time of the freeze, when the first calls had long been written."""
    clock = FakeClock()
    clock.advance(86_400 * 365)
    return clock


def _app(database: Database) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        await database.dispose()

    app = FastAPI(title="Under test", openapi_tags=OPENAPI_TAGS, lifespan=lifespan)
    use_problem_details(app)
    admin = require_admin(AdminTokens([TOKEN]), AdminAttempts())
    # The literal paths come first, as with any mounted app.
    app.include_router(usage_router(usage=UsageReader(database), admin=admin))
    app.include_router(usage_freezes_router(freezer=Freezer(database, _a_year_later()), admin=admin))
    app.include_router(usage_roundings_router(database=database, clock=SystemClock(), admin=admin))
    return app


@pytest.fixture
def url(database_url: str) -> str:
    """A database with a few calls in November 2025."""

    async def fill() -> None:
        async with Database.from_url(database_url) as database:
            await written(database, CALLS)

    asyncio.run(fill())
    return database_url


@pytest.fixture
def app(url: str) -> FastAPI:
    """The routers in an app of their own, on connections of its own."""
    return _app(Database.from_url(url))


@pytest.fixture
def admin(app: FastAPI) -> Iterator[httpx2.Client]:
    """A client with a token; every answer it gets is held against the document."""
    contract = Contract.of("usage", app)
    hooks = {"response": [contract.check]}
    with (
        serving(app) as base,
        httpx2.Client(verify=TLS, base_url=base, event_hooks=hooks, trust_env=False, timeout=TIMEOUT_SECONDS) as client,
    ):
        client.headers[HEADER] = TOKEN
        yield client


def test_usage_by_tenant_adds_up_exactly(admin: httpx2.Client) -> None:
    """Each tenant's calls and seconds are those made, and the total is their sum."""
    answer = admin.get(USAGE, params=NOVEMBER).json()
    assert answer["from"] == "2025-11-01T00:00:00+01:00"
    assert [(e["tenant_id"], e["calls"], e["answered_calls"], e["seconds"]) for e in answer["lines"]] == [
        ("acme", 3, 2, "121.250"),
        ("globex", 1, 1, "10.000"),
    ]
    assert answer["total"] == {
        "calls": 4,
        "answered_calls": 3,
        "open_calls": 0,
        "split_calls": 0,
        "seconds": "131.250",
        "rounded_seconds": "132.000",
        "rounded_minutes": "2.20",
    }
    assert answer["freezes"] == []


def test_minutes_of_lines_add_up_to_those_of_the_total(admin: httpx2.Client, url: str) -> None:
    """Three calls of a second are 0.02 minutes each and 0.06 together where each has a line, 0.05 in one line."""

    async def fill() -> None:
        async with Database.from_url(url) as database:
            await written(database, [Made("2025-08-03T10:00:00+02:00", 1, f"t{number}") for number in range(3)], 100)

    asyncio.run(fill())
    august = {"from": "2025-08-01", "to": "2025-09-01", "tz": "Europe/Berlin"}
    apart = admin.get(USAGE, params=august).json()
    assert [line["rounded_minutes"] for line in apart["lines"]] == ["0.02"] * 3
    assert apart["total"]["rounded_minutes"] == "0.06"
    together = admin.get(USAGE, params=august | {"group_by": "day"}).json()
    assert [one["rounded_minutes"] for one in (*together["lines"], together["total"])] == ["0.05", "0.05"]
    assert apart["minutes_rounding"] == together["minutes_rounding"]


def test_months_are_lines(admin: httpx2.Client) -> None:
    """Grouped by month, a year has a line for each month with calls."""
    year = {"from": "2025-01-01", "to": "2026-01-01", "tz": "Europe/Berlin", "group_by": "month,tenant"}
    lines = admin.get(USAGE, params=year).json()["lines"]
    assert [(line["month"], line["tenant_id"], line["calls"]) for line in lines] == [
        ("2025-11", "acme", 3),
        ("2025-11", "globex", 1),
    ]


def test_a_tenant_nobody_knows_is_not_found(admin: httpx2.Client) -> None:
    """A typo is an error, not an empty report; nor are calls that reached nobody a tenant's."""
    for tenant_id in ("acmee", "_unknown", "=1+1"):
        answer = admin.get(USAGE, params=NOVEMBER | {"tenant_id": tenant_id})
        assert (answer.status_code, answer.json()["detail"]) == (404, f"There is no tenant '{tenant_id}'.")


def test_usage_by_day_and_tenant_splits_at_midnight(admin: httpx2.Client) -> None:
    """The call across midnight counts on the first day, its time on both."""
    lines = admin.get(USAGE, params=NOVEMBER | {"group_by": "tenant,day", "tenant_id": "acme"}).json()["lines"]
    assert [(e["day"], e["calls"], e["seconds"]) for e in lines] == [
        ("2025-11-03", 2, "91.250"),
        ("2025-11-04", 1, "30.000"),
    ]


def test_csv_has_the_lines_of_the_json(admin: httpx2.Client) -> None:
    """Asked for by parameter or by header, CSV says what JSON says, and comes as a file named by tenant and period."""
    params = NOVEMBER | {"group_by": "outcome,hour,tenant"}
    expected = [
        {name: ";".join(value) if name == "rounding" else str(value or "") or "0" for name, value in line.items()}
        for line in admin.get(USAGE, params=params).json()["lines"]
    ]
    for answer in (
        admin.get(USAGE, params=params | {"format": "csv", "bare": "true"}),
        admin.get(USAGE, params=params | {"bare": "true"}, headers={"Accept": "text/csv"}),
    ):
        rows = [{k: v or "0" for k, v in row.items()} for row in csv.DictReader(io.StringIO(answer.text))]
        assert rows == expected
        assert answer.headers["content-disposition"] == 'attachment; filename="usage_all_2025-11-01_2025-12-01.csv"'
    own = admin.get(USAGE, params=NOVEMBER | {"format": "csv", "tenant_id": "acme"})
    assert 'filename="usage_acme_2025-11-01_2025-12-01.csv"' in own.headers["content-disposition"]


def test_csv_tells_its_period_and_shows_if_it_is_cut(admin: httpx2.Client) -> None:
    """A block before the lines has the question, one after them the sums, and the last record counts the lines."""
    content = admin.get(USAGE, params=NOVEMBER | {"format": "csv", "group_by": "day,tenant"}).content.decode()
    assert content.count("\n") == content.count("\r\n")
    records = list(csv.reader(io.StringIO(content, newline="")))
    head, lines, foot = (list(part) for filled, part in itertools.groupby(records, bool) if filled)
    assert head[:4] == [
        ["from", "2025-11-01T00:00:00+01:00"],
        ["to", "2025-12-01T00:00:00+01:00"],
        ["tz", "Europe/Berlin"],
        ["group_by", "day;tenant"],
    ]
    assert foot[-1] == ["lines", str(len(lines) - 1)] == ["lines", "3"]
    assert ["total", "seconds", "131.250"] in foot


def test_what_a_spreadsheet_would_run_is_text(admin: httpx2.Client, url: str) -> None:
    """A call's id that looks like a formula is quoted in the export of its freeze; a negative number stays one."""

    async def fill() -> None:
        async with Database.from_url(url) as database, database.writing() as session:
            await session.execute(update(CALLS_TABLE).where(CALLS_TABLE.c.call_id == "rtc_0").values(call_id="=1+1"))

    asyncio.run(fill())
    number = admin.post(f"{USAGE}/freezes", json=NOVEMBER | {"by": "@finance"}).json()["freeze_id"]
    content = admin.get(f"{USAGE}/freezes/{number}/calls").text
    assert "\r\n'=1+1,acme,1,1,61.250,62.000\r\n" in content
    assert "by,'@finance\r\n" in content
    assert [safe_cell(cell) for cell in (-1, "-1.500", "-1+2", "\t1", None, "acme")] == [
        "-1",
        "-1.500",
        "'-1+2",
        "'\t1",
        "",
        "acme",
    ]


def test_an_agreed_rounding_is_shown_beside_the_seconds(admin: httpx2.Client) -> None:
    """A rule set over HTTP holds for calls from its moment on; the raw seconds stay what they are."""
    statement = {"rounding": "per_started_minute", "valid_from": "2025-11-01T00:00:00", "by": "sales"}
    agreed = admin.put(f"{USAGE}/roundings/acme", json=statement).json()["roundings"]
    assert [(one["tenant_id"], one["rounding"], one["by_start"], one["by"]) for one in agreed] == [
        ("acme", "per_started_minute", False, "sales")
    ]
    assert admin.get(f"{USAGE}/roundings").json()["roundings"] == agreed
    acme, globex = admin.get(USAGE, params=NOVEMBER).json()["lines"]
    assert (acme["seconds"], acme["rounded_seconds"], acme["rounding"][-1]) == (
        "121.250",
        "180.000",
        "per_started_minute",
    )
    assert globex["rounded_seconds"] == "10.000"


def test_a_rule_is_changed_at_the_version_that_was_read(admin: httpx2.Client) -> None:
    """Replacing asks for the version, another version is refused, withdrawing keeps the history with its authors."""
    path, first = f"{USAGE}/roundings/acme", {"rounding": "60/60", "valid_from": "2025-11-01", "by": "ada"}
    other = first | {"rounding": "6/6", "by_start": True, "by": "bob"}
    tag = admin.put(path, json=first, headers={"If-None-Match": "*"}).headers["etag"]
    refused = [
        admin.put(path, json=other),
        admin.put(path, json=other, headers={"If-Match": '"999"'}),
        admin.put(path, json=other, headers={"If-None-Match": "*"}),
        admin.delete(path, params={"valid_from": "2025-11-01"}),
    ]
    assert [answer.status_code for answer in refused] == [428, 412, 412, 428]
    assert {answer.headers["etag"] for answer in refused} == {tag}
    assert admin.put(path, json=first | {"by": "eve"}).headers["etag"] == tag
    changed = admin.put(path, json=other, headers={"If-Match": tag})
    assert changed.status_code == 200
    gone = admin.delete(
        path, params={"valid_from": "2025-11-01", "by": "cleo"}, headers={"If-Match": changed.headers["etag"]}
    )
    assert (gone.status_code, gone.json()["roundings"]) == (200, [])
    shown = admin.get(path)
    assert [(one["by"], one["after"] and one["after"]["rounding"]) for one in shown.json()["changes"]] == [
        ("cleo", None),
        ("bob", "6/6"),
        ("ada", "per_started_minute"),
    ]
    assert admin.get(path, headers={"If-None-Match": shown.headers["etag"]}).status_code == 304
    assert admin.delete(path, params={"valid_from": "2025-11-01"}).status_code == 404
    for wrong in ("acmee", "_unknown"):
        assert admin.put(f"{USAGE}/roundings/{wrong}", json=first).status_code == 404
        assert admin.get(f"{USAGE}/roundings/{wrong}").status_code == 404


def test_a_period_is_frozen_once_and_what_came_late_is_settled(admin: httpx2.Client, url: str) -> None:
    """Frozen, listed, examined; a late record is a correction, billed once by an adjustment; usage names the freeze."""
    freeze = admin.post(f"{USAGE}/freezes", json=NOVEMBER | {"by": "finance"})
    assert freeze.status_code == 201
    number = freeze.json()["freeze_id"]
    path = f"{USAGE}/freezes/{number}"
    assert admin.get(f"{USAGE}/freezes").json()["freezes"] == [freeze.json() | {"intact": True, "adjustments": []}]
    unchanged = admin.get(path)
    assert unchanged.json()["corrections"] == []
    assert admin.get(USAGE, params=NOVEMBER).json()["freezes"] == [number]

    async def late() -> None:
        async with Database.from_url(url) as database:
            record = Made("2025-11-20T10:00:00+01:00", 5, "globex").record(99)
            await RecordStore(database, _a_year_later()).write([record.row()])

    asyncio.run(late())
    seen = admin.get(path)
    (correction,) = seen.json()["corrections"]
    assert [call["call_id"] for call in seen.json()["calls"]] == ["rtc_99"]
    assert (correction["billed"]["seconds"], correction["now"]["seconds"]) == ("10.000", "15.000")
    assert correction["difference"]["rounded_seconds"] == "5.000"
    settling = f"{path}/adjustments"
    refused = [
        admin.post(settling, json={}),
        admin.post(settling, json={}, headers={"If-Match": unchanged.headers["etag"]}),
    ]
    assert [answer.status_code for answer in refused] == [428, 412]
    settled = admin.post(settling, json={"by": "ada"}, headers={"If-Match": seen.headers["etag"]})
    assert (settled.status_code, settled.json()["by"]) == (201, "ada")
    after = admin.get(path)
    assert (after.json()["corrections"], after.json()["adjustments"]) == ([], [settled.json()])
    assert admin.post(settling, json={}, headers={"If-Match": after.headers["etag"]}).status_code == 409
    assert "rtc_99,globex,1,1,5.000,5.000" in admin.get(f"{path}/calls").text
    assert admin.post(f"{USAGE}/freezes", json=NOVEMBER).status_code == 409
    for unknown in (f"{USAGE}/freezes/999", f"{USAGE}/freezes/999/calls"):
        assert admin.get(unknown).status_code == 404
    assert admin.post(f"{USAGE}/freezes", json=NOVEMBER | {"tenant_id": "acmee"}).status_code == 404


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2025-10-01"}, "to"),
        ({"to": "2055-01-01"}, "to"),
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"tz": "../../etc/passwd"}, "tz"),
        ({"tz": "localtime"}, "tz"),
        ({"from": "0001-01-01"}, "from"),
        ({"to": "9999-12-31"}, "to"),
        ({"group_by": "colour"}, "group_by"),
        ({"group_by": "day,hour"}, "group_by"),
        ({"group_by": ""}, "group_by"),
        ({"format": "xml"}, "format"),
    ],
)
def test_a_wrong_parameter_is_named(admin: httpx2.Client, params: dict[str, str], field: str) -> None:
    """Whatever is wrong, the answer is 422 and says which parameter it is."""
    answer = admin.get(USAGE, params=NOVEMBER | params)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [f"query.{field}"]


def test_a_wrong_rule_or_period_in_a_body_is_named(admin: httpx2.Client) -> None:
    """A body's wrong field is named too."""
    rule = admin.put(f"{USAGE}/roundings/acme", json={"rounding": "7/0", "valid_from": "2025-11-01"})
    assert rule.json()["errors"][0]["field"] == "body.rounding"
    for valid_from in ("0001-01-01", "9999-12-31T23:59:59-14:00"):
        moment = admin.put(f"{USAGE}/roundings/acme", json={"rounding": "6/6", "valid_from": valid_from})
        assert moment.json()["errors"][0]["field"] == "body.valid_from"
    freeze = admin.post(f"{USAGE}/freezes", json=NOVEMBER | {"to": "2025-10-01"})
    assert freeze.json()["errors"][0]["field"] == "body.to"


def test_nothing_is_told_without_a_token(admin: httpx2.Client) -> None:
    """Every route asks for the token."""
    del admin.headers[HEADER]
    for path in (USAGE, f"{USAGE}/freezes", f"{USAGE}/roundings"):
        assert admin.get(path, params=NOVEMBER).status_code == 401


def test_a_report_of_many_lines_comes_whole(admin: httpx2.Client, url: str) -> None:
    """More lines than one piece of the answer holds arrive, in JSON and in CSV."""

    async def fill() -> None:
        async with Database.from_url(url) as database:
            await written(database, [Made(f"2025-11-{1 + n % 30:02d}T08:00:00Z", 1, f"t{n}") for n in range(900)], 1000)

    asyncio.run(fill())
    params = NOVEMBER | {"group_by": "tenant,day"}
    answer = admin.get(USAGE, params=params).json()
    assert answer["total"]["calls"] == 904
    assert len(answer["lines"]) == 903
    assert len(admin.get(USAGE, params=params | {"format": "csv", "bare": "true"}).text.splitlines()) == 904
    assert admin.get(USAGE, params=params | {"format": "csv"}).text.splitlines()[-1] == "lines,903"


def test_the_document_is_valid_and_its_examples_are_what_they_claim(app: FastAPI) -> None:
    """It is OpenAPI by the specification's own schema, and each example passes the schema beside it."""
    document = app.openapi()
    validate(document)
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
            for answer in operation["responses"].values():
                for content in answer.get("content", {}).values():
                    whole = content["schema"] | {"components": document["components"]}
                    OAS31Validator(whole, format_checker=oas31_format_checker).validate(content["example"])


def test_without_a_database_the_answer_says_when_to_come_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database without its tables is a 503 problem with a time, not a broken stream."""
    database = Database.from_url(f"sqlite:///{tmp_path_factory.mktemp('empty') / 'empty.db'}")
    app = _app(database)
    with (
        serving(app) as base,
        httpx2.Client(verify=TLS, base_url=base, trust_env=False, timeout=TIMEOUT_SECONDS) as client,
    ):
        client.headers[HEADER] = TOKEN
        for path in (USAGE, f"{USAGE}/freezes", f"{USAGE}/roundings"):
            answer = client.get(path, params=NOVEMBER if path == USAGE else {})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
