"""What the pipeline needs from the world. Adapters implement these, `gateway.app` chooses them, `tests/contract` has the suites.

Three answers are never mixed: not found (a value), not yours (a value), broken (`StoreUnavailable` / `AuditError` raised).
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.identity import Handle, Proofing, Session
from gateway.domain.posture import Device, Posture
from gateway.domain.record import Record
from gateway.kernel.secret import Secret

HospitalSituation = Literal["normal", "emergency"]
"""What an officer has declared for the whole hospital."""
MissingWhy = Literal["unknown", "idle", "expired", "revoked"]


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """A token that stands for no live session, and why, as far as the store still knows.

    `unknown` also covers: another host's token, a truncated or forged one.
    """

    why: MissingWhy


class SessionChange(msgspec.Struct, frozen=True, kw_only=True):
    """A session changed or ended. `session_id == "*"`: the feed was interrupted, look at every session again."""

    session_id: str
    kind: Literal["revoked", "changed"]


class SessionStore(Protocol):
    """Sessions and the per-host handles to them.

    Tokens are 256-bit secrets, given out once and stored as SHA-256 only. A token is valid for the one host that it was
    issued for. Revocation is seen by `resolve` on every node at once (the next call), and by `changes` within a second.
    Every method raises `StoreUnavailable` when the backend does not answer within its time limit.
    """

    async def create(self, session: Session, host: str) -> Secret:
        """Store a new session and return the token for `host`. The session's own `generation` is the handle's."""
        ...

    async def attach(self, session_id: str, host: str) -> Secret | None:
        """Issue a token for another host at the session's present generation, replacing that host's older tokens for this
        session. None when the session is not alive.

        Tokens of the same generation that it replaces stay valid for 30 more seconds, so that tabs that finish a sign-in
        together do not log each other out; those of older generations die at once.
        """
        ...

    async def resolve(self, token: str, host: str, now: float) -> Handle | Missing:
        """Return what the token stands for, and count it as activity (idle limit). Never raises on a malformed token.

        Writing `last_seen_at` may be lazy, but an idle session ends no later than its limit plus five seconds.
        """
        ...

    async def change(self, session_id: str, change: Callable[[Session], Session], host: str) -> Secret | None:
        """Apply `change` atomically (it may be called again on conflict) and return a new token for `host` at the new
        generation; the host's older tokens die at once. None when the session is not alive. `change` must raise `generation`,
        and may neither give the session to another person nor lengthen its absolute limit: ValueError, and nothing changes.
        """
        ...

    async def get(self, session_id: str, now: float) -> Session | None:
        """Return a live session by id, without counting it as activity."""
        ...

    async def revoke(self, session_id: str) -> bool:
        """End a session and all its handles. True when this call ended it. `resolve` then says `revoked` for its tokens."""
        ...

    async def revoke_subject(self, subject: str) -> int:
        """End all sessions of a person; how many."""
        ...

    async def withdraw_proofing(self, subject: str, which: Callable[[Proofing], bool]) -> int:
        """Take the identity proofing out of all live sessions of a person that hold one of which `which` is true; how many.

        Everything else stays, tokens and generation included: a session that can do less needs no new token. Each session changes
        in one step, against every other change of it, and is announced as `changed`. `which` may be called again on conflict. A
        session that begins or steps up meanwhile may be missed.
        """
        ...

    async def withdraw_emergency(self, session_id: str, emergency_id: str) -> bool:
        """Take this very break-glass out of a session; True when this call did. Tokens and generation stay, and the change is
        announced, as in `withdraw_proofing`.
        """
        ...

    async def list(self, now: float) -> list[Session]:
        """Return every live session, newest first."""
        ...

    def changes(self) -> AsyncIterator[SessionChange]:
        """Yield changes made on any node; never ends until the store is closed.

        The first value is `*`: the feed stands now. When it breaks, another `*` comes within a second, and one more when it
        stands again. A session that ended by itself (idle, expired) is told of as `revoked` when somebody notices.
        """
        ...

    async def close(self) -> None:
        """Release connections."""
        ...


class OneTime(Protocol):
    """Things that may be used once: sign-in states, flows, handoff codes, ceremony challenges. Check and consume is atomic."""

    async def put(self, kind: str, value: bytes, ttl_seconds: int) -> str:
        """Store `value` under a new unguessable name and return the name. At most 16 KiB."""
        ...

    async def take(self, kind: str, name: str) -> bytes | None:
        """Return the value and forget it, atomically. None when unknown, expired, used, or of another kind."""
        ...

    async def peek(self, kind: str, name: str) -> bytes | None:
        """Return the value and keep it."""
        ...


class DeviceRegistry(Protocol):
    """The ledger of devices. Raises `StoreUnavailable` when broken. Changes raise `Device.version` and are announced."""

    async def get(self, device_id: str) -> Device | None:
        """Return a device by id, blocked ones included."""
        ...

    async def by_certificate(self, sha256: str) -> Device | None:
        """Return the device that registered this certificate (hex SHA-256 of its DER)."""
        ...

    async def by_cookie(self, cookie_hash: str) -> Device | None:
        """Return the device whose device cookie hashes to this."""
        ...

    async def add(self, device: Device) -> None:
        """Store a new device; ValueError when its id, cookie or certificate is taken."""
        ...

    async def update(self, device_id: str, change: Callable[[Device], Device]) -> Device | None:
        """Apply a change atomically; the stored version is the old one plus one. None when unknown."""
        ...

    def seen(self, device_id: str, now: float) -> None:
        """Note that a device was seen. Written lazily, without a new version, unannounced, and nobody waits for it."""
        ...

    async def list(self) -> list[Device]:
        """Return all devices, newest first."""
        ...

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call `listener(device_id)` after each change."""
        ...


