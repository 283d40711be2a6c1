"""Tenants created, read, replaced, changed and deleted over HTTP, each only at the version that was read."""

import json
from email.utils import parsedate_to_datetime

import httpx2
import pytest

from tests.service.api.tenants.harness import (
    ACME,
    BARE,
    ENTRY,
    FIRST,
    SECOND,
    TENANTS,
    TenantsHarness,
    created,
    patch,
    problems,
    put,
)

BETA = f"{TENANTS}/beta"


def test_a_created_tenant_is_shown_as_it_was_stated(admin: httpx2.Client) -> None:
    """The answer to the creation and to reading are the entry itself, with its version, place and time."""
    answer = put(admin, if_none_match="*")
    assert (answer.status_code, answer.headers["location"]) == (201, ACME)
    shown = admin.get(ACME)
    assert answer.json() == shown.json() == ENTRY
    assert answer.headers["etag"] == shown.headers["etag"]
    assert parsedate_to_datetime(shown.headers["last-modified"]).tzinfo is not None


def test_what_is_shown_can_be_put(admin: httpx2.Client) -> None:
    """The entry that was read, put unchanged, changes nothing and keeps its version."""
    tag = created(admin)
    answer = put(admin, body=admin.get(ACME).json(), if_match=tag)
    assert (answer.status_code, answer.headers["etag"]) == (200, tag)


def test_a_put_without_conditions_creates_once_and_may_be_repeated(
    admin: httpx2.Client, harness: TenantsHarness
) -> None:
    """Sent again, word for word, the request is answered as done; only a change needs the version."""
    first, second = put(admin), put(admin)
    assert [first.status_code, second.status_code] == [201, 200]
    assert first.headers["etag"] == second.headers["etag"]
    assert harness.told == 1
    refused = put(admin, body=ENTRY | {"name": "Other"})
    assert problems(refused, 428) == [("header.If-Match", "is required to change what exists")]
    assert refused.headers["etag"] == first.headers["etag"]
    assert admin.get(ACME).json() == ENTRY


def test_a_put_whose_answer_was_lost_may_be_repeated(admin: httpx2.Client) -> None:
    """A change that was made already is answered as made, although the version it was based on is gone."""
    tag = created(admin)
    changed = put(admin, body=ENTRY | {"name": "New"}, if_match=tag)
    again = put(admin, body=ENTRY | {"name": "New"}, if_match=tag)
    assert (changed.status_code, again.status_code) == (200, 200)
    assert changed.headers["etag"] == again.headers["etag"] != tag


def test_only_creating_refuses_what_exists(admin: httpx2.Client) -> None:
    """With ``If-None-Match: *`` an existing tenant is left alone, and its version is told."""
    tag = created(admin)
    refused = put(admin, if_none_match="*")
    assert (refused.status_code, refused.headers["etag"]) == (412, tag)


def test_a_put_replaces_everything(admin: httpx2.Client) -> None:
    """Fields that are left out get the defaults of a new tenant, also where there was something else."""
    tag = created(admin, BETA, ENTRY | {"tenant_id": "beta"})
    assert put(admin, BETA, {}, if_match=tag).json() == {"tenant_id": "beta", **BARE}


def test_a_patch_changes_what_it_mentions(admin: httpx2.Client) -> None:
    """The other fields stay as they are."""
    tag = created(admin)
    answer = patch(admin, body={"max_concurrent_calls": None, "enabled": False}, if_match=tag)
    assert answer.status_code == 200
    assert answer.json() == admin.get(ACME).json() == ENTRY | {"max_concurrent_calls": None, "enabled": False}
    assert answer.headers["etag"] != tag


def test_a_deleted_tenant_is_gone(admin: httpx2.Client, harness: TenantsHarness) -> None:
    """It is deleted at its version alone, and then found no more; its numbers are free for others."""
    tag = created(admin)
    assert admin.delete(ACME).status_code == 428
    assert admin.delete(ACME, headers={"If-Match": '"0"'}).status_code == 412
    gone = admin.delete(ACME, headers={"If-Match": tag})
    assert (gone.status_code, gone.content) == (204, b"")
    assert admin.get(ACME).status_code == 404
    assert admin.delete(ACME, headers={"If-Match": tag}).status_code == 404
    assert put(admin, BETA, {"numbers": [FIRST]}).status_code == 201
    assert harness.told == 3


def test_a_stale_version_is_refused(admin: httpx2.Client) -> None:
    """A change based on another version, or on a weak tag, is refused with the present one and changes nothing."""
    older = [created(admin, BETA, {}), created(admin, f"{TENANTS}/gamma", {})]
    present = created(admin)
    for stale in ('"0"', ", ".join(older), f"W/{present}", '""'):
        for answer in (put(admin, body={}, if_match=stale), patch(admin, body={"name": "X"}, if_match=stale)):
            assert (answer.status_code, answer.headers["etag"]) == (412, present), stale
    assert admin.get(ACME).json() == ENTRY


def test_one_tag_of_several_suffices_and_a_star_is_any(admin: httpx2.Client) -> None:
    """Several tags, in one line or in several, and ``*`` allow the change of a tenant that is at one of them."""
    tag = created(admin)
    several = admin.patch(ACME, json={"name": "A"}, headers=[("If-Match", '"0"'), ("If-Match", f'"x", {tag}')])
    star = patch(admin, body={"name": "B"}, if_match="*")
    assert [several.status_code, star.status_code] == [200, 200]


