"""A device CA, the certificates that a hospital's devices have, and those that they should not have."""

import datetime as dt
import ssl
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.configuration import private
from tests.support.served import pem

_DAY: Final = dt.timedelta(days=1)


class DeviceCa:
    """An authority with files in one folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder: Final = folder
        self.file: Final = folder / f"{name}.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        signs = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        begin, end, serial = now - _DAY * 9, now + _DAY, x509.random_serial_number()
        certificate = (
            x509.CertificateBuilder(self._name, self._name, self._key.public_key(), serial, begin, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.file.chmod(0o644)

    def issue(self, name: str, *, days: int = 1) -> tuple[Path, bytes]:
        """Issue a client certificate that ends `days` from now; return the PEM file of it and its key, and its DER."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = dt.datetime.now(dt.UTC) + _DAY * days
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number(), end - _DAY * 3, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        text = certificate.public_bytes(Encoding.PEM).decode() + pem(key)
        return private(self.folder / f"{name}.pem", text), certificate.public_bytes(Encoding.DER)


def client_context(ca: Path, *, certificate: Path | None = None, alpn: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    """Return a client's context that trusts `ca` and does not compare names: a test picks what it says."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.set_alpn_protocols(list(alpn))
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context
