"""The hospital's time: its zone, its holidays, its shifts. Pure: the moment comes in."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import holidays

from gateway.policy.facts import TimeFacts

A_DAY: Final = 24 * 60
_SPAN: Final = re.compile(r"([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})")


class Shift(NamedTuple):
    """Every day from `begins` until just before `ends`, in minutes of the wall clock since midnight.

    `ends` before `begins` goes over midnight. A whole day is 0 to 1440.
    """

    begins: int
    ends: int

    def holds(self, minute: int) -> bool:
        """Whether this minute of the day (0 to 1439) belongs to it."""
        if self.begins < self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends


def parse_shift(text: str) -> Shift:
    """Read `"08:30-17:15"`. ValueError, with what is wrong, when it is no span of a day, or holds no minute."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError("is no span of a day")
    hours, minutes = (int(found[1]), int(found[3])), (int(found[2]), int(found[4]))
    begins, ends = (60 * hour + minute for hour, minute in zip(hours, minutes, strict=True))
    if max(minutes) >= 60 or begins >= A_DAY or ends > A_DAY:  # noqa: PLR2004  minutes of an hour
        raise ValueError("has a time that no clock shows")
    if begins == ends:
        raise ValueError("begins when it ends")
    return Shift(begins, ends)


class Calendar:
    """What a moment is at the hospital. Never changes; compared by identity, so that it costs nothing as a key.

    Shifts go by the wall clock. Where a zone turns its clocks, the hour that comes twice belongs to the same shifts both times.
    """

    __slots__ = ("_national", "_own", "_shifts", "_zone")

    def __init__(
        self, zone: ZoneInfo, *, own: Iterable[date] = (), national: bool = True, shifts: Mapping[str, Shift] | None = None
    ) -> None:
        """`own`: the hospital's own holidays. `national`: Japan's national holidays and the days off that stand in for them
        (Act on National Holidays, articles 2 and 3) count, too.
        """
        self._zone = zone
        self._own = frozenset(own)
        self._national = national
        self._shifts = tuple(sorted((shifts or {}).items()))

    def at(self, second: int) -> TimeFacts:
        """Return what policies can read of this second (since the epoch)."""
        local = datetime.fromtimestamp(second, self._zone)
        day, minute = local.date(), 60 * local.hour + local.minute
        return TimeFacts(
            hour=local.hour,
            weekday=local.isoweekday(),
            date=day.isoformat(),
            day=day_number(day),
            holiday=day in self._own or (self._national and is_national_holiday(day)),
            shifts=tuple(name for name, shift in self._shifts if shift.holds(minute)),
        )


def day_number(day: date) -> int:
    """Return YYYYMMDD, which compares as days do."""
    return 10_000 * day.year + 100 * day.month + day.day


@lru_cache(maxsize=1)
def _national_holidays() -> holidays.HolidayBase:
    # Each year is worked out when it is first asked for.
    return holidays.country_holidays("JP")


@lru_cache(maxsize=64)
def is_national_holiday(day: date) -> bool:
    """Whether the whole of Japan has the day off by law. Days of later years are as the law stands in the library in use."""
    return day in _national_holidays()
