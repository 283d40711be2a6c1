"""Writers at two servers over one database: one wins, the others hear it, and nothing is lost or done twice."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from threading import Barrier

import httpx2

from tests.service.api.tenants.harness import ACME, AUDIT, BARE, FIRST, TENANTS, created, put

Admins = tuple[httpx2.Client, httpx2.Client]
WRITERS = 8
REPEATS = 5


def _together(admins: Admins, requests: list[tuple[str, str, object, dict[str, str]]]) -> list[httpx2.Response]:
    """Send all of them at the same time, by turns to either server."""
    start = Barrier(len(requests))

    def send(client: httpx2.Client, method: str, path: str, body: object, headers: dict[str, str]) -> httpx2.Response:
        start.wait()
        return client.request(method, path, json=body, headers=headers)

    with ThreadPoolExecutor(len(requests)) as pool:
        sent = [pool.submit(send, client, *request) for client, request in zip(cycle(admins), requests, strict=False)]
        return [answer.result() for answer in sent]


def test_of_writers_at_one_version_one_wins(two_admins: Admins) -> None:
    """Of changes based on the same version exactly one is made and audited; the others are told the new version."""
    tag = created(two_admins[0])
    for round_ in range(REPEATS):
        limits = [100 * round_ + writer for writer in range(1, WRITERS + 1)]
        answers = _together(
            two_admins, [("PATCH", ACME, {"max_concurrent_calls": limit}, {"If-Match": tag}) for limit in limits]
        )
        assert Counter(answer.status_code for answer in answers) == {200: 1, 412: WRITERS - 1}
        winner = next(answer for answer in answers if answer.status_code == 200)
        tag = winner.headers["etag"]
        assert {answer.headers["etag"] for answer in answers} == {tag}
        assert [admin.get(ACME).json() for admin in two_admins] == [winner.json()] * 2
    assert len(two_admins[1].get(AUDIT).json()["changes"]) == 1 + REPEATS


def test_of_creators_one_wins(two_admins: Admins) -> None:
    """Of those who create one tenant in different ways at once, one does, and the others are told that it exists."""
    answers = _together(
        two_admins, [("PUT", ACME, {"name": f"Acme {writer}"}, {"If-None-Match": "*"}) for writer in range(WRITERS)]
    )
    assert Counter(answer.status_code for answer in answers) == {201: 1, 412: WRITERS - 1}
    assert len(two_admins[0].get(AUDIT).json()["changes"]) == 1


def test_one_request_sent_many_times_is_done_once(two_admins: Admins) -> None:
    """The same put, without a condition or at one version, is made once and answered as done to all."""
    answers = _together(two_admins, [("PUT", f"{TENANTS}/beta", {}, {})] * WRITERS)
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: WRITERS - 1}
    assert two_admins[0].get(f"{TENANTS}/beta").json() == {"tenant_id": "beta", **BARE}
    tag = answers[0].headers["etag"]
    answers = _together(two_admins, [("PUT", f"{TENANTS}/beta", {"name": "New"}, {"If-Match": tag})] * WRITERS)
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.headers["etag"] for answer in answers}) == 1
    assert len(two_admins[0].get(AUDIT).json()["changes"]) == 2


def test_writers_who_take_any_version_do_not_undo_each_other(two_admins: Admins) -> None:
    """Two features set at the same time, at whatever version there is, are both set."""
    created(two_admins[0], body={})
    for round_ in range(REPEATS):
        names = [f"a{round_}", f"b{round_}"]
        paths = [f"{ACME}/features/{name}" for name in names]
        answers = _together(two_admins, [("PUT", path, {"value": True}, {"If-Match": "*"}) for path in paths])
        assert [answer.status_code for answer in answers] == [200, 200]
    assert len(two_admins[0].get(f"{ACME}/features").json()["features"]) == 2 * REPEATS


def test_of_two_who_want_a_number_one_gets_it(two_admins: Admins) -> None:
    """The other is told whose it is."""
    names = ["a", "b"]
    for name in names:
        created(two_admins[0], f"{TENANTS}/{name}", {})
    paths = [f"{TENANTS}/{name}/numbers/{FIRST}" for name in names]
    answers = _together(two_admins, [("PUT", path, None, {"If-Match": "*"}) for path in paths])
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    loser = next(answer for answer in answers if answer.status_code == 409)
    owner = names[1 - answers.index(loser)]
    assert loser.json()["errors"] == [{"field": "path.number", "detail": f"{FIRST} belongs to '{owner}'"}]


def test_changes_of_different_tenants_do_not_hinder_each_other(two_admins: Admins) -> None:
    """Changes of several tenants at once are all made."""
    answers = _together(two_admins, [("PUT", f"{TENANTS}/t{n}", {}, {}) for n in range(WRITERS)])
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.headers["etag"] for answer in answers}) == WRITERS
    assert put(two_admins[0], f"{TENANTS}/t0", {}).status_code == 200
