"""A plausible device, and client certificates as TLS would hand them over."""

import datetime as dt
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.domain.posture import Device
from gateway.kernel.ids import new_id

NOW = 1_800_000_000.0


def new_device(**changes: Any) -> Device:
    """Return an active, compliant ward terminal without any means of proof but what `changes` give."""
    device = Device(
        id=new_id("dev"),
        label="3階東病棟 端末1",
        status="active",
        ownership="hospital",
        compliance="compliant",
        compliance_at=int(NOW),
        compliance_source="officer:sec.yamamoto",
        registered_at=int(NOW),
        registered_by="usr_sato",
    )
    return msgspec.structs.replace(device, **changes)


def client_certificate(*, start: float = NOW - 3600, days: int = 30) -> bytes:
    """Return the DER of a self-made certificate, valid from `start`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ward terminal")])
    begin = dt.datetime.fromtimestamp(start, dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + dt.timedelta(days=days))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
