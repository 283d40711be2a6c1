"""The rows that processes of different versions send each other."""

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from service.fleet.live import fields
from service.fleet.live.fields import CODES, GAUGES, NUMBER, ROW, WIDTH, amounts, read, written
from telemetry.metrics.live_table import BOUNDS, COUNTERS

rows = st.lists(st.integers(-(2**53), 2**53), min_size=WIDTH, max_size=WIDTH)


@given(rows)
def test_a_row_is_read_as_it_was_written(row: list[int]) -> None:
    """Whatever the numbers, negative ones too."""
    assert read(written(row)) == row


def test_every_number_has_a_code_of_its_own() -> None:
    """Nothing of the live view is left out, and no two share a code."""
    assert {*ROW.counters} == {*GAUGES, *COUNTERS}
    assert ROW.distributions == tuple(BOUNDS)
    assert len(set(CODES)) == len(CODES) == WIDTH


def test_codes_stay_what_they_are() -> None:
    """A code never stands for another number than in the versions before: a deploy mixes them."""
    named = " ".join(f"{name}={CODES[place]}" for name, place in NUMBER.items() if int(CODES[place]) < 44)
    bounds = " ".join(f"{name}:{BOUNDS[name]}" for name in fields._DISTRIBUTIONS[:6])
    digest = sha256((" ".join(sorted(named.split())) + bounds).encode()).hexdigest()
    assert digest[:16] == "642e105d834dc78a", "numbers are appended to the codes; a distribution with new bounds, too"


def test_a_code_from_a_later_version_is_passed_over() -> None:
    """What this version does not know, it does not show."""
    assert read('{"2":3,"999":7,"99001":1}')[NUMBER["received_calls"]] == 3


def test_call_time_is_told_in_minutes() -> None:
    """It is kept in milliseconds."""
    row = [0] * WIDTH
    row[NUMBER["minutes_processed"]] = 90_000
    assert amounts(row)["minutes_processed"] == 1.5
