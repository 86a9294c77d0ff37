import time

import argon2
import pytest

from gateway.kernel.secret import Secret
from idp.factors.password import HashParameters, Passwords, weaknesses

CHEAP = HashParameters(time_cost=1, memory_kib=1024, parallelism=1)
SALT = b"0123456789abcdef"


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(SALT, CHEAP)


def test_a_right_password_is_right_and_a_wrong_one_is_not(passwords: Passwords) -> None:
    stored = passwords.hash(Secret("kawasemi-4821"), SALT)
    assert passwords.check(stored, Secret("kawasemi-4821")).ok
    assert not passwords.check(stored, Secret("kawasemi-4822")).ok
    assert not passwords.check(stored, Secret("")).ok


def test_it_is_argon2id_with_the_salt_that_was_given(passwords: Passwords) -> None:
    stored = passwords.hash(Secret("kawasemi-4821"), SALT)
    assert stored.startswith("$argon2id$v=19$m=1024,t=1,p=1$")
    assert stored == passwords.hash(Secret("kawasemi-4821"), SALT)
    assert stored != passwords.hash(Secret("kawasemi-4821"), b"fedcba9876543210")


def test_full_width_letters_of_an_input_method_are_the_same_password(passwords: Passwords) -> None:
    stored = passwords.hash(Secret("kawasemi-4821"), SALT)
    assert passwords.check(stored, Secret("ｋａｗａｓｅｍｉ－４８２１")).ok


def test_nobody_has_no_password_and_not_the_dummys_either(passwords: Passwords) -> None:
    assert not passwords.check(None, Secret("kawasemi-4821")).ok
    assert not passwords.check(None, Secret("no account has this password")).ok
    assert not passwords.check("", Secret("no account has this password")).ok


def test_a_check_for_nobody_takes_as_long_as_one_for_somebody() -> None:
    passwords = Passwords(SALT, HashParameters(time_cost=2, memory_kib=16384, parallelism=1))
    stored = passwords.hash(Secret("kawasemi-4821"), SALT)

    def best_of(known: str | None) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            passwords.check(known, Secret("wrong-4821"))
            times.append(time.perf_counter() - start)
        return min(times)

    somebody, nobody = best_of(stored), best_of(None)
    assert 0.5 < nobody / somebody < 2


def test_an_endless_password_is_refused_without_being_hashed(passwords: Passwords) -> None:
    stored = passwords.hash(Secret("x" * 300), SALT)
    assert not passwords.check(stored, Secret("x" * 300)).ok


def test_a_hash_with_other_parameters_is_to_be_stored_anew(passwords: Passwords) -> None:
    stored = Passwords(SALT, HashParameters(time_cost=2, memory_kib=1024, parallelism=1)).hash(Secret("kawasemi-4821"), SALT)
    check = passwords.check(stored, Secret("kawasemi-4821"))
    assert check.ok
    assert check.rehash
    assert not passwords.check(passwords.hash(Secret("kawasemi-4821"), SALT), Secret("kawasemi-4821")).rehash


def test_a_damaged_store_is_not_a_wrong_password(passwords: Passwords) -> None:
    with pytest.raises(argon2.exceptions.InvalidHashError):
        passwords.check("not a hash", Secret("kawasemi-4821"))


@pytest.mark.parametrize(
    ("password", "weakness"),
    [
        ("ab1", "too_short"),
        ("x1" * 200, "too_long"),
        ("8362540917", "no_letter"),
        ("kawasemi-hotaru", "no_digit"),
        ("xx-DR.SATO-99", "contains_login"),
        ("satosato77", "contains_login"),
        ("ＤＲ．ＳＡＴＯ77xyz", "contains_login"),
        ("Password1!", "common"),
        ("!!passw0rd2026", "common"),
        ("1qaz2wsx", "common"),
        ("Sakura2026", "common"),
        ("aaaaaaa1", "common"),
    ],
)
def test_a_weak_password_is_refused_with_its_reason(password: str, weakness: str) -> None:
    assert weakness in weaknesses(Secret(password), "dr.sato")


@pytest.mark.parametrize("password", ["kawasemi-4821", "窓から見える桜の木2026本", "tr0mbone under the stairs"])
def test_a_good_password_is_accepted(password: str) -> None:
    assert weaknesses(Secret(password), "dr.sato") == ()


def test_the_minimum_is_the_callers_where_there_is_one_factor_only() -> None:
    assert weaknesses(Secret("kawase4821"), "dr.sato", minimum=13) == ("too_short",)
