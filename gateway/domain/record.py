"""What the log holds: a closed set of fields (guideline 17①: who, when, how long, which record). No bodies, tokens or codes.

Times are RFC 3339 UTC with milliseconds. `facts` is the whole of what policies could read, so that any decision can be
decided again.
"""

from typing import Any, Literal

import msgspec

EventName = Literal[
    "gateway.started", "gateway.stopped", "policy.loaded", "policy.rejected",
    "policy.drafted", "policy.saved", "policy.withdrawn", "policy.submitted",
    "policy.approved", "policy.declined", "policy.published", "policy.rolled_back",
    "policy.trial", "policy.replayed", "policy.explained", "grant.asked",
    "grant.approved", "grant.declined", "grant.ended", "situation.changed",
    "breakglass.began", "breakglass.refused", "breakglass.ended", "breakglass.reviewed",
    "notice.sent", "notice.failed", "device.posture",
    "signin.started", "signin.succeeded", "signin.failed", "signin.locked", "stepup.succeeded",
    "signout", "session.revoked",
    "factor.registered", "factor.removed",
    "proofing.started", "proofing.succeeded", "proofing.refused", "proofing.broken", "proofing.review", "proofing.decided",
    "proofing.bound", "proofing.exported", "proofing.deleted", "proofing.rechecked",
    "proofing.ended", "proofing.added", "proofing.invited",
    "account.added", "account.activated", "account.deactivated", "account.unlocked", "account.roles", "account.reset",
    "account.details",
    "device.registered", "device.approved", "device.blocked", "device.unblocked", "device.compliance", "device.refused",
    "log.recovered", "log.slots",
    "front.refused", "front.suspicious", "front.restarted",
    "console.view", "console.act", "console.export", "handoff.refused", "return.refused", "page.refused",
]  # fmt: skip


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The person, as far as known."""

    subject: str = ""
    login: str = ""
    name: str = ""
    roles: tuple[str, ...] = ()
    department: str = ""
    session: str = ""
    """Session id (not a token)."""
    device: str = ""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the request came from."""

    address: str = ""
    port: int = 0
    door: str = ""
    tls: str = ""


class Beside(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What policies that are not enforced would have answered to the same facts."""

    allowed: bool
    policies: tuple[str, ...] = ()
    """Which of them would have determined it."""
    errors: tuple[str, ...] = ()
    bundle: str = ""
    """Of a report-only bundle: its version. Empty: report-only policies of the bundle in force."""


class DecisionRecord(msgspec.Struct, frozen=True, kw_only=True, tag="decision", tag_field="type"):
    """One decision, written before the upstream sees a byte."""

    id: str
    at: str
    outcome: Literal["allow", "challenge", "deny", "refuse", "unavailable"]
    reason: str
    actor: Actor
    source: Source
    host: str
    method: str
    path: str
    """Without query. Refused targets are escaped to printable ASCII and cut at 2,048 characters."""
    query_names: tuple[str, ...] = ()
    """Names only: values may hold patient data."""
    app: str = ""
    route: str = ""
    action: str = ""
    patient: str = ""
    policies: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    remedy: tuple[str, ...] = ()
    bundle: str = ""
    """Content hash of the policy bundle that decided."""
    facts: dict[str, Any] | msgspec.Raw | None = None
    """Raw: already encoded, on its way to the log."""
    request_id: str = ""
    phase: Literal["request", "stream"] = "request"
    """`stream`: an open stream was decided again."""
    lease_seconds: int = 0
    """How long the front may reuse this answer; 0: not at all."""
    report_only: Beside | msgspec.UnsetType = msgspec.UNSET
    """With the report-only policies enforced as well; left out where they would have changed nothing."""
    trial: Beside | msgspec.UnsetType = msgspec.UNSET
    """By the report-only bundle; left out where there is none."""
    break_glass: str | msgspec.UnsetType = msgspec.UNSET
    """Id of the break-glass in force in the session (guideline 11①); left out without one."""


class CompletionRecord(msgspec.Struct, frozen=True, kw_only=True, tag="completion", tag_field="type"):
    """How an allowed request ended. `id` is the decision's."""

    id: str
    at: str
    status: int
    """Status sent to the client; 0 when none was."""
    bytes_in: int
    bytes_out: int
    duration_ms: int
    problem: str = ""
    break_glass: str | msgspec.UnsetType = msgspec.UNSET
    """As in the decision."""


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, tag="event", tag_field="type"):
    """Everything else that an auditor asks about: sign-ins, refusals of the identity provider, console actions, lifecycle."""

    id: str
    at: str
    event: EventName
    outcome: Literal["success", "failure"]
    actor: Actor
    source: Source = Source()
    target: str = ""
    """Whom or what it was done to: a session, device, file, account name."""
    detail: dict[str, str] = {}


class UseRecord(msgspec.Struct, frozen=True, kw_only=True, tag="use", tag_field="type"):
    """One request that a front let through under a lease: it reused the decision `id`, as its access log says."""

    id: str
    at: str
    """When the front's line was taken in."""
    began: str
    """When the request began, by the front's clock."""
    source: Source
    method: str
    host: str
    path: str
    """Without query."""
    status: int
    bytes_in: int
    bytes_out: int
    duration_ms: int
    process: int
    """Of the front; with `connection` and `number` the request's place: no two requests have the same."""
    connection: int
    number: int


Record = DecisionRecord | CompletionRecord | EventRecord | UseRecord
