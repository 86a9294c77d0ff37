"""Certificates that must not pass for a My Number Card's: each check of `idp.proofing.jpki.checks` is broken alone, by a CA that
signs whatever it is told to, so that nothing but that check can refuse it.
"""

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError
from idp.proofing.jpki.backend import JpkiBackend
from idp.proofing.jpki.certificate import is_signed, parse_certificate
from idp.proofing.jpki.der import Malformed
from idp.proofing.jpki.settings import RootFile
from idp.proofing.port import Person
from tests.support import asn1
from tests.support.jpki import NOW, JpkiSite, verdict
from tests.support.jpki_ca import (
    AUTH_POLICY,
    CRL_SIGN,
    DIGITAL_SIGNATURE,
    KEY_CERT_SIGN,
    KEY_ENCIPHERMENT,
    LEAF_FROM,
    LEAF_TO,
    NON_REPUDIATION,
    SIGN_POLICY,
    TEST_POLICY,
    Authority,
    Card,
    challenge_of,
    fingerprint,
    key,
    key_hash,
    numbers,
    sign,
)
from tests.support.jpki_ocsp import OCSP_SIGNING, usage

CRITICAL_UNKNOWN = asn1.extension("1.2.392.200149.8.5.99", asn1.NULL, critical=True)
CA_TRUE = asn1.extension("2.5.29.19", asn1.seq(asn1.TRUE), critical=True)
NOT_CA = asn1.extension("2.5.29.19", asn1.seq(), critical=True)
BOTH = (DIGITAL_SIGNATURE, NON_REPUDIATION)


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    site = JpkiSite(tmp_path)
    site.publish("sign")
    site.publish("auth")
    return site


@pytest.fixture
def backend(site: JpkiSite) -> JpkiBackend:
    return site.backend()


async def test_the_good_ones_pass(site: JpkiSite, backend: JpkiBackend) -> None:
    assert await verdict(backend, site.ca().issue()) == "proofed"
    assert await verdict(backend, site.ca("sign", 1).issue()) == "proofed"
    assert await verdict(backend, site.ca().issue(more=(NOT_CA,))) == "proofed"
    assert await verdict(site.backend("auth"), site.ca("auth").issue()) == "proofed"
    assert await verdict(site.backend("auth"), site.ca("auth", 1).issue()) == "proofed"


# ---------------------------------------------------------------- time (GHSA-58hw-cg5m-88rp: validity not enforced)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (LEAF_FROM - 1, "card_not_yet_valid"), (LEAF_FROM, "proofed"), (LEAF_TO - 1, "proofed"), (LEAF_TO, "card_expired"),
        (LEAF_TO + 86_400, "card_expired"),
    ],
)  # fmt: skip
async def test_expired_and_not_yet_valid_GHSA_58hw_cg5m_88rp(tmp_path: Path, at: int, expected: str) -> None:  # noqa: N802
    site = JpkiSite(tmp_path, at=at)
    site.publish()
    assert await verdict(site.backend(), site.ca().issue()) == expected


async def test_a_root_that_is_over_takes_its_cards_along_and_says_that_it_is_our_fault(site: JpkiSite) -> None:
    clock = ManualClock(NOW)
    backend = site.backend(clock=clock)
    clock.advance(1_884_038_400 - NOW)  # the first generation's root ends
    card = site.ca("sign", 1).issue(not_after=asn1.utc_time(2_000_000_000))
    assert await verdict(backend, card) == "broken: jpki: the pinned root of this card's CA is not in force"


# ---------------------------------------------------------------- whose certificate it is


async def test_the_other_cas_certificate(site: JpkiSite) -> None:
    """Also when everything in it is as the profile wants it: trust stores are apart."""
    sign_leaf, auth_leaf = site.ca("sign").issue(), site.ca("auth").issue()
    posing_as_sign = site.ca("auth").issue(kind="sign")
    posing_as_auth = site.ca("sign").issue(kind="auth")
    sign_desk, auth_desk = site.backend("sign"), site.backend("auth")
    for card in (auth_leaf, posing_as_sign, Card("sign", auth_leaf.certificate, auth_leaf.key)):
        assert await verdict(sign_desk, card) == "wrong_card"
    for card in (sign_leaf, posing_as_auth, Card("auth", sign_leaf.certificate, sign_leaf.key)):
        assert await verdict(auth_desk, card) == "wrong_card"


