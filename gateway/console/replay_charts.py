"""A replay's numbers as shapes: where each bar of a chart begins and how long it is. Pure; the templates draw them.

Every chart stands beside its table, says what it shows in words, and tells losses from gains by place and pattern, not by colour
alone.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.replay.report import Line

ROWS: Final = 15
"""People, roles or routes that are drawn; the table has the rest."""
BAR: Final = 200
"""Width of the longest bar of a row."""
WIDTH: Final = 760
HEIGHT: Final = 220
_LEFT: Final = 46
_BOTTOM: Final = 28
_TOP: Final = 12
_LEAST: Final = 2
"""A number that is not 0 is seen."""


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a table with its bars."""

    line: Line
    lost: int
    """Width."""
    gained: int


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """One hour: two columns side by side."""

    line: Line
    x: float
    width: float
    lost_y: float
    lost_height: float
    gained_y: float
    gained_height: float
    named: bool
    """Its hour is written below."""


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """A line across the chart."""

    number: int
    y: float


class Hours(msgspec.Struct, frozen=True, kw_only=True):
    """The chart of the hours."""

    columns: tuple[Column, ...]
    ticks: tuple[Tick, ...]
    left: int
    base: int
    width: int
    height: int
    busiest: str
    """The hour with most losses, or gains where nobody loses."""


def bars(lines: Sequence[Line]) -> list[Bar]:
    """Return lines with the widths of their bars, all on one scale."""
    most = max((max(line.lost, line.gained) for line in lines), default=0)
    return [Bar(line=line, lost=_long(line.lost, most, BAR), gained=_long(line.gained, most, BAR)) for line in lines]


def hours(lines: Sequence[Line]) -> Hours:
    """Return the chart of the hours of the day."""
    most = max((max(line.lost, line.gained) for line in lines), default=0)
    top = _round_up(most)
    base, room = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    step = (WIDTH - _LEFT) / max(1, len(lines))
    columns = []
    for number, line in enumerate(lines):
        lost, gained = _long(line.lost, top, room), _long(line.gained, top, room)
        columns.append(
            Column(
                line=line,
                x=round(_LEFT + number * step + step * 0.1, 1),
                width=round(step * 0.4, 1),
                lost_y=base - lost,
                lost_height=lost,
                gained_y=base - gained,
                gained_height=gained,
                named=number % 3 == 0 or line.key == "?",
            )
        )
    busiest = max(lines, key=lambda line: (line.lost, line.gained), default=Line(key=""))
    return Hours(
        columns=tuple(columns),
        ticks=tuple(Tick(number=top * part // 2, y=base - room * part / 2) for part in range(3) if top > 1 or part != 1),
        left=_LEFT,
        base=base,
        width=WIDTH,
        height=HEIGHT,
        busiest=busiest.key,
    )


def _long(number: int, most: int, room: int) -> int:
    return max(_LEAST, round(room * number / most)) if number and most else 0


def _round_up(number: int) -> int:
    """Return the next number that is good to read: 1, 2, 4, 6, 8, 10 times a power of ten."""
    power = 1
    while number > 10 * power:
        power *= 10
    return next((times * power for times in (1, 2, 4, 6, 8) if number <= times * power), 10 * power)
