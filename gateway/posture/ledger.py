"""What an officer may do to a device in the ledger. Pure functions for `DeviceRegistry.update`; they say ValueError when it makes
no sense in the device's present state.
"""

from collections.abc import Iterable

from msgspec.structs import replace

from gateway.domain.posture import Attribute, Compliance, Device


def approve(device: Device, *, login: str, now: float) -> Device:
    """Let a pending device in: active, compliant by the officer's word."""
    if device.status != "pending":
        raise ValueError(f"device {device.id} is {device.status}: only a pending device can be approved")
    return replace(device, status="active", compliance="compliant", compliance_at=int(now), compliance_source=f"officer:{login}")


def block(device: Device) -> Device:
    """Shut a device out at once (lost, stolen, retired), pending ones included."""
    if device.status == "blocked":
        raise ValueError(f"device {device.id} is blocked already")
    return replace(device, status="blocked")


def unblock(device: Device, *, now: float) -> Device:
    """Bring a blocked device back as pending, compliance unknown: it must be approved again."""
    if device.status != "blocked":
        raise ValueError(f"device {device.id} is {device.status}: only a blocked device can be unblocked")
    return replace(device, status="pending", compliance="unknown", compliance_at=int(now))


def set_compliance(device: Device, *, compliance: Compliance, source: str, now: float) -> Device:
    """Record a newer word on compliance, of `officer:<login>` or `mdm:<name>`. An older word than the present one: ValueError."""
    if int(now) < device.compliance_at:
        raise ValueError(f"device {device.id}: this word on compliance is older than the one that it would replace")
    return replace(device, compliance=compliance, compliance_at=int(now), compliance_source=source)


def set_attributes(device: Device, said: Iterable[Attribute]) -> Device:
    """Take in what was said of a device's state. Of each attribute the newest word stays; of two of the same second, the later
    one to come.

    A blocked or pending device keeps what is said of it, too: it counts once the device is let in.
    """
    known = {attribute.name: attribute for attribute in device.attributes}
    for attribute in said:
        if attribute.name not in known or known[attribute.name].at <= attribute.at:
            known[attribute.name] = attribute
    after = tuple(known[name] for name in sorted(known))
    return device if after == device.attributes else replace(device, attributes=after)