async def test_an_issuer_of_another_name_or_another_spelling(site: JpkiSite, backend: JpkiBackend) -> None:
    """The CA's own key signed it, but not as this CA: names are compared byte for byte."""
    parts = ("2.5.4.6", "JP"), ("2.5.4.10", "JPKI"), ("2.5.4.11", "JPKI for digital signature")
    last = ("2.5.4.11", "Japan Agency for Local Authority Information Systems")
    assert asn1.name(*parts, last) == site.ca().name
    others = asn1.name(*parts), asn1.name(*parts, last, tag=0x0C), asn1.name(*parts[::-1], last), asn1.seq()
    for name in (site.ca("auth").name, *others):
        assert await verdict(backend, site.ca().issue(issuer=name)) == "wrong_card"


async def test_a_ca_of_the_same_name_with_another_key(site: JpkiSite, backend: JpkiBackend) -> None:
    forger = Authority("sign", private=key("forger"))
    assert forger.name == site.ca().name
    assert await verdict(backend, forger.issue()) == "wrong_card"
    # and one that claims the real key's identifier
    assert await verdict(backend, forger.issue(authority_key=site.ca().key_id)) == "wrong_card"


async def test_the_same_subject_but_another_key(site: JpkiSite, backend: JpkiBackend) -> None:
    """A real certificate with the forger's key put in: what the CA signed is no longer what it says."""
    card, forger = site.ca().issue(), key("forger")
    mine, theirs = asn1.key_info(*numbers(forger)), asn1.key_info(*numbers(card.key))
    assert card.certificate.count(theirs) == 1
    assert await verdict(backend, Card("sign", card.certificate.replace(theirs, mine), forger)) == "wrong_card"
    # and a real certificate with a signature by a key that is not its own
    assert await verdict(backend, Card("sign", card.certificate, forger)) == "unusable_answer"


async def test_key_identifiers_GHSA_58hw_cg5m_88rp(site: JpkiSite, backend: JpkiBackend) -> None:  # noqa: N802
    assert await verdict(backend, site.ca().issue(authority_key=site.ca("sign", 1).key_id)) == "wrong_card"
    assert await verdict(backend, site.ca().issue(authority_key=bytes(20))) == "wrong_card"
    assert await verdict(backend, site.ca().issue(without=frozenset({"2.5.29.35"}))) == "wrong_card"


async def test_a_leaf_as_ca_GHSA_58hw_cg5m_88rp(site: JpkiSite, backend: JpkiBackend) -> None:  # noqa: N802
    """A card's own key issues a certificate, under its own name or the CA's."""
    holder = site.ca().issue()
    subject = asn1.name(
        ("2.5.4.6", "JP"), ("2.5.4.7", "Tokyo-to"), ("2.5.4.7", "Chiyoda-ku"), ("2.5.4.3", "20260101000000000000000000001")
    )
    assert subject in holder.certificate
    below = {"signer": holder.key, "key": key("forger")}
    for fields in (
        {"issuer": subject, "authority_key": key_hash(holder.key)}, {"issuer": subject}, {"authority_key": key_hash(holder.key)},
        {},
    ):  # fmt: skip
        assert await verdict(backend, site.ca().issue(None, **(below | fields))) == "wrong_card"


async def test_a_certificate_of_a_ca_is_no_cards_GHSA_58hw_cg5m_88rp(site: JpkiSite, backend: JpkiBackend) -> None:  # noqa: N802
    assert await verdict(backend, site.ca().issue(more=(CA_TRUE,))) == "wrong_card"
    path = asn1.extension("2.5.29.19", asn1.seq(asn1.TRUE, asn1.integer(0)), critical=True)
    assert await verdict(backend, site.ca().issue(more=(path,))) == "wrong_card"
    root = Card("sign", site.ca().certificate, site.ca().key)
    assert await verdict(backend, root) == "wrong_card"


