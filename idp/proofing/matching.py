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

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Final, Literal, get_args

import msgspec

from idp.model import User
from idp.proofing.dates import alike, read_date
from idp.proofing.names import WILD, Prepared, Step, agree, few_differ, fold, is_latin, is_selector, is_unseen, prepared, words
from idp.proofing.port import Verified

Note = Literal[Step, "word_order", "former_name", "substitute", "era_date"]
"""What was looked through; closed."""
Difference = Literal["name", "kana", "birth_date", "no_birth_date", "unreadable_date", "licence", "substitute", "characters"]
"""`substitute`: letters that the card lacks are needed; `characters`: there are some that no name has. Closed."""
Field = Literal["name", "former_names", "kana", "birth_date", "licences"]

_STEPS: Final[tuple[Step, ...]] = get_args(Step)
_CLEARLY: Final = 3
_MOST_OPEN: Final = 2
_MOST_NAMES: Final = 20


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


class _Judged(msgspec.Struct, frozen=True, kw_only=True):
    steps: int
    notes: tuple[Note, ...] = ()
    differences: tuple[Difference, ...] = ()


def roster_of(user: User) -> Roster:
    """Return what is compared of an account."""
    return Roster(
        name=user.name, kana=user.kana or "", birth_date=user.birth_date or "", former_names=user.former_names,
        licences=user.licences,
    )  # fmt: skip


def match(roster: Roster, verified: Verified, *, today: date) -> Same | Near | Different:
    """Compare, by the rules of this module. A day after `today` is no birth date."""
    born = _born(roster.birth_date, verified.birth_date, today)
    name = _name(roster, verified)
    common = _common_licence(roster.licences, verified.licences)
    differences = (*name.differences, *born.differences, *(("licence",) if common is False else ()))
    if not differences:
        return Same(notes=tuple(dict.fromkeys((*name.notes, *born.notes))))
    found: tuple[Difference, ...] = tuple(dict.fromkeys(differences))
    clearly = born.steps + name.steps >= _CLEARLY and not common
    return Different(differences=found) if clearly else Near(differences=found)


def sides(roster: Roster, verified: Verified) -> tuple[Row, ...]:
    """Return both sides, field by field, for an officer's page."""
    name, born = _name(roster, verified), _born(roster.birth_date, verified.birth_date, date.max)
    kana = _reading(roster.kana, verified.kana)
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


# ---------------------------------------------------------------- birth date and licence


def _born(ours: str, cards: str, today: date) -> _Judged:
    if not ours or not cards:
        return _Judged(steps=1, differences=("no_birth_date",))
    mine, theirs = read_date(ours), read_date(cards)
    if mine is None or theirs is None or max(mine, theirs) > today:
        return _Judged(steps=1, differences=("unreadable_date",))
    if mine != theirs:
        return _Judged(steps=1 if alike(mine, theirs) else 2, differences=("birth_date",))
    return _Judged(steps=0, notes=("era_date",) if _plain(ours) != _plain(cards) else ())


def _plain(text: str) -> str:
    return "".join(char for char in text if char.isdigit())


def _common_licence(ours: Iterable[str], cards: Iterable[str]) -> bool | None:
    mine, theirs = ({number for text in side if (number := _licence(text))} for side in (ours, cards))
    return bool(mine & theirs) if mine and theirs else None


def _licence(text: str) -> str:
    return fold(prepared(text).text).replace("-", "").removeprefix("第").removesuffix("号")


# ---------------------------------------------------------------- name and reading


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    ours: Prepared
    cards: Prepared
    former: bool


def _name(roster: Roster, verified: Verified) -> _Judged:
    """Judge name and reading together: the reading supports a name, and a name explains a reading."""
    reading = _reading(roster.kana, verified.kana)
    ours, cards = prepared(roster.name), prepared(verified.name, verified.substitutes)
    for pair in _pairs(roster, verified):
        if not cards.misplaced and (notes := _equal(pair.ours, pair.cards)) is not None:
            found = _with_former_reading(roster.kana, verified.kana) if pair.former else reading
            odd = pair.ours.odd or pair.cards.odd
            return _judged_equal(notes, found, former=pair.former, odd=odd, substitutes=bool(verified.substitutes))
    whole, patched = fold(ours.text), fold(cards.text)
    differences: list[Difference] = ["characters"] if ours.odd or cards.odd else []
    differences += reading.differences if reading is not None else ()
    if cards.misplaced or (WILD in patched and agree(whole, patched)):
        differences.append("substitute")
        open_letters = patched.count(WILD)
        sound = reading is not None and not reading.steps and not cards.misplaced and not ours.odd and not cards.odd
        if sound and agree(whole, patched) and open_letters <= min(_MOST_OPEN, len(patched) - open_letters):
            return _Judged(steps=0, notes=(*_needed(ours.text, cards.text), *(reading.notes if reading else ()), "substitute"))
        if agree(whole, patched):
            return _Judged(steps=1, differences=tuple(differences))
    close = few_differ(whole, patched) or _leaves_out(ours, cards) or (reading is not None and not reading.steps)
    return _Judged(steps=1 if close else 2, differences=("name", *differences))


