"""Reads one X.509 certificate strictly (RFC 5280 §4.1). What is returned is unverified: whose it is and who signed it is
`idp.proofing.jpki.checks`'s business.
"""

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA256

from idp.proofing.jpki import der
from idp.proofing.jpki.der import Element, Fields, Malformed

BASIC_CONSTRAINTS: Final = "2.5.29.19"
KEY_USAGE: Final = "2.5.29.15"
POLICIES: Final = "2.5.29.32"
AUTHORITY_KEY: Final = "2.5.29.35"
SUBJECT_KEY: Final = "2.5.29.14"
ALTERNATIVE_NAME: Final = "2.5.29.17"
DISTRIBUTION_POINTS: Final = "2.5.29.31"
EXTENDED_USAGE: Final = "2.5.29.37"
OCSP_NO_CHECK: Final = "1.3.6.1.5.5.7.48.1.5"
OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"

MAXIMUM_BYTES: Final = 8_192
SHA256_WITH_RSA: Final = bytes.fromhex("300d06092a864886f70d01010b0500")
_RSA: Final = bytes.fromhex("300d06092a864886f70d0101010500")
_VERSION_3: Final = 2
_SERIAL_BYTES: Final = 20
_EXTENSIONS: Final = 30
KEY_BITS: Final = 2048
SMALLEST_EXPONENT: Final = 65_537
_EXPONENT_BITS: Final = 64


class Extension(msgspec.Struct, frozen=True):
    """One extension: its value is DER of its own, well formed."""

    critical: bool
    value: bytes


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate as it was read. Names and the signed part are the very bytes."""

    der: bytes
    signed: bytes
    """The TBSCertificate."""
    serial: int
    issuer: bytes
    subject: bytes
    not_before: int
    not_after: int
    modulus: int
    exponent: int
    key_hash: bytes
    """SHA-1 of the key's bits: what OCSP and RFC 5280 §4.2.1.2 (1) name a key by."""
    extensions: dict[str, Extension]
    signature: bytes

    def key(self) -> RSAPublicKey:
        """Return its public key."""
        return RSAPublicNumbers(self.exponent, self.modulus).public_key()

    def __repr__(self) -> str:
        return "Certificate(***)"


def parse_certificate(data: bytes) -> Certificate:
    """Return the one certificate that `data` is. Malformed: anything that the numbers below do not allow."""
    # [2] one certificate in strict DER: not a byte after it, nothing in it that could be written in another way
    if len(data) > MAXIMUM_BYTES:
        raise Malformed("a certificate of more bytes than any card holds")
    whole = der.one(data)
    der.well_formed(whole)
    outer = Fields(whole.value)
    signed, outside, seal = outer.take(der.SEQUENCE), outer.take(der.SEQUENCE), outer.take(der.BIT_STRING)
    outer.end()
    fields = Fields(signed.value)
    # [3] version 3, and a serial number as RFC 5280 §4.1.2.2 has them
    version = der.one(fields.take(0xA0).value, der.INTEGER)
    if der.integer(version) != _VERSION_3:
        raise Malformed("not version 3")
    number = fields.take(der.INTEGER)
    serial = der.integer(number)
    if serial <= 0 or len(number.value) > _SERIAL_BYTES:
        raise Malformed("a serial number that is not positive, or too long")
    # [4] sha256WithRSAEncryption, the same inside and outside
    if fields.take(der.SEQUENCE).whole != SHA256_WITH_RSA or outside.whole != SHA256_WITH_RSA:
        raise Malformed("not signed with sha256WithRSAEncryption")
    issuer = _name(fields.take(der.SEQUENCE))
    validity = Fields(fields.take(der.SEQUENCE).value)
    not_before = der.time(validity.take(der.UTC_TIME, der.GENERALIZED_TIME))
    not_after = der.time(validity.take(der.UTC_TIME, der.GENERALIZED_TIME))
    validity.end()
    subject = _name(fields.take(der.SEQUENCE))
    modulus, exponent, key_hash = _key(fields.take(der.SEQUENCE))
    extensions = _extensions(der.one(fields.take(0xA3).value))  # the unique identifiers of version 2 are not understood
    fields.end()
    unused, signature = der.bits(seal)
    if unused:
        raise Malformed("a signature in pieces of bytes")
    return Certificate(
        der=data, signed=signed.whole, serial=serial, issuer=issuer, subject=subject, not_before=not_before,
        not_after=not_after, modulus=modulus, exponent=exponent, key_hash=key_hash, extensions=extensions, signature=signature,
    )  # fmt: skip


def _name(name: Element) -> bytes:
    """Return a distinguished name as it is encoded, having seen that it is one (RFC 5280 §4.1.2.4)."""
    for part in der.elements(name.value):
        pairs = der.elements(part.value)
        if part.tag != der.SET or not pairs:
            raise Malformed("no distinguished name")
        for pair in pairs:
            fields = Fields(der.one(pair.whole).value)
            fields.take(der.OID)
            fields.take(der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING, der.BMP_STRING)
            fields.end()
    return name.whole


