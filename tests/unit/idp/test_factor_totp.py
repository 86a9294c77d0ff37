import re
import xml.etree.ElementTree as ET

import pyotp
import pytest

from gateway.kernel.secret import Secret
from idp.factors import totp

SECRET = Secret("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ")  # RFC 6238 appendix B, "12345678901234567890"
NOW = 1_800_000_010.0
STEP = int(NOW) // 30


@pytest.mark.parametrize(("at", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (2000000000, "279037")])
def test_the_examples_of_the_standard(at: int, code: str) -> None:
    assert totp.matching_step(SECRET, code, at, -1) == at // 30


def _code(step: int) -> str:
    return pyotp.TOTP(SECRET.reveal()).generate_otp(step)


@pytest.mark.parametrize("drift", [-1, 0, 1])
def test_one_step_of_drift_is_accepted(drift: int) -> None:
    assert totp.matching_step(SECRET, _code(STEP + drift), NOW, -1) == STEP + drift


@pytest.mark.parametrize("drift", [-3, -2, 2, 3])
def test_more_drift_is_not(drift: int) -> None:
    assert totp.matching_step(SECRET, _code(STEP + drift), NOW, -1) is None


def test_a_used_step_and_older_ones_never_come_back() -> None:
    assert totp.matching_step(SECRET, _code(STEP), NOW, STEP) is None
    assert totp.matching_step(SECRET, _code(STEP - 1), NOW, STEP) is None
    assert totp.matching_step(SECRET, _code(STEP + 1), NOW, STEP) == STEP + 1


@pytest.mark.parametrize(
    "typed", ["", " ", "12345", "1234567", "abcdef", "-12345", "1234.5", "𝟏²³456x", "0x1234", "None", "123\x00456"]
)
def test_what_is_no_code_is_no_code(typed: str) -> None:
    assert totp.matching_step(SECRET, typed, NOW, -1) is None


def test_full_width_digits_and_blanks_are_read() -> None:
    code = _code(STEP)
    wide = "".join(chr(ord(digit) + 0xFEE0) for digit in code)
    assert totp.matching_step(SECRET, wide, NOW, -1) == STEP
    assert totp.matching_step(SECRET, f" {code[:3]} {code[3:]}\n", NOW, -1) == STEP


def test_a_secret_is_160_bits_of_what_it_was_given() -> None:
    assert totp.new_secret(b"12345678901234567890") == SECRET
    with pytest.raises(ValueError, match="20 random bytes"):
        totp.new_secret(b"too short")


def test_the_enrolment_url_is_what_apps_expect() -> None:
    url = totp.enrolment_url(SECRET, "dr.sato", "さくら病院")
    assert "GEZD" not in repr(url)
    read = pyotp.parse_uri(url.reveal())
    assert isinstance(read, pyotp.TOTP)
    assert (read.secret, read.name, read.issuer, read.digits, read.interval) == (SECRET.reveal(), "dr.sato", "さくら病院", 6, 30)


def test_the_qr_code_is_an_svg_that_a_strict_page_policy_allows() -> None:
    svg = totp.qr_svg(totp.enrolment_url(SECRET, "dr.sato", "病院"))
    root = ET.fromstring(svg)  # noqa: S314  our own text
    assert root.tag.endswith("svg")
    assert not re.search(r"style=|<script|href|<style|on\w+=", svg)


def test_by_hand_it_comes_in_groups_of_four() -> None:
    assert totp.grouped(SECRET) == "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ"
