"""What the identity provider keeps and passes around. Values only: no I/O, no clock.

All times are whole seconds since the Unix epoch, UTC. Nothing here holds a bearer token or a password in clear; what has to be
kept in clear to be of use (a TOTP secret) sits in a `Secret`.
"""

from typing import Final, Literal

import msgspec

from gateway.kernel.secret import Secret

AuthKind = Literal["pwd", "otp", "fido2", "recovery"]
"""Kinds of authentication event. `fido2` always had user verification (PIN or biometric)."""

ACR_MFA: Final = "urn:zt-gateway:acr:mfa"
"""Two different factors, or one key with user verification."""
ACR_PHR: Final = "phr"
"""A FIDO2 assertion with user verification (the name is of the OpenID EAP ACR Values draft)."""
ACR_PROOFED: Final = "urn:zt-gateway:acr:proofed"
"""`ACR_MFA`, and an identity proofing in force."""
ACR_PROOFED_ANEW: Final = "urn:zt-gateway:acr:proofed-anew"
"""`ACR_MFA`, and an identity proofing made in this very sign-in, whatever was in force before."""
ACR_VALUES: Final = (ACR_MFA, ACR_PHR, ACR_PROOFED, ACR_PROOFED_ANEW)

ChangeName = Literal[
    "account.added", "account.activated", "account.deactivated", "account.unlocked", "account.roles", "account.reset",
    "account.details",
    "proofing.ended", "proofing.added", "proofing.invited", "proofing.deleted",
]  # fmt: skip
"""What an administrator, or a verifier that was asked again, does to an account."""

EventName = Literal[
    "signin.started", "signin.succeeded", "signin.failed", "signin.locked", "stepup.succeeded", "signout",
    "session.revoked", "factor.registered", "factor.removed",
    "proofing.started", "proofing.succeeded", "proofing.refused", "proofing.broken", "proofing.review", "proofing.decided",
    "proofing.bound", "proofing.exported", "proofing.rechecked",
    ChangeName,
]  # fmt: skip


class AuthEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a person proved, once."""

    kind: AuthKind
    at: int
    phishing_resistant: bool = False
    authenticator: str = ""
    """Which one, as `proofing_binding` names it: `fido2:` and the credential id; empty where the kind says it all."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person with an account."""

    id: str
    """`usr_...`: stable, opaque, the `sub` of every token."""
    login: str
    """Canonical login name (`idp.accounts.canonical`)."""
    name: str
    """Display name, as on the name plate."""
    roles: tuple[str, ...]
    organization: str = ""
    department: str = ""
    active: bool = True
    """A deactivated person signs in nowhere and gets no token, also not for a code issued before."""
    email: str = ""
    """A second name to sign in with, canonical; shares name space and failure counter with `login`. Empty when none."""
    birth_date: str | None = None
    """YYYY-MM-DD; compared in identity proofing only."""
    kana: str | None = None
    """Name in katakana; compared in identity proofing only."""
    former_names: tuple[str, ...] = ()
    """Names that cards and licences may still show; compared in identity proofing only."""
    licences: tuple[str, ...] = ()
    """Numbers of national licences, as they are printed; compared in identity proofing only."""


class PasswordCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A password as an argon2 encoded hash."""

    user_id: str
    encoded: str
    changed_at: int


class TotpCredential(msgspec.Struct, frozen=True, kw_only=True):
    """A confirmed time-based one-time password generator (RFC 6238: SHA-1, 6 digits, 30 s)."""

    user_id: str
    secret: Secret
    """Base32."""
    created_at: int
    last_step: int = -1
    """Newest time step (epoch / 30) that was used; -1 before the first use."""


class Fido2Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A passkey or security key of one person."""

    id: str
    """Credential id, base64url without padding."""
    user_id: str
    label: str
    """What its owner calls it."""
    public_data: bytes
    """`AttestedCredentialData` as bytes (AAGUID, credential id, COSE public key); public."""
    sign_count: int
    created_at: int
    last_used_at: int = 0
    """0 before the first use."""
    backup_eligible: bool = False
    """The BE flag at registration; it never changes (WebAuthn 3 §6.1.3): a change means another authenticator."""


class RecoveryCodes(msgspec.Struct, frozen=True, kw_only=True):
    """Unused recovery codes, as `hash_token` of their canonical text (they carry at least 80 random bits each)."""

    user_id: str
    hashes: tuple[str, ...]
    created_at: int


class ProofingRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one identity proofing. Never a certificate, never the Individual Number."""

    user_id: str
    level: int
    """Identity assurance level 1 to 3."""
    method: str
    verified_at: int
    expires_at: int | None
    """None: in force until replaced."""
    verifier: str
    transaction: str
    person_digest: str
    """Keyed digest (hex) that recognises the same person or card; says nothing without the key."""
    digest_key: str = ""
    """Which key made the digest; empty: the first one."""
    evidence: str = "none"
    """What was looked at: `electronic_signature`, `electronic_record`, `document`, `vouch`, `none`."""
    ended_at: int | None = None
    """When it ended before its time; None: it did not."""
    ended_why: str = ""
    """`revoked`, `expired`, `replaced`, `reset`, `officer`, `withdrawn`."""
    checked_at: int = 0
    """When the verifier last said that it still holds; 0: never asked."""
    number: int = 0
    """The store's own; 0 before it is stored."""

    def in_force(self, now: int) -> bool:
        """True while it has neither expired nor been ended."""
        return self.ended_at is None and (self.expires_at is None or now < self.expires_at)


