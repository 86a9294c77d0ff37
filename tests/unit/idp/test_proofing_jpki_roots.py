"""Settings and the trust store: what may be pinned, and what is refused at the start."""

import base64
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError
from idp.proofing.jpki.backend import jpki_backend
from idp.proofing.jpki.der import Malformed
from idp.proofing.jpki.roots import load_roots, parse_root
from idp.proofing.jpki.settings import AUTH_POLICY, SIGN_POLICY, TEST_POLICY, JpkiSettings, RootFile, profile_of
from tests.support import asn1
from tests.support.jpki import NOW, JpkiSite
from tests.support.jpki_ca import CRL_SIGN, DIGITAL_SIGNATURE, GENERATIONS, KEY_CERT_SIGN, Authority, fingerprint, key


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    return JpkiSite(tmp_path)


def pinned(folder: Path, data: bytes, sha256: str | None = None) -> RootFile:
    file = folder / "root.cer"
    file.write_bytes(data)
    return RootFile(file=file, sha256=fingerprint(data) if sha256 is None else sha256)


def test_both_generations_are_read(site: JpkiSite) -> None:
    roots = load_roots((site.root("sign", 1), site.root("sign", 2)), NOW)
    assert len({root.key_id for root in roots}) == 2
    assert len({root.certificate.subject for root in roots}) == 1


def test_pem_and_printed_fingerprints(site: JpkiSite, tmp_path: Path) -> None:
    data = site.ca().certificate
    lines = base64.encodebytes(data)
    pem = b"-----BEGIN CERTIFICATE-----\n" + lines + b"-----END CERTIFICATE-----\n"
    file = tmp_path / "root.pem"
    printed = fingerprint(data).upper()
    printed = ":".join(printed[at : at + 2] for at in range(0, 64, 2))
    for content in (pem, pem.replace(b"\n", b"\r\n")):
        file.write_bytes(content)
        assert load_roots((RootFile(file=file, sha256=printed),), NOW)[0].certificate.der == data
    for content in (
        pem + pem,
        b"bag attributes\n" + pem,
        pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        pem.replace(b"M", b"!", 1),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError):
            load_roots((RootFile(file=file, sha256=printed),), NOW)


@pytest.mark.parametrize("wrong", ["", "0" * 64, "zz", "0" * 63])
def test_another_fingerprint(site: JpkiSite, tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigError, match="another SHA-256 fingerprint"):
        load_roots((pinned(tmp_path, site.ca().certificate, wrong),), NOW)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="can't be read"):
        load_roots((RootFile(file=tmp_path / "none.cer", sha256="0" * 64),), NOW)


def test_a_root_that_is_not_in_force(site: JpkiSite, tmp_path: Path) -> None:
    start, end = GENERATIONS[2]
    entry = pinned(tmp_path, site.ca().certificate)
    for now in (start, end - 1):
        assert load_roots((entry,), now)
    for now in (start - 1, end):
        with pytest.raises(ConfigError, match="not in force"):
            load_roots((entry,), now)


def test_the_same_root_twice(site: JpkiSite) -> None:
    with pytest.raises(ConfigError, match="twice"):
        load_roots((site.root("sign", 2), site.root("sign", 2)), NOW)


def test_what_is_no_self_signed_ca(site: JpkiSite) -> None:
    ca = site.ca()
    assert parse_root(ca.root()).key_id == ca.key_id
    assert parse_root(ca.root(usage=(DIGITAL_SIGNATURE, KEY_CERT_SIGN, CRL_SIGN))).key_id == ca.key_id
    other = asn1.name(("2.5.4.6", "JP"), ("2.5.4.10", "Another"))
    weak = Authority("sign", private=key("weak", 3))
    for data in (
        ca.root(basic=None), ca.root(basic=asn1.seq()), ca.root(usage=(KEY_CERT_SIGN,)), ca.root(usage=(CRL_SIGN,)),
        ca.root(usage=(DIGITAL_SIGNATURE,)), ca.root(subject=other), ca.issue().certificate, weak.certificate,
        ca.root(more=(asn1.extension("1.2.3.4", asn1.NULL, critical=True),)), ca.certificate[:-256] + bytes(256),
        ca.certificate + b"\x00", b"", b"-----BEGIN CERTIFICATE-----",
    ):  # fmt: skip
        with pytest.raises(Malformed):
            parse_root(data)


def test_extensions_of_a_root_that_must_be_critical(site: JpkiSite) -> None:
    ca = site.ca()
    basic, usage = ("2.5.29.19", asn1.seq(asn1.TRUE)), ("2.5.29.15", asn1.named_bits(KEY_CERT_SIGN, CRL_SIGN))
    assert parse_root(ca.root(basic=None, more=(asn1.extension(*basic, critical=True),))).key_id == ca.key_id
    assert parse_root(ca.root(usage=None, more=(asn1.extension(*usage, critical=True),))).key_id == ca.key_id
    for data in (
        ca.root(basic=None, more=(asn1.extension(*basic),)), ca.root(usage=None, more=(asn1.extension(*usage),)),
        ca.root(usage=None),
    ):  # fmt: skip
        with pytest.raises(Malformed):
            parse_root(data)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"verifier": ""}, "idp.jpki.verifier"), ({"institution": "  "}, "idp.jpki.institution"),
        ({"roots": ()}, "no root certificate"),
        ({"institution": "病院\u202e"}, "can't be seen"), ({"crl_folder": None}, "exactly one way"),
        ({"ocsp_url": "http://ocsp.example/"}, "exactly one way"), ({"crl_hours": 0}, "idp.jpki.crl_hours"),
        ({"valid_days": 0}, "idp.jpki.valid_days"),
        ({"ocsp_seconds": 0}, "idp.jpki.ocsp_seconds"), ({"ocsp_minutes": -1}, "idp.jpki.ocsp_minutes"),
        ({"crl_folder": None, "ocsp_url": "ldap://ocsp.example/"}, "no http or https"),
        ({"environment": "production", "more_policies": (TEST_POLICY,)}, "test environment"),
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves(site: JpkiSite, changes: dict[str, object], what: str) -> None:
    with pytest.raises(ConfigError) as raised:
        jpki_backend(site.settings("sign", **changes), ManualClock(NOW))
    assert what in str(raised.value)
    assert raised.value.todo


def test_profiles() -> None:
    def policies(**fields: object) -> frozenset[str]:
        return profile_of(JpkiSettings(**({"verifier": "v", "institution": "i"} | fields))).policies  # type: ignore[arg-type]

    assert policies() == {SIGN_POLICY}
    assert policies(environment="test") == {TEST_POLICY}
    assert policies(certificate="auth") == {AUTH_POLICY}
    assert policies(certificate="auth", environment="test") == {AUTH_POLICY}
    assert policies(certificate="auth", environment="test", more_policies=("1.2.3",)) == {"1.2.3"}
    assert policies(more_policies=("1.2.3",)) == {SIGN_POLICY, "1.2.3"}


def test_pages_say_so_where_cards_are_nobodys(site: JpkiSite) -> None:
    assert site.backend().simulated
    assert not site.backend(environment="production").simulated
    assert site.backend().method == "jpki_sign"
    assert site.backend("auth").method == "jpki_auth"
