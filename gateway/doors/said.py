"""What a proved front says of its client: address, TLS, certificate. One vocabulary for every front that speaks in header fields.

| field | |
|---|---|
| `X-Forwarded-For` | required; the last address counts: the ones before it were written by people we don't know |
| `X-Forwarded-Proto` | required; `http` or `https` |
| `X-Forwarded-Client-Port` | the client's port (`X-Forwarded-Port` means the front's own, and is ignored) |
| `X-Forwarded-Tls-Version` | `TLSv1.3` |
| `X-Forwarded-Tls-Server-Name` | the name that TLS was started for (SNI); left out: the client gave none |
| `Client-Cert` (RFC 9440) or `X-Forwarded-Tls-Client-Cert` | the certificate that the front has verified against the device CA |

Each in one field line at most; two are refused, for one of them is the client's. The last three count only where the listener's
`Says` names them: a front that does not set (or remove) a field passes on what the client wrote there. This module believes: ask
`gateway.doors.trust.Fronts.prove` first. It does not verify the certificate again; that is the front's word too.
"""

import base64
import binascii
import functools
import re
from typing import Final, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from cryptography import x509

from gateway.domain.connection import FORWARDED_TLS, Connection
from gateway.domain.reason import RefuseReason
from gateway.domain.request import Headers, Refusal
from gateway.doors.trust import parse_address

_VERSIONS: Final = {"tlsv1.2": "TLSv1.2", "tls1.2": "TLSv1.2", "tlsv1.3": "TLSv1.3", "tls1.3": "TLSv1.3"}
"""The spellings of nginx, Envoy and Caddy."""
_ALWAYS: Final = {"x-forwarded-for": "for", "x-forwarded-proto": "proto"}
_TLS: Final = {
    "x-forwarded-client-port": "port",
    "x-forwarded-tls-version": "version",
    "x-forwarded-tls-server-name": "name",
}
_PEM: Final = re.compile(rb"\s*-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----\s*")
_PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
_MAX_CERTIFICATE: Final = 16_384


CertificateField = Literal["client-cert", "x-forwarded-tls-client-cert"]


class Says(msgspec.Struct, frozen=True, kw_only=True):
    """What the fronts of a listener set in every request that they send on, so that nothing of it can be the client's."""

    tls: bool = False
    """`X-Forwarded-Client-Port`, `-Tls-Version` and `-Tls-Server-Name`."""
    certificate: CertificateField | None = None
    """The field with the verified client certificate; removed by the front when there is none."""

    def fields(self) -> dict[str, str]:
        """Return which field says which fact."""
        fields = {**_ALWAYS, **(_TLS if self.tls else {})}
        if self.certificate is not None:
            fields[self.certificate] = "certificate"
        return fields


def client_of(headers: Headers, front: str, says: Says) -> Connection | Refusal:
    """Return the client's connection as the front `front` (what `Fronts.prove` said) describes it, or why that is not clear."""
    said = _said(headers, says)
    if isinstance(said, Refusal):
        return said
    address = parse_address(said["for"].rpartition(",")[2].strip())
    if address is None:
        return _malformed("X-Forwarded-For ends with something that is no address")
    port = said.get("port") or "0"
    if not _PORT.fullmatch(port):
        return _malformed("X-Forwarded-Client-Port is no port")
    seen = Connection(peer_address=str(address), peer_port=int(port), front=front)
    if said["proto"] == "https":
        return _with_tls(seen, said, says)
    return seen if said["proto"] == "http" else _malformed("X-Forwarded-Proto is neither http nor https")


def _said(headers: Headers, says: Says) -> dict[str, str] | Refusal:
    fields = says.fields()
    said: dict[str, str] = {}
    for name, value in headers:
        fact = fields.get(name.lower())
        if fact is None:
            continue
        if fact in said:
            return _malformed(f"more than one {name.lower()} field")
        said[fact] = value
    for name, fact in _ALWAYS.items():
        if fact not in said:
            return Refusal(reason=RefuseReason.FORWARDED_MISSING, detail=f"no {name} field")
    return said


def _with_tls(seen: Connection, said: dict[str, str], says: Says) -> Connection | Refusal:
    version = _VERSIONS.get(said.get("version", "").lower()) if says.tls else FORWARDED_TLS
    if version is None:
        return _malformed("X-Forwarded-Tls-Version is missing, or none that is allowed")
    value = said.get("certificate", "")
    certificate = certificate_of(value) if value else None
    if value and certificate is None:
        return _malformed("the client's certificate can't be read")
    return msgspec.structs.replace(
        seen, tls_version=version, server_name=said.get("name", "").lower(), client_certificate=certificate
    )


@functools.lru_cache(maxsize=4096)
def certificate_of(value: str) -> bytes | None:
    """Return the DER of a certificate in a field; None when it can't be read.

    Taken: a structured-field byte sequence (RFC 9440 §2.1), URL-encoded PEM (nginx, Envoy), base64 of DER, also URL-encoded, of
    which the first counts when there are several (Traefik). Not verified here.
    """
    if len(value) > _MAX_CERTIFICATE:
        return None
    try:
        if value.startswith(":"):
            der = base64.b64decode(value[1:-1] if value.endswith(":") and len(value) > 1 else "!", validate=True)
        else:
            raw = unquote_to_bytes(value)
            pem = _PEM.fullmatch(raw)
            text = b"".join(pem[1].split()) if pem is not None else raw.partition(b",")[0]
            der = base64.b64decode(text, validate=True)
        x509.load_der_x509_certificate(der)
    except (binascii.Error, ValueError):
        return None
    return der


def only(headers: Headers, name: str) -> str | Refusal:
    """Return the value of a field that a front must send in exactly one line; `name` in lower case."""
    values = [value for key, value in headers if key.lower() == name]
    if len(values) == 1:
        return values[0]
    if values:
        return _malformed(f"more than one {name} field")
    return Refusal(reason=RefuseReason.FORWARDED_MISSING, detail=f"no {name} field")


def _malformed(detail: str) -> Refusal:
    return Refusal(reason=RefuseReason.FORWARDED_MALFORMED, detail=detail)