class AuditLog(Protocol):
    """The append-only log of this process."""

    def write(self, record: Record) -> int:
        """`append` for those who can't wait and need not: the record is written during this very call. Raises AuditError."""
        ...

    def write_many(self, records: Sequence[Record]) -> int:
        """Write several, in order and all or none of them; return the index of the last.

        Raises AuditError, and ValueError when there are none.
        """
        ...

    async def append(self, record: Record) -> int:
        """Write a record so that it survives the death of the process; return its index.

        Raises AuditError: then nothing may proceed.
        Cancelling the caller does not lose a record that was handed in.
        """
        ...

    async def synced(self, index: int) -> None:
        """Wait until the record of `index` is on disk. Raises AuditError."""
        ...

    def subscribe(self, listener: Callable[[int, Record], None]) -> Callable[[], None]:
        """Call `listener(index, record)` after each write, in order; returns the unsubscriber. A listener must not block."""
        ...


class AssertionSigner(Protocol):
    """Signs the statement that the upstream gets about the person."""

    def sign(self, claims: Mapping[str, object] | msgspec.Raw) -> str:
        """Return a compact JWS (ES256) over `claims`, with `kid`. Raw: they are canonical JSON already."""
        ...

    def jwks(self) -> dict[str, object]:
        """Return the public keys, RFC 7517."""
        ...


class PostureSource(Protocol):
    """Turns what a request showed of its device into a `Posture`. Raises `StoreUnavailable` when it can't look."""

    async def observe(self, connection: Connection, handle: Handle) -> Posture:
        """Return the strongest evidence that holds on this very request."""
        ...


class Notices(Protocol):
    """Tells the security officers, by what the operator has configured."""

    async def notify(self, kind: str, subject: str, text: str, detail: Mapping[str, str] | None = None) -> None:
        """Keep a notice for sending; on disk when this returns, and nobody waits for more.

        `kind` is for programs (`policy.rolled_back`); `subject` (one line) and `text` are for people; `detail` is for programs,
        too, and `about` in it names what it is about. None of them may hold a secret, or the name of a patient. Raises
        `StoreUnavailable`.
        """
        ...


class Exceptional(Protocol):
    """What is in force beyond the usual, from memory: asked with every decision, so it never waits.

    Raises `StoreUnavailable` when it has not been able to look for so long that what it knows may be over.
    """

    def grants_of(self, subject: str, now: float) -> tuple[str, ...]:
        """Return the names of the approved grants in force for a person at `now` (epoch seconds), sorted, each once."""
        ...

    def situation(self, now: float) -> HospitalSituation:
        """Return what is declared for the whole hospital at `now`."""
        ...

    def waiting_of(self, subject: str) -> tuple[str, ...]:
        """Return the names of the grants that a person's requests wait for, sorted, as far as known. Never raises."""
        ...


class NothingExceptional:
    """`Exceptional` where there is no database for grants: no grant, normal."""

    def grants_of(self, subject: str, now: float) -> tuple[str, ...]:
        """No grant."""
        return ()

    def situation(self, now: float) -> HospitalSituation:
        """Normal."""
        return "normal"

    def waiting_of(self, subject: str) -> tuple[str, ...]:
        """No request."""
        return ()
