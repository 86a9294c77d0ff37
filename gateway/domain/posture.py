"""From what: a device, what it proves, and what is known of its state."""

from typing import Final, Literal

import msgspec

Evidence = Literal["none", "cookie", "key", "certificate"]
"""What a device showed, weakest first: nothing; a bearer cookie; a signature by a key that the browser can't export; a client
certificate on this very connection."""

STRENGTH: Final[dict[Evidence, int]] = {"none": 0, "cookie": 1, "key": 2, "certificate": 3}

Compliance = Literal["compliant", "non_compliant", "unknown"]
DeviceStatus = Literal["pending", "active", "blocked"]
Ownership = Literal["hospital", "personal", "vendor"]
PostureName = Literal["disk_encrypted", "screen_lock", "antivirus", "os_supported"]
"""What can be said of a device's state, besides compliance as a whole."""


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """The last word on one attribute of a device's state."""

    name: PostureName
    value: bool
    at: int
    """Epoch seconds of when it was seen to be so."""
    source: str
    """`officer:<login>`, `inventory:<name>`."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A registered device (guideline 7.0/ops/8.5: the ledger)."""

    id: str
    label: str
    status: DeviceStatus
    ownership: Ownership
    compliance: Compliance
    compliance_at: int
    """Epoch seconds of the last word on compliance."""
    compliance_source: str
    """`self-attested`, `officer:<login>`, `mdm:<name>`."""
    registered_at: int
    registered_by: str
    """Subject of the person who registered it."""
    cookie_hash: str = ""
    key_jwk: str = ""
    """Public EC P-256 key as canonical JWK JSON, where the browser made one."""
    certificate_sha256: str = ""
    last_seen_at: int = 0
    attributes: tuple[Attribute, ...] = ()
    """The last word on each, by name; nothing is known of one that is missing."""
    version: int = 1
    """Rises with each change."""


class Posture(msgspec.Struct, frozen=True, kw_only=True):
    """What a request showed of its device, after all checks. A blocked or unknown device gives `device=None` and a note."""

    device: Device | None = None
    evidence: Evidence = "none"
    note: Literal["", "unknown_device", "pending", "blocked", "certificate_unknown"] = ""
