"""What a TLS listener really offers, asked with `openssl s_client`; and a certificate with an OCSP responder of its own."""

import datetime as dt
import re
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from tests.support.configuration import private

SUITES_13: Final = (
    "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_CCM_SHA256",
    "TLS_AES_128_CCM_8_SHA256",
)  # fmt: skip
_CHOSEN: Final = re.compile(r"^New, (\S+), Cipher is (\S+)$", re.MULTILINE)
_DAY: Final = dt.timedelta(days=1)
_NAMES_BY: Final = hashes.SHA1()  # noqa: S303  how OCSP clients name a certificate (RFC 6960 §4.1.1); nothing is signed with it


def s_client(address: tuple[str, int], *options: str, name: str | None = "ehr.localhost", typed: str = "Q\n") -> str:
    """Connect with OpenSSL's client and return all that it says. `name` is the SNI, None for none; `typed` its input."""
    sni = ["-noservername"] if name is None else ["-servername", name]
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"{address[0]}:{address[1]}", *sni, *options],
        input=typed, capture_output=True, text=True, timeout=30, check=False, errors="replace",
    )  # fmt: skip
    return done.stdout + done.stderr


def chosen(said: str) -> tuple[str, str] | None:
    """Protocol and cipher suite of the handshake in what `s_client` said; None when there was none."""
    found = _CHOSEN.search(said)
    return None if found is None or found[2] == "(NONE)" else (found[1], found[2])


def accepts(address: tuple[str, int], version: str) -> bool:
    """Whether a handshake of one old version works, with everything allowed that OpenSSL has. `version` as `tls1_1`."""
    return chosen(s_client(address, f"-{version}", "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0")) is not None


def suites_12(address: tuple[str, int]) -> list[str]:
    """Every TLS 1.2 suite that the listener takes: what it took is struck out of the offer until it takes none."""
    found: list[str] = []
    while True:
        offer = "".join(["ALL:COMPLEMENTOFALL", *(f":!{name}" for name in found), ":@SECLEVEL=0"])
        took = chosen(s_client(address, "-tls1_2", "-cipher", offer))
        if took is None:
            return found
        assert took[1] not in found
        found.append(took[1])


def suites_13(address: tuple[str, int]) -> list[str]:
    """Every TLS 1.3 suite that the listener takes."""
    return [name for name in SUITES_13 if chosen(s_client(address, "-tls1_3", "-ciphersuites", name)) is not None]


def groups(address: tuple[str, int], names: tuple[str, ...], version: str = "tls1_3") -> set[str]:
    """Those of the key exchange groups that the listener takes."""
    return {name for name in names if chosen(s_client(address, f"-{version}", "-groups", name)) is not None}


class Certified:
    """A CA, a server certificate that names an OCSP responder, and that responder on loopback. Use `with`."""

    def __init__(self, *hosts: str, kind: str) -> None:
        """`kind`: `ec` or `rsa`, of the server's key."""
        self.asked = 0
        """How often the responder was asked."""
        certified = self

        class Responder(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                certified.asked += 1
                self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.send_response(200)
                self.send_header("Content-Type", "application/ocsp-response")
                self.send_header("Content-Length", str(len(certified.response)))
                self.end_headers()
                self.wfile.write(certified.response)

            do_GET = do_POST = _answer  # noqa: N815  http.server looks for these names

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Responder)
        now = dt.datetime.now(dt.UTC)
        start, end = now - _DAY, now + _DAY * 8
        ca_key = ec.generate_private_key(ec.SECP256R1())
        self._key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA with a responder")])
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
        signs = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self._ca = (
            x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number(), start, end)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(signs, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        place = x509.UniformResourceIdentifier(f"http://127.0.0.1:{self._server.server_port}/")
        access = x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)])
        self._server_certificate = (
            x509.CertificateBuilder(
                ca_name, name, self._key.public_key(), x509.random_serial_number(), now - _DAY, now + _DAY * 8
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            .add_extension(access, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        self.response: Final = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                cert=self._server_certificate, issuer=self._ca, algorithm=_NAMES_BY, cert_status=ocsp.OCSPCertStatus.GOOD,
                this_update=now - _DAY / 24, next_update=now + _DAY * 5, revocation_time=None, revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self._ca)
            .sign(ca_key, hashes.SHA256())
            .public_bytes(Encoding.DER)
        )  # fmt: skip

    def install(self, folder: Path) -> Path:
        """Write `ca.pem`, `server.pem` (with the CA after it) and `server.key`; return the file with the OCSP response."""
        ca = self._ca.public_bytes(Encoding.PEM).decode()
        private(folder / "ca.pem", ca)
        private(folder / "server.pem", self._server_certificate.public_bytes(Encoding.PEM).decode() + ca)
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        private(folder / "server.key", key.decode())
        response = folder / "server.ocsp"
        response.write_bytes(self.response)
        return response

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
