"""What a set of authentication events amounts to: which class (acr), since when, and what is missing. Used at every decision."""

from collections.abc import Iterable, Sequence

from idp.model import ACR_MFA, ACR_PHR, ACR_PROOFED, ACR_PROOFED_ANEW, AuthEvent, AuthKind, LoginTransaction

POSSESSION: tuple[AuthKind, ...] = ("otp", "recovery")
PROOFED: tuple[str, ...] = (ACR_PROOFED, ACR_PROOFED_ANEW)
"""Classes that say that an identity proofing is in force."""


def reached_at(events: Iterable[AuthEvent], acr: str) -> int | None:
    """Return the latest T such that events at T or later, alone, reach `acr`; None when they never do.

    So `max_age` is met when T is not older, and T is `auth_time`. A FIDO2 event (possession and PIN or biometric) reaches every
    class alone; without one, it takes a password *and* a one-time or recovery code, and the older of the two counts. What
    `ACR_PROOFED` wants besides (a proofing in force) is not looked at here.
    """
    newest: dict[AuthKind, int] = {}
    for event in events:
        newest[event.kind] = max(event.at, newest.get(event.kind, event.at))
    times = [newest["fido2"]] if "fido2" in newest else []
    if acr != ACR_PHR and "pwd" in newest:
        times += [min(newest["pwd"], newest[kind]) for kind in POSSESSION if kind in newest]
    return max(times, default=None)


def best(events: Sequence[AuthEvent]) -> str:
    """Return the class to state when none was asked for: `phr` when a key was the newest whole authentication, else `ACR_MFA`.

    Empty when not even two factors were proved: then nothing may be issued.
    """
    by_key, by_any = reached_at(events, ACR_PHR), reached_at(events, ACR_MFA)
    if by_any is None:
        return ""
    return ACR_PHR if by_key == by_any else ACR_MFA


def missing(asked: str, events: Sequence[AuthEvent], *, known: bool, proofed: bool) -> tuple[str, ...]:
    """Return what is still missing for `asked` (empty: `ACR_MFA`), of `user`, `mfa`, `phr`, `proofing`, in this order."""
    lacking: list[str] = []
    if not known:
        lacking.append("user")
    if reached_at(events, asked or ACR_MFA) is None:
        lacking.append("phr" if asked == ACR_PHR else "mfa")
    if asked in PROOFED and not proofed:
        lacking.append("proofing")
    return tuple(lacking)


def suffices(transaction: LoginTransaction, proofing: int) -> bool:
    """Whether the person's proofing in force, by its number, is one that is asked for: for `ACR_PROOFED_ANEW` only one that was
    made in this transaction.
    """
    return transaction.acr != ACR_PROOFED_ANEW or transaction.proofing == proofing != 0


def merged(older: Iterable[AuthEvent], newer: Iterable[AuthEvent]) -> tuple[AuthEvent, ...]:
    """Return the newest event of each kind, oldest first: what a session remembers."""
    by_kind: dict[AuthKind, AuthEvent] = {}
    for event in sorted((*older, *newer), key=lambda event: event.at):
        by_kind[event.kind] = event
    return tuple(sorted(by_kind.values(), key=lambda event: (event.at, event.kind)))


def counting(events: Iterable[AuthEvent], *, fresh: bool, max_age: int | None, now: int) -> tuple[AuthEvent, ...]:
    """Return the events of a session that count for a request: none when `fresh`, else those not older than `max_age` seconds."""
    if fresh:
        return ()
    return tuple(event for event in events if max_age is None or event.at >= now - max_age)


def methods(events: Iterable[AuthEvent]) -> list[str]:
    """Return `amr` (RFC 8176): `pwd`; `otp` (a recovery code is one too); `pop` and `user` for a key; `mfa` when it is that."""
    events = tuple(events)
    kinds = {event.kind for event in events}
    named = {
        "pwd": "pwd" in kinds,
        "otp": not kinds.isdisjoint(POSSESSION),
        "pop": "fido2" in kinds,
        "user": "fido2" in kinds,
        "mfa": reached_at(events, ACR_MFA) is not None,
    }
    return [name for name, present in named.items() if present]