def _judged_equal(
    notes: tuple[Note, ...], reading: _Judged | None, *, former: bool, odd: bool, substitutes: bool
) -> _Judged:  # fmt: skip
    differences: tuple[Difference, ...] = (*(("characters",) if odd else ()), *(reading.differences if reading else ()))
    more: tuple[Note, ...] = (*(("former_name",) if former else ()), *(("substitute",) if substitutes else ()))
    return _Judged(
        steps=1 if differences else 0, notes=(*notes, *(reading.notes if reading else ()), *more), differences=differences
    )


def _pairs(roster: Roster, verified: Verified) -> Iterator[_Pair]:
    """The names as they are now first; then a former name of one side with the other's of now, never two former ones."""
    ours, cards = prepared(roster.name), prepared(verified.name)
    yield _Pair(ours=ours, cards=cards, former=False)
    for former in _formers(verified.former_names, cards):
        yield _Pair(ours=ours, cards=former, former=True)
    for former in _formers(roster.former_names, ours):
        yield _Pair(ours=former, cards=cards, former=True)


def _formers(listed: tuple[str, ...], now: Prepared) -> Iterator[Prepared]:
    """Whole names; of a family name alone, the one that it makes with the given name of now."""
    parts = fold(now.text, without="spaces").split()
    for text in listed[:_MOST_NAMES]:
        former = prepared(text)
        if len(words(former.text)) == 1 and len(parts) > 1:
            given = now.text.split()[-1]
            yield Prepared(text=f"{former.text} {given}", odd=former.odd or now.odd)
        else:
            yield former


def _equal(ours: Prepared, cards: Prepared) -> tuple[Note, ...] | None:
    """Return what had to be looked through for two names to be equal; None when they are not."""
    one, other = fold(ours.text), fold(cards.text)
    if not one:
        return None
    if one == other:
        return _needed(ours.text, cards.text)
    mine, theirs = words(ours.text), words(cards.text)
    if is_latin(one) and is_latin(other) and sorted(mine) == sorted(theirs):
        return (*_needed(" ".join(sorted(ours.text.split())), " ".join(sorted(cards.text.split()))), "word_order")
    return None


def _needed(ours: str, cards: str, *, reading: bool = False) -> tuple[Note, ...]:
    """Return the steps of folding without which two prepared texts would not agree."""
    return tuple(
        step for step in _STEPS
        if not agree(fold(ours, reading=reading, without=step), fold(cards, reading=reading, without=step))
    )  # fmt: skip


def _leaves_out(ours: Prepared, cards: Prepared) -> bool:
    """True when one is the other without some of its words, but for at least two: a Latin name without the middle one."""
    mine, theirs = set(words(ours.text)), set(words(cards.text))
    latin = is_latin("".join(mine)) and is_latin("".join(theirs))
    return latin and len(mine & theirs) > 1 and (mine <= theirs or theirs <= mine)


def _reading(ours: str, cards: str) -> _Judged | None:
    """Judge two readings; None where a side has none."""
    mine, theirs = prepared(ours), prepared(cards)
    one, other = fold(mine.text, reading=True), fold(theirs.text, reading=True)
    if not ours or not cards:
        return None
    differences: tuple[Difference, ...] = ("characters",) if mine.odd or theirs.odd else ()
    if one != other or not one:
        return _Judged(steps=1, differences=(*differences, "kana"))
    return _Judged(steps=len(differences), notes=_needed(mine.text, theirs.text, reading=True), differences=differences)


def _with_former_reading(ours: str, cards: str) -> _Judged | None:
    """As `_reading`, of given names alone where both are told apart: the family names are two."""
    mine, theirs = prepared(ours), prepared(cards)
    parted = [text.text.split() for text in (mine, theirs)]
    if all(len(parts) > 1 for parts in parted) and not mine.odd and not theirs.odd:
        return _reading(parted[0][-1], parted[1][-1])
    return _reading(ours, cards)


# ---------------------------------------------------------------- to be seen


def _listed(texts: Iterable[str]) -> str:
    return "、".join(visible(text) for text in texts)


def _seen(char: str) -> str:
    usual_space = char in " \u3000"
    hidden = is_unseen(char) or is_selector(char) or char in "⟨⟩\ufffc" or (char.isspace() and not usual_space)
    return f"⟨U+{ord(char):04X}⟩" if hidden else char
