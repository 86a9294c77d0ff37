"""Dates of birth as cards and staff ledgers write them: Gregorian, or with the Japanese era. Pure; never raises.

Read are, after NFKC and without blanks: `YYYY-MM-DD` (also with `/` or `.`, or with nothing between), `YYYY年M月D日`, the card's
`EYYYYMMDD` (E: 1 Meiji, 2 Taisho, 3 Showa, 4 Heisei, 5 Reiwa, 0 unknown; the year is Gregorian), and years of an era:
`昭和59年5月12日`, `S59.5.12`, `㍼59/5/12`, `令和元年5月1日`. Where an era is named, the day must lie in it; 30 July 1912 and
25 December 1926 lie in two. Kanji numerals, months without a day, and days that no calendar has are no dates.
"""

import re
import unicodedata
from datetime import date
from typing import Final

import msgspec


class Era(msgspec.Struct, frozen=True):
    """An era and its days, both ends included."""

    letter: str
    name: str
    first: date
    last: date

    @property
    def before(self) -> int:
        """The Gregorian year before the era's first."""
        return self.first.year - 1


ERAS: Final = (
    Era("M", "明治", date(1868, 1, 25), date(1912, 7, 30)),
    Era("T", "大正", date(1912, 7, 30), date(1926, 12, 25)),
    Era("S", "昭和", date(1926, 12, 25), date(1989, 1, 7)),
    Era("H", "平成", date(1989, 1, 8), date(2019, 4, 30)),
    Era("R", "令和", date(2019, 5, 1), date.max),
)
"""In the order of the card's E, which begins with 1."""
UNKNOWN_ERA: Final = 0

_LONGEST: Final = 40
_CARD: Final = re.compile(r"([0-5])([0-9]{4})([0-9]{2})([0-9]{2})")
_PLAIN: Final = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_PARTED: Final = re.compile(r"([0-9]{4})(?:([-/.])([0-9]{1,2})\2([0-9]{1,2})|年([0-9]{1,2})月([0-9]{1,2})日)")
_OF_ERA: Final = re.compile(
    r"([MTSHR]|明治|大正|昭和|平成|令和)([0-9]{1,2}|元)(?:([-/.])([0-9]{1,2})\3([0-9]{1,2})|年([0-9]{1,2})月([0-9]{1,2})日)",
    re.IGNORECASE,
)


def read_date(text: str) -> date | None:
    """Return the day that a text means; None where it means none."""
    if len(text) > _LONGEST:
        return None
    text = "".join(unicodedata.normalize("NFKC", text).split())
    if found := _CARD.fullmatch(text):
        day = _day(found[2], found[3], found[4])
        return day if int(found[1]) == UNKNOWN_ERA or _within(day, ERAS[int(found[1]) - 1]) else None
    if found := _PLAIN.fullmatch(text):
        return _day(found[1], found[2], found[3])
    if found := _PARTED.fullmatch(text):
        return _day(found[1], found[3] or found[5], found[4] or found[6])
    if found := _OF_ERA.fullmatch(text):
        era = next(era for era in ERAS if found[1].upper() in {era.letter, era.name})
        year = era.before + (1 if found[2] == "元" else int(found[2]))
        day = _day(str(year), found[4] or found[6], found[5] or found[7])
        return day if _within(day, era) else None
    return None


def alike(one: date, other: date) -> bool:
    """True for two days that one slip makes of each other: a digit, two digits exchanged, or day and month exchanged."""
    left, right = (f"{day.year:04}{day.month:02}{day.day:02}" for day in (one, other))
    wrong = [place for place in range(len(left)) if left[place] != right[place]]
    slip = len(wrong) == 1
    if len(wrong) == 2:  # noqa: PLR2004  a pair
        first, second = wrong
        slip = (left[first], left[second]) == (right[second], right[first])
    return slip or (one != other and (one.year, one.month, one.day) == (other.year, other.day, other.month))


def _day(year: str, month: str, day: str) -> date | None:
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


def _within(day: date | None, era: Era) -> bool:
    return day is not None and era.first <= day <= era.last