def test_what_is_not_there_has_no_version(admin: httpx2.Client) -> None:
    """A put at a version creates nothing; other changes of nobody are told that there is nobody."""
    assert put(admin, if_match='"1"').status_code == 412
    assert put(admin, if_match="*").status_code == 412
    for answer in (patch(admin, body={}, if_match="*"), admin.delete(ACME, headers={"If-Match": "*"})):
        assert answer.status_code == 404
    assert admin.get(ACME).status_code == 404


def test_a_known_version_is_not_sent_again(admin: httpx2.Client) -> None:
    """Reading with the known tag, weak or among others, is 304 with the tag and no body, until something changes."""
    tag = created(admin)
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        answer = admin.get(ACME, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
    patch(admin, body={"name": "New"}, if_match=tag)
    assert admin.get(ACME, headers={"If-None-Match": tag}).json()["name"] == "New"


def test_a_number_of_another_tenant_is_refused_with_its_owner(admin: httpx2.Client) -> None:
    """However a number is written, its owner is named, and nothing of the change is kept."""
    created(admin)
    tag = created(admin, BETA, {"numbers": [SECOND]})
    body = {"name": "Beta", "numbers": ["+1 (800) 555-0100", SECOND]}
    for answer in (put(admin, BETA, body, if_match=tag), patch(admin, BETA, body, if_match=tag)):
        assert problems(answer, 409) == [("body.numbers", "+18005550100 belongs to 'acme'")]
    new = put(admin, f"{TENANTS}/gamma", {"numbers": [SECOND]}, if_none_match="*")
    assert problems(new, 409) == [("body.numbers", "+18005550101 belongs to 'beta'")]
    assert admin.get(BETA).headers["etag"] == tag
    assert admin.get(f"{TENANTS}/gamma").status_code == 404


WRONG: list[tuple[object, tuple[str, str]]] = [
    ({"numbers": ["8005550100"]}, ("body.numbers.0", "'8005550100' needs its country: write it as +")),
    ({"numbers": [FIRST, "alice"]}, ("body.numbers.1", "'alice' is not a telephone number")),
    ({"numbers": ["+1800"]}, ("body.numbers.0", "'+1800' is in no country's numbering plan")),
    ({"numbers": [18005550100]}, ("body.numbers.0", "must be text: put the number in quotes")),
    ({"numbers": FIRST}, ("body.numbers", "must be a list")),
    ({"tenant_id": "beta"}, ("body.tenant_id", "must be that of the path, or left out")),
    ({"tenant_id": 5}, ("body.tenant_id", "must be that of the path, or left out")),
    ({"colour": "red"}, ("body.colour", "is not a field of a tenant")),
    ({"name": " "}, ("body.name", "must be one line of text")),
    ({"max_concurrent_calls": -1}, ("body.max_concurrent_calls", "Input should be greater than or equal to 0")),
    ({"max_concurrent_calls": "5"}, ("body.max_concurrent_calls", "Input should be a valid integer")),
    ({"instructions": " "}, ("body.instructions", "must not be blank; null withdraws")),
    ({"enabled": "yes"}, ("body.enabled", "Input should be a valid boolean")),
    ({"features": {"capture_content": "yes"}}, ("body.features", "capture_content: must be true or false")),
    ({"transfer_targets": {"a": "http://b"}}, ("body.transfer_targets", "a: must be a tel:, sip: or sips: URI")),
    ([], ("body", "must be a mapping of fields")),
    ("text", ("body", "must be a mapping of fields")),
    (None, ("body", "must be a mapping of fields")),
]


def test_a_wrong_field_is_named_with_the_reason(admin: httpx2.Client) -> None:
    """Whatever is wrong, the answer is 422 with the field and a reason, for a put and for a patch."""
    headers = {"If-Match": created(admin, body={}), "Content-Type": "application/json"}
    for body, expected in WRONG:
        for method in ("PUT", "PATCH"):
            answer = admin.request(method, ACME, content=json.dumps(body), headers=headers)
            ((field, detail),) = problems(answer)
            assert (field, detail[: len(expected[1])]) == expected


def test_everything_wrong_is_named_at_once(admin: httpx2.Client) -> None:
    """Several wrong fields are listed together."""
    answer = put(admin, body={"numbers": ["x", "y"], "enabled": 1, "name": 5})
    assert {field for field, _ in problems(answer)} == {"body.numbers.0", "body.numbers.1", "body.enabled", "body.name"}


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match"])
def test_a_condition_that_is_none_is_named(admin: httpx2.Client, header: str) -> None:
    """A header that lists no tags is refused rather than taken for no condition."""
    tag = created(admin)
    for value in ("17", "", '"1', "*, *", 'w/"1"', '"1" "2"', "W/*"):
        answer = admin.put(ACME, json={}, headers={"If-Match": tag} | {header: value})
        assert problems(answer) == [(f"header.{header}", 'must be * or entity tags in quotes, such as "17"')], value
    assert admin.get(ACME).headers["etag"] == tag
