"""Fuzz targets of the JPKI backend: whatever the bytes are, nothing is raised, and nothing passes but what a CA really signed.

The corpus was made by `python -m tests.fuzz.jpki` with keys that were thrown away; `jpki-fixed/` has what stays the same.
"""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from idp.proofing.jpki import ocsp
from idp.proofing.jpki.attributes import parse_attributes
from idp.proofing.jpki.certificate import Extension, parse_certificate
from idp.proofing.jpki.checks import Judged, judge
from idp.proofing.jpki.crl import parse_crl, revoked_serials
from idp.proofing.jpki.der import GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME, Fields, Malformed, elements, integer
from idp.proofing.jpki.roots import parse_root
from idp.proofing.jpki.settings import JpkiSettings, profile_of
from idp.proofing.jpki.standing import NoAnswer
from idp.proofing.port import Broken
from tests.support import asn1, jpki_ca
from tests.support.jpki_ocsp import NO_CHECK, OCSP_SIGNING, Response, delegate, error, usage

HERE: Final = Path(__file__).parent
FIXED: Final = HERE / "jpki-fixed"
NOW: Final = 1_800_000_000
NONCE: Final = bytes(range(32))
PROFILE: Final = profile_of(JpkiSettings(verifier="v", institution="i", environment="test"))
ROOT: Final = parse_root((FIXED / "root").read_bytes()) if (FIXED / "root").exists() else None
DEMANDS: Final = ocsp.Demands(age=86_400, nonce=True, no_check=True)


def _good(name: str) -> set[bytes]:
    """The inputs of a corpus that have to pass: those called `good...`."""
    return {path.read_bytes() for path in (HERE / "corpus" / name).glob("good*")}


GOOD: Final = {name: _good(name) for name in ("jpki_certificate", "jpki_crl", "jpki_ocsp")}


def certificate(data: bytes) -> None:
    """A certificate: it passes only if it is, to the last bit, one that the CA signed; and pyca reads the same in it."""
    assert ROOT is not None
    found = judge(
        data, (FIXED / "signature").read_bytes(), (FIXED / "text").read_bytes(), profile=PROFILE, roots=(ROOT,), now=NOW
    )  # fmt: skip
    assert not isinstance(found, Broken)
    assert isinstance(found, Judged) == (data in GOOD["jpki_certificate"])
    try:
        own = parse_certificate(data)
    except Malformed:
        return
    other = x509.load_der_x509_certificate(data)
    key = other.public_key()
    assert isinstance(key, RSAPublicKey)
    assert (own.serial, own.signature, own.signed) == (other.serial_number, other.signature, other.tbs_certificate_bytes)
    assert (own.not_before, own.not_after) == (other.not_valid_before_utc.timestamp(), other.not_valid_after_utc.timestamp())
    assert (own.modulus, own.exponent) == (key.public_numbers().n, key.public_numbers().e)


def names(data: bytes) -> None:
    """A subjectAltName: read, or Malformed; what is read stands there in so many bytes."""
    try:
        found = parse_attributes({"2.5.29.17": Extension(False, data)})
    except Malformed:
        return
    assert 1 <= len(found.name) <= 200
    assert asn1.utf8(found.name) in data
    assert asn1.utf8(found.birth_date) in data
    assert all(1 <= place <= len(found.name) for place in found.substitutes)
    assert found.kana == ""
    assert (found.former_names, found.licences) == ((), ())


def crl(data: bytes) -> None:
    """A revocation list, and its entries: the quick reader finds what the careful one does."""
    assert ROOT is not None
    try:
        parse_crl(data, (ROOT,))
    except Malformed:
        passed = False
    else:
        passed = True
    assert passed == (data in GOOD["jpki_crl"])
    try:
        quick = revoked_serials(data)
    except Malformed:
        return
    careful = set()
    for element in elements(data):
        assert element.tag == SEQUENCE
        fields = Fields(element.value)
        careful.add(integer(fields.take(INTEGER)))
        assert fields.take(UTC_TIME, GENERALIZED_TIME).value.endswith(b"Z")
        fields.maybe(SEQUENCE)
        fields.end()
    assert quick == careful


def answer(data: bytes) -> None:
    """An OCSP answer: it says something only if the responder said it."""
    assert ROOT is not None
    card = parse_certificate((HERE / "corpus" / "jpki_certificate" / "good-0").read_bytes())
    found = ocsp.judge(data, card, ROOT, NONCE, demands=DEMANDS, now=NOW)
    assert isinstance(found, NoAnswer) == (data not in GOOD["jpki_ocsp"])


