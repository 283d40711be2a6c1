"""Days and hours as integers agree with the time zone database, on every day of every zone."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.usage.period import LocalTime, Period, PeriodError, Unit, milliseconds, moment
from tests.service.usage.ledger import clock_hour

ZONES = st.sampled_from(sorted(available_timezones())).map(ZoneInfo)
MOMENTS = st.integers(946_684_800_000, 2_051_222_400_000)
"""The years 2000 to 2034 in milliseconds."""

BERLIN, LORD_HOWE = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")
YEAR_MS = 366 * 86_400_000


def _ms(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))


def _slots(zone: ZoneInfo, unit: Unit, start: str, end: str) -> list[tuple[str, float]]:
    """Each slot's label and length in hours."""
    local, at_ms, found = LocalTime.over(zone, _ms(start), _ms(end)), _ms(start), []
    while at_ms < _ms(end):
        until = min(local.slot_end(unit, at_ms), _ms(end))
        found.append((local.label(unit, local.slot(unit, at_ms)), (until - at_ms) / 3_600_000))
        at_ms = until
    return found


@given(ZONES, MOMENTS, st.integers(0, YEAR_MS))
@settings(max_examples=300)
def test_a_moments_day_is_its_date(zone: ZoneInfo, start_ms: int, after_ms: int) -> None:
    """The label of a moment's day is the date the zone's clocks show."""
    local = LocalTime.over(zone, start_ms, start_ms + YEAR_MS)
    at_ms = start_ms + after_ms
    assert local.label(Unit.DAY, local.slot(Unit.DAY, at_ms)) == moment(at_ms, zone).date().isoformat()


@given(ZONES, MOMENTS, st.integers(0, YEAR_MS))
@settings(max_examples=300)
def test_a_moments_hour_is_what_the_clock_shows(zone: ZoneInfo, start_ms: int, after_ms: int) -> None:
    """The label of a moment's hour has the clock's hour and its offset, also where an hour comes twice."""
    local = LocalTime.over(zone, start_ms, start_ms + YEAR_MS)
    at_ms = start_ms + after_ms
    assert local.label(Unit.HOUR, local.slot(Unit.HOUR, at_ms)) == clock_hour(at_ms, zone)


@given(ZONES, MOMENTS, st.sampled_from(Unit))
@settings(max_examples=200)
def test_slots_follow_each_other_without_gap_or_overlap(zone: ZoneInfo, start_ms: int, unit: Unit) -> None:
    """A slot ends later than any moment in it, and where it ends another slot is."""
    local = LocalTime.over(zone, start_ms, start_ms + 10 * 86_400_000)
    end_ms = local.slot_end(unit, start_ms)
    longest = 33 * 24 if unit is Unit.MONTH else 50
    assert start_ms < end_ms <= start_ms + longest * 3_600_000
    assert local.slot(unit, end_ms - 1) == local.slot(unit, start_ms) != local.slot(unit, end_ms)


def test_days_on_which_clocks_change_have_their_real_length() -> None:
    """In Berlin the last Sunday of March has 23 hours and that of October 25."""
    spring = _slots(BERLIN, Unit.DAY, "2026-03-28T00:00+01:00", "2026-03-31T00:00+02:00")
    autumn = _slots(BERLIN, Unit.DAY, "2026-10-24T00:00+02:00", "2026-10-27T00:00+01:00")
    assert spring == [("2026-03-28", 24), ("2026-03-29", 23), ("2026-03-30", 24)]
    assert autumn == [("2026-10-24", 24), ("2026-10-25", 25), ("2026-10-26", 24)]


def test_an_hour_that_comes_twice_is_two_hours() -> None:
    """The hour that is repeated in autumn appears with both its offsets, and the one left out in spring not at all."""
    autumn = _slots(BERLIN, Unit.HOUR, "2026-10-25T01:00+02:00", "2026-10-25T04:00+01:00")
    assert [label for label, _ in autumn] == [
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]
    spring = _slots(BERLIN, Unit.HOUR, "2026-03-29T01:00+01:00", "2026-03-29T04:00+02:00")
    assert [label for label, _ in spring] == ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00"]


def test_a_change_of_half_an_hour_makes_two_half_hours() -> None:
    """On Lord Howe Island, where clocks move by thirty minutes, the cut hour comes in two parts."""
    autumn = _slots(LORD_HOWE, Unit.HOUR, "2026-04-05T01:00+11:00", "2026-04-05T03:00+10:30")
    assert autumn == [
        ("2026-04-05T01:00:00+11:00", 1.0),
        ("2026-04-05T01:00:00+10:30", 0.5),
        ("2026-04-05T02:00:00+10:30", 1.0),
    ]


@pytest.mark.parametrize("days", [0, 1, 400])
def test_a_zone_without_changes_is_one_stretch(days: int) -> None:
    """In UTC there is one offset, however long the period."""
    start_ms = _ms("2026-01-01T00:00+00:00")
    end_ms = start_ms + timedelta(days=days) // timedelta(milliseconds=1)
    assert len(LocalTime.over(ZoneInfo("UTC"), start_ms, end_ms).stretches) == 1


@given(ZONES, MOMENTS)
@settings(max_examples=100)
def test_a_moments_month_is_that_of_its_date(zone: ZoneInfo, at_ms: int) -> None:
    """The label of a moment's month is the one the zone's clocks show, and the next slot is another month."""
    local = LocalTime.over(zone, at_ms, at_ms + 40 * 86_400_000)
    assert local.label(Unit.MONTH, local.slot(Unit.MONTH, at_ms)) == f"{moment(at_ms, zone):%Y-%m}"
    end_ms = local.slot_end(Unit.MONTH, at_ms)
    assert f"{moment(end_ms, zone):%Y-%m}" != f"{moment(at_ms, zone):%Y-%m}" == f"{moment(end_ms - 1, zone):%Y-%m}"


@pytest.mark.parametrize("text", ["0001-01-01", "1969-12-31", "9999-12-31", "9999-12-31T23:59:59-12:00", "2200-01-01"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_years_beyond_all_billing_are_refused(text: str, zone: str) -> None:
    """A date at the ends of the calendar is a wrong parameter, in every zone."""
    with pytest.raises(PeriodError, match="must be in the years 1970 to 2199") as refused:
        Period.parse(text, "2026-01-01", zone)
    assert refused.value.field == "from"
    with pytest.raises(PeriodError) as refused:
        Period.parse("2026-01-01", text, zone)
    assert refused.value.field == "to"


@pytest.mark.parametrize("name", ["localtime", "posixrules", "Factory", "right/UTC", "posix/UTC", "", "/etc/passwd"])
def test_what_means_another_zone_on_another_machine_is_refused(name: str) -> None:
    """Only names of the time zone database are zones, even where a file of another name is there."""
    with pytest.raises(PeriodError, match="IANA time zone") as refused:
        Period.parse("2026-01-01", "2026-02-01", name)
    assert refused.value.field == "tz"
