"""OtlpEmitter numbers in one comparable form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.e164 import E164, MAX_DIGITS, NumberProblem, is_planned, to_e164


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+18005550100", "+18005550100"),
        ("+1 (800) 555-0100", "+18005550100"),
        ("+1.800.555.0100", "+18005550100"),
        ("  +18005550100 ", "+18005550100"),
        ("+44 (0)20 7946 0000", "+442079460000"),
        ("+390612345678", "+390612345678"),
        ("+142555512112", "+142555512112"),
    ],
)
def test_spellings_of_a_number_meet_in_one_form(written: str, number: str) -> None:
    """A number in international form is read whatever separators it is written with, also one digit too long."""
    assert to_e164(written) == number


@pytest.mark.parametrize(
    ("written", "region", "number"),
    [
        ("8005550100", "US", "+18005550100"),
        ("1 800 555 0100", "US", "+18005550100"),
        ("030 123456", "DE", "+4930123456"),
        ("0018005550100", "DE", "+18005550100"),
        ("+18005550100", "DE", "+18005550100"),
    ],
)
def test_national_numbers_are_read_in_their_region(written: str, region: str, number: str) -> None:
    """A number without + is read as one dials it in the region; with + the region does not matter."""
    assert to_e164(written, region=region) == number


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", NumberProblem.NOT_A_NUMBER),
        ("alice", NumberProblem.NOT_A_NUMBER),
        ("+1-800-FLOWERS", NumberProblem.NOT_A_NUMBER),
        ("+18005550100 ext. 5", NumberProblem.NOT_A_NUMBER),
        ("*67", NumberProblem.NOT_A_NUMBER),
        ("+1800\n5550100", NumberProblem.NOT_A_NUMBER),
        ("+١٨٠٠٥٥٥٠١٠٠", NumberProblem.NOT_A_NUMBER),
        ("+" + "1" * 100, NumberProblem.NOT_A_NUMBER),
        ("8005550100", NumberProblem.NO_COUNTRY),
        ("+12345", NumberProblem.IMPOSSIBLE),
        ("+999123456789", NumberProblem.IMPOSSIBLE),
        ("+1234567890123456", NumberProblem.IMPOSSIBLE),
        ("+(", NumberProblem.IMPOSSIBLE),
        ("+4900643333333", NumberProblem.IMPOSSIBLE),
    ],
)
def test_what_is_no_number_says_why(written: str, problem: NumberProblem) -> None:
    """Text that is no usable number is answered with the reason instead of an exception."""
    assert to_e164(written) is problem


@pytest.mark.parametrize(("written", "region"), [("911", "US"), ("80055501000000", "US"), ("8005550100", "ZZ")])
def test_national_numbers_must_fit_the_plan(written: str, region: str) -> None:
    """A national reading is a guess, so it holds only for a length the region's plan has."""
    assert to_e164(written, region=region) is NumberProblem.IMPOSSIBLE


def test_a_plan_foresees_its_numbers() -> None:
    """A deliverable number that is too long for its country's plan is told apart from a planned one."""
    assert is_planned(E164("+18005550100"))
    assert not is_planned(E164("+142555512112"))


@given(st.text(alphabet="+0123456789-.() ", max_size=30), st.sampled_from([None, "US", "DE", "IT", "AR", "BR", "MX"]))
def test_reading_a_number_again_changes_nothing(written: str, region: str | None) -> None:
    """Whatever is accepted has at most fifteen digits after the + and reads as itself from then on."""
    number = to_e164(written, region=region)
    if not isinstance(number, NumberProblem):
        assert number[0] == "+"
        assert number[1:].isdigit()
        assert len(number) <= MAX_DIGITS + 1
        assert to_e164(number) == number


@given(st.text(max_size=80), st.sampled_from([None, "US", "nowhere"]))
def test_any_text_is_answered(written: str, region: str | None) -> None:
    """No text and no region makes the reader raise."""
    assert isinstance(to_e164(written, region=region), str)
