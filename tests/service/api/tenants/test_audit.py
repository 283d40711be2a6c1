"""Every change over HTTP is in the audit: who, when, what, and nothing secret."""

import asyncio

import httpx2
from sqlalchemy import text

from service.http.tokens import HEADER, fingerprint
from service.storage.database import Database
from tests.service.api.tenants.harness import (
    ACME,
    AUDIT,
    ENTRY,
    FIRST,
    OTHER_TOKEN,
    SECOND,
    TENANTS,
    TOKEN,
    created,
    patch,
    problems,
    put,
)

MARK = fingerprint(TOKEN.encode())
OTHER_MARK = fingerprint(OTHER_TOKEN.encode())


def test_every_way_of_changing_is_audited(admin: httpx2.Client) -> None:
    """Each request that changes something leaves one entry with what changed; one that changes nothing leaves none."""
    any_version = {"If-Match": "*"}
    created(admin)
    patch(admin, body={"max_concurrent_calls": 3}, if_match="*")
    patch(admin, body={"max_concurrent_calls": 3}, if_match="*")
    admin.put(f"{ACME}/numbers/{SECOND}", headers=any_version)
    admin.delete(f"{ACME}/numbers/{FIRST}", headers=any_version)
    put(admin, f"{ACME}/features/voice", {"value": "marin"}, if_match="*")
    admin.delete(f"{ACME}/features/voice", headers=any_version)
    put(admin, f"{ACME}/instructions", {"text": "New."}, if_match="*")
    admin.post(f"{ACME}/instructions/1/restore", headers=any_version)
    admin.delete(ACME, headers=any_version)
    changes = admin.get(f"{ACME}/audit").json()["changes"]
    assert [change["action"] for change in changes] == ["deleted", *["changed"] * 7, "created"]
    assert [(change["before"], change["after"]) for change in changes[1:-1]] == [
        ({"instructions_version": 2}, {"instructions_version": 3}),
        ({"instructions_version": 1}, {"instructions_version": 2}),
        ({"features": {"voice": "marin"}}, {"features": {}}),
        ({"features": {}}, {"features": {"voice": "marin"}}),
        ({"numbers": [FIRST]}, {"numbers": []}),
        ({"numbers": []}, {"numbers": [SECOND]}),
        ({"max_concurrent_calls": 10}, {"max_concurrent_calls": 3}),
    ]


def test_the_audit_says_who_and_with_which_token(admin: httpx2.Client) -> None:
    """The actor is the name in the header, if there is one, with the fingerprint of the token that was used."""
    put(admin, x_admin_actor="ada.lovelace+ops@example.com")
    patch(admin, body={"enabled": False}, if_match="*")
    admin.headers[HEADER] = OTHER_TOKEN
    patch(admin, body={"enabled": True}, if_match="*", x_admin_actor="Bob")
    actors = [change["actor"] for change in admin.get(AUDIT).json()["changes"]]
    assert actors == [f"http:Bob#{OTHER_MARK}", f"http#{MARK}", f"http:ada.lovelace+ops@example.com#{MARK}"]
    assert len({MARK, OTHER_MARK}) == 2


def test_an_actor_that_could_be_mistaken_is_refused(admin: httpx2.Client) -> None:
    """A name that is empty, too long, or has marks of its own is refused by its header, and nothing is changed."""
    for name in (b"", b"x" * 101, b"a#b", b"cli:root", b"a\tb", "ä".encode("latin-1"), "ä".encode(), b"-a"):
        answer = admin.put(ACME, json={}, headers={b"X-Admin-Actor": name})
        assert [field for field, _ in problems(answer)] == ["header.X-Admin-Actor"], name
    assert admin.get(ACME).status_code == 404


def test_nothing_secret_is_in_the_audit(admin: httpx2.Client) -> None:
    """Neither tokens nor instructions nor where calls are transferred to, which may be somebody's own telephone."""
    created(admin)
    put(admin, f"{ACME}/instructions", {"text": "Call Eve at home."}, if_match="*")
    admin.delete(ACME, headers={"If-Match": "*"})
    shown = admin.get(AUDIT).text
    for secret in (TOKEN, "Ada", "Eve", "14155550123"):
        assert secret not in shown
    assert "sales" in shown


def test_the_audit_of_a_deleted_tenant_stays(admin: httpx2.Client) -> None:
    """What happened to a tenant can be read when it is gone, alone and among all; of nobody there is nothing."""
    created(admin, f"{TENANTS}/beta", {})
    created(admin)
    admin.delete(ACME, headers={"If-Match": "*"})
    assert [c["action"] for c in admin.get(f"{ACME}/audit").json()["changes"]] == ["deleted", "created"]
    assert [c["tenant_id"] for c in admin.get(AUDIT).json()["changes"]] == ["acme", "acme", "beta"]
    assert admin.get(f"{TENANTS}/nobody/audit").status_code == 404


def test_the_audit_is_read_in_pages(admin: httpx2.Client) -> None:
    """Following the cursors goes over each change once, from the latest on; past the first there is nothing."""
    created(admin)
    for limit in range(20, 24):
        patch(admin, body={"max_concurrent_calls": limit}, if_match="*")
    for path in (AUDIT, f"{ACME}/audit"):
        seen: list[int] = []
        params = {"limit": "2"}
        while True:
            page = admin.get(path, params=params).json()
            seen += [change["entry_id"] for change in page["changes"]]
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
        assert len(seen) == 5
        assert seen == sorted(seen, reverse=True)
        assert admin.get(path, params={"cursor": str(seen[-1])}).json() == {"changes": [], "next_cursor": None}


def test_an_audit_that_is_known_is_not_sent_again(admin: httpx2.Client) -> None:
    """It has a tag like the list of tenants."""
    created(admin)
    tag = admin.get(f"{ACME}/audit").headers["etag"]
    assert admin.get(f"{ACME}/audit", headers={"If-None-Match": tag}).status_code == 304
    patch(admin, body={"enabled": False}, if_match="*")
    assert admin.get(f"{ACME}/audit", headers={"If-None-Match": tag}).status_code == 200


def test_without_an_audit_there_is_no_change(admin: httpx2.Client, database_url: str) -> None:
    """A change that cannot be audited is not made: the answer is 503, and the tenant as it was."""
    tag = created(admin)
    asyncio.run(_broken(database_url))
    answer = put(admin, body=ENTRY | {"name": "New", "instructions": "New.", "numbers": [SECOND]}, if_match=tag)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    shown = admin.get(ACME)
    assert (shown.json(), shown.headers["etag"]) == (ENTRY, tag)


async def _broken(url: str) -> None:
    async with Database.from_url(url) as database, database.writing() as session:
        await session.execute(text("ALTER TABLE tenant_audit RENAME TO tenant_audit_away"))
