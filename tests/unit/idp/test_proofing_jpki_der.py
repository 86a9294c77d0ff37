"""The DER reader: values in their one encoding, against pyca's reading where both have one."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from idp.proofing.jpki import der
from idp.proofing.jpki.der import Element, Fields, Malformed
from tests.support import asn1


def only(data: bytes) -> Element:
    found = der.elements(data)
    assert len(found) == 1
    return found[0]


@example(-128)
@example(-129)
@example(128)
@example(0)
@settings(deadline=None)
@given(st.integers(min_value=-(2**200), max_value=2**200))
def test_integers(number: int) -> None:
    assert der.integer(only(asn1.integer(number))) == number


@pytest.mark.parametrize("value", [b"", b"\x00\x01", b"\x00\x7f", b"\xff\x80", b"\xff\xff"])
def test_integers_in_more_bytes_than_they_need(value: bytes) -> None:
    with pytest.raises(Malformed):
        der.integer(only(asn1.tlv(0x02, value)))


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=2**60), min_size=1, max_size=6), st.integers(0, 1), st.integers(0, 39))
def test_object_identifiers(rest: list[int], first: int, second: int) -> None:
    dotted = ".".join(str(part) for part in (first, second, *rest))
    assert der.oid(only(asn1.oid(dotted))) == dotted


@pytest.mark.parametrize(
    "value", [b"", b"\x80\x01", b"\x2a\x80\x01", b"\x2a\x86", b"\xff", b"\x2a" * 65, b"\xff" * 5_000 + b"\x01"]
)
def test_object_identifiers_that_are_none(value: bytes) -> None:
    with pytest.raises(Malformed):
        der.oid(only(asn1.tlv(0x06, value)))


def test_object_identifiers_of_the_third_arc() -> None:
    assert der.oid(only(b"\x06\x03\x88\x37\x03")) == "2.999.3"
    assert der.oid(only(b"\x06\x01\x50")) == "2.0"


@settings(deadline=None)
@given(st.binary(max_size=400), st.sampled_from([0x04, 0x30, 0x80, 0xA3]))
def test_every_element_has_one_encoding(content: bytes, tag: int) -> None:
    whole = asn1.tlv(tag, content)
    assert only(whole) == Element(tag, whole, content)
    assert der.one(whole, tag).value == content
    with pytest.raises(Malformed):
        der.one(whole + b"\x00", tag)
    with pytest.raises(Malformed):
        der.one(whole[:-1], tag)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x30", b"\x30\x80", b"\x30\x80\x00\x00", b"\x30\x81\x00", b"\x30\x81\x7f" + bytes(127),
        b"\x30\x82\x00\x80" + bytes(128),
        b"\x30\x85\x00\x00\x00\x00\x01\x00", b"\x30\xff", b"\x1f\x81\x00\x00", b"\x30\x84\xff\xff\xff\xff", b"\x30\x02\x00",
    ],
)  # fmt: skip
def test_lengths_and_tags_that_are_not_der(data: bytes) -> None:
    with pytest.raises(Malformed):
        der.one(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00", b"\x24\x04\x04\x02\x01\x02", b"\x2c\x03\x0c\x01a", b"\x10\x00", b"\x11\x00", b"\x01\x01\x01",
        b"\x01\x02\xff\xff",
        b"\x05\x01\x00", b"\x03\x00", b"\x03\x01\x01", b"\x03\x02\x01\x01", b"\x03\x02\x08\x00", b"\x0c\x01\xff", b"\x1e\x01a",
        b"\x0a\x02\x00\x01", b"\x17\x01a", b"\x31\x06\x02\x01\x02\x02\x01\x01", b"\x30\x02\x02\x00",
    ],
)  # fmt: skip
def test_what_is_not_well_formed(data: bytes) -> None:
    with pytest.raises(Malformed):
        der.well_formed(only(data))


def test_nesting_has_a_bound() -> None:
    deep = b""
    for _ in range(17):
        deep = asn1.seq(deep)
    der.well_formed(only(deep))
    with pytest.raises(Malformed, match="deep"):
        der.well_formed(only(asn1.seq(deep)))
    for _ in range(3_000):
        deep = asn1.seq(deep)
    with pytest.raises(Malformed, match="deep"):
        der.well_formed(only(deep))


@pytest.mark.parametrize(
    ("tag", "text", "expected"),
    [
        (0x17, b"491231235959Z", 2_524_607_999), (0x17, b"500101000000Z", -631_152_000), (0x17, b"700101000000Z", 0),
        (0x18, b"20500101000000Z", 2_524_608_000), (0x18, b"20280229000000Z", 1_835_395_200),
    ],
)  # fmt: skip
def test_times(tag: int, text: bytes, expected: int) -> None:
    assert der.time(only(asn1.tlv(tag, text))) == expected


@pytest.mark.parametrize(
    "text",
    [
        b"270229000000Z", b"270100000000Z", b"270132000000Z", b"271301000000Z", b"270101240000Z", b"270101006000Z",
        b"270101000060Z", b"2701010000Z",
    ],
)  # fmt: skip
def test_times_that_never_were(text: bytes) -> None:
    with pytest.raises(Malformed):
        der.time(only(asn1.tlv(0x17, text)))
    with pytest.raises(Malformed):
        der.time(only(asn1.tlv(0x18, b"20" + text)))


def test_the_year_nought() -> None:
    with pytest.raises(Malformed):
        der.time(only(asn1.tlv(0x18, b"00000101000000Z")))


def test_fields_are_taken_in_order_and_to_the_end() -> None:
    fields = Fields(asn1.integer(1) + asn1.utf8("a"))
    assert fields.maybe(0x0C) is None
    assert der.integer(fields.take(0x02)) == 1
    with pytest.raises(Malformed, match="too many"):
        fields.end()
    with pytest.raises(Malformed, match="missing"):
        fields.take(0x02)
    assert fields.maybe(0x0C) is not None
    fields.end()
    with pytest.raises(Malformed, match="missing"):
        fields.take(0x02)
