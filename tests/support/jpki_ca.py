"""A JPKI of our own: both CAs in two generations, cards of both kinds, revocation lists and OCSP answers, genuine or made wrong.

Everything is written byte by byte (`tests.support.asn1`), so that each field can be anything. Names and policies are those of the
real CAs' published profile; keys are made anew for each run, and their holders do not exist.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.support import asn1

Kind = Literal["sign", "auth"]

REASON: Final = asn1.seq(asn1.extension("2.5.29.21", asn1.tlv(0x0A, b"\x01")))
"""Of an entry of a revocation list: key compromise."""
C, O, OU, L, CN = "2.5.4.6", "2.5.4.10", "2.5.4.11", "2.5.4.7", "2.5.4.3"  # noqa: E741  as X.500 has them
SIGN_POLICY: Final = "1.2.392.200149.8.5.1.1.20"
AUTH_POLICY: Final = "1.2.392.200149.8.5.1.3.30"
TEST_POLICY: Final = "1.2.392.200149.8.5.1.0.20"
ATTRIBUTE: Final = "1.2.392.200149.8.5.5."
DIGITAL_SIGNATURE, NON_REPUDIATION, KEY_ENCIPHERMENT, KEY_CERT_SIGN, CRL_SIGN = 0, 1, 2, 5, 6

# fmt: off
GENERATIONS: Final = {1: (1_568_419_200, 1_884_038_399), 2: (1_689_465_600, 2_005_084_799)}
"""2019-09-14 to 2029-09-13, 2023-07-16 to 2033-07-15."""
LEAF_FROM, LEAF_TO = 1_767_225_600, 1_861_919_999
"""2026-01-01 to 2028-12-31."""
# fmt: on


@functools.cache
def key(label: str, exponent: Literal[3, 65537] = 65537, size: int = 2048) -> RSAPrivateKey:
    """A key for each label, made once in this process."""
    return generate_private_key(exponent, size)


def sign(private: RSAPrivateKey, content: bytes) -> bytes:
    return private.sign(content, PKCS1v15(), SHA256())


def numbers(private: RSAPrivateKey) -> tuple[int, int]:
    public = private.public_key().public_numbers()
    return public.n, public.e


def key_hash(private: RSAPrivateKey) -> bytes:
    return hashlib.sha1(asn1.rsa_key(*numbers(private)), usedforsecurity=False).digest()


def ca_name(kind: Kind) -> bytes:
    use = {"sign": "JPKI for digital signature", "auth": "JPKI for user authentication"}[kind]
    return asn1.name((C, "JP"), (O, "JPKI"), (OU, use), (OU, "Japan Agency for Local Authority Information Systems"))


def point_name(city: str) -> bytes:
    """A distribution point's name as JPKI's are: a directoryName, so nothing to fetch."""
    parts = (
        (C, "JP"),
        (O, "JPKI"),
        (OU, "JPKI for digital signature"),
        (OU, "CRL Distribution Points"),
        (OU, "Tokyo-to"),
        (CN, city),
    )
    return asn1.tlv(0xA4, asn1.name(*parts))


def attribute(number: int, value: bytes) -> bytes:
    """An otherName of the arc of JPKI's attributes; `value` is what stands in [0]."""
    return asn1.tlv(0xA0, asn1.oid(f"{ATTRIBUTE}{number}"), asn1.tlv(0xA0, value))


def attributes(
    name: str = "佐藤　恵",
    *,
    substitutes: str | None = None,
    birth_date: str = "319840512",
    sex: str = "2",
    address: str = "東京都千代田区霞が関１－２－３",
) -> list[bytes]:
    """The six, in the order in which real certificates have them."""
    marks = "0" * len(name) if substitutes is None else substitutes
    texts = {1: name, 4: birth_date, 3: sex, 5: address, 2: marks, 6: "0" * len(address)}
    return [attribute(number, asn1.utf8(text)) for number, text in texts.items()]


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """What a certificate is made of. The defaults are the profile's; tests replace what they want wrong."""

    kind: Kind = "sign"
    serial: int = 0x1A2B3C4D
    not_before: bytes = field(default_factory=lambda: asn1.utc_time(LEAF_FROM))
    not_after: bytes = field(default_factory=lambda: asn1.utc_time(LEAF_TO))
    key: RSAPrivateKey = field(default_factory=lambda: key("card"))
    key_info: bytes | None = None
    version: bytes = asn1.tlv(0xA0, asn1.integer(2))
    issuer: bytes | None = None
    subject: bytes | None = None
    inner: bytes = asn1.algorithm()
    outer: bytes = asn1.algorithm()
    key_usage: tuple[int, ...] | None = None
    key_usage_critical: bool = True
    policies: tuple[str, ...] | None = None
    names: list[bytes] | None = None
    """What stands in subjectAltName; None: the profile's."""
    authority_key: bytes | None = None
    city: str = "Chiyoda-ku"
    more: tuple[bytes, ...] = ()
    """Further extensions."""
    without: frozenset[str] = frozenset()
    """Extensions to leave out, by identifier."""
    signer: RSAPrivateKey | None = None
    after: bytes = b""


