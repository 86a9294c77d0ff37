import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.console.position import Position


def test_with_one_log_it_is_a_number() -> None:
    position = Position("4")
    assert position.has(1, 4)
    assert not position.has(1, 5)
    assert position.advance(1, 5) == "5"


def test_with_several_it_names_each() -> None:
    position = Position()
    assert position.advance(1, 120) == "120"
    assert position.advance(3, 88) == "s1i120s3i88"
    again = Position("s1i120s3i88")
    assert again.has(3, 88)
    assert not again.has(3, 89)
    assert not again.has(2, 0)
    assert again.advance(2, 0) == "s1i120s2i0s3i88"


def test_a_reader_of_another_log_than_the_first_says_so() -> None:
    assert Position().advance(2, 7) == "s2i7"


def test_it_never_goes_back() -> None:
    position = Position("9")
    assert position.advance(1, 3) == "9"


@pytest.mark.parametrize("given", ["", "x", "-1", "9" * 16, "٣", "s1i1x", "s1", "s100i1", "i1s1", "s1i" + "9" * 16, "s1i1" * 61])
def test_what_is_no_position_is_none(given: str) -> None:
    assert not Position(given).has(1, 0)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 10**15 - 1)), min_size=1, max_size=80))
def test_what_it_says_it_understands(seen: list[tuple[int, int]]) -> None:
    position, word = Position(), ""
    for slot, index in seen:
        word = position.advance(slot, index)
    assert word.isascii()
    assert word.isalnum()
    again = Position(word)
    for slot in range(1, 61):
        newest = max((index for other, index in seen if other == slot), default=-1)
        assert again.has(slot, newest)
        assert not again.has(slot, newest + 1)
