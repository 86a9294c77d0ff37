"""Certificates in header fields, in the spellings of the fronts that exist."""

import base64
import datetime as dt
from urllib.parse import quote, quote_plus

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.domain.connection import Connection
from gateway.doors.said import Says, certificate_of, client_of


def made() -> x509.Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "terminal-7")])
    start = dt.datetime.now(dt.UTC)
    end = start + dt.timedelta(days=1)
    return x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, end).sign(
        key, hashes.SHA256()
    )


CERTIFICATE = made()
DER = CERTIFICATE.public_bytes(Encoding.DER)
PEM = CERTIFICATE.public_bytes(Encoding.PEM).decode()
B64 = base64.b64encode(DER).decode()


@pytest.mark.parametrize(
    "value",
    [f":{B64}:", quote(PEM, safe=""), quote(PEM), B64, quote(B64, safe=""), quote_plus(B64), f"{B64},{B64}"],
    ids=["rfc9440", "nginx", "envoy", "plain", "escaped", "traefik", "chain"],
)
def test_spellings(value: str) -> None:
    assert certificate_of(value) == DER


@pytest.mark.parametrize(
    "value",
    [
        ":", "::", ":bm8=:", f":{B64}", f"{B64}:", f":{B64}: ", "x", "%", "bm8=", f" {B64}", PEM.replace("\n", "\t") * 2,
        f"{quote(PEM)}{quote(PEM)}", quote(PEM.replace("CERTIFICATE", "PRIVATE KEY")), "é", "\udcff", f":{B64 * 40}:",
        f":{base64.b64encode(DER + b'0').decode()}:", f":{base64.urlsafe_b64encode(DER).decode()}!:",
    ],
)  # fmt: skip
def test_what_is_none(value: str) -> None:
    assert certificate_of(value) is None


def test_a_client_over_tls() -> None:
    says = Says(tls=True, certificate="client-cert")
    headers = (
        ("X-Forwarded-For", "10.0.0.1, 2001:db8::9"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Client-Port", "50123"),
        ("X-Forwarded-Tls-Version", "tls1.2"), ("X-Forwarded-Tls-Server-Name", "EHR.hospital.example"),
        ("Client-Cert", f":{B64}:"),
    )  # fmt: skip
    assert client_of(headers, "uid:33", says) == Connection(
        peer_address="2001:db8::9", peer_port=50123, tls_version="TLSv1.2", server_name="ehr.hospital.example",
        client_certificate=DER, front="uid:33",
    )  # fmt: skip


def test_a_client_without_tls_has_no_certificate() -> None:
    headers = (("X-Forwarded-For", "::ffff:10.0.0.1"), ("X-Forwarded-Proto", "http"), ("Client-Cert", f":{B64}:"))
    expected = Connection(peer_address="10.0.0.1", front="uid:33")
    assert client_of(headers, "uid:33", Says(tls=True, certificate="client-cert")) == expected
