"""The shapes of a replay's numbers."""

import pytest

from gateway.console.replay_charts import BAR, HEIGHT, WIDTH, bars, hours
from gateway.replay.report import Line


def test_bars_are_on_one_scale_and_nothing_disappears() -> None:
    rows = bars([Line(key="a", lost=1_000_000, gained=500_000), Line(key="b", lost=1), Line(key="c")])
    assert [(row.lost, row.gained) for row in rows] == [(BAR, BAR // 2), (2, 0), (0, 0)]
    assert bars([]) == []


@pytest.mark.parametrize("most", [1, 2, 3, 7, 10, 11, 99, 100, 101, 12_345, 10**9])
def test_columns_stay_within_the_chart(most: int) -> None:
    lines = [Line(key=f"{hour:02d}", lost=most if hour == 3 else 0, gained=1 if hour == 20 else 0) for hour in range(24)]
    chart = hours(lines)
    assert chart.busiest == "03"
    assert chart.ticks[-1].number >= most
    assert len({tick.number for tick in chart.ticks}) == len(chart.ticks)
    for column in chart.columns:
        assert 0 <= column.lost_y <= HEIGHT
        assert column.lost_y + column.lost_height == chart.base
        assert column.x + 2 * column.width <= WIDTH
    assert [column.line.key for column in chart.columns if column.gained_height] == ["20"]


def test_hours_that_nobody_knows_have_a_place() -> None:
    lines = [Line(key=f"{hour:02d}") for hour in range(24)] + [Line(key="?", lost=5)]
    chart = hours(lines)
    assert chart.columns[-1].named
    assert chart.busiest == "?"
