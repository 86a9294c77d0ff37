"""Is whom a card names the person of the staff ledger? Pure: no clock, no I/O; `match` never raises, whatever the texts.

Three things are compared, and each counts steps away from agreement:

  birth date   0  both there, and the same day
               1  missing or unreadable on one side, or one slip apart (`dates.alike`)
               2  two other days
  name         0  equal after `names.fold`, or by a listed former name; and the reading too, where both sides have one
               1  equal but for substitutes, for characters that no name has, or for the reading; or only the reading is equal;
                  or few letters differ; or one side leaves out a Latin middle name
               2  another name
  licence      0  none on one side, or one in common
               1  none in common

  `Same`       no step at all: an automatic yes. It says in `notes` what spellings had to be looked through.
  `Different`  three steps or more of birth date and name, and no licence in common: clearly somebody else.
  `Near`       all the rest: an officer looks.

So an equal name with another birth date is Near, and so is another name with an equal birth date (people marry); a similar name
with another birth date is Different. Another birth date is never `Same`.

A substitute stands for exactly one letter. Where what stands there is the ledger's letter anyway nothing is needed; else the name
is equal only when both readings are there and equal, at most two letters are open, and at least as many are not. Otherwise it
is a step.

It does not ask whether the card is genuine or whose hand holds it: that is the backend's part.
"""

from collections.abc import Iterable
from datetime import date
from typing import Final, Literal

import msgspec

from idp.model import User
from idp.proofing.dates import alike, read_date
from idp.proofing.likeness import Difference, Judged, Note, Spelt, judge_names, judge_readings
from idp.proofing.names import fold, is_selector, is_unseen, prepared
from idp.proofing.port import Verified

__all__ = [
    "Difference", "Different", "Field", "Near", "Note", "Roster", "Row", "Same", "match", "roster_of", "sides", "visible",
]  # fmt: skip

Field = Literal["name", "former_names", "kana", "birth_date", "licences"]

_CLEARLY: Final = 3


class Roster(msgspec.Struct, frozen=True, kw_only=True):
    """What the staff ledger says of a person."""

    name: str
    kana: str = ""
    """Empty: not known."""
    birth_date: str = ""
    """Any form of `dates.read_date`. Empty: not known."""
    former_names: tuple[str, ...] = ()
    """Whole names, or, where the name has a space, family names alone."""
    licences: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Roster(***)"


class Same(msgspec.Struct, frozen=True):
    """The person of the ledger."""

    notes: tuple[Note, ...] = ()


class Near(msgspec.Struct, frozen=True):
    """Perhaps; an officer looks at both sides."""

    differences: tuple[Difference, ...]


class Different(msgspec.Struct, frozen=True):
    """Somebody else."""

    differences: tuple[Difference, ...]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A field of both sides, to be shown: what can't be seen is written as `⟨U+202E⟩`, a substitute is followed by `⟨?⟩`."""

    field: Field
    roster: str
    card: str
    equal: bool | None
    """By the rules of `match`; None where a side has none."""


def roster_of(user: User) -> Roster:
    """Return what is compared of an account."""
    return Roster(
        name=user.name, kana=user.kana or "", birth_date=user.birth_date or "", former_names=user.former_names,
        licences=user.licences,
    )  # fmt: skip


def match(roster: Roster, verified: Verified, *, today: date) -> Same | Near | Different:
    """Compare, by the rules of this module. A day after `today` is no birth date."""
    born = _born(roster.birth_date, verified.birth_date, today)
    name = _names(roster, verified)
    common = _common_licence(roster.licences, verified.licences)
    differences = (*name.differences, *born.differences, *(("licence",) if common is False else ()))
    if not differences:
        return Same(notes=tuple(dict.fromkeys((*name.notes, *born.notes))))
    found: tuple[Difference, ...] = tuple(dict.fromkeys(differences))
    clearly = born.steps + name.steps >= _CLEARLY and not common
    return Different(differences=found) if clearly else Near(differences=found)


def sides(roster: Roster, verified: Verified) -> tuple[Row, ...]:
    """Return both sides, field by field, for an officer's page."""
    name, born = _names(roster, verified), _born(roster.birth_date, verified.birth_date, date.max)
    kana = judge_readings(roster.kana, verified.kana)
    there = bool(roster.birth_date and verified.birth_date)
    name_equal = not {"name", "substitute", "characters"} & set(name.differences)
    return (
        Row(field="name", roster=visible(roster.name), card=visible(verified.name, verified.substitutes), equal=name_equal),
        Row(field="former_names", roster=_listed(roster.former_names), card=_listed(verified.former_names), equal=None),
        Row(
            field="kana", roster=visible(roster.kana), card=visible(verified.kana),
            equal=not kana.steps if kana is not None else None,
        ),
        Row(
            field="birth_date", roster=visible(roster.birth_date), card=visible(verified.birth_date),
            equal=not born.steps if there else None,
        ),
        Row(
            field="licences", roster=_listed(roster.licences), card=_listed(verified.licences),
            equal=_common_licence(roster.licences, verified.licences),
        ),
    )  # fmt: skip


def visible(text: str, substitutes: Iterable[int] = ()) -> str:
    """Return a text in which all can be seen: also variation selectors, unusual spaces, and this notation's own brackets."""
    places = frozenset(substitutes)
    return "".join(_seen(char) + ("⟨?⟩" if place in places else "") for place, char in enumerate(text, 1))


# ---------------------------------------------------------------- name, birth date and licence


def _names(roster: Roster, verified: Verified) -> Judged:
    return judge_names(
        Spelt(name=roster.name, kana=roster.kana, former_names=roster.former_names),
        Spelt(
            name=verified.name, kana=verified.kana, former_names=verified.former_names, substitutes=verified.substitutes
        ),
    )  # fmt: skip


def _born(ours: str, cards: str, today: date) -> Judged:
    if not ours or not cards:
        return Judged(steps=1, differences=("no_birth_date",))
    mine, theirs = read_date(ours), read_date(cards)
    if mine is None or theirs is None or max(mine, theirs) > today:
        return Judged(steps=1, differences=("unreadable_date",))
    if mine != theirs:
        return Judged(steps=1 if alike(mine, theirs) else 2, differences=("birth_date",))
    return Judged(steps=0, notes=("era_date",) if _plain(ours) != _plain(cards) else ())


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isdigit())


def _common_licence(ours: Iterable[str], cards: Iterable[str]) -> bool | None:
    mine, theirs = ({number for text in side if (number := _licence(text))} for side in (ours, cards))
    return bool(mine & theirs) if mine and theirs else None


def _licence(text: str) -> str:
    return fold(prepared(text).text).replace("-", "").removeprefix("第").removesuffix("号")


# ---------------------------------------------------------------- to be seen


def _listed(texts: Iterable[str]) -> str:
    return "、".join(visible(text) for text in texts)


def _seen(char: str) -> str:
    usual_space = char in " \u3000"
    hidden = is_unseen(char) or is_selector(char) or char in "⟨⟩\ufffc" or (char.isspace() and not usual_space)
    return f"⟨U+{ord(char):04X}⟩" if hidden else char
