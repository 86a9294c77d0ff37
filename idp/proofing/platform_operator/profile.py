"""A platform operator's contract as data: what to ask, where in the answers things are, and what the words mean.

A profile is a TOML file. It is read once, at the start, and refused whole for anything that could not work or must not be: an
unknown key or placeholder, a pointer that is none, a word with two meanings, a state that nobody calls good, and whatever would
send or read the Individual Number (`forbidden`). It repeats an operator's documents; it is not checked against the operator.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from gateway.kernel.errors import ConfigError
from idp.proofing.forbidden import forbidden_in
from idp.proofing.platform_operator.places import places, stray_brace, texts
from idp.proofing.platform_operator.pointers import fault
from idp.proofing.port import NotProofedReason

SHIPPED: Final = Path(__file__).parent / "profiles"
_MOST_BYTES: Final = 65_536
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
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

Pointers = str | tuple[str, ...]
"""One JSON pointer, or several of which the first that leads somewhere counts."""


class Call(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question. `body` is sent as JSON; none for GET."""

    path: str
    method: Literal["GET", "POST"] = "POST"
    headers: dict[str, str] = {}
    body: dict[str, Any] = {}
    idempotent: bool = False
    """True: asking twice does no harm, so a lost answer is asked for once more."""


class Challenge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the card signs: our text, which holds a nonce; and where the operator has to be asked first, how."""

    text: str
    call: Call | None = None
    read: dict[str, Pointers] = {}
    """Values of the operator's answer, by the name that placeholders `{challenge.NAME}` use."""
    link: str = ""
    """The one of them that is the address to send the person to."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the person's browser brings back."""

    fields: dict[str, int]
    """Names, and the most characters of each."""
    same: dict[str, str] = {}
    """Fields that must equal a value of the operator's challenge."""


class Check(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A verdict apart from the card's state."""

    at: Pointers
    good: tuple[str, ...]
    refuse: dict[str, NotProofedReason] = {}
    """Any further word is a fault."""


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the card's state is, and the operator's words for it. Any further word is a fault."""

    at: Pointers
    good: tuple[str, ...]
    revoked: tuple[str, ...]
    expired: tuple[str, ...]
    unknown: tuple[str, ...] = ()


class Types(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the kind of certificate is, and what identity assurance level each accepted one gives. Others: the wrong card."""

    at: Pointers
    levels: dict[str, int]


class Read(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the rest is: a closed set, all that is needed to recognise and compare. Nothing else of an answer is looked at."""

    verification: Pointers
    """The operator's reference of this one verification."""
    user: Pointers
    """The operator's name for the person, which survives a new card."""
    made_at: Pointers = ()
    """RFC 3339."""
    valid_until: Pointers = ()
    """RFC 3339: when the certificate ends."""
    name: Pointers = ()
    """Given together with `birth_date`, or neither: then the certificate names nobody, and the desk knows only known cards."""
    birth_date: Pointers = ()
    kana: Pointers = ()
    substitutes: Pointers = ()
    """Text of 0 and 1, one for each character of the name: 1 where it stands for another."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An error that speaks of the person's answer, by HTTP status and a word in its JSON. Other errors are faults."""

    status: int
    at: Pointers
    words: dict[str, NotProofedReason]


class Ask(Call, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question about a card's state."""

    state: State
    refusals: tuple[Refusal, ...] = ()


class Validate(Ask, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The question that ends a proofing."""

    types: Types
    read: Read
    checks: tuple[Check, ...] = ()
    echo: dict[str, str] = {}
    """Pointers, and what must stand there: the answer is about what was asked, not about something else."""


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A contract."""

    name: str
    """The verifier's name in every record."""
    title: str
    source: str
    """Where the operator documents it."""
    hosts: dict[str, str]
    settings: dict[str, str] = {}
    challenge: Challenge
    answer: Answer
    validate: Validate
    recheck: Ask | None = None
    """None: the contract has no such question, and nobody ever knows."""


def load_profile(name: str) -> Profile:
    """Read a shipped profile by name, or one from a file (`name` with a slash). ConfigError: it can't be read or used."""
    path = Path(name) if "/" in name else SHIPPED / f"{name}.toml"
    if "/" not in name and (not _NAME.fullmatch(name) or not path.is_file()):
        known = ", ".join(sorted(found.stem for found in SHIPPED.glob("*.toml")))
        raise ConfigError(
            f"there is no profile {name!r}", where="idp.platform_operator.profile",
            todo=f"Shipped: {known}. A file of your own is named by its path.",
        )  # fmt: skip
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the profile can't be read: {error.strerror}", where=str(path)) from error
    return parse_profile(content, str(path))


def parse_profile(content: bytes, where: str) -> Profile:
    """Return a profile in which everything is sound. ConfigError says what is not, and where."""
    if len(content) > _MOST_BYTES:
        raise ConfigError("the profile is larger than 64 KiB", where=where)
    try:
        profile = msgspec.toml.decode(content, type=Profile)
        raw = msgspec.toml.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile is not sound: {error}", where=where) from error
    found = forbidden_in(raw)
    if found:
        raise ConfigError(
            f"the profile names the Individual Number: {found[:60]!r}", where=where,
            todo="It is never asked for, sent or read here. Take it out of the mapping.",
        )  # fmt: skip
    for problem in _problems(profile):
        raise ConfigError(problem, where=where, todo="docs/ekyc/platform-operator.md describes each key.")
    return profile


def pointers(at: Pointers) -> tuple[str, ...]:
    """Return the pointers as a tuple."""
    return (at,) if isinstance(at, str) else at


def _problems(profile: Profile) -> Iterable[str]:
    """Yield what is wrong, the first first."""
    if not _NAME.fullmatch(profile.name):
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
