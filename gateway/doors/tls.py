"""TLS at our own listener, by preset (guideline 7.0 13⑥).

One context for all host names: every client is asked for a certificate when there is a device CA, and policies decide who needs
one. Choosing by server name has let clients in without one elsewhere (CVE-2026-32305).
"""

import ssl
from pathlib import Path
from typing import Final, Literal

from gateway.kernel.errors import ConfigError

Preset = Literal["high", "compatible"]
_COMPATIBLE: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"


def _no_password() -> str:
    return ""


def server_context(*, certificate: Path, key: Path, client_ca: Path | None, preset: Preset) -> ssl.SSLContext:
    """Make the listener's context. ConfigError when a file can't be used: never a listener that asks for less than configured.

    `high`: TLS 1.3 only. `compatible`: also TLS 1.2 with ECDHE key exchange and AEAD ciphers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if preset == "high" else ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_COMPATIBLE)
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
    return context
