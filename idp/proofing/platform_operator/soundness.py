"""What a contract must have to work, and what it must not: said before anything listens, with the place."""

import re
from collections.abc import Iterable
from typing import Final

from idp.proofing.platform_operator.contract import (
    Answer,
    Ask,
    Call,
    Challenge,
    Pointers,
    Profile,
    Read,
    Validate,
    pointers,
)
from idp.proofing.platform_operator.places import places, stray_brace, texts
from idp.proofing.platform_operator.pointers import fault

NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
"""Of a profile."""
_FIELD: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PATH: Final = re.compile(r"/[A-Za-z0-9._~/{}-]*")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}")
_OURS: Final = frozenset({
    "authorization", "host", "content-type", "content-length", "content-encoding", "transfer-encoding", "connection", "cookie",
    "accept", "accept-encoding", "expect", "upgrade", "te", "trailer", "proxy-authorization",
})  # fmt: skip
"""Header fields that are set here."""
_FORM: Final = frozenset({"tx", "csrf", "proofing", "cancel", "state"})
"""Fields of the form and of the way back that are not the operator's."""
_MADE: Final = frozenset({"nonce", "time"})
_BEGUN: Final = _MADE | {"text", "text_base64", "digest", "digest_hex", "return"}
_KEPT: Final = frozenset({"user", "verification"})


def problems(profile: Profile) -> Iterable[str]:
    """Yield what is wrong, the first first."""
    if not NAME.fullmatch(profile.name):
        yield f"name {profile.name!r} is not made of a-z, 0-9 and -"
    for name, address in profile.hosts.items():
        if not address.startswith("https://"):
            yield f"hosts.{name} is not an https address"
    settings = {f"setting.{name}" for name in profile.settings}
    yield from _challenge(profile.challenge, settings)
    yield from _answer(profile.answer, profile.challenge)
    begun = _BEGUN | settings | {f"challenge.{name}" for name in profile.challenge.read}
    yield from _call("validate", profile.validate, begun | {f"answer.{name}" for name in profile.answer.fields})
    yield from _validate(profile.validate, begun)
    if not set(places([profile.validate.path, profile.validate.body])) & _bound(profile.answer):
        yield "validate sends nothing that the answer or the challenge is known by: any answer would do for any beginning"
    if profile.recheck is not None:
        yield from _call("recheck", profile.recheck, _KEPT | settings)
        yield from _state("recheck", profile.recheck)
        if not set(places([profile.recheck.path, profile.recheck.body])) & _KEPT:
            yield "recheck asks about nobody: it sends neither {user} nor {verification}"


def _bound(answer: Answer) -> set[str]:
    """Placeholders that tie the question to what was begun."""
    return {"digest", "digest_hex", "text", "text_base64", "nonce"} | {f"challenge.{name}" for name in answer.same.values()}


def _challenge(challenge: Challenge, settings: set[str]) -> Iterable[str]:
    yield from _known("challenge.text", [challenge.text], _MADE | settings)
    if "nonce" not in places(challenge.text):
        yield "challenge.text has no {nonce}: one answer would do for ever"
    if challenge.call is None and (challenge.read or challenge.link):
        yield "challenge.read and challenge.link need challenge.call"
    if challenge.call is not None:
        yield from _call("challenge.call", challenge.call, _BEGUN | settings)
        if not challenge.read:
            yield "challenge.call has nothing to read: challenge.read is empty"
    for name, at in challenge.read.items():
        if not _FIELD.fullmatch(name):
            yield f"challenge.read.{name} is no name"
        yield from _pointers(f"challenge.read.{name}", at, required=True)
    if challenge.link and challenge.link not in challenge.read:
        yield f"challenge.link {challenge.link!r} is not in challenge.read"


def _answer(answer: Answer, challenge: Challenge) -> Iterable[str]:
    if not answer.fields:
        yield "answer.fields is empty: nothing would come back"
    for name, most in answer.fields.items():
        if not _FIELD.fullmatch(name) or name in _FORM:
            yield f"answer.fields.{name} can't be the name of a form field"
        if not 0 < most <= 16_384:  # noqa: PLR2004  what the sign-in's forms take
            yield f"answer.fields.{name} is not between 1 and 16384 characters"
    for field, name in answer.same.items():
        if field not in answer.fields:
            yield f"answer.same.{field} is not in answer.fields"
        if name not in challenge.read:
            yield f"answer.same.{field} names {name!r}, which is not in challenge.read"


