"""The trust store: certificates of one CA in its living generations, read from files and pinned by their fingerprints."""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import same
from idp.proofing.jpki import certificate as x509
from idp.proofing.jpki.certificate import Certificate, is_ca, is_signed, key_usage, parse_certificate, subject_key
from idp.proofing.jpki.der import Malformed
from idp.proofing.jpki.settings import RootFile

_PEM: Final = re.compile(rb"\s*-----BEGIN CERTIFICATE-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_FILE_BYTES: Final = 65_536
_SIGNS: Final = 1 << 5 | 1 << 6
"""keyCertSign, cRLSign."""
_UNDERSTOOD: Final = frozenset({x509.BASIC_CONSTRAINTS, x509.KEY_USAGE})


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """A pinned CA certificate that was looked at."""

    certificate: Certificate
    key_id: bytes

    @property
    def key(self) -> RSAPublicKey:
        """The CA's public key."""
        return self.certificate.key()

    def in_force(self, now: float) -> bool:
        """Whether `now` is within its validity."""
        return self.certificate.not_before <= now < self.certificate.not_after


def load_roots(files: Iterable[RootFile], now: float) -> tuple[Root, ...]:
    """Read every file. ConfigError names the file: unreadable, another fingerprint, not a self-signed CA certificate that may
    sign certificates and revocation lists, or not in force.
    """
    roots: list[Root] = []
    for entry in files:
        where = f"idp.jpki.roots: {entry.file}"
        try:
            root = _root(entry, where)
        except Malformed as error:
            raise ConfigError(f"is no certificate of a CA of this kind: {error}", where=where, todo=_GET) from error
        if not root.in_force(now):
            raise ConfigError("is not in force now", where=where, todo="Remove it, or look at this machine's clock.")
        if any(root.key_id == other.key_id for other in roots):
            raise ConfigError("is there twice", where=where, todo="List each generation once.")
        roots.append(root)
    return tuple(roots)


_GET: Final = "Get it again from J-LIS, and its fingerprint by another way than the file."


def _root(entry: RootFile, where: str) -> Root:
    try:
        with entry.file.open("rb") as file:
            content = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"can't be read: {error.strerror}", where=where, todo="Put the CA's certificate there.") from error
    pem = _PEM.fullmatch(content)
    try:
        data = base64.b64decode(b"".join(pem[1].split()), validate=True) if pem is not None else content
    except binascii.Error as error:
        raise Malformed("PEM that is not base64") from error
    wanted = re.sub(r"[\s:]", "", entry.sha256).lower()
    if not same(hashlib.sha256(data).hexdigest(), wanted):
        raise ConfigError("has another SHA-256 fingerprint than the configuration says", where=where, todo=_GET)
    return parse_root(data)


def parse_root(data: bytes) -> Root:
    """Return a CA's own certificate. Malformed unless it is self-signed, says CA, and signs certificates and lists."""
    certificate = parse_certificate(data)
    if certificate.issuer != certificate.subject or not is_signed(certificate.key(), certificate.signature, certificate.signed):
        raise Malformed("not self-signed")
    if not is_ca(certificate.extensions) or not certificate.extensions[x509.BASIC_CONSTRAINTS].critical:
        raise Malformed("BasicConstraints does not say CA, or is not critical")
    usage = certificate.extensions.get(x509.KEY_USAGE)
    if usage is None or not usage.critical or key_usage(certificate.extensions) & _SIGNS != _SIGNS:
        raise Malformed("KeyUsage does not say keyCertSign and cRLSign, or is not critical")
    if any(extension.critical and name not in _UNDERSTOOD for name, extension in certificate.extensions.items()):
        raise Malformed("a critical extension that is not understood")
    return Root(certificate=certificate, key_id=subject_key(certificate))
