"""Usage over real HTTP: every answer held to its schema, on both kinds of database."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from fastapi import FastAPI
from openapi_schema_validator import OAS31Validator, oas31_format_checker
from openapi_spec_validator import validate

from service.api.usage import usage_router
from service.api.usage_freezes import usage_freezes_router
from service.api.usage_roundings import usage_roundings_router
from service.http.problems import use_problem_details
from service.http.security import HEADER, AdminAttempts, AdminTokens, require_admin
from service.http.tags import OPENAPI_TAGS
from service.records.store import RecordStore
from service.storage.database import Database
from service.usage.freezing import Freezer
from service.usage.report import UsageReader
from telemetry.clock import SystemClock
from telemetry.recent.record import CallOutcome
from telemetry.testing import FakeClock
from tests.service.usage.ledger import Made, written
from tests.support.contract import Contract
from tests.support.server import serving

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
    contract = Contract(app.openapi())
    hooks = {"response": [contract.check]}
    with serving(app) as base, httpx2.Client(base_url=base, event_hooks=hooks, trust_env=False) as client:
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
        "seconds": "131.250",
        "rounded_seconds": "132.000",
    }


def test_usage_by_day_and_tenant_splits_at_midnight(admin: httpx2.Client) -> None:
    """The call across midnight counts on the first day, its time on both."""
    lines = admin.get(USAGE, params=NOVEMBER | {"group_by": "tenant,day", "tenant_id": "acme"}).json()["lines"]
    assert [(e["day"], e["calls"], e["seconds"]) for e in lines] == [
        ("2025-11-03", 2, "91.250"),
        ("2025-11-04", 1, "30.000"),
    ]


def test_csv_has_the_lines_of_the_json(admin: httpx2.Client) -> None:
    """Asked for by parameter or by header, CSV says what JSON says, and comes as a file."""
    params = NOVEMBER | {"group_by": "outcome,hour,tenant"}
    expected = [
        {name: ";".join(value) if name == "rounding" else str(value or "") or "0" for name, value in line.items()}
        for line in admin.get(USAGE, params=params).json()["lines"]
    ]
    for asked in (
        admin.get(USAGE, params=params | {"format": "csv"}),
        admin.get(USAGE, params=params, headers={"Accept": "text/csv"}),
    ):
        rows = [{k: v or "0" for k, v in row.items()} for row in csv.DictReader(io.StringIO(asked.text))]
        assert rows == expected
        assert asked.headers["content-disposition"] == 'attachment; filename="usage.csv"'


def test_an_agreed_rounding_is_shown_beside_the_seconds(admin: httpx2.Client) -> None:
    """A rule set over HTTP holds for calls from its moment on; the raw seconds stay what they are."""
    agreed = {"rounding": "60/60", "valid_from": "2025-11-01T00:00:00", "by": "sales"}
    assert admin.put(f"{USAGE}/roundings/acme", json=agreed).json()["rounding"] == "per_started_minute"
    assert admin.get(f"{USAGE}/roundings").json()["roundings"] == [
        {"tenant_id": "acme", "rounding": "per_started_minute", "valid_from": "2025-11-01T00:00:00Z"}
    ]
    acme, globex = admin.get(USAGE, params=NOVEMBER).json()["lines"]
    assert (acme["seconds"], acme["rounded_seconds"], acme["rounding"][-1]) == (
        "121.250",
        "180.000",
        "per_started_minute",
    )
    assert globex["rounded_seconds"] == "10.000"


def test_a_period_is_frozen_once_and_shows_what_came_late(admin: httpx2.Client, url: str) -> None:
    """Frozen, listed, examined; a late record is a correction; a second freeze of it is refused."""
    freeze = admin.post(f"{USAGE}/freezes", json=NOVEMBER | {"by": "finance"})
    assert freeze.status_code == 201
    path = f"{USAGE}/freezes/{freeze.json()['freeze_id']}"
    assert admin.get(f"{USAGE}/freezes").json()["freezes"] == [freeze.json()]
    assert admin.get(path).json()["corrections"] == []

    async def late() -> None:
        clock = _a_year_later()
        clock.advance(60)
        async with Database.from_url(url) as database:
            record = Made("2025-11-20T10:00:00+01:00", 5, "globex").record(99)
            await RecordStore(database, clock).write([record.row()])

    asyncio.run(late())
    (correction,) = admin.get(path).json()["corrections"]
    assert correction["call_ids"] == ["rtc_99"]
    assert (correction["frozen"]["seconds"], correction["now"]["seconds"]) == ("10.000", "15.000")
    assert admin.post(f"{USAGE}/freezes", json=NOVEMBER).status_code == 409
    assert admin.get(f"{USAGE}/freezes/999").status_code == 404


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2025-10-01"}, "to"),
        ({"to": "2055-01-01"}, "to"),
        ({"tz": "Mars/Olympus"}, "tz"),
        ({"tz": "../../etc/passwd"}, "tz"),
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
    assert len(admin.get(USAGE, params=params | {"format": "csv"}).text.splitlines()) == 904


def test_the_document_is_valid_and_its_examples_are_what_they_claim(app: FastAPI) -> None:
    """It is OpenAPI by the specification's own schema, and each example passes the schema beside it."""
    document = app.openapi()
    validate(document)
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            assert operation["description"]
            for answer in operation["responses"].values():
                for content in answer["content"].values():
                    whole = content["schema"] | {"components": document["components"]}
                    OAS31Validator(whole, format_checker=oas31_format_checker).validate(content["example"])


def test_without_a_database_the_answer_says_when_to_come_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A database without its tables is a 503 problem with a time, not a broken stream."""
    database = Database.from_url(f"sqlite:///{tmp_path_factory.mktemp('empty') / 'empty.db'}")
    app = _app(database)
    with serving(app) as base, httpx2.Client(base_url=base, trust_env=False) as client:
        client.headers[HEADER] = TOKEN
        for path in (USAGE, f"{USAGE}/freezes", f"{USAGE}/roundings"):
            answer = client.get(path, params=NOVEMBER)
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "5"
