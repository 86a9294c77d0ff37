"""Reads DER (X.690) and nothing that merely looks like it: one encoding for each value, so that what was signed has one meaning.

Every function raises `Malformed`, and nothing else, whatever the bytes are.
"""

import calendar
import re
from collections.abc import Callable
from typing import Final, NamedTuple

INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
OID: Final = 0x06
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
BMP_STRING: Final = 0x1E
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31
BOOLEAN: Final = 0x01
NULL: Final = 0x05

_LONG: Final = 0x80
"""From here on a length or a digit has more bytes."""
_TAG_NUMBER: Final = 0x1F
_DEEPEST: Final = 16
_OID_BYTES: Final = 64
_LENGTH_BYTES: Final = 4
_TIMES: Final = {UTC_TIME: re.compile(rb"\d{12}Z"), GENERALIZED_TIME: re.compile(rb"\d{14}Z")}
_PRINTABLE: Final = re.compile(rb"[A-Za-z0-9 '()+,./:=?-]*")
_CENTURY_TURNS: Final = 50
"""Two-digit years from here on are of the 20th century; GeneralizedTime starts in 2050 (RFC 5280 §4.1.2.5)."""


class Malformed(ValueError):  # noqa: N818  it says what the bytes are
    """No DER, or not what has to stand here. The text says what, and quotes nothing of the data."""


class Element(NamedTuple):
    """One tag, length and value."""

    tag: int
    whole: bytes
    value: bytes


