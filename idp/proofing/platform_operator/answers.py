"""Reading the operator's answers by a profile. Pure and total: any JSON gives an outcome, and only a state called good proofs.

The order: errors that the profile knows; what must be echoed; other verdicts; the card's state; the kind of certificate; the
times; the references; the names. Whatever is missing, unknown or not of its form is `Broken`: the contract and this mapping are
no longer of one mind, and that says nothing about the person.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from gateway.kernel.secret import Secret
from idp.proofing.platform_operator.client import Reply
from idp.proofing.platform_operator.contract import Ask, Check, Pointers, Profile, Read, State, pointers
from idp.proofing.platform_operator.places import fill
from idp.proofing.platform_operator.pointers import MISSING, look
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    NotProofedReason,
    Outcome,
    Proofed,
    Revoked,
    Standing,
    Unknown,
    Valid,
    Verified,
)

METHOD: Final = "platform_operator"
_OK: Final = 200
_REFERENCE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~:-]{0,79}")
_BIRTH_DATE: Final = re.compile(r"[0-9]{9}|[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_FLAGS: Final = re.compile(r"[01]*")
_FRACTION: Final = re.compile(r"(:[0-9]{2})\.[0-9]{1,9}(?=Z|[+-])", re.ASCII)
_MOST_NAME: Final = 200
_MOST_VALUE: Final = 2000
_WORD: Final = re.compile(r"[A-Za-z0-9_]{1,60}")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer is measured by; all but `valid_seconds` are moments in epoch seconds."""

    begun_at: int
    now: int
    skew_seconds: int
    valid_seconds: int


class _Unsound(Exception):  # noqa: N818  it is a value: the detail of Broken
    pass


def challenge_values(profile: Profile, reply: Reply) -> dict[str, str] | Broken:
    """Return the values of the operator's challenge."""
    if reply.status != _OK:
        return Broken(detail=_error(reply))
    try:
        return {name: _text(reply.document, at, f"challenge.{name}") for name, at in profile.challenge.read.items()}
    except _Unsound as unsound:
        return Broken(detail=str(unsound))


def outcome(profile: Profile, reply: Reply, values: Mapping[str, str], limits: Limits) -> Outcome:
    """Return how a proofing ends by the answer to `validate`. `values`: the placeholders that were known at the beginning."""
    validate = profile.validate
    if reply.status != _OK:
        refused = _refusal(validate, reply)
        return NotProofed(reason=refused) if refused is not None else Broken(detail=_error(reply))
    try:
        _echoed(profile, reply.document, values)
        for check in validate.checks:
            reason = _verdict(check, reply.document)
            if reason is not None:
                return NotProofed(reason=reason)
        match standing(validate.state, reply):
            case Revoked():
                return NotProofed(reason="card_revoked")
            case Expired():
                return NotProofed(reason="card_expired")
            case Unknown(detail=detail):
                return Broken(detail=detail)
        level = validate.types.levels.get(_text(reply.document, validate.types.at, "the kind of certificate"))
        return NotProofed(reason="wrong_card") if level is None else _proofed(profile, reply.document, level, limits)
    except _Unsound as unsound:
        return Broken(detail=str(unsound))


def standing(state: State, reply: Reply) -> Standing:
    """Return the card's state. Errors, unknown words and missing ones are Unknown."""
    if reply.status != _OK:
        return Unknown(detail=_error(reply))
    try:
        word = _text(reply.document, state.at, "the card's state")
    except _Unsound as unsound:
        return Unknown(detail=str(unsound))
    if word in state.good:
        return Valid()
    if word in state.revoked:
        return Revoked()
    if word in state.expired:
        return Expired()
    return Unknown(detail="the operator does not know" if word in state.unknown else f"the state {_shown(word)} is not known")


def transaction_of(verification: str, user: str) -> str:
    """Return what is kept as the reference: the operator's names of this verification and of the person there."""
    return f"{verification}/{user}"


def references(transaction: str) -> tuple[str, str] | None:
    """Return verification and user of a kept reference; None when it is none of ours."""
    verification, _, user = transaction.partition("/")
    return (verification, user) if _REFERENCE.fullmatch(verification) and _REFERENCE.fullmatch(user) else None