# ---------------------------------------------------------------- what it is for


@pytest.mark.parametrize(
    "bits",
    [
        (DIGITAL_SIGNATURE,), (NON_REPUDIATION,), (*BOTH, KEY_ENCIPHERMENT), (*BOTH, KEY_CERT_SIGN), (*BOTH, CRL_SIGN),
        (KEY_ENCIPHERMENT,), (*BOTH, 8),
    ],
)  # fmt: skip
async def test_key_usage_of_the_signing_certificate_GHSA_58hw_cg5m_88rp(  # noqa: N802
    site: JpkiSite, backend: JpkiBackend, bits: tuple[int, ...]
) -> None:
    assert await verdict(backend, site.ca().issue(key_usage=bits)) == "wrong_card"


async def test_key_usage_of_the_authentication_certificate(site: JpkiSite) -> None:
    backend = site.backend("auth")
    for bits in (BOTH, (NON_REPUDIATION,), (DIGITAL_SIGNATURE, KEY_ENCIPHERMENT)):
        assert await verdict(backend, site.ca("auth").issue(key_usage=bits)) == "wrong_card"


async def test_key_usage_that_is_missing_or_not_critical(site: JpkiSite, backend: JpkiBackend) -> None:
    assert await verdict(backend, site.ca().issue(key_usage_critical=False)) == "wrong_card"
    assert await verdict(backend, site.ca().issue(without=frozenset({"2.5.29.15"}))) == "wrong_card"


@pytest.mark.parametrize(
    "policies",
    [
        (),
        (AUTH_POLICY,),
        (SIGN_POLICY,),
        ("2.5.29.32.0",),
        (TEST_POLICY, SIGN_POLICY),
        (TEST_POLICY, TEST_POLICY),
        (f"{TEST_POLICY}.1",),
    ],
)
async def test_another_policy(site: JpkiSite, backend: JpkiBackend, policies: tuple[str, ...]) -> None:
    assert await verdict(backend, site.ca().issue(policies=policies)) == "wrong_card"
    assert await verdict(backend, site.ca().issue(without=frozenset({"2.5.29.32"}))) == "wrong_card"


async def test_test_certificates_do_not_count_in_production_and_the_other_way_round(site: JpkiSite, backend: JpkiBackend) -> None:
    production = site.backend(environment="production")
    assert await verdict(production, site.ca().issue()) == "wrong_card"
    assert await verdict(production, site.ca().issue(policies=(SIGN_POLICY,))) == "proofed"
    assert await verdict(backend, site.ca().issue(policies=(SIGN_POLICY,))) == "wrong_card"


async def test_a_phones_policy_counts_only_where_it_was_configured(site: JpkiSite, backend: JpkiBackend) -> None:
    phone = site.ca().issue(policies=("1.2.392.200149.8.5.1.1.40",))
    assert await verdict(backend, phone) == "wrong_card"
    assert await verdict(site.backend(more_policies=("1.2.392.200149.8.5.1.1.40",)), phone) == "proofed"


async def test_a_critical_extension_that_nobody_understands(site: JpkiSite, backend: JpkiBackend) -> None:
    assert await verdict(backend, site.ca().issue(more=(CRITICAL_UNKNOWN,))) == "wrong_card"
    constraints = asn1.extension("2.5.29.30", asn1.seq(), critical=True)
    assert await verdict(backend, site.ca().issue(more=(constraints,))) == "wrong_card"


async def test_an_ocsp_responders_certificate_is_no_cards(site: JpkiSite, backend: JpkiBackend) -> None:
    assert await verdict(backend, site.ca().issue(more=(usage(OCSP_SIGNING),))) == "wrong_card"


# ---------------------------------------------------------------- algorithms and keys