def _key(info: Element) -> tuple[int, int, bytes]:
    fields = Fields(info.value)
    algorithm, key = fields.take(der.SEQUENCE), fields.take(der.BIT_STRING)
    fields.end()
    unused, content = der.bits(key)
    # [5] an RSA key of 2048 bits, its exponent odd and at least 65537
    if algorithm.whole != _RSA or unused:
        raise Malformed("no RSA key")
    numbers = Fields(der.one(content).value)
    modulus, exponent = der.integer(numbers.take(der.INTEGER)), der.integer(numbers.take(der.INTEGER))
    numbers.end()
    if modulus.bit_length() != KEY_BITS or modulus < 0 or not modulus % 2:
        raise Malformed("no RSA key of 2048 bits")
    if exponent < SMALLEST_EXPONENT or not exponent % 2 or exponent.bit_length() > _EXPONENT_BITS:
        raise Malformed("an RSA exponent that is too small, even, or too large")
    return modulus, exponent, hashlib.sha1(content, usedforsecurity=False).digest()


def _extensions(sequence: Element) -> dict[str, Extension]:
    found: dict[str, Extension] = {}
    for element in der.elements(sequence.value):
        if element.tag != der.SEQUENCE:
            raise Malformed("no extension")
        fields = Fields(element.value)
        name, flag, value = der.oid(fields.take(der.OID)), fields.maybe(der.BOOLEAN), fields.take(der.OCTET_STRING).value
        fields.end()
        if flag is not None and not der.boolean(flag):
            raise Malformed("a default that is written out")
        if name in found or len(found) == _EXTENSIONS:
            raise Malformed("an extension twice, or too many")
        content = der.elements(value)
        if len(content) != 1:
            raise Malformed("an extension that is not one value")
        der.well_formed(content[0])
        found[name] = Extension(flag is not None, value)
    if not found:
        raise Malformed("no extensions")
    return found


def is_ca(extensions: dict[str, Extension]) -> bool:
    """Whether BasicConstraints says CA (RFC 5280 §4.2.1.9)."""
    extension = extensions.get(BASIC_CONSTRAINTS)
    if extension is None:
        return False
    fields = Fields(der.one(extension.value).value)
    flag, length = fields.maybe(der.BOOLEAN), fields.maybe(der.INTEGER)
    fields.end()
    if flag is None:
        if length is not None:
            raise Malformed("a path length of what is no CA")
        return False
    if not der.boolean(flag):
        raise Malformed("a default that is written out")
    if length is not None and der.integer(length) < 0:
        raise Malformed("a negative path length")
    return True


def key_usage(extensions: dict[str, Extension]) -> int:
    """Return KeyUsage as a number whose bit n is the extension's bit n (RFC 5280 §4.2.1.3); 0 when there is none."""
    extension = extensions.get(KEY_USAGE)
    if extension is None:
        return 0
    unused, content = der.bits(der.one(extension.value, der.BIT_STRING))
    count = len(content) * 8 - unused
    if not content or not content[-1] >> unused & 1:
        raise Malformed("a named bit list that ends in zeros")
    return sum(1 << bit for bit in range(count) if content[bit // 8] >> (7 - bit % 8) & 1)


def subject_key(certificate: Certificate) -> bytes:
    """Return the identifier of its key: as it says itself, else the usual hash."""
    extension = certificate.extensions.get(SUBJECT_KEY)
    return der.one(extension.value, der.OCTET_STRING).value if extension is not None else certificate.key_hash


def authority_key(extensions: dict[str, Extension]) -> bytes:
    """Return the identifier of the key that signed it (RFC 5280 §4.2.1.1); empty when it does not say."""
    extension = extensions.get(AUTHORITY_KEY)
    if extension is None:
        return b""
    fields = Fields(der.one(extension.value).value)
    key = fields.maybe(0x80)
    fields.maybe(0xA1)  # issuer and serial number of the CA's own certificate: the pinned root is known by its key
    fields.maybe(0x82)
    fields.end()
    return key.value if key is not None else b""


def names_of_points(extension: Extension | None) -> frozenset[bytes]:
    """Return the full names, as they are encoded, of the distribution points of a certificate (RFC 5280 §4.2.1.13)."""
    names: set[bytes] = set()
    for point in der.elements(der.one(extension.value).value) if extension is not None else []:
        found = Fields(point.value).maybe(0xA0) if point.tag == der.SEQUENCE else None
        full = Fields(found.value).maybe(0xA0) if found is not None else None
        names |= {name.whole for name in der.elements(full.value)} if full is not None else set()
    return frozenset(names)


def is_signed(key: RSAPublicKey, signature: bytes, content: bytes) -> bool:
    """Whether `signature` is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017 §8.2.2) over `content`. The library builds the one right
    padding and compares: nothing is looked for in what the key yields.
    """
    if len(signature) * 8 != key.key_size:
        return False
    try:
        key.verify(signature, content, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
