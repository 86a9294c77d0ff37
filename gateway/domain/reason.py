"""Every reason that a decision may give: a closed set, so that pages, logs and tests can be complete."""

from enum import StrEnum


class ChallengeReason(StrEnum):
    """Why a person must sign in."""

    SIGN_IN_REQUIRED = "sign_in_required"
    COOKIE_UNKNOWN = "cookie_unknown"
    """Forged, truncated, of another host, or forgotten: not told apart to the caller."""
    SESSION_IDLE = "session_idle"
    SESSION_EXPIRED = "session_expired"
    SESSION_REVOKED = "session_revoked"


class DenyReason(StrEnum):
    """Why a known person may not."""

    POLICY_FORBIDS = "policy_forbids"
    """A forbid policy matched."""
    NO_POLICY_PERMITS = "no_policy_permits"
    POLICY_ERROR = "policy_error"
    """A policy could not be evaluated: fail closed (docs/decisions: a divergence from Cedar, which skips it)."""


class RefuseReason(StrEnum):
    """Why a request is not even decided: it is ambiguous, malformed, or for nobody."""

    METHOD = "method"
    TARGET_FORM = "target_form"
    """Absolute-form, authority-form, asterisk-form or not starting with one slash."""
    TARGET_BYTES = "target_bytes"
    """Control characters, spaces, backslashes, non-ASCII, `#`."""
    TARGET_ENCODING = "target_encoding"
    """Invalid escapes; encoded dot, slash, backslash, NUL, unreserved characters; invalid UTF-8."""
    TARGET_DOT_SEGMENTS = "target_dot_segments"
    TARGET_EMPTY_SEGMENT = "target_empty_segment"
    """`//`."""
    TARGET_PARAMETERS = "target_parameters"
    """`;` on a route that did not ask for it."""
    TARGET_TOO_LONG = "target_too_long"
    HOST_MISSING = "host_missing"
    HOST_DUPLICATE = "host_duplicate"
    HOST_MALFORMED = "host_malformed"
    HOST_UNKNOWN = "host_unknown"
    HOST_SNI_MISMATCH = "host_sni_mismatch"
    HEADER_MALFORMED = "header_malformed"
    HEADERS_TOO_LARGE = "headers_too_large"
    HEADERS_TOO_SLOW = "headers_too_slow"
    """The head of a request was begun and not finished in time."""
    FRAMING = "framing"
    """Content-Length with Transfer-Encoding, two lengths, a body on an upgrade."""
    FORWARDED_MALFORMED = "forwarded_malformed"
    FORWARDED_MISSING = "forwarded_missing"
    """A trusted front did not say the original method, host or target."""
    UNTRUSTED_PEER = "untrusted_peer"
    """Somebody who is no configured front called the forward-auth door."""
    NO_ROUTE = "no_route"
    ROUTE_MISMATCH = "route_mismatch"
    """The front's router has chosen another route than ours: what it would forward is not what was decided (CVE-2023-33189)."""
    CROSS_SITE = "cross_site"
    """A state-changing or WebSocket request whose Origin is another site."""
    UPGRADE = "upgrade"
    """An upgrade to anything but WebSocket."""


class UnavailableReason(StrEnum):
    """Why there is no decision: something that it needs does not answer. Fail closed."""

    SESSION_STORE = "session_store"
    DEVICE_REGISTRY = "device_registry"
    POLICY = "policy"
    AUDIT_LOG = "audit_log"
    INTERNAL = "internal"


class UpstreamProblem(StrEnum):
    """What went wrong behind an Allow. Not a decision: it is in the completion record and the reply."""

    NONE = ""
    CONNECT = "connect"
    TIMEOUT = "timeout"
    RESET = "reset"
    PROTOCOL = "protocol"
    CLIENT_GONE = "client_gone"
    CUT = "cut"
    """We ended the stream because the decision changed."""
    SHUTDOWN = "shutdown"


class RemedyStep(StrEnum):
    """What a person can do that would change a Deny into an Allow, cheapest first."""

    KEY_TOUCH = "key_touch"
    SECOND_FACTOR = "second_factor"
    REGISTER_DEVICE = "register_device"
    DEVICE_COMPLIANCE = "device_compliance"
    IDENTITY_PROOFING = "identity_proofing"
    GRANT = "grant"
    """An approved exception for a time, by its name."""
    BREAK_GLASS = "break_glass"
    """The last resort; only where policies offer it and nothing else helps."""
