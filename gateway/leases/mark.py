"""The mark of a decision that a front writes into its access log, so that a line proves which decision it stands for.

`ID.UNTIL.KIND.MAC`: the decision's id; the epoch second at which its lease is over (0: it has none); `a` for an Allow, for one
under a break-glass that one's id, `n` for any other decision; and an HMAC-SHA-256 (128 bits, base64url) over these and, for an
Allow, over method, host, path and the client's address. So whoever can write to the access log can neither invent a decision, nor
move one to another request or client, nor lengthen a lease. It does not cover what is known only after the decision: status,
bytes and times.
"""

import base64
import functools
import hmac
import ipaddress
import re
from typing import Final

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_FORM: Final = re.compile(r"(dec_[0-9a-f]{32})\.([0-9]{1,12})\.([an]|brk_[0-9a-f]{32})\.([A-Za-z0-9_-]{22})")
_MAC_BYTES: Final = 16
_REMEMBERED: Final = 1024


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A mark that was verified."""

    id: str
    until: int
    """Epoch second at which the lease is over; 0 without one."""
    allowed: bool
    break_glass: str = ""
    """Id of the break-glass under which it was allowed; empty without one."""


class Marks:
    """Makes and verifies marks, with a key that all workers of an installation share."""

    def __init__(self, secret: bytes) -> None:
        """`secret`: at least 32 bytes of high entropy, from which the key is derived (HKDF, RFC 5869)."""
        self._key: Final = HKDF(SHA256(), 32, salt=None, info=b"zt-gateway front marks 1").derive(secret)
        # Each use of a lease shows the same mark for the same request.
        self._verified: Final = functools.lru_cache(maxsize=_REMEMBERED)(self._verify)

    def make(self, mark: Mark, *, method: str, host: str, path: str, address: str) -> str:
        """Return the mark of a decision about this request of a client at `address`, as the front will log it."""
        kind = (mark.break_glass or "a") if mark.allowed else "n"
        return f"{mark.id}.{mark.until}.{kind}.{self._mac(mark.id, mark.until, kind, _about(method, host, path, address))}"

    def verify(self, text: str, *, method: str, host: str, path: str, address: str) -> Mark | None:
        """Return what the mark of a line says; None when it is not ours, or another request's, or another client's."""
        return self._verified(text, method, host, path, address)

    def _verify(self, text: str, method: str, host: str, path: str, address: str) -> Mark | None:
        found = _FORM.fullmatch(text)
        if found is None:
            return None
        decision_id, until, kind, mac = found.groups()
        if not hmac.compare_digest(mac, self._mac(decision_id, int(until), kind, _about(method, host, path, address))):
            return None
        return Mark(id=decision_id, until=int(until), allowed=kind != "n", break_glass=kind if len(kind) > 1 else "")

    def _mac(self, decision_id: str, until: int, kind: str, about: str) -> str:
        # What was not let through may be anything, also what a log can't hold as it was; its id is enough.
        of = about if kind != "n" else ""
        data = f"{decision_id}\n{until}\n{kind}\n{of}".encode("utf-8", "surrogatepass")
        return base64.urlsafe_b64encode(hmac.digest(self._key, data, "sha256")[:_MAC_BYTES]).rstrip(b"=").decode("ascii")


def _about(method: str, host: str, path: str, address: str) -> str:
    return f"{method}\n{host}\n{path}\n{_plain(address)}"


@functools.lru_cache(maxsize=4096)
def _plain(address: str) -> str:
    """One spelling for one address: nginx and Python write IPv6, and IPv4 within it, differently."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str((ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None) or ip)
