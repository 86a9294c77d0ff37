"""The sign-in as a pure state machine: what was asked for, what has been proved, and so what comes next.

Two functions. `next_step` looks at a transaction and says what page to show; it never remembers where a page claims to be, so no
request can skip one. `accept` takes one proof that a factor has already verified, and returns the transaction that holds it, or
refuses: when that step is not the one to take, when it is another person's, when the person is deactivated. No proof, no change.
The store applies `accept` atomically (`Flows.update`); `Flows.complete` checks all of it once more before a code is issued.
"""

from collections.abc import Callable
from typing import Final, Literal

import msgspec

from gateway.kernel.errors import ProtocolError
from idp.model import AuthEvent, AuthKind, LoginTransaction
from idp.protocol.assurance import missing, suffices

Step = Literal["identify", "password", "totp", "recovery", "fido2", "register_key", "proofing", "done", "refuse"]
"""`identify`: name and password, or a passkey, of anybody. `password`: the same of one known person. `totp`: a one-time code
(or instead a recovery code). `recovery`: a recovery code and nothing else. `fido2`: a touch of one's key."""

Problem = Literal["unknown_person", "inactive", "other_person", "no_second_factor", "key_lost_without_recovery"]

LOST_KEY: Final = "lost_key"
"""Note of a transaction: the person says that their key is not at hand and wants to register another."""

_TAKEN_AT: Final[dict[Step, tuple[AuthKind, ...]]] = {
    "identify": ("pwd", "fido2"),
    "password": ("pwd", "fido2"),
    "totp": ("otp", "recovery", "fido2"),
    "recovery": ("recovery", "fido2"),
    "fido2": ("fido2",),
    "register_key": (),
    "proofing": (),
    "done": (),
    "refuse": (),
}
"""The proofs that each step takes. A key is taken wherever a factor is: it is worth both."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine needs to know of the person that the transaction is about."""

    user_id: str
    active: bool = True
    password: bool = False
    totp: bool = False
    recovery: bool = False
    keys: int = 0
    proofed: bool = False
    """An identity proofing is in force."""
    proofing: int = 0
    """Its number."""


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """One factor, verified just now, and whose it is."""

    user_id: str
    kind: AuthKind
    at: int
    authenticator: str = ""
    """Which one: `AuthEvent.authenticator`."""


class Next(msgspec.Struct, frozen=True, kw_only=True):
    """What comes next, and for `refuse` why."""

    step: Step
    problem: Problem | None = None


class NotNow(ProtocolError):  # noqa: N818  it names a state of the flow that pages handle, not a fault
    """A proof came that this step does not take: repeated, out of order, or another person's. Nothing has changed."""

    def __init__(self, problem: Literal["order", "other_person", "inactive"]) -> None:
        super().__init__(f"the sign-in does not take this now ({problem})")
        self.problem: Final = problem


CODES: Final[tuple[AuthKind, ...]] = ("otp", "recovery")

Change = Callable[[LoginTransaction], LoginTransaction]
"""What the store applies atomically."""


def taken_at(step: Step) -> tuple[AuthKind, ...]:
    """Return the proofs that a step takes. Look before a proof is even verified: a step that takes none must not be an oracle."""
    return _TAKEN_AT[step]


def subject(transaction: LoginTransaction) -> str:
    """Return whom the transaction is about: who proved themselves, else whom the client named; empty when it may be anybody."""
    return transaction.user_id or transaction.hint_subject


def next_step(transaction: LoginTransaction, account: Account | None) -> Next:
    """Return the next step. `account` is that of `subject(transaction)`, None when there is nobody yet or no such person."""
    who = subject(transaction)
    if not who:
        return Next(step="identify")
    if account is None or account.user_id != who:
        return Next(step="refuse", problem="unknown_person")
    if not account.active:
        return Next(step="refuse", problem="inactive")
    if transaction.hint_subject and transaction.hint_subject != who:
        return Next(step="refuse", problem="other_person")
    lacking = missing(transaction.acr, transaction.events(), known=True, proofed=_proofed(transaction, account))
    if "phr" in lacking:
        return _towards_key(transaction, account)
    if "mfa" in lacking:
        return _towards_two_factors(transaction, account)
    return Next(step="proofing" if "proofing" in lacking else "done")


