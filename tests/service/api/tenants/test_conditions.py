"""Entity tags as clients write them, and what they allow."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.tenants.conditions import Conditions, EntityTags, list_tag, tag_of

TAG = tag_of(17)
NOTHING = Conditions(None, None)


def tags(*lines: str) -> EntityTags:
    return EntityTags.parse(lines)


def test_versions_and_lists_cannot_be_mistaken() -> None:
    """The tag of a tenant is never that of a list, also at the same number."""
    assert tag_of(17) != list_tag(17)


@pytest.mark.parametrize(
    ("lines", "strongly", "weakly"),
    [
        (["*"], True, True),
        ([" * "], True, True),
        (['"17"'], True, True),
        (['"16" ,\t"17"'], True, True),
        (['"16"', 'W/"x,y"', '"17"'], True, True),
        (['W/"17"'], False, True),
        (['"178"'], False, False),
        (['""'], False, False),
        (['"*"'], False, False),
    ],
)
def test_tags_name_versions(lines: list[str], strongly: bool, weakly: bool) -> None:
    """A tag names the version it is written as; a weak one only where that is enough."""
    assert (tags(*lines).name_strongly(TAG), tags(*lines).name_weakly(TAG)) == (strongly, weakly)


@given(st.lists(st.text(max_size=20), max_size=3))
def test_any_header_is_read_or_refused(lines: list[str]) -> None:
    """Whatever a header holds, it is tags or a ValueError."""
    found = _read(lines)
    assert found is None or found.anything or found.tags


def _read(lines: list[str]) -> EntityTags | None:
    try:
        return EntityTags.parse(lines)
    except ValueError:
        return None


def test_a_change_is_allowed_at_the_version_demanded_alone() -> None:
    """Demanding a version wants that version; demanding none wants that there is nothing; without either all goes."""
    at_17, at_16, anything = tags(TAG), tags(tag_of(16)), tags("*")
    assert NOTHING.allow(TAG)
    assert NOTHING.allow(None)
    assert Conditions(at_17, None).allow(TAG)
    assert Conditions(anything, None).allow(TAG)
    assert not Conditions(at_16, None).allow(TAG)
    assert not Conditions(anything, None).allow(None)
    assert Conditions(None, anything).allow(None)
    assert not Conditions(None, anything).allow(TAG)
    assert not Conditions(at_17, at_17).allow(TAG)
    assert Conditions(at_17, at_16).allow(TAG)


def test_what_is_known_is_what_is_named() -> None:
    """A reader has what its tags name, weak or not; without any it has nothing."""
    assert Conditions(None, tags(f"W/{TAG}")).known(TAG)
    assert not Conditions(None, tags(tag_of(16))).known(TAG)
    assert not NOTHING.known(TAG)