def read(data: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, start and end of the value of the element at `at`, without copying anything."""
    if len(data) < at + 2:
        raise Malformed("an element is cut short")
    tag, length, start = data[at], data[at + 1], at + 2
    if tag & _TAG_NUMBER == _TAG_NUMBER:
        raise Malformed("a tag of several bytes")
    if length >= _LONG:
        count = length & 0x7F
        if not 1 <= count <= _LENGTH_BYTES or len(data) < start + count:
            raise Malformed("an indefinite, reserved or cut length")
        length = int.from_bytes(data[start : start + count], "big")
        if length < _LONG or data[start] == 0:
            raise Malformed("a length in more bytes than it needs")
        start += count
    if len(data) < start + length:
        raise Malformed("an element is cut short")
    return tag, start, start + length


def elements(data: bytes) -> list[Element]:
    """Return the elements that `data` consists of."""
    found, at = [], 0
    while at < len(data):
        tag, start, end = read(data, at)
        found.append(Element(tag, data[at:end], data[start:end]))
        at = end
    return found


def one(data: bytes, tag: int = SEQUENCE) -> Element:
    """Return the one element that `data` is: of this tag, and no byte after it."""
    found, start, end = read(data, 0)
    if found != tag or end != len(data):
        raise Malformed("another element than expected, or bytes after it")
    return Element(found, data, data[start:end])


class Fields:
    """The elements of one value, to be taken in their order: a structure whose fields may be optional."""

    def __init__(self, value: bytes) -> None:
        self._left = elements(value)[::-1]

    def take(self, *tags: int) -> Element:
        """Return the next, which must have one of these tags."""
        if not self._left or self._left[-1].tag not in tags:
            raise Malformed("a field is missing or has another tag")
        return self._left.pop()

    def maybe(self, tag: int) -> Element | None:
        """Return the next if it has this tag."""
        return self._left.pop() if self._left and self._left[-1].tag == tag else None

    def end(self) -> None:
        """Nothing is left."""
        if self._left:
            raise Malformed("a field too many")


def well_formed(element: Element, depth: int = 0) -> None:
    """Look at everything in it, known or not: universal types in their one encoding, sets in order, nesting in bounds."""
    if depth > _DEEPEST:
        raise Malformed("nested too deep")
    if not element.tag & 0xC0:
        if bool(element.tag & 0x20) != (element.tag | 0x20 in {SEQUENCE, SET}):
            raise Malformed("a string in pieces, or a structure that is none")
        _check(element)
    if element.tag & 0x20:
        inner = elements(element.value)
        for child in inner:
            well_formed(child, depth + 1)
        wholes = [child.whole for child in inner]
        if element.tag == SET and wholes != sorted(wholes):
            raise Malformed("a set out of order")


def _check(element: Element) -> None:
    look = _CHECKS.get(element.tag)
    if look is not None:
        look(element)


def boolean(element: Element) -> bool:
    """Return the value of a BOOLEAN."""
    if element.tag != BOOLEAN or element.value not in {b"\x00", b"\xff"}:
        raise Malformed("no boolean")
    return element.value == b"\xff"


def _minimal(value: bytes) -> None:
    if not value or (len(value) > 1 and value[0] in {0x00, 0xFF} and (value[0] == 0) == (value[1] < _LONG)):
        raise Malformed("a number in more bytes than it needs")


def integer(element: Element) -> int:
    """Return the value of an INTEGER."""
    if element.tag != INTEGER:
        raise Malformed("no integer")
    _minimal(element.value)
    return int.from_bytes(element.value, "big", signed=True)


def bits(element: Element) -> tuple[int, bytes]:
    """Return how many bits of the last byte of a BIT STRING are unused (zero bits), and its bytes."""
    if element.tag != BIT_STRING or not element.value:
        raise Malformed("no bit string")
    unused, content = element.value[0], element.value[1:]
    if unused > 7 or (unused and (not content or content[-1] & ((1 << unused) - 1))):  # noqa: PLR2004  bits of a byte
        raise Malformed("unused bits that are used")
    return unused, content


def oid(element: Element) -> str:
    """Return an OBJECT IDENTIFIER with its dots."""
    value = element.value
    if element.tag != OID or not value or value[-1] & 0x80 or len(value) > _OID_BYTES:
        raise Malformed("no object identifier, or one of more bytes than anybody has")
    numbers, number, fresh = list[int](), 0, True
    for byte in value:
        if fresh and byte == _LONG:  # a leading zero digit
            raise Malformed("an object identifier in more bytes than it needs")
        number, fresh = number << 7 | byte & 0x7F, not byte & 0x80
        if fresh:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    return ".".join(str(part) for part in (first, numbers[0] - 40 * first, *numbers[1:]))


def utf8(element: Element) -> str:
    """Return the text of a UTF8String, control characters and all."""
    if element.tag != UTF8_STRING:
        raise Malformed("no UTF8String")
    try:
        return element.value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed("a UTF8String that is not UTF-8") from error


def time(element: Element) -> int:
    """Return UTCTime or GeneralizedTime, as RFC 5280 §4.1.2.5 allows them, in epoch seconds."""
    pattern, text = _TIMES.get(element.tag), element.value
    if pattern is None or not pattern.fullmatch(text):
        raise Malformed("no time, or not in UTC with seconds")
    if element.tag == UTC_TIME:
        year = int(text[:2])
        year, rest = year + (1900 if year >= _CENTURY_TURNS else 2000), text[2:]
    else:
        year, rest = int(text[:4]), text[4:]
    month, day, hour, minute, second = (int(rest[at : at + 2]) for at in range(0, 10, 2))
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59 or year < 1:  # noqa: PLR2004  a calendar's numbers
        raise Malformed("no such time")
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        raise Malformed("no such day")
    return calendar.timegm((year, month, day, hour, minute, second))


def _number(element: Element) -> None:
    _minimal(element.value)


def _null(element: Element) -> None:
    if element.value:
        raise Malformed("a null with content")


def _printable(element: Element) -> None:
    if not _PRINTABLE.fullmatch(element.value):
        raise Malformed("a character that PrintableString does not have")


def _ascii(element: Element) -> None:
    if not element.value.isascii():
        raise Malformed("a character that IA5String does not have")


def _pairs(element: Element) -> None:
    if len(element.value) % 2:
        raise Malformed("half a character")


def _nothing(element: Element) -> None:
    raise Malformed("end of an indefinite length")


_CHECKS: Final[dict[int, Callable[[Element], object]]] = {
    0x00: _nothing,
    BOOLEAN: boolean,
    INTEGER: _number,
    BIT_STRING: bits,
    NULL: _null,
    OID: oid,
    0x0A: _number,
    UTF8_STRING: utf8,
    UTC_TIME: time,
    GENERALIZED_TIME: time,
    PRINTABLE_STRING: _printable,
    IA5_STRING: _ascii,
    BMP_STRING: _pairs,
}
"""What the content of a universal type must be; 0x00 ends an indefinite length, 0x0A is ENUMERATED."""
