"""Tenants found over HTTP, in pages that are sent once."""

import httpx2
import pytest

from tests.service.api.tenants.harness import ACME, ENTRY, TENANTS, created, patch, problems


def _ids(admin: httpx2.Client, **params: str) -> list[str]:
    return [tenant["tenant_id"] for tenant in admin.get(TENANTS, params=params).json()["tenants"]]


def test_tenants_are_found(admin: httpx2.Client) -> None:
    """Text in the id or name, digits of a number and the state narrow the list down."""
    created(admin)
    created(admin, f"{TENANTS}/beta", {"name": "Müller & Söhne", "numbers": ["+4930123456"], "enabled": False})
    assert _ids(admin) == ["acme", "beta"]
    assert _ids(admin, q="ACM") == ["acme"]
    assert _ids(admin, q="müller &") == ["beta"]
    assert _ids(admin, q="+49 30") == ["beta"]
    assert _ids(admin, q="%") == []
    assert _ids(admin, enabled="true") == ["acme"]
    assert _ids(admin, enabled="false", q="acme") == []


def test_a_plus_that_became_a_space_finds_the_number(admin: httpx2.Client) -> None:
    """A query typed into a browser loses its plus, and finds the tenant all the same."""
    created(admin)
    assert [tenant["numbers"] for tenant in admin.get(f"{TENANTS}?q=+1800555").json()["tenants"]] == [1]


def test_the_list_has_no_long_text(admin: httpx2.Client) -> None:
    """Instructions are there by version, numbers are counted, and the version is that of the tag."""
    tag = created(admin)
    (overview,) = admin.get(TENANTS).json()["tenants"]
    times = {overview.pop(name) for name in ("created_at", "updated_at")}
    assert overview == {
        "tenant_id": "acme",
        "name": "Acme",
        "enabled": True,
        "max_concurrent_calls": 10,
        "numbers": 1,
        "instructions_version": 1,
        "features": ENTRY["features"],
        "version": int(tag.strip('"')),
    }
    assert len(times) == 1


def test_pages_go_over_all_once(admin: httpx2.Client) -> None:
    """Following the cursors lists every tenant once, also while others are created and deleted on the way."""
    for number in range(7):
        created(admin, f"{TENANTS}/t{number}", {})
    seen: list[str] = []
    params = {"limit": "3"}
    while True:
        page = admin.get(TENANTS, params=params).json()
        seen += [tenant["tenant_id"] for tenant in page["tenants"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
        admin.delete(f"{TENANTS}/{page['next_cursor']}", headers={"If-Match": "*"})
        created(admin, f"{TENANTS}/s{len(seen)}", {})
    assert seen == [f"t{number}" for number in range(7)]


def test_a_list_that_is_known_is_not_sent_again(admin: httpx2.Client) -> None:
    """The list has a tag that any change of a tenant changes; until then the answer is 304."""
    created(admin)
    tag = admin.get(TENANTS).headers["etag"]
    assert admin.get(TENANTS, headers={"If-None-Match": tag}).status_code == 304
    patch(admin, body={"enabled": False}, if_match="*")
    answer = admin.get(TENANTS, headers={"If-None-Match": tag})
    assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)


@pytest.mark.parametrize("path", [TENANTS, f"{ACME}/instructions", f"{ACME}/audit", "/api/v1/audit"])
def test_wrong_pages_are_named(admin: httpx2.Client, path: str) -> None:
    """A size or a place that no page has is refused by its parameter."""
    created(admin)
    for params in ({"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "ÄÖ"}, {"cursor": "x" * 64}):
        (name,) = params
        assert [field for field, _ in problems(admin.get(path, params=params))] == [f"query.{name}"], params


def test_wrong_filters_are_named(admin: httpx2.Client) -> None:
    """Text that is too long or has control characters, and a state that is none, are refused."""
    for params in ({"q": "x" * 201}, {"q": "a\x00b"}, {"enabled": "perhaps"}):
        (name,) = params
        assert [field for field, _ in problems(admin.get(TENANTS, params=params))] == [f"query.{name}"], params