class PersonDigest(msgspec.Struct, frozen=True, kw_only=True):
    """What recognises a person at one verifier (`idp.proofing.digest`)."""

    key: str
    """The id of the key that made it."""
    digest: str
    """Hex."""


CaseKind = Literal["near_miss", "new_card", "in_person"]
"""`near_miss`: card and staff ledger are close, not equal; `new_card`: another card than the one in force; `in_person`: an
officer looked at a card or document face to face, and a second one confirms."""
CaseState = Literal["open", "approved", "rejected", "expired", "replaced"]
"""`replaced`: the person was proofed meanwhile, by a newer case or without one."""


class ProofingCase(msgspec.Struct, frozen=True, kw_only=True):
    """A result that waits for officers. What they compare is sealed beside it, and gone once the case is not open."""

    id: str
    user_id: str
    kind: CaseKind
    state: CaseState = "open"
    opened_at: int
    expires_at: int
    first_by: str = ""
    """Login of the first of two officers; empty until there is one, and where one is enough."""
    first_at: int | None = None
    decided_by: str = ""
    decided_at: int | None = None
    note: str = ""
    """What the officer wrote."""


class SsoSession(msgspec.Struct, frozen=True, kw_only=True):
    """One signed-in browser at the identity provider. Its cookie's token is kept as a hash, beside it."""

    id: str
    """`sid` of the ID token; not a secret."""
    user_id: str
    events: tuple[AuthEvent, ...]
    """The newest event of each kind."""
    created_at: int
    last_seen_at: int
    address: str = ""


class LoginTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """An authorize request in progress, and what has been proved for it so far.

    It belongs to one browser (`browser_hash`): its id alone, seen in a URL, is of no use to anybody else.
    """

    id: str
    client_id: str
    redirect_uri: str
    """Already matched exactly against the client's registration."""
    scope: str
    state: str
    nonce: str
    code_challenge: str
    """PKCE, S256."""
    created_at: int
    expires_at: int
    browser_hash: str
    """`hash_token` of the cookie `__Host-idp-browser`."""
    claims: str = ""
    """The request parameter `claims`, as it came; read by `idp.protocol.requested`."""
    acr: str = ""
    """The class asked for (the first of `acr_values` that is one of `ACR_VALUES`); empty: none, which means `ACR_MFA`."""
    max_age: int | None = None
    fresh: bool = False
    """`max_age=0` or `prompt=login`: only what is proved in this transaction counts."""
    ui_locales: tuple[str, ...] = ()
    login_hint: str = ""
    """Unverified: for filling in a field, nothing else."""
    hint_subject: str = ""
    """`sub` of a verified `id_token_hint`: only this person can complete. Empty: anybody."""
    user_id: str = ""
    """Who it is, as far as known: the person of the browser's live session (also when `fresh`: then known, but nothing proved),
    else, once a factor has shown it, its owner. Empty before. Whoever changes it drops `session_*` and `proved` with it.
    """
    session_id: str = ""
    """The browser's live session, when it is of the right person; empty otherwise."""
    session_events: tuple[AuthEvent, ...] = ()
    """What that session had proved and what still counts here: not older than `max_age`, none when `fresh`."""
    proved: tuple[AuthEvent, ...] = ()
    """What was proved in this transaction."""
    proofing: int = 0
    """Number of the person's proofing that was made in this transaction; 0: none was."""
    notes: dict[str, str] = {}
    """Small values of the sign-in pages (which step, name of a stored challenge). No secrets, no codes."""

    def events(self) -> tuple[AuthEvent, ...]:
        """Everything that counts towards what was asked for."""
        return self.session_events + self.proved


class CodeGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What an authorization code stands for. The claims about the person are read when it is redeemed, not kept here."""

    client_id: str
    redirect_uri: str
    scope: str
    nonce: str
    code_challenge: str
    user_id: str
    session_id: str
    acr: str
    auth_time: int
    events: tuple[AuthEvent, ...]
    claims: str = ""
    """As in the transaction."""
    issued_at: int
    expires_at: int


class AccessGrant(msgspec.Struct, frozen=True, kw_only=True):
    """What an access token stands for: reading `audience` (the userinfo endpoint) about one person, for one client."""

    issuer: str
    audience: str
    client_id: str
    user_id: str
    session_id: str
    scope: str
    claims: str = ""
    """As in the transaction."""
    issued_at: int
    expires_at: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something an auditor asks about. `login` is what was typed, canonicalised and cut to 128 characters, or the account's."""

    name: EventName
    outcome: Literal["success", "failure"]
    at: int
    login: str = ""
    subject: str = ""
    address: str = ""
    session: str = ""
    by: str = ""
    """Who did it to the account, where that was not its owner."""
    detail: dict[str, str] = {}
    """Closed, short values: reason, kind of factor. No passwords, codes, tokens."""


class AccountChange(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to an account, by this process or another, and is not in the log yet."""

    number: int
    """In the order of the changes. A change that the log got twice (after a crash in between) has the same number twice."""
    name: EventName
    """A `ChangeName`; or what a process that does not write the log did besides (an officer decided, say)."""
    user_id: str
    login: str
    by: str
    at: int
    detail: dict[str, str] = {}


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """A person, and what their account has."""

    user: User
    password: bool
    totp: bool
    keys: int
    recovery_codes: int
    proofed: bool
    """An identity proofing is in force."""
    locked_until: int
    """Time until which passwords and codes are not looked at, after failures; 0 when they are."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "may this account be tried now?"."""

    allowed: bool
    retry_after: int = 0
    """Seconds to wait when not allowed."""
    locked: bool = False
    """True when the account (not just the address) has reached its limit: guideline 7.0 asks for an account lock."""
