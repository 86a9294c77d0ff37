"""A platform operator's contract as values: what to ask, where in the answers things are, and what the words mean.

The keys of a profile file are the fields here. They are closed: there is none for an address, a sex or a portrait.
"""

from typing import Any, Literal

import msgspec

from idp.proofing.port import NotProofedReason

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


def pointers(at: Pointers) -> tuple[str, ...]:
    """Return the pointers as a tuple."""
    return (at,) if isinstance(at, str) else at
