"""Reads a certificate revocation list (RFC 5280 §5), strictly and in one pass: lists have hundreds of thousands of entries.

Written for a thread beside the event loop: hashing lets go of the interpreter, and the rest can be interrupted at any point.
"""

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256

from idp.proofing.jpki import der
from idp.proofing.jpki.certificate import SHA256_WITH_RSA, Extension, authority_key
from idp.proofing.jpki.der import Fields, Malformed
from idp.proofing.jpki.roots import Root

_CRL_NUMBER: Final = "2.5.29.20"
_ISSUING_POINT: Final = "2.5.29.28"
_AUTHORITY_KEY: Final = "2.5.29.35"
_UNDERSTOOD: Final = frozenset({_CRL_NUMBER, _ISSUING_POINT, _AUTHORITY_KEY})
_SERIAL_BYTES: Final = 20
_LONG: Final = 0x80
_FULL_NAME: Final = 0xA0
_REMEMBERED: Final = 4_096
_TIME_BYTES: Final = {der.UTC_TIME: 15, der.GENERALIZED_TIME: 17}


class Crl(msgspec.Struct, frozen=True, kw_only=True):
    """A list that its CA signed. Whether it is fresh is for whoever uses it to say."""

    key_id: bytes
    """The pinned root's: two generations of a CA have the same name."""
    issuer: bytes
    names: frozenset[bytes]
    """The distribution point that it is for, as encoded; empty: it is for all of the CA's certificates."""
    this_update: int
    next_update: int
    serials: frozenset[int]


def parse_crl(data: bytes, roots: tuple[Root, ...]) -> Crl:
    """Return the list. Malformed: not strict DER, of no CA among `roots`, not signed by it, no next update, or with anything
    critical that is not understood (delta and indirect lists, lists of some reasons only).
    """
    outer = Fields(der.one(data).value)
    signed, outside, seal = outer.take(der.SEQUENCE), outer.take(der.SEQUENCE), outer.take(der.BIT_STRING)
    outer.end()
    fields = Fields(signed.value)
    version = fields.maybe(der.INTEGER)
    if version is None or der.integer(version) != 1:
        raise Malformed("a list that is not of version 2")
    if fields.take(der.SEQUENCE).whole != SHA256_WITH_RSA or outside.whole != SHA256_WITH_RSA:
        raise Malformed("a list that is not signed with sha256WithRSAEncryption")
    issuer = fields.take(der.SEQUENCE)
    der.well_formed(issuer)
    this_update = der.time(fields.take(der.UTC_TIME, der.GENERALIZED_TIME))
    next_update = der.time(fields.take(der.UTC_TIME, der.GENERALIZED_TIME))
    revoked = fields.maybe(der.SEQUENCE)
    extensions = _extensions(der.one(fields.take(0xA0).value).value)
    fields.end()
    key_id = authority_key(extensions)
    root = next((root for root in roots if root.certificate.subject == issuer.whole and root.key_id == key_id), None)
    if root is None:
        raise Malformed("a list of another CA")
    # Before anything in it counts, and before the long part is read.
    unused, signature = der.bits(seal)
    if unused or not _is_signed(root, signature, signed.whole):
        raise Malformed("a list that its CA did not sign")
    if any(extension.critical and name not in _UNDERSTOOD for name, extension in extensions.items()):
        raise Malformed("a list with a critical extension that is not understood")
    return Crl(
        key_id=key_id, issuer=issuer.whole, names=_scope(extensions.get(_ISSUING_POINT)), this_update=this_update,
        next_update=next_update, serials=frozenset(revoked_serials(revoked.value) if revoked is not None else ()),
    )  # fmt: skip


def _is_signed(root: Root, signature: bytes, content: bytes) -> bool:
    digest = hashlib.sha256(content).digest()  # hashlib lets other threads run meanwhile
    try:
        root.key.verify(signature, digest, PKCS1v15(), Prehashed(SHA256()))
    except InvalidSignature:
        return False
    return True


def _extensions(value: bytes) -> dict[str, Extension]:
    found: dict[str, Extension] = {}
    for element in der.elements(value):
        der.well_formed(element)
        fields = Fields(element.value)
        name, flag, content = der.oid(fields.take(der.OID)), fields.maybe(der.BOOLEAN), fields.take(der.OCTET_STRING).value
        fields.end()
        if name in found or (flag is not None and not der.boolean(flag)):
            raise Malformed("an extension twice, or a default that is written out")
        inner = der.elements(content)
        if len(inner) != 1:
            raise Malformed("an extension that is not one value")
        der.well_formed(inner[0])
        found[name] = Extension(flag is not None, content)
    return found


def _scope(extension: Extension | None) -> frozenset[bytes]:
    """Return the names in issuingDistributionPoint (RFC 5280 §5.2.5)."""
    if extension is None:
        return frozenset()
    fields = Fields(der.one(extension.value).value)
    point, users = fields.maybe(0xA0), fields.maybe(0x81)
    fields.end()  # lists of CA certificates, of some reasons, indirect ones, of attribute certificates: none is for us
    if users is not None and users.value != b"\xff":
        raise Malformed("a default that is written out")
    if point is None:
        return frozenset()
    full = der.elements(point.value)
    if len(full) != 1 or full[0].tag != _FULL_NAME or not (names := der.elements(full[0].value)):
        raise Malformed("a distribution point without a full name")
    return frozenset(name.whole for name in names)


def revoked_serials(data: bytes) -> set[int]:
    """Return the serial numbers in revokedCertificates. Whatever is on the list is revoked: `certificateHold` too."""
    found: set[int] = set()
    usual: set[bytes] = set()  # what follows a date is the same few bytes in nearly all entries
    at, end, last = 0, len(data), len(data) - 4
    while at < end:
        if at > last or data[at] != der.SEQUENCE:
            raise Malformed("an entry that is none")
        if data[at + 1] < _LONG:
            start, stop = at + 2, at + 2 + data[at + 1]
        else:
            _, start, stop = der.read(data, at)
        length = data[start + 1]
        date = start + 2 + length
        if stop > end or data[start] != der.INTEGER or not 1 <= length <= _SERIAL_BYTES or date + 2 > stop:
            raise Malformed("an entry without a serial number")
        first = data[start + 2]
        if first >= _LONG or (first == 0 and length > 1 and data[start + 3] < _LONG):
            raise Malformed("a serial number that is negative, or in more bytes than it needs")
        found.add(int.from_bytes(data[start + 2 : date], "big"))
        after = date + _TIME_BYTES.get(data[date], 0)
        if after == date or data[date + 1] != after - date - 2 or after > stop or data[after - 1] != ord("Z"):
            raise Malformed("an entry without a date")
        rest = data[after:stop]
        if rest and rest not in usual:
            _entry_extensions(rest)
            if len(usual) < _REMEMBERED:
                usual.add(rest)
        at = stop
    return found


def _entry_extensions(data: bytes) -> None:
    for name, extension in _extensions(der.one(data).value).items():
        if extension.critical:  # certificateIssuer is: the entry is of another CA
            raise Malformed(f"an entry with a critical extension that is not understood ({name})")
