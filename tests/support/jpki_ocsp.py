"""OCSP answers, genuine or made wrong, written byte by byte (RFC 6960 §4.2.1)."""

import hashlib
from dataclasses import dataclass, field
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from tests.support import asn1
from tests.support.jpki_ca import DIGITAL_SIGNATURE, Authority, Card, key_hash, numbers, sign

SHA1: Final = "1.3.14.3.2.26"
OCSP_SIGNING: Final = "1.3.6.1.5.5.7.3.9"
BASIC: Final = "1.3.6.1.5.5.7.48.1.1"
NONCE: Final = "1.3.6.1.5.5.7.48.1.2"
NO_CHECK: Final = asn1.extension("1.3.6.1.5.5.7.48.1.5", asn1.NULL)

Status = Literal["good", "revoked", "unknown"]


def usage(*purposes: str, critical: bool = False) -> bytes:
    """An extKeyUsage extension."""
    return asn1.extension("2.5.29.37", asn1.seq(*(asn1.oid(purpose) for purpose in purposes)), critical=critical)


def delegate(ca: Authority, label: RSAPrivateKey, *more: bytes, **changes: object) -> Card:
    """A responder's certificate; `more`: its extensions, by default what one has."""
    fields: dict[str, object] = {
        "key": label, "serial": 0x0C5B, "policies": (), "names": [], "without": frozenset({"2.5.29.31", "2.5.29.32"}),
        "key_usage": (DIGITAL_SIGNATURE,), "subject": asn1.name(("2.5.4.6", "JP"), ("2.5.4.3", "OCSP responder")),
        "more": more or (usage(OCSP_SIGNING), NO_CHECK),
    }  # fmt: skip
    return ca.issue(None, **(fields | changes))


@dataclass(frozen=True, kw_only=True)
class Response:
    """What an answer is made of; the defaults are those of a good one."""

    ca: Authority
    serial: int
    at: int
    nonce: bytes | None
    status: Status = "good"
    next_update: int | None = -1
    """-1: an hour after `at`."""
    produced_at: int | None = None
    signer: RSAPrivateKey | None = None
    responder: RSAPrivateKey | None = None
    """Whose key hash is the responder's id; None: the signer's."""
    certificates: tuple[bytes, ...] = ()
    hash_oid: str = SHA1
    issuer_name: bytes | None = None
    more: tuple[bytes, ...] = ()
    more_of_one: tuple[bytes, ...] = ()
    twice: bool = False
    algorithm: bytes = field(default_factory=asn1.algorithm)

    def encode(self) -> bytes:
        signer = self.signer or self.ca.key
        extensions = (*([asn1.extension(NONCE, asn1.octets(self.nonce))] if self.nonce is not None else []), *self.more)
        one = self._single()
        signed = asn1.seq(
            asn1.tlv(0xA2, asn1.octets(key_hash(self.responder or signer))),
            asn1.general_time(self.produced_at if self.produced_at is not None else self.at),
            asn1.seq(one, one) if self.twice else asn1.seq(one),
            asn1.tlv(0xA1, asn1.seq(*extensions)) if extensions else b"",
        )
        certificates = asn1.tlv(0xA0, asn1.seq(*self.certificates)) if self.certificates else b""
        basic = asn1.seq(signed, self.algorithm, asn1.bits(sign(signer, signed)), certificates)
        return asn1.seq(asn1.tlv(0x0A, b"\x00"), asn1.tlv(0xA0, asn1.seq(asn1.oid(BASIC), asn1.octets(basic))))

    def _single(self) -> bytes:
        hashed = hashlib.sha1 if self.hash_oid == SHA1 else hashlib.sha256
        bits = asn1.rsa_key(*numbers(self.ca.key))
        certificate = asn1.seq(
            asn1.algorithm(self.hash_oid), asn1.octets(hashed(self.issuer_name or self.ca.name).digest()),
            asn1.octets(hashed(bits).digest()), asn1.integer(self.serial),
        )  # fmt: skip
        status = {"good": b"\x80\x00", "revoked": asn1.tlv(0xA1, asn1.general_time(self.at - 60)), "unknown": b"\x82\x00"}
        following = self.at + 3600 if self.next_update == -1 else self.next_update
        return asn1.seq(
            certificate, status[self.status], asn1.general_time(self.at),
            asn1.tlv(0xA0, asn1.general_time(following)) if following is not None else b"",
            asn1.tlv(0xA1, asn1.seq(*self.more_of_one)) if self.more_of_one else b"",
        )  # fmt: skip


def error(number: int) -> bytes:
    """An error answer: 3 is tryLater."""
    return asn1.seq(asn1.tlv(0x0A, bytes([number])))
