"""Names of accounts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from idp.accounts import canonical, check_email, check_login


@given(st.text())
def test_canonical_is_total_and_idempotent(text: str) -> None:
    once = canonical(text)
    assert canonical(once) == once
    assert len(once) <= 255


@given(st.from_regex(r"\A[a-z0-9]([a-z0-9._-]{0,10}[a-z0-9])?\Z"))
def test_ascii_case_blanks_and_width_make_no_difference(login: str) -> None:
    wide = "".join(chr(ord(char) + 0xFEE0) for char in login)
    assert {canonical(spelling) for spelling in (login, login.upper(), f" {login}\n", wide)} == {login}


@pytest.mark.parametrize("login", ["a", "dr.sato", "n-0123_b", "0", "x" * 64])
def test_plain_logins_are_fine(login: str) -> None:
    check_login(login)


@pytest.mark.parametrize("login", ["", ".a", "a.", "-a", "a b", "A", "é", "а", "a@b", "x" * 65, "usr_1", "a\n", "a\x00", "ﬁ"])
def test_other_logins_are_not(login: str) -> None:
    with pytest.raises(ValueError, match="not acceptable"):
        check_login(login)


@pytest.mark.parametrize("email", ["a@b.jp", "first.last+tag@mail.hospital.example"])
def test_plain_addresses_are_fine(email: str) -> None:
    check_email(email)


@pytest.mark.parametrize(
    "email", ["", "a", "a@b", "a@@b.jp", "a@b@c.jp", "A@b.jp", "a@b.jp\n", "a@-b.jp", "ä@b.jp", "a@" + "b" * 260 + ".jp"]
)
def test_other_addresses_are_not(email: str) -> None:
    with pytest.raises(ValueError, match="not acceptable"):
        check_email(email)
