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
    live_responses,
)


class _Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def _ground_truth() -> dict[str, Any]:
    clock = _Clock()
    tally = GroundTruth(["_unknown", "acme"], clock)
    tally.started("acme", "rtc_1")
    tally.started("acme", "rtc_2")
    clock.seconds += 30
    tally.ended("acme", "rtc_1")
    return tally.as_json()


def _responses(ground_truth: dict[str, Any]) -> dict[str, Any]:
    """A gateway that saw the same and answers the twelve fields alone."""
    tenants = {tenant: {field: row[field] for field in LIVE_FIELDS} for tenant, row in ground_truth["tenants"].items()}
    in_all = {field: ground_truth["global"][field] for field in LIVE_FIELDS}
    return copy.deepcopy({"global": in_all, "tenants": tenants})


def test_running_calls_count_their_minutes() -> None:
    """One call over and one running, thirty seconds each, make one minute."""
    ground_truth = _ground_truth()
    assert ground_truth["global"]["minutes_processed"] == pytest.approx(1.0)
    assert ground_truth["tenants"]["acme"]["active_calls"] == 1


def test_equal_numbers_have_no_differences() -> None:
    """A gateway that saw the same differs in nothing."""
    assert differences(_ground_truth(), _responses(_ground_truth())) == []


def test_a_count_that_is_off_by_one_is_told() -> None:
    """Counts are exact, globally and by tenant."""
    responses = _responses(_ground_truth())
    responses["tenants"]["acme"]["ended_calls"] = 2
    assert differences(_ground_truth(), responses) == [CountDifference("acme", "ended_calls", 1, 2)]


@pytest.mark.parametrize(("seconds", "told"), [(0.4, False), (0.6, True)])
def test_minutes_may_differ_a_little_for_each_call(seconds: float, *, told: bool) -> None:
    """With two calls, half a second is the most that the minutes may be apart."""
    responses = _responses(_ground_truth())
    responses["global"]["minutes_processed"] += seconds / 60
    assert bool(differences(_ground_truth(), responses)) is told


def test_a_tenant_without_calls_may_be_unknown_to_the_gateway() -> None:
    """A tenant the gateway does not know is no difference unless it had calls."""
    responses = _responses(_ground_truth())
    del responses["tenants"]["_unknown"]
    assert differences(_ground_truth(), responses) == []
    del responses["tenants"]["acme"]
    assert CountDifference("acme", "started_calls", 2, None) in differences(_ground_truth(), responses)


async def test_answers_are_read_in_all_and_by_tenant() -> None:
    """A gateway is asked for its totals and each tenant; one it does not know is left out, and trouble is raised."""

    async def live(_: Request) -> Response:
        return JSONResponse({"active_calls": 3})

    async def tenant(request: Request) -> Response:
        known = {"acme": JSONResponse({"active_calls": 2}), "broken": Response(status_code=500)}
        return known.get(request.path_params["tenant_id"], Response(status_code=404))

    app = Starlette(routes=[Route(LIVE_PATH, live), Route(f"{LIVE_PATH}/{{tenant_id}}", tenant)])
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://gateway") as client:
        responses = await live_responses(client, ["acme", "globex"])
        with pytest.raises(httpx2.HTTPStatusError):
            await live_responses(client, ["broken"])
    assert responses == {"global": {"active_calls": 3}, "tenants": {"acme": {"active_calls": 2}}}


def test_a_missing_field_is_told_and_an_ignored_one_is_not() -> None:
    """A gateway that leaves a field out differs in it, even where the truth is zero."""
    responses = _responses(_ground_truth())
    del responses["global"]["instructions_db_errors"]
    assert differences(_ground_truth(), responses) == [CountDifference("global", "instructions_db_errors", 0, None)]
    assert differences(_ground_truth(), responses, ignored={"instructions_db_errors"}) == []