def _refusal(ask: Ask, reply: Reply) -> NotProofedReason | None:
    for refusal in ask.refusals:
        word = look(reply.document, pointers(refusal.at))
        if refusal.status == reply.status and isinstance(word, str) and word in refusal.words:
            return refusal.words[word]
    return None


def _verdict(check: Check, document: Any) -> NotProofedReason | None:
    word = _text(document, check.at, "a verdict")
    if word not in check.good and word not in check.refuse:
        raise _Unsound(f"the operator's verdict {_shown(word)} is not known")
    return check.refuse.get(word)


def _echoed(profile: Profile, document: Any, values: Mapping[str, str]) -> None:
    for at, template in profile.validate.echo.items():
        if look(document, (at,)) != fill(template, values):
            raise _Unsound("the operator's answer is about something else than what was asked")


def _proofed(profile: Profile, document: Any, level: int, limits: Limits) -> Proofed | NotProofed:
    read = profile.validate.read
    made_at = _time(document, read.made_at)
    if made_at is not None and not limits.begun_at - limits.skew_seconds <= made_at <= limits.now + limits.skew_seconds:
        raise _Unsound("the operator's answer is dated outside this proofing: look at the clocks on both sides")
    until = _time(document, read.valid_until)
    if until is not None and until <= limits.now:
        return NotProofed(reason="card_expired")
    verification, user = (_reference(document, at) for at in (read.verification, read.user))
    latest = limits.now + limits.valid_seconds
    return Proofed(
        level=level, method=METHOD, evidence="electronic_signature", verified_at=limits.now,
        expires_at=latest if until is None else min(until, latest), verifier=profile.name,
        transaction=transaction_of(verification, user), person=Secret(user), attributes=_attributes(document, read),
    )  # fmt: skip


def _attributes(document: Any, read: Read) -> Verified | None:
    if not read.name:
        return None
    name = _text(document, read.name, "the name")
    birth_date = _text(document, read.birth_date, "the birth date")
    kana = look(document, pointers(read.kana)) if read.kana else ""
    flags = look(document, pointers(read.substitutes)) if read.substitutes else ""
    if len(name) > _MOST_NAME or not name.strip() or not _BIRTH_DATE.fullmatch(birth_date):
        raise _Unsound("the operator's name or birth date is not of its form")
    kana = "" if kana is MISSING else kana
    flags = "" if flags is MISSING else flags  # protocol buffers leave out what is empty
    if not isinstance(kana, str) or len(kana) > _MOST_NAME or not isinstance(flags, str) or not _FLAGS.fullmatch(flags):
        raise _Unsound("the operator's kana or substitute characters are not of their form")
    substitutes = tuple(number for number, flag in enumerate(flags[: len(name)], start=1) if flag == "1")
    return Verified(name=name, substitutes=substitutes, kana=kana, birth_date=birth_date)


def _text(document: Any, at: Pointers, what: str) -> str:
    found = look(document, pointers(at))
    if not isinstance(found, str) or not 0 < len(found) <= _MOST_VALUE:
        raise _Unsound(f"the operator's answer lacks {what}")
    return found


def _reference(document: Any, at: Pointers) -> str:
    found = _text(document, at, "a reference")
    if not _REFERENCE.fullmatch(found):
        raise _Unsound("the operator's reference is not of its form")
    return found


def _time(document: Any, at: Pointers) -> int | None:
    if not at:
        return None
    text = _text(document, at, "a time")
    try:
        moment = datetime.fromisoformat(_FRACTION.sub(r"\1", text))
        if moment.tzinfo is None:
            raise _Unsound("the operator's time has no zone")
        return int(moment.timestamp())
    except (ValueError, OverflowError) as error:
        raise _Unsound("the operator's time is not of its form") from error


def _error(reply: Reply) -> str:
    code = look(reply.document, ("/code",))
    return f"the operator answered {reply.status} {_shown(code) if isinstance(code, str) else 'without a code'}"


def _shown(word: str) -> str:
    """Return a word of the contract for the log; anything else is not shown: it could be anything."""
    return word if _WORD.fullmatch(word) else "(no word)"
