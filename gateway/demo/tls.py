"""The demo's own certificate authority: a server certificate for `*.localhost`, and a device certificate to import.

The keys carry the mark that `gateway serve` refuses. The CA is good for these two leaves and nothing else: its private key is
thrown away as soon as they are signed.
"""

import datetime as dt
import ipaddress
import os
from pathlib import Path
from typing import Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.config.production import DEMO_MARK

P12_PASSWORD: Final = "demo"  # noqa: S105  printed for the person who imports the file; the key inside is worth nothing
DAYS: Final = 30
_HOUR: Final = dt.timedelta(hours=1)


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """Where the demo's certificates are."""

    ca: Path
    certificate: Path
    key: Path
    p12: Path
    client_certificate: Path
    client_key: Path


def prepare(folder: Path, hosts: tuple[str, ...], now: float) -> TlsFiles:
    """Make the certificates once, and again when they are older than half their life."""
    files = TlsFiles(
        ca=folder / "ca.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        p12=folder / "device.p12",
        client_certificate=folder / "device.pem",
        client_key=folder / "device.key",
    )
    if _usable(files, now):
        return files
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    ca_key, ca = _authority(moment)
    names: list[x509.GeneralName] = [x509.DNSName(host) for host in hosts]
    names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    server_key, server = _leaf(ca_key, ca, "localhost", names, ExtendedKeyUsageOID.SERVER_AUTH, moment)
    device_names: list[x509.GeneralName] = [x509.DNSName("demo-terminal.invalid")]
    device_key, device = _leaf(ca_key, ca, "demo terminal", device_names, ExtendedKeyUsageOID.CLIENT_AUTH, moment)
    _write(files.ca, ca.public_bytes(Encoding.PEM))
    _write(files.certificate, server.public_bytes(Encoding.PEM))
    _write(files.key, _private(server_key))
    _write(files.client_certificate, device.public_bytes(Encoding.PEM))
    _write(files.client_key, _private(device_key))
    sealed = pkcs12.serialize_key_and_certificates(
        b"demo terminal", device_key, device, [ca], BestAvailableEncryption(P12_PASSWORD.encode())
    )
    _write(files.p12, sealed)
    return files


def _usable(files: TlsFiles, now: float) -> bool:
    if not all(getattr(files, name).exists() for name in files.__struct_fields__):
        return False
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    return now < certificate.not_valid_after_utc.timestamp() - DAYS / 2 * 86_400


def _authority(moment: dt.datetime) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Access gateway demo CA (worthless)")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _HOUR)
        .not_valid_after(moment + dt.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(authority=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


def _leaf(
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    name: str,
    names: list[x509.GeneralName],
    purpose: x509.ObjectIdentifier,
    moment: dt.datetime,
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - _HOUR)
        .not_valid_after(moment + dt.timedelta(days=DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return key, builder.sign(ca_key, hashes.SHA256())


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return DEMO_MARK + b"\n" + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
