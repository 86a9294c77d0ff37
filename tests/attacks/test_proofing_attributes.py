"""Attributes of a genuine certificate in an encoding that is not the profile's: nobody is named by them."""

from pathlib import Path

import pytest

from idp.proofing.jpki.attributes import parse_attributes
from idp.proofing.jpki.certificate import Extension
from idp.proofing.jpki.der import Malformed
from idp.proofing.port import Proofed, Verified
from tests.support import asn1
from tests.support.jpki import JpkiSite, outcome, verdict
from tests.support.jpki_ca import ATTRIBUTE, attribute, attributes

NAME, MARKS, SEX, BORN, ADDRESS, ADDRESS_MARKS = 1, 2, 3, 4, 5, 6
AT = {NAME: 0, BORN: 1, SEX: 2, ADDRESS: 3, MARKS: 4, ADDRESS_MARKS: 5}
"""Where each stands among the six."""


def read(names: list[bytes]) -> Verified:
    return parse_attributes({"2.5.29.17": Extension(False, asn1.seq(*names))})


def with_one(number: int, *instead: bytes) -> list[bytes]:
    """The six, with other bytes for one of them."""
    names = attributes()
    names[AT[number] : AT[number] + 1] = instead
    return names


def test_what_is_read() -> None:
    found = read(attributes("髙﨑　恵", substitutes="0100", birth_date="319840512"))
    assert found == Verified(name="髙﨑　恵", substitutes=(2,), birth_date="319840512")
    assert "東京" not in str((found.name, found.kana, found.birth_date, found.former_names, found.licences))


@pytest.mark.parametrize("number", sorted(AT))
def test_one_is_missing_or_there_twice(number: int) -> None:
    one = attributes()[AT[number]]
    for names in (with_one(number), with_one(number, one, one), [*attributes(), one], [one, *attributes()]):
        with pytest.raises(Malformed):
            read(names)


@pytest.mark.parametrize("number", sorted(AT))
def test_another_string_type(number: int) -> None:
    """BMPString, PrintableString, IA5String, TeletexString, UniversalString, OCTET STRING; and none at all."""
    for tag, encoding in (
        (0x1E, "utf-16-be"),
        (0x13, "utf-8"),
        (0x16, "utf-8"),
        (0x14, "utf-8"),
        (0x1C, "utf-32-be"),
        (0x04, "utf-8"),
    ):
        with pytest.raises(Malformed):
            read(with_one(number, attribute(number, asn1.tlv(tag, "1".encode(encoding)))))
    for value in (
        b"",
        b"1",
        asn1.NULL,
        asn1.seq(asn1.utf8("1")),
        asn1.utf8("1") + asn1.utf8("1"),
        asn1.tlv(0x2C, asn1.utf8("1")),
    ):
        with pytest.raises(Malformed):
            read(with_one(number, attribute(number, value)))


@pytest.mark.parametrize("tag", [0x80, 0xA1, 0x81, 0x0C, 0x30])
def test_another_tag_around_it(tag: int) -> None:
    oid = asn1.oid(f"{ATTRIBUTE}{NAME}")
    for name in (
        asn1.tlv(0xA0, oid, asn1.tlv(tag, asn1.utf8("佐藤　恵"))), asn1.tlv(tag, oid, asn1.tlv(0xA0, asn1.utf8("佐藤　恵"))),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            read(with_one(NAME, name))


def test_bytes_that_are_not_utf8() -> None:
    for content in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "佐".encode()[:2]):
        with pytest.raises(Malformed):
            read(with_one(NAME, attribute(NAME, asn1.tlv(0x0C, content))))


def test_overlong_and_empty() -> None:
    longest = "佐" * 200
    assert read(with_one(NAME, attribute(NAME, asn1.utf8(longest)))).name == longest
    for number, text in (
        (NAME, "佐" * 201),
        (NAME, "a" * 201),
        (NAME, ""),
        (BORN, ""),
        (SEX, ""),
        (SEX, "22"),
        (ADDRESS, "a" * 801),
        (MARKS, "0" * 201),
    ):
        with pytest.raises(Malformed):
            read(with_one(number, attribute(number, asn1.utf8(text))))


def test_lengths_of_ber() -> None:
    """The same name behind a length in another form."""
    text = "佐藤　恵".encode()
    for head in (b"\x0c\x81" + bytes([len(text)]), b"\x0c\x82\x00" + bytes([len(text)]), b"\x0c\x80"):
        with pytest.raises(Malformed):
            read(with_one(NAME, attribute(NAME, head + text)))
    with pytest.raises(Malformed):
        read(with_one(NAME, attribute(NAME, b"\x0c\x80" + text + b"\x00\x00")))


@pytest.mark.parametrize(
    "born",
    [
        "19840512",
        "3198405120",
        "31984051",
        "919840512",
        "319840５12",
        "3-1984-05",
        "s19840512",
        "3 9840512",
        "３19840512",
        "319840512\n",
    ],
)
def test_a_birth_date_in_another_form(born: str) -> None:
    with pytest.raises(Malformed):
        read(with_one(BORN, attribute(BORN, asn1.utf8(born))))


@pytest.mark.parametrize("marks", ["00000", "2000", "０000", "-1", "0 00", "true"])
def test_substitute_positions_that_are_not_of_this_name(marks: str) -> None:
    with pytest.raises(Malformed):
        read(attributes("佐藤　恵", substitutes=marks))


def test_other_names_beside_them_are_passed_over() -> None:
    directory = asn1.tlv(0xA4, asn1.name(("2.5.4.6", "JP")))
    unknown = asn1.tlv(0xA0, asn1.oid(f"{ATTRIBUTE}7"), asn1.tlv(0xA0, asn1.utf8("サトウ　メグミ")))
    mail = asn1.tlv(0x81, b"a@example.jp")
    assert read([directory, *attributes(), unknown, mail]).name == "佐藤　恵"


async def test_through_the_whole_check_list(tmp_path: Path) -> None:
    """A CA that signs such a certificate names nobody with it."""
    site = JpkiSite(tmp_path)
    site.publish()
    backend = site.backend()
    bmp = attribute(NAME, asn1.tlv(0x1E, "佐藤　恵".encode("utf-16-be")))
    assert await verdict(backend, site.ca().issue(names=with_one(NAME, bmp))) == "unusable_answer"
    assert await verdict(backend, site.ca().issue(names=[])) == "unusable_answer"


@pytest.mark.parametrize(
    "name",
    [
        "佐\u202e藤　恵",
        "佐藤\u0000恵",
        "佐藤\r\n管理者",
        "\u200b佐藤　恵\u200d",
        "\ufeff佐藤",
        "<script>alert(1)</script>",
        "𠮷野　家",
    ],
)
async def test_a_name_with_control_characters_and_bidi_overrides_comes_as_it_is(tmp_path: Path, name: str) -> None:
    """Matching has to see it, to say that it is not the roster's; nothing on the way may clean it into somebody's name."""
    site = JpkiSite(tmp_path)
    site.publish()
    result = await outcome(site.backend(), site.ca().issue(names=attributes(name)))
    assert isinstance(result, Proofed)
    assert result.attributes == Verified(name=name, birth_date="319840512")
    assert name not in repr(result)
    assert "319840512" not in repr(result)