JPKI_TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "jpki_certificate": certificate, "jpki_names": names, "jpki_crl": crl, "jpki_ocsp": answer,
}  # fmt: skip


def make() -> None:
    """Write the corpus anew."""
    ca, text = jpki_ca.Authority("sign"), "本人確認のための電子署名\n確認番号: 00\n".encode()
    private = jpki_ca.key("card")
    fixed = {"root": ca.certificate, "text": text, "signature": jpki_ca.sign(private, text)}
    holders = ("佐藤　恵", "髙﨑　恵", "佐\u202e藤　恵", "𠮷野　家", "John　Smith", "佐藤\x00", "a", "あ" * 200)
    attributes = [jpki_ca.attributes(holder) for holder in holders]
    variants: list[dict[str, object]] = [{"names": one} for one in attributes]
    variants += [{"more": (asn1.extension("2.5.29.19", asn1.seq(), critical=True),)}, {"city": "Minato-ku"}]
    bad: list[dict[str, object]] = [
        {"not_after": asn1.utc_time(NOW)}, {"key_usage": (0,)}, {"policies": ("1.2.3",)}, {"after": b"\x00"},
        {"signer": jpki_ca.key("forger")}, {"without": frozenset({"2.5.29.35"})}, {"names": []}, {"serial": 0},
    ]  # fmt: skip
    certificates = {f"good-{number}": ca.issue(None, **fields).certificate for number, fields in enumerate(variants)}
    certificates |= {f"bad-{number}": ca.issue(None, **fields).certificate for number, fields in enumerate(bad)}
    certificates["root"] = ca.certificate
    serial, responder = 0x1A2B3C4D, jpki_ca.key("responder")
    delegated = delegate(ca, responder, usage(OCSP_SIGNING), NO_CHECK).certificate
    asked = Response(ca=ca, serial=serial, at=NOW - 60, nonce=NONCE)
    changed: dict[str, dict[str, object]] = {
        "good-good": {}, "good-revoked": {"status": "revoked"}, "good-endless": {"next_update": None},
        "good-delegated": {"signer": responder, "certificates": (delegated,)}, "unknown": {"status": "unknown"},
        "other": {"serial": 1}, "old": {"at": 1}, "twice": {"twice": True}, "no-nonce": {"nonce": None},
    }  # fmt: skip
    answers = {name: replace(asked, **fields).encode() for name, fields in changed.items()}  # type: ignore[arg-type]
    answers |= {"later": error(3), "cut": asked.encode()[:-9]}
    whole = ca.crl((1, 0x7F, 0x80, serial), this_update=NOW - 60)
    entries = asn1.seq(asn1.integer(5), asn1.utc_time(NOW), jpki_ca.REASON)
    lists = {
        "good-0": whole, "good-1": ca.crl((), this_update=NOW), "good-2": ca.crl((5,), this_update=NOW, entry=b""),
        "good-3": ca.crl((5,), this_update=NOW, names=(jpki_ca.point_name("Minato-ku"),)), "unsigned": whole[:-256] + bytes(256),
        "entries": entries * 3, "bare": asn1.seq(asn1.integer(5), asn1.general_time(NOW)), "empty": b"",
        "negative": entries.replace(b"\x05", b"\x85", 1),
        "other": asn1.seq(asn1.integer(5), asn1.utc_time(NOW), asn1.seq(asn1.extension("2.5.29.29", asn1.seq(), critical=True))),
        "long": asn1.seq(asn1.integer(5), asn1.utc_time(NOW), asn1.seq(asn1.extension("1.2.3", asn1.octets(bytes(200))))),
    }  # fmt: skip
    named = {f"{number}": asn1.seq(*one) for number, one in enumerate(attributes)}
    named |= {
        "bmp": asn1.seq(jpki_ca.attribute(1, asn1.tlv(0x1E, b"\x4f\x50")), *attributes[0][1:]),
        "five": asn1.seq(*attributes[0][1:]),
        "twice": asn1.seq(*attributes[0], attributes[0][0]), "more": asn1.seq(asn1.tlv(0x81, b"a@b"), *attributes[0]),
    }  # fmt: skip
    folders = {"jpki_certificate": certificates, "jpki_ocsp": answers, "jpki_crl": lists, "jpki_names": named}
    for folder, files in [(FIXED, fixed), *((HERE / "corpus" / name, files) for name, files in folders.items())]:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name, content in files.items():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    make()
    sys.stdout.write("made; commit all of it\n")
