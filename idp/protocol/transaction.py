"""What the pages may change of a sign-in in progress, and what follows from it at its end."""

from typing import Final

import msgspec

from gateway.kernel.errors import ProtocolError
from idp.model import CodeGrant, LoginTransaction, ProofingRecord, SsoSession, User
from idp.protocol.assurance import PROOFED, best, merged, missing, reached_at, suffices

_OPEN: Final = frozenset({"user_id", "session_id", "session_events", "proved", "proofing", "notes"})
_NOTES: Final = 4096


def check_change(before: LoginTransaction, after: LoginTransaction) -> None:
    """Raise ProtocolError unless a change keeps to what pages may do.

    What was asked for is fixed. What the browser's session brought can be dropped, never added to or exchanged. When the person
    changes, nothing that another one proved stays.
    """
    for name in LoginTransaction.__struct_fields__:
        if name not in _OPEN and getattr(before, name) != getattr(after, name):
            raise ProtocolError(f"a sign-in in progress keeps its {name}")
    if after.session_id not in {before.session_id, ""} or after.session_events not in {before.session_events, ()}:
        raise ProtocolError("a sign-in in progress can drop the browser's session, not change it")
    if after.session_events and not after.session_id:
        raise ProtocolError("events of a session don't count without it")
    if after.proved and not after.user_id:
        raise ProtocolError("a proof needs a person")
    if before.user_id not in {"", after.user_id} and (
        after.session_id or after.proofing or not set(before.proved).isdisjoint(after.proved)
    ):
        raise ProtocolError("what one person proved does not count for another")
    if sum(len(name) + len(text) for name, text in after.notes.items()) > _NOTES:
        raise ProtocolError("notes are for small values")


def without_session(transaction: LoginTransaction) -> LoginTransaction:
    """Return the transaction as if the browser had no session."""
    user_id = transaction.user_id if transaction.proved else ""
    return msgspec.structs.replace(transaction, user_id=user_id, session_id="", session_events=())


def lacking(transaction: LoginTransaction, user: User | None, proofed: ProofingRecord | None, now: int) -> tuple[str, ...]:
    """Return what is still missing (`Flows.missing`). `user` and `proofed` are of `transaction.user_id`."""
    in_force = proofed is not None and proofed.in_force(now) and suffices(transaction, proofed.number)
    return missing(transaction.acr, transaction.events(), known=user is not None, proofed=in_force)


def check_complete(transaction: LoginTransaction, user: User | None, proofed: ProofingRecord | None, now: int) -> User:
    """Return the person for whom a code may be issued; ProtocolError when there is something missing."""
    if user is None or user.id != transaction.user_id:
        raise ProtocolError("nobody has signed in")
    if not user.active:
        raise ProtocolError("the account is deactivated")
    if transaction.hint_subject not in {"", user.id}:
        raise ProtocolError("another person than the one asked for has signed in")
    if transaction.fresh and transaction.session_events:
        raise ProtocolError("a fresh sign-in was asked for")
    if any(event.at < transaction.created_at for event in transaction.proved):
        raise ProtocolError("a proof is older than the sign-in")
    still = lacking(transaction, user, proofed, now)
    if still:
        raise ProtocolError(f"the sign-in is not complete: {', '.join(still)}")
    return user


def code_grant(transaction: LoginTransaction, session: SsoSession, *, now: int, lifetime: int) -> CodeGrant:
    """Return what the code of a complete transaction stands for. `session` is the browser's, with all that it has proved."""
    counted = transaction.events()
    acr = transaction.acr or best(counted)
    auth_time = reached_at(counted, acr)
    if auth_time is None:
        raise ProtocolError("the sign-in is not complete")
    return CodeGrant(
        client_id=transaction.client_id, redirect_uri=transaction.redirect_uri, scope=transaction.scope, nonce=transaction.nonce,
        code_challenge=transaction.code_challenge, user_id=session.user_id, session_id=session.id, acr=acr, auth_time=auth_time,
        events=merged(session.events, counted), claims=transaction.claims, issued_at=now, expires_at=now + lifetime,
    )  # fmt: skip


def silent_error(still_missing: tuple[str, ...], acr: str) -> str:
    """Return the error for `prompt=none` (OpenID Connect Core 1.0 §3.1.2.6): what would have to be shown."""
    return "interaction_required" if still_missing == ("proofing",) and acr in PROOFED else "login_required"
