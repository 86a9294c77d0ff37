"""TLS by preset, the same at every door (guideline 7.0 13⑥): the one table, and the embedded door's own listener.

| preset | versions | TLS 1.2 suites |
|---|---|---|
| `high` | TLS 1.3 | none |
| `compatible` | TLS 1.3 and 1.2 | ECDHE with AEAD only (RFC 9325 §4.2) |

The generators of front configurations (`gateway.frontconf`) take versions, suites and groups from `PROFILES` too, in the front's
own words. TLS 1.3 has no weak suites (RFC 8446 §9.1), so they are each implementation's own.

One context for all host names: every client is asked for a certificate when there is a device CA, and policies decide who needs
one. Choosing by server name has let clients in without one elsewhere (CVE-2026-32305).
"""

import ssl
from asyncio.sslproto import SSLProtocol
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from gateway.kernel.errors import ConfigError

_READ_BUFFER: Final = 16_384
"""Bytes, of each TLS connection: a record's worth (RFC 8446 §5.1). asyncio's own 256 KiB stay in memory for as long as the
connection is open, which for 5,000 silent WebSockets is more than a gigabyte (measured: 233 KiB each, 41 with this).
"""

Preset = Literal["high", "compatible"]
Version = Literal["TLSv1.2", "TLSv1.3"]

HSTS: Final = ("Strict-Transport-Security", "max-age=31536000")
"""A year of HTTPS only (RFC 6797), on every reply of every host of ours, and in place of an application's own. Not for
subdomains: those may be other people's hosts."""


class Suite(msgspec.Struct, frozen=True, kw_only=True):
    """A TLS 1.2 cipher suite by its two names."""

    iana: str
    """As in the IANA registry, and in Go (Caddy, Traefik)."""
    openssl: str
    """As OpenSSL (nginx, Python) and BoringSSL (Envoy) say it."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """A key exchange group by its names."""

    iana: str
    """As in the IANA registry (RFC 8446 §4.2.7), and in Caddy."""
    openssl: str
    """nginx's `ssl_ecdh_curve`."""
    boringssl: str
    """Envoy's `ecdh_curves`."""
    go: str
    """Traefik's `curvePreferences`."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener of one preset offers, in order of preference."""

    versions: tuple[Version, ...]
    suites: tuple[Suite, ...]
    """Of TLS 1.2; empty where that is not offered."""
    groups: tuple[Group, ...]


_SUITES: Final = tuple(
    Suite(iana=f"TLS_ECDHE_{key}_WITH_{iana}", openssl=f"ECDHE-{key}-{openssl}")
    for iana, openssl in (
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    )
    for key in ("ECDSA", "RSA")
)
_GROUPS: Final = (
    Group(iana="x25519", openssl="X25519", boringssl="X25519", go="X25519"),
    Group(iana="secp256r1", openssl="prime256v1", boringssl="P-256", go="CurveP256"),
    Group(iana="secp384r1", openssl="secp384r1", boringssl="P-384", go="CurveP384"),
)
PROFILES: Final[Mapping[Preset, Profile]] = MappingProxyType(
    {
        "high": Profile(versions=("TLSv1.3",), suites=(), groups=_GROUPS),
        "compatible": Profile(versions=("TLSv1.3", "TLSv1.2"), suites=_SUITES, groups=_GROUPS),
    }
)
_VERSIONS: Final[Mapping[Version, ssl.TLSVersion]] = MappingProxyType(
    {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
)


def _no_password() -> str:
    return ""


def server_context(*, certificate: Path, key: Path, client_ca: Path | None, preset: Preset) -> ssl.SSLContext:
    """Make the listener's context. ConfigError when a file can't be used: never a listener that asks for less than configured.

    Also sets asyncio's read buffer for the TLS connections of this process, which can't be given for one listener.
    Python's `ssl` can set neither the list of groups (OpenSSL's own list is offered) nor a stapled OCSP response.
    """
    profile = PROFILES[preset]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = min(_VERSIONS[version] for version in profile.versions)
    if profile.suites:
        context.set_ciphers(":".join(suite.openssl for suite in profile.suites))
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without a password to try, OpenSSL would ask on the terminal of whoever starts the service, for ever.
        context.load_cert_chain(certificate, key, password=_no_password)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"the server certificate or its key can't be used ({error})",
            where=str(certificate),
            todo="Both must be PEM and belong together, and the key must not be encrypted.",
        ) from error
    if client_ca is not None:
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        try:
            context.load_verify_locations(cafile=client_ca)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the device CA can't be read ({error})", where=str(client_ca), todo="It must be PEM certificates."
            ) from error
        if not context.get_ca_certs():
            raise ConfigError("the device CA file holds no CA certificate", where=str(client_ca), todo="Put the CA's PEM there.")
    SSLProtocol.max_size = _READ_BUFFER
    return context


def mutual_context(*, certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """Make the context of a listener for fronts: TLS 1.3, and no handshake without a certificate of `client_ca` (mTLS).

    Who of that CA's holders is a front is `gateway.doors.trust.Fronts`' to say. ConfigError when a file can't be used.
    """
    context = server_context(certificate=certificate, key=key, client_ca=client_ca, preset="high")
    context.verify_mode = ssl.CERT_REQUIRED
    return context
