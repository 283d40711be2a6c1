"""What may be stated about a tenant, and what is said about the rest."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.tenants.errors import InvalidFieldError
from service.tenants.fields import MAX_ENTRIES, MAX_INSTRUCTIONS
from service.tenants.spec import TenantSpec, checked_spec, problems_of


def problem(*, tenant_id: str = "acme", **stated: object) -> str:
    with pytest.raises(InvalidFieldError) as refused:
        checked_spec(tenant_id, stated)
    return str(refused.value)


@pytest.mark.parametrize("tenant_id", ["a", "0", "acme", "acme-2_eu", "a" * 63])
def test_slugs_are_tenant_ids(tenant_id: str) -> None:
    """Lower-case letters, digits, dash and underscore make an id of up to 63 characters."""
    assert checked_spec(tenant_id, {}).tenant_id == tenant_id


@pytest.mark.parametrize("tenant_id", ["", "A", "-a", "a b", "a/b", "ä", "a" * 64, "a\n", "a\x00"])
def test_other_texts_are_no_tenant_ids(tenant_id: str) -> None:
    """Anything else is refused with the rule."""
    assert problem(tenant_id=tenant_id).startswith("tenant_id: must be 1 to 63 of a-z")


@pytest.mark.parametrize("tenant_id", ["_unknown", "_other", "_"])
def test_ids_with_a_leading_underscore_are_kept_for_totals(tenant_id: str) -> None:
    """No tenant can be named like the totals that belong to none."""
    assert problem(tenant_id=tenant_id) == "tenant_id: ids that begin with _ are reserved"


def test_numbers_are_normalised_sorted_and_unique() -> None:
    """However numbers are written and ordered, and however often, the same list comes out."""
    written = ["+49 30 123456", "+1 (800) 555-0100", "+18005550100"]
    assert checked_spec("acme", {"numbers": written}).numbers == ("+18005550100", "+4930123456")


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({"numbers": [18005550100]}, "numbers[0]: must be text: put the number in quotes"),
        ({"numbers": ["+18005550100", "8005550100"]}, "numbers[1]: '8005550100' needs its country: "),
        ({"numbers": ["x" * 500]}, "numbers[0]: '" + "x" * 40 + "…' is not a telephone number"),
        ({"numbers": ["+142555512112"]}, "numbers[0]: '+142555512112' is in no country's numbering plan"),
        ({"numbers": "+18005550100"}, "numbers: must be a list"),
        ({"name": " "}, "name: must be one line of text that is not blank"),
        ({"name": "a\x1b[31m"}, "name: must be one line of text that is not blank"),
        ({"name": "x" * 201}, "name: String should have at most 200 characters"),
        ({"name": 5}, "name: must be text"),
        ({"max_concurrent_calls": -1}, "max_concurrent_calls: Input should be greater than or equal to 0"),
        ({"max_concurrent_calls": 1_000_001}, "max_concurrent_calls: Input should be less than or equal to 1000000"),
        ({"max_concurrent_calls": "10"}, "max_concurrent_calls: Input should be a valid integer"),
        ({"max_concurrent_calls": True}, "max_concurrent_calls: Input should be a valid integer"),
        ({"enabled": "yes"}, "enabled: Input should be a valid boolean"),
        ({"instructions": ""}, "instructions: must not be blank; null withdraws the instructions"),
        ({"instructions": "a\x00"}, "instructions: must not contain the NUL character"),
        ({"instructions": "x" * (MAX_INSTRUCTIONS + 1)}, "instructions: String should have at most"),
        ({"transfer_targets": {"a": "http://example.com"}}, "transfer_targets: a: must be a tel:, sip: or sips: URI"),
        ({"transfer_targets": {"a": "tel:"}}, "transfer_targets: a: must be a tel:, sip: or sips: URI"),
        ({"transfer_targets": {"a": "tel:112"}}, "transfer_targets: a: needs its country"),
        ({"transfer_targets": {"a": "sip:example.com"}}, "transfer_targets: a: must name a user and a host"),
        ({"transfer_targets": {"a": "sip:a@b c"}}, "transfer_targets: a: must be at most 512 printable ASCII"),
        ({"transfer_targets": {"a": "sip:a@b\r\nX: y"}}, "transfer_targets: a: must be at most 512 printable ASCII"),
        ({"transfer_targets": {"a": "sip:a@" + "b" * 512}}, "transfer_targets: a: must be at most 512 printable ASCII"),
        ({"transfer_targets": {"A b": "sip:a@b"}}, "transfer_targets: 'A b' is not a name"),
        (
            {"transfer_targets": {str(n): "sip:a@b" for n in range(MAX_ENTRIES + 1)}},
            "transfer_targets: has 101 entries",
        ),
        ({"numbers": ["x"] * 10_001}, "numbers: has 10001 entries; at most 10000 are allowed"),
        ({"features": {"capture_content": "yes"}}, "features: capture_content: must be true or false"),
        ({"features": {"capture_content": 1}}, "features: capture_content: must be true or false"),
        ({"features": {"a": [1]}}, "features: a: must be true, false, null, a number or a text"),
        ({"features": {"a": float("nan")}}, "features: a: must be"),
        ({"features": {"a": 10**20}}, "features: a: must be"),
        ({"features": {"a": "\ud800"}}, "features: a: must be"),
        ({"features": {"a": "x" * 1001}}, "features: a: must be"),
        ({"colour": "red"}, "colour: is not a field of a tenant"),
    ],
)
def test_every_field_says_what_is_wrong(stated: dict[str, Any], expected: str) -> None:
    """A value that no tenant may have is refused with its field and a reason."""
    assert problem(**stated).startswith(expected)


@pytest.mark.parametrize("uri", ["tel:+14155550123", "tel:+1-415-555-0123;ext=5", "sip:desk@example.com", "sips:a@b"])
def test_transfer_targets_are_addresses_a_carrier_can_dial(uri: str) -> None:
    """OtlpEmitter and SIP addresses are taken as they are."""
    assert checked_spec("acme", {"transfer_targets": {"sales.eu-1": uri}}).transfer_targets == {"sales.eu-1": uri}


def test_only_mentioned_fields_are_stated() -> None:
    """A field that was left out is not part of the statement; one that was set to its default is."""
    assert checked_spec("acme", {"enabled": True, "instructions": None}).stated() == {
        "enabled": True,
        "instructions": None,
    }


def test_every_problem_is_reported() -> None:
    """All that is wrong with an entry comes out at once."""
    with pytest.raises(ValidationError) as refused:
        TenantSpec.model_validate({"name": 5, "numbers": ["x", 5], "extra": 1})
    assert [field for field, _ in problems_of(refused.value)] == [
        "tenant_id",
        "name",
        "numbers[0]",
        "numbers[1]",
        "extra",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(TenantSpec.model_fields, JSON))


def _spec_or_problems(entry: object) -> TenantSpec | list[tuple[str, str]]:
    try:
        return TenantSpec.model_validate(entry)
    except ValidationError as error:
        return problems_of(error)


@given(JSON | FIELDS)
def test_any_entry_is_taken_or_refused_with_reasons(entry: object) -> None:
    """No entry makes the check fail in another way; what is taken can be stored on every database."""
    found = _spec_or_problems(entry)
    if isinstance(found, TenantSpec):
        texts = [
            found.name,
            found.instructions or "",
            *found.transfer_targets.values(),
            *map(str, found.features.values()),
        ]
        assert b"\x00" not in "".join(texts).encode()
    else:
        assert found
        assert all(field and reason for field, reason in found)
