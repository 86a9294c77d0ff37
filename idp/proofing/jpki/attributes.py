"""What a signing certificate says of its holder: the attributes in its subjectAltName (J-LIS certificate profile).

Name, the positions of substitute characters in it, and the birth date are read; sex and address are there, are checked to be what
the profile says, and are not read.
"""

import re
from typing import Final

from idp.proofing.jpki import der
from idp.proofing.jpki.certificate import ALTERNATIVE_NAME, Extension
from idp.proofing.jpki.der import Element, Fields, Malformed
from idp.proofing.port import Verified

_ARC: Final = "1.2.392.200149.8.5.5."
NAME: Final = f"{_ARC}1"
NAME_SUBSTITUTES: Final = f"{_ARC}2"
SEX: Final = f"{_ARC}3"
BIRTH_DATE: Final = f"{_ARC}4"
ADDRESS: Final = f"{_ARC}5"
ADDRESS_SUBSTITUTES: Final = f"{_ARC}6"

_BYTES: Final = {NAME: 800, NAME_SUBSTITUTES: 200, SEX: 1, BIRTH_DATE: 9, ADDRESS: 800, ADDRESS_SUBSTITUTES: 200}
"""The most of each: four bytes a character, 200 characters."""
_MAY_BE_EMPTY: Final = frozenset({NAME_SUBSTITUTES, ADDRESS_SUBSTITUTES})
_OTHER_NAME: Final = 0xA0
_CHARACTERS: Final = 200
_BIRTH_DATE: Final = re.compile(r"[0-5][0-9]{8}")
_POSITIONS: Final = re.compile(r"[01]*")


def parse_attributes(extensions: dict[str, Extension]) -> Verified:
    """Return whom the certificate names. Malformed unless each of the six is there exactly once, as UTF8String in [0], and of
    its length. The name comes as it is, control characters and all: whoever compares or shows it must know.

    Attributes of other identifiers (former name, reading) are not in the profile that was seen, and are passed over.
    """
    found = _found(extensions)
    name, marks, born = (der.utf8(found[kind]) for kind in (NAME, NAME_SUBSTITUTES, BIRTH_DATE))
    if len(name) > _CHARACTERS:
        raise Malformed("a name that is too long")
    if not _BIRTH_DATE.fullmatch(born):
        raise Malformed("a birth date that is not EYYYYMMDD")
    # One digit for each character of the name: 1 where it stands for one that the card's character set lacks.
    if not _POSITIONS.fullmatch(marks) or len(marks) > len(name):
        raise Malformed("substitute positions that are not of this name")
    substitutes = tuple(place for place, mark in enumerate(marks, start=1) if mark == "1")
    return Verified(name=name, substitutes=substitutes, birth_date=born)


def _found(extensions: dict[str, Extension]) -> dict[str, Element]:
    # [17] each of the six exactly once, right tag, right length
    extension = extensions.get(ALTERNATIVE_NAME)
    if extension is None:
        raise Malformed("no attributes")
    found: dict[str, Element] = {}
    for name in der.elements(der.one(extension.value).value):
        if name.tag != _OTHER_NAME:
            continue
        fields = Fields(name.value)
        kind, value = der.oid(fields.take(der.OID)), fields.take(0xA0).value
        fields.end()
        if kind not in _BYTES:
            continue
        if kind in found:
            raise Malformed("an attribute twice")
        text = der.one(value, der.UTF8_STRING)
        least = 0 if kind in _MAY_BE_EMPTY else 1
        if not least <= len(text.value) <= _BYTES[kind]:
            raise Malformed("an attribute that is empty or too long")
        found[kind] = text
    if len(found) != len(_BYTES):
        raise Malformed("an attribute is missing")
    return found
