"""What a grant and a declared emergency are made of, and what may be asked for. Pure. Times are epoch seconds.

A grant lifts nothing by itself: policies say what its name opens (`context.grants.contains("ehr-maintenance")`).
"""

import re
import unicodedata
from typing import Final, Literal

import msgspec

from gateway.domain.identity import same_login

State = Literal["waiting", "approved", "declined", "withdrawn", "ended", "over"]
"""`approved`: in force between its two times; `ended`: taken away before its time; `over`: its time passed."""
Why = Literal["gone", "state", "own", "form", "name", "times", "over", "many", "running", "taken"]
"""`gone`: there is none; `state`: settled already; `own`: a second person has to say so; `form`: a text is missing, too long or
holds characters that are not printed; `times`: no span of time that may be asked for, or longer than what was asked for; `over`:
its time has passed; `many`: too much waits already; `running`: an emergency is declared already; `taken`: the id is somebody
else's.
"""

MAX_TEXT: Final = 500
MIN_TEXT: Final = 4
MAX_NAME: Final = 64
MAX_AHEAD: Final = 90 * 86_400
"""How far ahead a grant may begin."""
MIN_SECONDS: Final = 60
MAX_WAITING: Final = 5
"""Requests that may wait for one person at a time."""
MAX_WAITING_ALL: Final = 500
EMERGENCY_SECONDS: Final = 12 * 3600
"""How long an emergency lasts unless it is said otherwise."""
MAX_EMERGENCY_SECONDS: Final = 7 * 86_400
_ID: Final = re.compile(r"grt_[0-9a-f]{32}")
_HIDDEN: Final = frozenset({"Cc", "Cf", "Co", "Cn", "Cs", "Zl", "Zp"})


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something, or whom it is for."""

    subject: str
    """Of the identity provider; `cli:<login>` from a command line."""
    login: str
    name: str = ""

    def same_as(self, other: "Person") -> bool:
        """Whether both are one person, as far as a login or a subject tells."""
        return self.subject == other.subject or same_login(self.login, other.login)


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant, from being asked for to its end."""

    id: str
    """`grt_...`"""
    name: str
    """What policies compare with."""
    holder: Person
    asked_by: Person
    """The holder, or an officer who grants directly: then, too, a second officer approves."""
    why: str
    asked_at: int
    asked_from: int
    asked_until: int
    begins: int
    """As approved; before that as asked for."""
    until: int
    state: State = "waiting"
    decided_by: Person | None = None
    decided_at: int | None = None
    note: str = ""
    """What whoever approved or declined it had to say."""
    ended_by: Person | None = None
    """Who took it away, or gave it back; None when it ended by itself."""
    ended_at: int | None = None
    app: str = ""
    """Where it was asked for; empty for nowhere in particular."""

    def in_force(self, now: float) -> bool:
        """Whether it lifts anything at `now`."""
        return self.state == "approved" and self.begins <= now < self.until

    def own_of(self, person: Person) -> bool:
        """Whether somebody can't be the second person here."""
        return self.holder.same_as(person) or self.asked_by.same_as(person)


class Emergency(msgspec.Struct, frozen=True, kw_only=True):
    """The emergency of the whole hospital, as an officer declared it."""

    id: str
    """`sit_...`"""
    why: str
    declared_by: Person
    declared_at: int
    until: int
    ended_by: Person | None = None
    """None when it ended by itself, or has not."""
    ended_at: int | None = None

    def in_force(self, now: float) -> bool:
        """Whether it holds at `now`. A clock that was put back does not bring it about before its time."""
        return self.ended_at is None and self.declared_at - 60 <= now < self.until


class NotPossible(Exception):  # noqa: N818  it names an answer, not a fault
    """What was asked can't be, and nothing has changed."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why: Final = why


def is_id(text: str) -> bool:
    """Whether a text has the form of a grant's id."""
    return _ID.fullmatch(text) is not None


def plain_text(text: str, *, least: int = MIN_TEXT, most: int = MAX_TEXT) -> str:
    """Return what a person typed, blanks and line breaks as single blanks. NotPossible("form") when it is too short or too long,
    holds no letter or digit, or a character that can't be seen or turns the line round.
    """
    tidy = " ".join(text.split())
    if not least <= len(tidy) <= most or any(unicodedata.category(char) in _HIDDEN for char in tidy):
        raise NotPossible("form")
    if least and not any(char.isalnum() for char in tidy):
        raise NotPossible("form")
    return tidy


def check_name(name: str) -> str:
    """Return the name of a grant, as policies have it. NotPossible("name") for none."""
    if not 1 <= len(name) <= MAX_NAME or name != name.strip() or any(unicodedata.category(char) in _HIDDEN for char in name):
        raise NotPossible("name")
    return name


def within(grant: Grant, begins: int | None, until: int | None) -> tuple[int, int]:
    """Return the span that an officer allows. NotPossible("times") unless it lies within what was asked for."""
    if begins is None or until is None or not grant.asked_from <= begins < until <= grant.asked_until:
        raise NotPossible("times")
    return begins, until


def check_emergency(new: Emergency) -> None:
    """Check how long an emergency lasts. NotPossible("times")."""
    if not MIN_SECONDS <= new.until - new.declared_at <= MAX_EMERGENCY_SECONDS:
        raise NotPossible("times")


def check_times(begins: int, until: int, now: float, longest: int) -> None:
    """Check that the span lies ahead of `now`, begins soon enough and lasts a minute to `longest` seconds. NotPossible("times"),
    or "over" when it has passed.
    """
    if until <= now:
        raise NotPossible("over" if begins < until else "times")
    if until - max(begins, int(now)) < MIN_SECONDS or until - begins > longest or begins > now + MAX_AHEAD:
        raise NotPossible("times")