def _validate(validate: Validate, begun: Iterable[str]) -> Iterable[str]:
    yield from _state("validate", validate)
    for number, check in enumerate(validate.checks):
        where = f"validate.checks.{number}"
        yield from _pointers(where, check.at, required=True)
        yield from _words(where, (*check.good, *check.refuse), check.good)
    yield from _pointers("validate.types.at", validate.types.at, required=True)
    if not validate.types.levels or not all(1 <= level <= 3 for level in validate.types.levels.values()):  # noqa: PLR2004
        yield "validate.types.levels gives no type a level from 1 to 3"
    for name in Read.__struct_fields__:
        yield from _pointers(f"validate.read.{name}", getattr(validate.read, name), required=name in {"verification", "user"})
    if bool(validate.read.name) != bool(validate.read.birth_date):
        yield "validate.read has a name without a birth date, or the other way round"
    if (validate.read.kana or validate.read.substitutes) and not validate.read.name:
        yield "validate.read has kana or substitutes without a name"
    for at, value in validate.echo.items():
        yield from _pointers("validate.echo", at, required=True)
        yield from _known("validate.echo", [value], begun)


def _state(where: str, ask: Ask) -> Iterable[str]:
    yield from _pointers(f"{where}.state.at", ask.state.at, required=True)
    words = (*ask.state.good, *ask.state.revoked, *ask.state.expired, *ask.state.unknown)
    yield from _words(f"{where}.state", words, ask.state.good)
    if not ask.state.revoked or not ask.state.expired:
        yield f"{where}.state has no word for revoked or for expired"
    for number, refusal in enumerate(ask.refusals):
        yield from _pointers(f"{where}.refusals.{number}.at", refusal.at, required=True)
        if not 400 <= refusal.status <= 499 or refusal.status in {401, 403, 408, 429}:  # noqa: PLR2004
            yield f"{where}.refusals.{number}.status {refusal.status} says nothing about an answer"


def _words(where: str, words: tuple[str, ...], good: tuple[str, ...]) -> Iterable[str]:
    if not good or not all(words):
        yield f"{where} has no word for good, or an empty word"
    if len(set(words)) != len(words):
        yield f"{where} has one word with two meanings"


def _call(where: str, call: Call, known: Iterable[str]) -> Iterable[str]:
    if not _PATH.fullmatch(call.path) or "//" in call.path or {".", ".."} & set(call.path.split("/")):
        yield f"{where}.path {call.path!r} is no path"
    yield from _known(f"{where}.path", [call.path], {place for place in known if place in _KEPT or place.startswith("setting.")})
    if call.method == "GET" and call.body:
        yield f"{where} is a GET with a body"
    for name, value in call.headers.items():
        if not _HEADER.fullmatch(name) or name.lower() in _OURS:
            yield f"{where}.headers.{name} can't be set by a profile"
        if not value.isascii() or not value.isprintable():
            yield f"{where}.headers.{name} is not printable ASCII"
        yield from _known(f"{where}.headers", [value], {place for place in known if place.startswith("setting.")})
    yield from _known(where, texts(call.body), known)


def _known(where: str, templates: Iterable[str], known: Iterable[str]) -> Iterable[str]:
    allowed = set(known)
    for template in templates:
        if stray_brace(template):
            yield f"{where} has a brace that is no placeholder"
        for place in places(template):
            if place not in allowed:
                yield f"{where} has an unknown placeholder {{{place}}}: here are {', '.join(sorted(allowed))}"


def _pointers(where: str, at: Pointers, *, required: bool) -> Iterable[str]:
    found = pointers(at)
    if required and not found:
        yield f"{where} has no pointer"
    for pointer in found:
        if fault(pointer):
            yield f"{where}: the pointer {pointer!r} {fault(pointer)}"
