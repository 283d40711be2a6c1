"""Differences between a truth and a gateway's answers."""

import copy
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.simulator.ground_truth import (
    LIVE_FIELDS,
    LIVE_PATH,
    CountDifference,
    GroundTruth,
    differences,
    live_answers,
)


class _Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _truth() -> dict[str, Any]:
    clock = _Clock()
    tally = GroundTruth(["_unknown", "acme"], clock)
    tally.started("acme", "rtc_1")
    tally.started("acme", "rtc_2")
    clock.seconds += 30
    tally.ended("acme", "rtc_1")
    return tally.as_json()


def _answers(truth: dict[str, Any]) -> dict[str, Any]:
    """A gateway that saw the same and answers the twelve fields alone."""
    tenants = {tenant: {field: row[field] for field in LIVE_FIELDS} for tenant, row in truth["tenants"].items()}
    return copy.deepcopy({"global": {field: truth["global"][field] for field in LIVE_FIELDS}, "tenants": tenants})


def test_running_calls_count_their_minutes() -> None:
    """One call over and one running, thirty seconds each, make one minute."""
    truth = _truth()
    assert truth["global"]["minutes_processed"] == pytest.approx(1.0)
    assert truth["tenants"]["acme"]["active_calls"] == 1


def test_equal_numbers_have_no_differences() -> None:
    """A gateway that saw the same differs in nothing."""
    assert differences(_truth(), _answers(_truth())) == []


def test_a_count_that_is_off_by_one_is_told() -> None:
    """Counts are exact, globally and by tenant."""
    answers = _answers(_truth())
    answers["tenants"]["acme"]["ended_calls"] = 2
    assert differences(_truth(), answers) == [CountDifference("acme", "ended_calls", 1, 2)]


@pytest.mark.parametrize(("seconds", "told"), [(0.4, False), (0.6, True)])
def test_minutes_may_differ_a_little_for_each_call(seconds: float, *, told: bool) -> None:
    """With two calls, half a second is the most that the minutes may be apart."""
    answers = _answers(_truth())
    answers["global"]["minutes_processed"] += seconds / 60
    assert bool(differences(_truth(), answers)) is told


def test_a_tenant_without_calls_may_be_unknown_to_the_gateway() -> None:
    """A tenant the gateway does not know is no difference unless it had calls."""
    answers = _answers(_truth())
    del answers["tenants"]["_unknown"]
    assert differences(_truth(), answers) == []
    del answers["tenants"]["acme"]
    assert CountDifference("acme", "started_calls", 2, None) in differences(_truth(), answers)


async def test_answers_are_read_in_all_and_by_tenant() -> None:
    """A gateway is asked for its totals and each tenant; one it does not know is left out, and trouble is raised."""

    async def live(_: Request) -> Response:
        return JSONResponse({"active_calls": 3})

    async def tenant(request: Request) -> Response:
        known = {"acme": JSONResponse({"active_calls": 2}), "broken": Response(status_code=500)}
        return known.get(request.path_params["tenant_id"], Response(status_code=404))

    app = Starlette(routes=[Route(LIVE_PATH, live), Route(f"{LIVE_PATH}/{{tenant_id}}", tenant)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway") as client:
        answers = await live_answers(client, ["acme", "globex"])
        with pytest.raises(httpx2.HTTPStatusError):
            await live_answers(client, ["broken"])
    assert answers == {"global": {"active_calls": 3}, "tenants": {"acme": {"active_calls": 2}}}


def test_a_missing_field_is_told_and_an_ignored_one_is_not() -> None:
    """A gateway that leaves a field out differs in it, even where the truth is zero."""
    answers = _answers(_truth())
    del answers["global"]["instructions_db_errors"]
    assert differences(_truth(), answers) == [CountDifference("global", "instructions_db_errors", 0, None)]
    assert differences(_truth(), answers, ignored={"instructions_db_errors"}) == []