def accept(transaction: LoginTransaction, account: Account | None, proof: Proof) -> LoginTransaction:
    """Return the transaction with the proof in it; NotNow when it is not its time or person. `account` is the proof's owner."""
    if account is None or account.user_id != proof.user_id or not account.active:
        raise NotNow("inactive")
    who = subject(transaction)
    if who and who != proof.user_id:
        raise NotNow("other_person")
    if proof.kind not in _TAKEN_AT[next_step(transaction, account if who else None).step]:
        raise NotNow("order")
    event = AuthEvent(
        kind=proof.kind, at=proof.at, phishing_resistant=proof.kind == "fido2", authenticator=proof.authenticator
    )  # fmt: skip
    kept = tuple(earlier for earlier in transaction.proved if earlier.kind != proof.kind)
    return msgspec.structs.replace(transaction, user_id=proof.user_id, proved=(*kept, event))


def first_key(transaction: LoginTransaction, account: Account) -> bool:
    """True when a key is asked for of a person who has registered none: the way leads through registering one, and a page that
    asks for a code should say so.
    """
    lacking = missing(transaction.acr, transaction.events(), known=True, proofed=account.proofed)
    return not account.keys and "phr" in lacking


def may_register_key(transaction: LoginTransaction, account: Account) -> bool:
    """True when a key may be registered within this transaction: only then and there, whatever a page asks for."""
    return next_step(transaction, account).step == "register_key"


def claim_key_lost(transaction: LoginTransaction) -> LoginTransaction:
    """Return the transaction of a person who says that none of their keys is at hand."""
    return msgspec.structs.replace(transaction, notes={**transaction.notes, LOST_KEY: "1"})


def key_at_hand(transaction: LoginTransaction) -> LoginTransaction:
    """Return the transaction without that claim: a key was registered in it, or found. What comes next is to touch it."""
    return msgspec.structs.replace(
        transaction, notes={name: text for name, text in transaction.notes.items() if name != LOST_KEY}
    )


def start_over(transaction: LoginTransaction) -> LoginTransaction:
    """Return the transaction as if nobody had proved anything: "I am somebody else". A person named by the client stays named."""
    return msgspec.structs.replace(transaction, user_id="", session_id="", session_events=(), proved=(), proofing=0, notes={})


def _proofed(transaction: LoginTransaction, account: Account) -> bool:
    """Whether the account's proofing is one that the transaction takes."""
    return account.proofed and suffices(transaction, account.proofing)


def _kinds(events: tuple[AuthEvent, ...]) -> frozenset[AuthKind]:
    return frozenset(event.kind for event in events)


def _towards_two_factors(transaction: LoginTransaction, account: Account) -> Next:
    lost = LOST_KEY in transaction.notes
    if account.password and "pwd" not in _kinds(transaction.events()):
        return Next(step="password")
    if account.password and (account.totp or account.recovery):
        return Next(step="totp" if account.totp else "recovery")
    if account.keys and not lost:
        return Next(step="fido2")
    return _dead_end(account)


def _towards_key(transaction: LoginTransaction, account: Account) -> Next:
    """Lead to a touch of a key; who has none (at hand) registers one first, after a second factor that is fresh.

    Adding a key is never easier than what it adds to: with a key on the account, a one-time code does not do instead of it,
    only a recovery code does. The password may come from the browser's live session; the second factor may not.
    """
    lost = LOST_KEY in transaction.notes
    if account.keys and not lost:
        return Next(step="fido2")
    proved = _kinds(transaction.proved)
    if "recovery" in proved or ("otp" in proved and not account.keys):
        return Next(step="register_key")
    if not account.recovery and (account.keys or not account.totp):
        return _dead_end(account)
    if "pwd" not in proved and not transaction.session_id:
        return Next(step="password") if account.password else _dead_end(account)
    return Next(step="totp" if account.totp and not account.keys else "recovery")


def _dead_end(account: Account) -> Next:
    return Next(step="refuse", problem="key_lost_without_recovery" if account.keys else "no_second_factor")
