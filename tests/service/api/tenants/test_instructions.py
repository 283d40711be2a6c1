"""A tenant's numbers, features and instructions over HTTP, one by one."""

import httpx2

from tests.service.api.tenants.harness import (
    ACME,
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

NUMBERS = f"{ACME}/numbers"
FEATURES = f"{ACME}/features"
INSTRUCTIONS = f"{ACME}/instructions"
ANY = {"If-Match": "*"}


def test_numbers_are_given_and_taken(admin: httpx2.Client, harness: TenantsHarness) -> None:
    """A number is given once however often and however it is put, shown, and taken away again."""
    tag = created(admin)
    given = admin.put(f"{NUMBERS}/+1-800-555-0101", headers={"If-Match": tag})
    assert given.json() == {"numbers": [FIRST, SECOND]}
    again = admin.put(f"{NUMBERS}/%2B18005550101", headers={"If-Match": given.headers["etag"]})
    assert again.headers["etag"] == given.headers["etag"] == admin.get(NUMBERS).headers["etag"]
    assert admin.get(NUMBERS).json() == {"numbers": [FIRST, SECOND]}
    left = admin.delete(f"{NUMBERS}/{FIRST}", headers={"If-Match": given.headers["etag"]})
    assert left.json() == {"numbers": [SECOND]} == {"numbers": admin.get(ACME).json()["numbers"]}
    assert harness.told == 4


def test_a_number_that_cannot_be_given_is_named_in_the_path(admin: httpx2.Client) -> None:
    """A taken number is refused with its owner, a wrong one with the reason, one the tenant has not is not found."""
    created(admin)
    created(admin, f"{TENANTS}/beta", {"numbers": [SECOND]})
    taken = admin.put(f"{NUMBERS}/{SECOND}", headers=ANY)
    assert problems(taken, 409) == [("path.number", "+18005550101 belongs to 'beta'")]
    ((field, detail),) = problems(admin.put(f"{NUMBERS}/8005550199", headers=ANY))
    assert (field, "needs its country" in detail) == ("path.number", True)
    assert admin.delete(f"{NUMBERS}/{SECOND}", headers=ANY).status_code == 404


def test_a_feature_is_set_and_unset_alone(admin: httpx2.Client) -> None:
    """Setting and unsetting one feature leaves the others; unsetting what is not set changes nothing."""
    tag = created(admin, body={"features": {"voice": "marin"}})
    switched = put(admin, f"{FEATURES}/capture_content", {"value": True}, if_match=tag)
    assert switched.json() == admin.get(FEATURES).json() == {"features": {"capture_content": True, "voice": "marin"}}
    unset = admin.delete(f"{FEATURES}/voice", headers={"If-Match": switched.headers["etag"]})
    assert unset.json() == {"features": {"capture_content": True}}
    again = admin.delete(f"{FEATURES}/voice", headers={"If-Match": unset.headers["etag"]})
    assert again.headers["etag"] == unset.headers["etag"]


def test_a_feature_keeps_its_type(admin: httpx2.Client) -> None:
    """A truth value, a number, a text and null come back as they were set."""
    created(admin, body={})
    for value in (True, 1, False, 0, 1.5, "marin", "true", "", None):
        put(admin, f"{FEATURES}/any", {"value": value}, if_match="*")
        assert repr(admin.get(FEATURES).json()) == repr({"features": {"any": value}})


WRONG_FEATURES: list[tuple[str, object, str]] = [
    ("capture_content", {"value": "on"}, "body.features"),
    ("capture_content", {"value": None}, "body.features"),
    ("voice", {"value": "x" * 1001}, "body.features"),
    ("voice", {"value": {}}, "body.value"),
    ("voice", {}, "body.value"),
    ("voice", {"value": 1, "more": 2}, "body.more"),
    ("A", {"value": 1}, "path.feature"),
]


def test_a_wrong_feature_is_named(admin: httpx2.Client) -> None:
    """A value no feature can have, or not this one, is refused with its place."""
    tag = created(admin)
    for path, body, field in WRONG_FEATURES:
        answer = put(admin, f"{FEATURES}/{path}", body, if_match="*")
        assert {".".join(named.split(".")[:2]) for named, _ in problems(answer)} == {field}, body
    assert admin.get(ACME).headers["etag"] == tag


def test_instructions_have_a_history_with_names(admin: httpx2.Client) -> None:
    """Each change is a version with who and when; old ones can be read, and the newest is in force."""
    created(admin)
    answer = put(admin, INSTRUCTIONS, {"text": "You are Bob."}, if_match="*", x_admin_actor="bob")
    assert (answer.json()["version"], answer.json()["text"]) == (2, "You are Bob.")
    assert admin.get(ACME).json()["instructions"] == "You are Bob."
    listed = admin.get(INSTRUCTIONS).json()
    assert [(row["version"], row["characters"]) for row in listed["versions"]] == [(2, 12), (1, 12)]
    assert listed["versions"][0]["created_by"].startswith("http:bob#")
    assert listed["next_cursor"] is None
    assert admin.get(f"{INSTRUCTIONS}/1").json()["text"] == "You are Ada."
    assert admin.get(f"{INSTRUCTIONS}/3").status_code == 404


def test_an_old_version_is_restored_as_a_new_one(admin: httpx2.Client) -> None:
    """Going back adds a version that says what the old one said; done twice it changes nothing more."""
    tag = created(admin)
    tag = put(admin, INSTRUCTIONS, {"text": "You are Bob."}, if_match=tag).headers["etag"]
    restored = admin.post(f"{INSTRUCTIONS}/1/restore", headers={"If-Match": tag, "X-Admin-Actor": "eve"})
    assert (restored.json()["version"], restored.json()["text"]) == (3, "You are Ada.")
    assert restored.json()["created_by"].startswith("http:eve#")
    again = admin.post(f"{INSTRUCTIONS}/1/restore", headers={"If-Match": restored.headers["etag"]})
    assert (again.json(), again.headers["etag"]) == (restored.json(), restored.headers["etag"])
    assert admin.post(f"{INSTRUCTIONS}/9/restore", headers=ANY).status_code == 404
    assert admin.get(ACME).json() == ENTRY


def test_instructions_are_withdrawn_and_that_can_be_restored(admin: httpx2.Client) -> None:
    """Null withdraws them as a version of its own; where there never were any, there is still none."""
    created(admin)
    withdrawn = put(admin, INSTRUCTIONS, {"text": None}, if_match="*").json()
    assert (withdrawn["version"], withdrawn["text"]) == (2, None)
    assert admin.post(f"{INSTRUCTIONS}/1/restore", headers=ANY).json()["text"] == "You are Ada."
    assert admin.post(f"{INSTRUCTIONS}/2/restore", headers=ANY).json()["text"] is None
    created(admin, f"{TENANTS}/beta", {})
    never = put(admin, f"{TENANTS}/beta/instructions", {"text": None}, if_match="*").json()
    assert never == {"version": 0, "text": None, "created_at": None, "created_by": None}


def test_the_history_is_read_in_pages(admin: httpx2.Client) -> None:
    """Following the cursors goes over every version once."""
    created(admin)
    for number in range(2, 6):
        put(admin, INSTRUCTIONS, {"text": f"You are number {number}."}, if_match="*")
    seen: list[int] = []
    params: dict[str, str] = {"limit": "2"}
    while True:
        page = admin.get(INSTRUCTIONS, params=params).json()
        seen += [row["version"] for row in page["versions"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert seen == [5, 4, 3, 2, 1]


def test_wrong_instructions_are_named(admin: httpx2.Client) -> None:
    """Blank text and other things than text are refused."""
    created(admin)
    wrong: list[tuple[object, str]] = [
        ({}, "body.text"),
        ({"text": 5}, "body.text"),
        ({"text": " "}, "body.instructions"),
        ([], "body"),
    ]
    for body, field in wrong:
        assert [named for named, _ in problems(put(admin, INSTRUCTIONS, body, if_match="*"))] == [field], body


def test_the_parts_share_the_version_of_the_whole(admin: httpx2.Client) -> None:
    """One tag stands for a tenant and its parts: each way of changing any of them needs it, and gives a new one."""
    tag = created(admin)
    parts = [
        ("PUT", f"{NUMBERS}/{SECOND}", None),
        ("DELETE", f"{NUMBERS}/{SECOND}", None),
        ("PUT", f"{FEATURES}/voice", {"value": "marin"}),
        ("DELETE", f"{FEATURES}/voice", None),
        ("PUT", INSTRUCTIONS, {"text": "New."}),
        ("POST", f"{INSTRUCTIONS}/1/restore", None),
    ]
    for method, path, body in parts:
        assert admin.request(method, path, json=body).status_code == 428
        assert admin.request(method, path, json=body, headers={"If-Match": '"0"'}).status_code == 412
        assert admin.request(method, path, json=body, headers={"If-None-Match": "*"}).status_code == 412
        answer = admin.request(method, path, json=body, headers={"If-Match": tag})
        assert (answer.status_code, answer.headers["etag"] != tag) == (200, True)
        tag = answer.headers["etag"]
    for path in (ACME, NUMBERS, FEATURES, INSTRUCTIONS, f"{INSTRUCTIONS}/1"):
        assert admin.get(path).headers["etag"] == tag
        assert admin.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_parts_of_nobody_are_not_found(admin: httpx2.Client) -> None:
    """Every part of a tenant that does not exist is answered 404."""
    nobody = f"{TENANTS}/nobody"
    for path in ("numbers", "features", "instructions", "instructions/1", "audit"):
        assert admin.get(f"{nobody}/{path}").status_code == 404
    assert admin.put(f"{nobody}/numbers/{FIRST}", headers=ANY).status_code == 404
    assert patch(admin, nobody, {}, if_match="*").status_code == 404