@dataclass(frozen=True)
class Card:
    """A certificate and its key, as a card holds them."""

    kind: Kind
    certificate: bytes
    key: RSAPrivateKey

    def sign(self, content: bytes) -> bytes:
        return sign(self.key, content)

    def answer(self, challenge: str) -> dict[str, str]:
        """What a card client posts for a challenge."""
        signature = self.sign(base64.b64decode(challenge))
        return {
            "kind": self.kind, "certificate": base64.b64encode(self.certificate).decode(),
            "signature": base64.b64encode(signature).decode(),
        }  # fmt: skip


class Authority:
    """One CA in one generation."""

    def __init__(self, kind: Kind, generation: int = 2, *, private: RSAPrivateKey | None = None) -> None:
        self.kind: Final = kind
        self.generation: Final = generation
        self.name: Final = ca_name(kind)
        self.key: Final = private if private is not None else key(f"{kind} CA {generation}")
        self.key_id: Final = key_hash(self.key)
        self.certificate: Final = self.root()

    def root(
        self, *, basic: bytes | None = asn1.seq(asn1.TRUE), usage: tuple[int, ...] | None = (KEY_CERT_SIGN, CRL_SIGN),
        valid: tuple[int, int] | None = None, subject: bytes | None = None, more: tuple[bytes, ...] = (),
    ) -> bytes:  # fmt: skip
        """Its own certificate, or one like it."""
        start, end = valid or GENERATIONS[self.generation]
        extensions = (
            *([asn1.extension("2.5.29.19", basic, critical=True)] if basic is not None else []),
            *([asn1.extension("2.5.29.15", asn1.named_bits(*usage), critical=True)] if usage is not None else []),
            asn1.extension("2.5.29.14", asn1.octets(self.key_id)),
            *more,
        )
        signed = asn1.seq(
            asn1.tlv(0xA0, asn1.integer(2)), asn1.integer(0x06D18000 + self.generation), asn1.algorithm(), self.name,
            asn1.seq(asn1.utc_time(start), asn1.utc_time(end)), subject or self.name, asn1.key_info(*numbers(self.key)),
            asn1.tlv(0xA3, asn1.seq(*extensions)),
        )  # fmt: skip
        return asn1.seq(signed, asn1.algorithm(), asn1.bits(sign(self.key, signed)))

    def issue(self, leaf: Leaf | None = None, **changes: object) -> Card:
        """Issue a certificate of this CA's kind with some fields replaced."""
        wanted = replace(leaf if leaf is not None else Leaf(kind=self.kind), **changes)  # type: ignore[arg-type]
        signed = asn1.seq(
            wanted.version, asn1.integer(wanted.serial), wanted.inner, wanted.issuer or self.name,
            asn1.seq(wanted.not_before, wanted.not_after), wanted.subject or _subject(wanted.kind),
            wanted.key_info or asn1.key_info(*numbers(wanted.key)), asn1.tlv(0xA3, asn1.seq(*self._extensions(wanted))),
        )  # fmt: skip
        seal = asn1.bits(sign(wanted.signer or self.key, signed))
        return Card(wanted.kind, asn1.seq(signed, wanted.outer, seal) + wanted.after, wanted.key)

    def _extensions(self, leaf: Leaf) -> Iterable[bytes]:
        usage = leaf.key_usage
        if usage is None:
            usage = (DIGITAL_SIGNATURE, NON_REPUDIATION) if leaf.kind == "sign" else (DIGITAL_SIGNATURE,)
        policies = leaf.policies if leaf.policies is not None else ((TEST_POLICY if leaf.kind == "sign" else AUTH_POLICY),)
        names = leaf.names if leaf.names is not None else (attributes() if leaf.kind == "sign" else [])
        cps = asn1.seq(asn1.seq(asn1.oid("1.3.6.1.5.5.7.2.1"), asn1.tlv(0x16, b"http://www.jpki.go.jp/cps.html")))
        point = asn1.tlv(0xA0, asn1.tlv(0xA0, point_name(leaf.city)))
        responder = asn1.seq(asn1.oid("1.3.6.1.5.5.7.48.1"), asn1.tlv(0x86, b"http://ocsp.invalid/"))
        found = {
            "2.5.29.15": asn1.extension("2.5.29.15", asn1.named_bits(*usage), critical=leaf.key_usage_critical),
            "2.5.29.17": asn1.extension("2.5.29.17", asn1.seq(*names)) if names else b"",
            "2.5.29.32": asn1.extension(
                "2.5.29.32", asn1.seq(*(asn1.seq(asn1.oid(one), cps) for one in policies)), critical=True
            ),
            "2.5.29.31": asn1.extension("2.5.29.31", asn1.seq(asn1.seq(point))),
            "1.3.6.1.5.5.7.1.1": asn1.extension("1.3.6.1.5.5.7.1.1", asn1.seq(responder)),
            "2.5.29.35": asn1.extension("2.5.29.35", asn1.seq(asn1.tlv(0x80, leaf.authority_key or self.key_id))),
            "2.5.29.14": asn1.extension("2.5.29.14", asn1.octets(key_hash(leaf.key))),
        }
        return [*(one for name, one in found.items() if one and name not in leaf.without), *leaf.more]

    def crl(
        self, serials: Iterable[int] = (), *, this_update: int, next_update: int | None = None, names: tuple[bytes, ...] = (),
        more: tuple[bytes, ...] = (), signer: RSAPrivateKey | None = None, issuer: bytes | None = None,
        key_id: bytes | None = None, entry: bytes = REASON, inner: bytes = asn1.algorithm(),
    ) -> bytes:  # fmt: skip
        """A revocation list. `names`: of its distribution point."""
        end = asn1.utc_time(next_update if next_update is not None else this_update + 86_400 * 2)
        date = asn1.utc_time(this_update - 3600)
        revoked = b"".join(asn1.seq(asn1.integer(serial), date, entry) for serial in serials)
        point = asn1.tlv(0xA0, asn1.tlv(0xA0, *names))
        extensions = (
            asn1.extension("2.5.29.35", asn1.seq(asn1.tlv(0x80, self.key_id if key_id is None else key_id))),
            asn1.extension("2.5.29.20", asn1.integer(this_update)),
            *([asn1.extension("2.5.29.28", asn1.seq(point), critical=True)] if names else []),
            *more,
        )
        signed = asn1.seq(
            asn1.integer(1), inner, issuer or self.name, asn1.utc_time(this_update), end,
            asn1.tlv(0x30, revoked) if revoked else b"", asn1.tlv(0xA0, asn1.seq(*extensions)),
        )  # fmt: skip
        return asn1.seq(signed, asn1.algorithm(), asn1.bits(sign(signer or self.key, signed)))

    # ------------------------------------------------------------------ on disk, for processes of their own

    def save(self, folder: Path) -> Path:
        """Write key and certificate; return the certificate's file."""
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"{self.kind}-{self.generation}"
        stem.with_suffix(".key").write_bytes(pem_of(self.key))
        file = stem.with_suffix(".cer")
        file.write_bytes(self.certificate)
        return file

    @classmethod
    def load(cls, folder: Path, kind: Kind, generation: int) -> "Authority":
        private = load_pem_private_key((folder / f"{kind}-{generation}.key").read_bytes(), None)
        assert isinstance(private, RSAPrivateKey)
        return cls(kind, generation, private=private)


def pem_of(private: RSAPrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _subject(kind: Kind) -> bytes:
    if kind == "auth":
        return asn1.name((C, "JP"), (CN, "1A2B3C4D5E6F7G8H"))
    return asn1.name((C, "JP"), (L, "Tokyo-to"), (L, "Chiyoda-ku"), (CN, "20260101000000000000000000001"))


def fingerprint(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def challenge_of(values: Mapping[str, str]) -> str:
    """The challenge in what `begin` shows, read out of the JSON that a card client is handed."""
    request = json.loads(values["request"])
    assert request["jpki"] == 1
    challenge = request["challenge"]
    assert isinstance(challenge, str)
    return challenge
