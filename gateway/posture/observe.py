"""From what a request showed of its device to a `Posture`. The rules are a pure function; `RegistryPosture` looks things up.

The safe reading throughout: evidence counts only for a device that is registered and active *now*, a blocked device is never
outvoted by a second one, and a certificate that nobody registered raises nothing.
"""

import functools
import hashlib
from typing import Literal

from cryptography import x509

from gateway.domain.connection import Connection
from gateway.domain.identity import Handle
from gateway.domain.posture import Device, Evidence, Posture
from gateway.kernel.clock import Clock
from gateway.ports import DeviceRegistry

_Note = Literal["", "unknown_device", "pending", "blocked", "certificate_unknown"]


def certificate_sha256(der: bytes) -> str:
    """Return the hex SHA-256 of a certificate's DER: how the ledger names it."""
    return hashlib.sha256(der).hexdigest()


@functools.lru_cache(maxsize=4096)
def _dates(certificate: bytes) -> tuple[float, float]:
    """From when until when a certificate is good (epoch seconds); never, when it can't be read."""
    try:
        read = x509.load_der_x509_certificate(certificate)
    except ValueError:
        return 0.0, 0.0
    return read.not_valid_before_utc.timestamp(), read.not_valid_after_utc.timestamp()


def _in_force(certificate: bytes | None, now: float) -> bool:
    """Whether a certificate that verified is still good: connections live long, and nobody looks anew at a resumed session."""
    since, until = _dates(certificate) if certificate is not None else (0.0, 0.0)
    return since <= now <= until


def judge(*, handle: Handle, certificate: bytes | None, by_certificate: Device | None, by_session: Device | None) -> Posture:
    """Decide what the request proves of its device.

    `certificate` is the DER that TLS verified on this very connection; `by_certificate` what the ledger has for it;
    `by_session` what the ledger has for `handle.device_id()`. In this order:

    1. A certificate or session device that is blocked gives nothing, whatever else was shown.
    2. The certificate of an active device is the strongest evidence, and names the device.
    3. Otherwise the session's own evidence (cookie or key) stands, if its device is active and still has that means. A
       certificate that is unregistered or pending adds a note and nothing more.

    Does not check the certificate itself: TLS did when the connection began, or it would not be here, and `RegistryPosture` looks
    at its dates once more.
    """
    shown = by_certificate if certificate is not None else None
    session_device = by_session if handle.device_id() is not None else None
    if _is(shown, "blocked") or _is(session_device, "blocked"):
        return Posture(note="blocked")
    if shown is not None and shown.status == "active":
        return Posture(device=shown, evidence="certificate")
    about_certificate: _Note = ""
    if certificate is not None:
        about_certificate = "certificate_unknown" if shown is None else "pending"
    own = _of_session(handle, session_device)
    # `pending` tells the person to wait; the other notes, to register.
    note = own.note if own.note == "pending" else about_certificate or own.note
    return Posture(device=own.device, evidence=own.evidence, note=note)


def _of_session(handle: Handle, device: Device | None) -> Posture:
    evidence: Evidence = handle.session.device_evidence
    if handle.device_id() is None or evidence == "none":
        return Posture()
    # The id is compared again: a registry that answered for another device must not lend it this session.
    if device is None or device.id != handle.device_id():
        return Posture(note="unknown_device")
    if device.status != "active":
        return Posture(note="pending")
    means = device.key_jwk if evidence == "key" else device.cookie_hash
    return Posture(device=device, evidence=evidence) if means else Posture(note="unknown_device")


def _is(device: Device | None, status: str) -> bool:
    return device is not None and device.status == status


class RegistryPosture:
    """`PostureSource` on a device registry. Raises what the registry raises: StoreUnavailable."""

    def __init__(self, registry: DeviceRegistry, *, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock

    async def observe(self, connection: Connection, handle: Handle) -> Posture:
        """Return the strongest evidence that holds on this very request, and note that the device was seen."""
        certificate, device_id = connection.client_certificate, handle.device_id()
        known = await self._registry.by_certificate(certificate_sha256(certificate)) if certificate is not None else None
        if known is not None and known.status == "active" and not _in_force(certificate, self._clock.now()):
            known = None
        posture = judge(
            handle=handle,
            certificate=certificate,
            by_certificate=known,
            by_session=await self._registry.get(device_id) if device_id is not None else None,
        )
        if posture.device is not None:
            self._registry.seen(posture.device.id, self._clock.now())
        return posture
