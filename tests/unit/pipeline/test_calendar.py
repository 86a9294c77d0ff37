"""The hospital's time: holidays, shifts over midnight, clocks that are turned."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.pipeline.calendar import A_DAY, Calendar, Shift, is_national_holiday, parse_shift

TOKYO = ZoneInfo("Asia/Tokyo")
BERLIN = ZoneInfo("Europe/Berlin")
SHIFTS = {name: parse_shift(span) for name, span in (("night", "16:30-09:00"), ("day", "08:30-17:15"), ("late", "12:30-21:15"))}


def at(text: str, zone: ZoneInfo = TOKYO) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("2026-11-24T08:29:59", ("night",)),
        ("2026-11-24T08:30:00", ("day", "night")),
        ("2026-11-24T08:59:59", ("day", "night")),
        ("2026-11-24T09:00:00", ("day",)),
        ("2026-11-24T12:30:00", ("day", "late")),
        ("2026-11-24T16:30:00", ("day", "late", "night")),
        ("2026-11-24T17:15:00", ("late", "night")),
        ("2026-11-24T21:15:00", ("night",)),
        ("2026-11-25T00:00:00", ("night",)),
    ],
)
def test_shifts_overlap_and_go_over_midnight(text: str, names: tuple[str, ...]) -> None:
    assert Calendar(TOKYO, shifts=SHIFTS).at(at(text)).shifts == names


def test_a_whole_day_is_a_shift_and_without_shifts_there_is_none() -> None:
    always = Calendar(TOKYO, shifts={"always": parse_shift("00:00-24:00")})
    assert {always.at(second).shifts for second in range(at("2026-11-24T00:00:00"), at("2026-11-25T00:00:00"), 599)} == {
        ("always",)
    }
    assert Calendar(TOKYO).at(at("2026-11-24T10:00:00")).shifts == ()


@given(st.integers(0, A_DAY - 1), st.integers(0, A_DAY), st.integers(0, A_DAY - 1))
def test_what_one_shift_leaves_the_rest_of_the_day_is(begins: int, ends: int, minute: int) -> None:
    if ends not in {begins, A_DAY}:
        assert Shift(begins, ends).holds(minute) is not Shift(ends, begins).holds(minute)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("8:30-17:15", "no span"), ("08:30", "no span"), ("08:30-17:15 ", "no span"), ("08:30–17:15", "no span"), ("", "no span"),
        ("08:60-17:15", "no clock"), ("24:00-08:00", "no clock"), ("08:00-24:01", "no clock"), ("08:00-25:00", "no clock"),
        ("08:30-08:30", "begins when it ends"), ("００:００-08:30", "no span"),
    ],
)  # fmt: skip
def test_what_is_no_shift_is_said(text: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        parse_shift(text)


def test_japans_holidays_are_those_of_the_law() -> None:
    """Of 2026, as the Cabinet Office lists them: https://www8.cao.go.jp/chosei/shukujitsu/gaiyou.html"""
    listed = [
        "01-01", "01-12", "02-11", "02-23", "03-20", "04-29", "05-03", "05-04", "05-05", "05-06", "07-20", "08-11", "09-21",
        "09-22", "09-23", "10-12", "11-03", "11-23",
    ]  # fmt: skip
    days = [date.fromordinal(date(2026, 1, 1).toordinal() + number) for number in range(365)]
    # 6 May stands in for 3 May, a Sunday; 22 September lies between two holidays.
    assert [f"{day:%m-%d}" for day in days if is_national_holiday(day)] == listed


def test_national_and_own_holidays_and_weekends() -> None:
    calendar = Calendar(TOKYO, own=[date(2026, 12, 29)])
    culture_day, own, saturday, plain = (at(f"2026-{day}T12:00:00") for day in ("11-03", "12-29", "11-28", "11-24"))
    assert [calendar.at(moment).holiday for moment in (culture_day, own, saturday, plain)] == [True, True, False, False]
    assert not Calendar(TOKYO, national=False).at(culture_day).holiday
    assert Calendar(TOKYO, own=[date(2026, 12, 29)], national=False).at(own).holiday


def test_the_day_begins_at_the_hospitals_midnight() -> None:
    calendar = Calendar(TOKYO)
    before, after = calendar.at(at("2026-11-02T23:59:59")), calendar.at(at("2026-11-03T00:00:00"))
    assert (before.date, before.day, before.holiday, before.weekday) == ("2026-11-02", 20261102, False, 1)
    assert (after.date, after.day, after.holiday, after.weekday) == ("2026-11-03", 20261103, True, 2)
    assert calendar.at(at("2026-11-02T15:00:00+00:00")) == after


def test_where_clocks_are_turned_shifts_go_by_the_wall_clock() -> None:
    calendar = Calendar(BERLIN, national=False, shifts={"night": parse_shift("22:00-06:00"), "early": parse_shift("02:00-03:00")})
    # 25 October 2026: 02:30 comes twice, an hour apart, and both times it is early.
    twice = [int(datetime(2026, 10, 25, hour, 30, tzinfo=UTC).timestamp()) for hour in (0, 1)]
    assert [calendar.at(moment).hour for moment in twice] == [2, 2]
    assert [calendar.at(moment).shifts for moment in twice] == [("early", "night")] * 2
    # 29 March 2026: after 01:59 comes 03:00, so there is no early shift, and the night goes on.
    spring = [int(datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC).timestamp()) + more for more in (0, 1)]
    assert [(calendar.at(moment).hour, calendar.at(moment).shifts) for moment in spring] == [(1, ("night",)), (3, ("night",))]
    assert calendar.at(spring[1] + 3 * 3600).shifts == ()


def test_a_year_far_away_has_days_too() -> None:
    for year in (1971, 2099, 2400):
        assert Calendar(TOKYO).at(at(f"{year}-06-15T12:00:00")).day == year * 10_000 + 615
