"""What the staff ledger says of a person beyond their account, checked as it is entered. Identity proofing compares it."""

import unicodedata
from datetime import date

import msgspec

from gateway.kernel.errors import GatewayError
from idp.model import User
from idp.proofing.dates import read_date
from idp.proofing.names import is_unseen

_KANA = {chr(code) for code in range(0x30A1, 0x30FB)} | set("・ー ")


class DetailsError(GatewayError):
    """A detail can't be what it is said to be."""


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """Details to set; None leaves one as it is, an empty one takes it away. Lists replace those of before."""

    name: str | None = None
    kana: str | None = None
    """In either script and width; kept in full-width katakana."""
    birth_date: str | None = None
    """Any form of `idp.proofing.dates`; kept as YYYY-MM-DD."""
    former_names: tuple[str, ...] | None = None
    licences: tuple[str, ...] | None = None


def with_details(user: User, details: Details, today: date) -> User:
    """Return a person with these details. DetailsError says which can't be, and what to write instead."""
    changes: dict[str, object] = {}
    if details.name is not None:
        changes["name"] = _seen("name", details.name)
    if details.kana is not None:
        changes["kana"] = _katakana(details.kana) or None
    if details.birth_date is not None:
        changes["birth_date"] = _day(details.birth_date, today).isoformat() if details.birth_date.strip() else None
    if details.former_names is not None:
        changes["former_names"] = _distinct("former name", details.former_names)
    if details.licences is not None:
        changes["licences"] = _distinct("licence", details.licences)
    return msgspec.structs.replace(user, **changes)


def changed(before: User, after: User) -> tuple[str, ...]:
    """Return the names of the details in which two states of a person differ."""
    return tuple(field for field in Details.__struct_fields__ if getattr(before, field) != getattr(after, field))


def _distinct(what: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for given in texts if (text := _seen(what, given))))


def _seen(what: str, text: str) -> str:
    """Return a text without blanks around it. What can't be seen in it would make every comparison a case for an officer."""
    for char in text:
        if is_unseen(char):
            raise DetailsError(f"the {what} has a character that can't be seen (U+{ord(char):04X})", todo="Type it anew.")
    return text.strip()


def _katakana(text: str) -> str:
    wide = unicodedata.normalize("NFKC", _seen("kana", text))
    wide = "".join(chr(ord(char) + 0x60) if "ぁ" <= char <= "ゖ" else char for char in wide)
    if wrong := [char for char in wide if char not in _KANA]:
        raise DetailsError(f"the kana has {wrong[0]!r} in it", todo="Write the reading of the name in katakana.")
    return wide


def _day(text: str, today: date) -> date:
    day = read_date(text)
    if day is None:
        raise DetailsError(f"{text!r} is no date", todo="Write YYYY-MM-DD, or with the era: S59.5.12 or 昭和59年5月12日.")
    if day > today:
        raise DetailsError(f"{text!r} is a day to come", todo="Write the day of birth.")
    return day
