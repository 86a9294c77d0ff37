"""What is asked for stays, what is not goes."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.recent import Recent


@given(st.lists(st.integers(0, 30)), st.integers(1, 8))
def test_it_never_answers_for_another_key_and_never_grows(keys: list[int], size: int) -> None:
    recent: Recent[int, str] = Recent(size)
    asked: list[int] = []
    for key in keys:
        found = recent.get(key)
        assert found in {None, str(key)}
        if len(set(asked[-size:])) <= size and key in asked[-size:]:
            assert found == str(key), "the last ones that were asked for are there"
        if found is None:
            recent.put(key, str(key))
        asked.append(key)
        assert len(recent) <= 2 * size