@pytest.mark.parametrize(
    "dotted", ["1.2.840.113549.1.1.5", "1.2.840.113549.1.1.4", "1.2.840.113549.1.1.10", "1.2.840.113549.1.1.13"]
)
async def test_another_algorithm_inside_or_outside(site: JpkiSite, backend: JpkiBackend, dotted: str) -> None:
    other = asn1.algorithm(dotted)
    for fields in ({"inner": other}, {"outer": other}, {"inner": other, "outer": other}):
        assert await verdict(backend, site.ca().issue(None, **fields)) == "unusable_answer"
    bare = asn1.seq(asn1.oid(asn1.SHA256_WITH_RSA))  # without its NULL
    assert await verdict(backend, site.ca().issue(inner=bare, outer=bare)) == "unusable_answer"


@pytest.mark.parametrize("size", [1024, 3072])
async def test_a_key_of_another_size(site: JpkiSite, backend: JpkiBackend, size: int) -> None:
    assert await verdict(backend, site.ca().issue(key=key(f"{size} bits", 65537, size))) == "unusable_answer"


@pytest.mark.parametrize("exponent", [-1, 0, 1, 2, 3, 17, 257, 65_535, 65_536, 65_538, 2**64 + 1])
async def test_an_exponent_that_is_small_even_or_huge(site: JpkiSite, backend: JpkiBackend, exponent: int) -> None:
    modulus, _ = numbers(key("card"))
    card = site.ca().issue(key_info=asn1.key_info(modulus, exponent))
    assert await verdict(backend, card) == "unusable_answer"
    with pytest.raises(Malformed, match="exponent"):
        parse_certificate(card.certificate)


def test_an_exponent_is_written_in_so_many_bytes(site: JpkiSite) -> None:
    modulus, _ = numbers(key("card"))
    padded = asn1.seq(asn1.integer(modulus), b"\x02\x04\x00\x01\x00\x01")
    info = asn1.seq(asn1.algorithm("1.2.840.113549.1.1.1"), asn1.bits(padded))
    with pytest.raises(Malformed, match="more bytes"):
        parse_certificate(site.ca().issue(key_info=info).certificate)


