"""Two spellings of one login."""

import pytest

from gateway.domain.identity import same_login


@pytest.mark.parametrize("twin", ["sec.abe", "SEC.ABE", "ｓｅｃ．ａｂｅ", "Ｓec.Abe", "ſec.abe"])
def test_another_spelling_is_no_second_person(twin: str) -> None:
    assert same_login("sec.abe", twin)
    assert same_login(twin, "sec.abe")


def test_others_are_others_and_no_login_is_nobodys() -> None:
    assert not same_login("sec.abe", "sec.ab")
    assert not same_login("sec.abe", "")
    assert not same_login("", "")
