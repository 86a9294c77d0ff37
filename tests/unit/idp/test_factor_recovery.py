import os

import pytest

from idp.factors import recovery


def test_ten_different_codes_of_eighty_bits() -> None:
    codes = [code.reveal() for code in recovery.new_codes(os.urandom(100))]
    assert len(set(codes)) == 10
    assert all(len(code) == 19 and code.count("-") == 3 for code in codes)


def test_every_random_bit_is_in_the_code() -> None:
    zero = recovery.new_codes(bytes(100))[0].reveal()
    assert zero == "0000-0000-0000-0000"
    for bit in range(80):
        randomness = (1 << bit).to_bytes(10) + bytes(90)
        assert recovery.new_codes(randomness)[0].reveal() != zero
    with pytest.raises(ValueError, match="100 random bytes"):
        recovery.new_codes(bytes(99))


def test_a_code_is_recognised_however_it_is_typed() -> None:
    code = recovery.new_codes(bytes(range(100)))[9].reveal()
    hashed = recovery.code_hash(code)
    assert hashed is not None
    assert code.replace("-", "") not in hashed
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in code)
    for typed in (code.lower(), code.replace("-", ""), code.replace("-", " "), f" {code}\n", code.replace("-", "ー"), wide):
        assert recovery.code_hash(typed) == hashed
    with_zero = "0123-4567-89AB-CDEF"
    assert recovery.code_hash("OI23-4567-89ab-cdef") == recovery.code_hash(with_zero)
    assert recovery.code_hash("ol23-4567-89ab-cdef") == recovery.code_hash(with_zero)


@pytest.mark.parametrize(
    "typed", ["", "123456", "0000-0000-0000-000", "0000-0000-0000-00000", "UUUU-0000-0000-0000", "é" * 16, "0" * 5000]
)
def test_what_can_be_no_code_has_no_hash(typed: str) -> None:
    assert recovery.code_hash(typed) is None