def cube_root(number: int) -> int:
    """The smallest integer whose cube is at least `number`."""
    low, high = 0, 1 << (number.bit_length() // 3 + 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if middle**3 >= number else (middle + 1, high)
    return low


def forged(content: bytes) -> bytes:
    """A signature for any key of 2048 bits with e = 3, made without it (Bleichenbacher, 2006): short padding, the right digest,
    and rubbish to make up a cube.
    """
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420") + hashlib.sha256(content).digest()
    head = b"\x00\x01" + b"\xff" * 8 + b"\x00" + digest_info
    return cube_root(int.from_bytes(head.ljust(256, b"\x00"), "big")).to_bytes(256, "big")


def careless(modulus: int, signature: bytes, content: bytes) -> bool:
    """A verifier that recovers the block and looks for the digest in it, as many did."""
    block = pow(int.from_bytes(signature, "big"), 3, modulus).to_bytes(256, "big")
    start = block.index(b"\x00", 2) + 1
    return block[:2] == b"\x00\x01" and block[start + 19 : start + 51] == hashlib.sha256(content).digest()


async def test_a_forged_signature_with_e_3_Bleichenbacher_2006(site: JpkiSite, backend: JpkiBackend) -> None:  # noqa: N802
    weak = key("weak", 3)
    started = await backend.begin(person=_nobody(), purpose="sign_in")
    text = started.show.values["text"].encode()
    signature = forged(text)
    assert careless(numbers(weak)[0], signature, text)  # the forgery is a real one
    assert not is_signed(weak.public_key(), signature, text)  # the library's padding check
    assert is_signed(weak.public_key(), sign(weak, text), text)
    # and a certificate with such a key is not read at all, by whomever it was signed
    card = site.ca().issue(key=weak)
    with pytest.raises(Malformed, match="exponent"):
        parse_certificate(card.certificate)
    answer = card.answer(challenge_of(started.show.values)) | {"signature": _base64(signature)}
    assert str(await backend.complete(started.state, answer)).count("unusable_answer") == 1


async def test_a_certificate_with_a_forged_signature_of_a_root_with_e_3(site: JpkiSite, tmp_path: Path) -> None:
    """Such a root can't be pinned in the first place."""
    weak = Authority("sign", private=key("weak", 3))
    file = tmp_path / "weak.cer"
    file.write_bytes(weak.certificate)
    with pytest.raises(ConfigError, match="exponent"):
        site.backend(roots=(RootFile(file=file, sha256=fingerprint(weak.certificate)),))


def test_the_signature_has_the_keys_length() -> None:
    private = key("card")
    signature = private.sign(b"text", PKCS1v15(), SHA256())
    assert is_signed(private.public_key(), signature, b"text")
    for wrong in (b"", b"\x00" + signature, signature + b"\x00", signature[:-1], signature.lstrip(b"\x00")[:255]):
        assert not is_signed(private.public_key(), wrong, b"text")


# ---------------------------------------------------------------- encodings


async def test_bytes_after_the_certificate(site: JpkiSite, backend: JpkiBackend) -> None:
    assert await verdict(backend, site.ca().issue(after=b"\x00")) == "unusable_answer"
    assert await verdict(backend, site.ca().issue(after=site.ca().certificate)) == "unusable_answer"


def test_fields_after_the_signature(site: JpkiSite) -> None:
    good = site.ca().issue().certificate
    with pytest.raises(Malformed, match="too many"):
        parse_certificate(asn1.seq(good[4:], asn1.NULL))


def test_what_nobody_looks_at_is_der_too(site: JpkiSite) -> None:
    """A set out of order in a name, and indefinite lengths within an extension that nobody reads."""
    first, second = (asn1.seq(asn1.oid("2.5.4.3"), asn1.utf8(text)) for text in "ba")
    for parts, fine in (((second, first), True), ((first, second), False)):
        certificate = site.ca().issue(subject=asn1.seq(asn1.tlv(0x31, *parts))).certificate
        if fine:
            parse_certificate(certificate)
        else:
            with pytest.raises(Malformed, match="out of order"):
                parse_certificate(certificate)
    for value in (b"\x30\x80\x00\x00", b"\x24\x00", b"\x0c\x01\xff", asn1.NULL + asn1.NULL, b""):
        with pytest.raises(Malformed):
            parse_certificate(site.ca().issue(more=(asn1.extension("1.2.3.4", value),)).certificate)
    for part in (
        asn1.tlv(0x31),
        asn1.seq(first),
        asn1.tlv(0x31, asn1.seq(asn1.oid("2.5.4.3"), asn1.integer(1))),
        asn1.tlv(0x31, asn1.NULL),
    ):
        with pytest.raises(Malformed):
            parse_certificate(site.ca().issue(subject=asn1.seq(part)).certificate)


async def test_an_identifier_with_a_number_of_thousands_of_digits(site: JpkiSite, backend: JpkiBackend) -> None:
    """Which Python would not even turn into text."""
    huge = asn1.seq(asn1.tlv(0x06, b"\xff" * 5_000 + b"\x01"), asn1.octets(asn1.NULL))
    assert await verdict(backend, site.ca().issue(more=(huge,))) == "unusable_answer"


async def test_another_version(site: JpkiSite, backend: JpkiBackend) -> None:
    for version in (b"", asn1.tlv(0xA0, asn1.integer(0)), asn1.tlv(0xA0, asn1.integer(1)), asn1.tlv(0xA0, asn1.integer(3))):
        assert await verdict(backend, site.ca().issue(version=version)) == "unusable_answer"


@pytest.mark.parametrize("serial", [0, -1, 1 << 160])
async def test_a_serial_number_that_is_none(site: JpkiSite, backend: JpkiBackend, serial: int) -> None:
    assert await verdict(backend, site.ca().issue(serial=serial)) == "unusable_answer"


@pytest.mark.parametrize(
    "moment",
    [
        asn1.tlv(0x17, b"281231235959+0900"), asn1.tlv(0x17, b"2812312359Z"), asn1.tlv(0x17, b"281331235959Z"),
        asn1.tlv(0x17, b"280230235959Z"), asn1.tlv(0x18, b"20281231235959.5Z"), asn1.tlv(0x18, b"20281231235959"),
        asn1.tlv(0x16, b"281231235959Z"), asn1.tlv(0x17, "２81231235959Z".encode()),
    ],
)  # fmt: skip
async def test_times_in_another_form(site: JpkiSite, backend: JpkiBackend, moment: bytes) -> None:
    assert await verdict(backend, site.ca().issue(not_after=moment)) == "unusable_answer"


async def test_an_extension_twice(site: JpkiSite, backend: JpkiBackend) -> None:
    """The second says what the first does not."""
    narrow = asn1.extension("2.5.29.15", asn1.named_bits(*BOTH), critical=True)
    card = site.ca().issue(key_usage=(*BOTH, KEY_CERT_SIGN), more=(narrow,))
    assert await verdict(backend, card) == "unusable_answer"


async def test_defaults_that_are_written_out(site: JpkiSite, backend: JpkiBackend) -> None:
    false = b"\x01\x01\x00"
    written = asn1.seq(asn1.oid("2.5.29.19"), false, asn1.octets(asn1.seq()))
    assert await verdict(backend, site.ca().issue(more=(written,))) == "unusable_answer"
    inner = asn1.extension("2.5.29.19", asn1.seq(false), critical=True)
    assert await verdict(backend, site.ca().issue(more=(inner,))) == "unusable_answer"
    loose = asn1.extension("2.5.29.19", asn1.seq(b"\x01\x01\x01"), critical=True)  # true in BER
    assert await verdict(backend, site.ca().issue(more=(loose,))) == "unusable_answer"


async def test_key_usage_in_another_spelling(site: JpkiSite, backend: JpkiBackend) -> None:
    for value in (
        asn1.bits(b"\xc0", 0),
        asn1.bits(b"\xc0\x00", 6),
        asn1.bits(b"\xff", 6),
        asn1.bits(b""),
        asn1.bits(b"", 1),
        b"\x03\x00",
    ):
        extension = asn1.extension("2.5.29.15", value, critical=True)
        card = site.ca().issue(without=frozenset({"2.5.29.15"}), more=(extension,))
        assert await verdict(backend, card) == "unusable_answer"


def test_lengths_and_tags_of_ber(site: JpkiSite) -> None:
    """The same certificate in every other encoding of its outermost element."""
    good = site.ca().issue().certificate
    parse_certificate(good)
    assert good[:2] == b"\x30\x82"
    content = good[4:]
    count = len(content).to_bytes(2, "big")
    for head in (
        b"\x30\x83\x00" + count, b"\x30\x84\x00\x00" + count, b"\x30\x85\x00\x00\x00" + count, b"\x31\x82" + count,
        b"\x10\x82" + count, b"\x3f\x10\x82" + count, b"\x30\x80", b"\x30\xff" + count,
    ):  # fmt: skip
        with pytest.raises(Malformed):
            parse_certificate(head + content)
    with pytest.raises(Malformed):
        parse_certificate(b"\x30\x80" + content + b"\x00\x00")
    for cut in range(0, len(good), 97):
        with pytest.raises(Malformed):
            parse_certificate(good[:cut])


async def test_mangled_bytes_never_pass_and_never_raise(site: JpkiSite, backend: JpkiBackend) -> None:
    card = site.ca().issue()
    for place in range(0, len(card.certificate), 23):
        data = bytearray(card.certificate)
        data[place] ^= 0x01
        assert await verdict(backend, Card("sign", bytes(data), card.key)) in {"unusable_answer", "wrong_card"}


def _nobody() -> Person:
    return Person(user_id="usr_nobody", name="無名")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
