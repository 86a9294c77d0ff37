"""How alike two names are, with their readings: the second row of the rules in `matching`, which this is a part of. Pure.

A former name counts as a name where the other side bears it now; never two former ones. Its reading is not known, so that of two
readings only the given names are compared then, where both are told apart. `山田［佐藤］　花子`, as cards print it, is 山田 花子,
formerly 佐藤.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, get_args

import msgspec

from idp.proofing.names import WILD, Prepared, Step, agree, few_differ, fold, has_letter, is_latin, prepared, words

Note = Literal[Step, "word_order", "former_name", "substitute", "era_date"]
"""What was looked through; closed."""
Difference = Literal["name", "kana", "birth_date", "no_birth_date", "unreadable_date", "licence", "substitute", "characters"]
"""`substitute`: letters that the card lacks are needed; `characters`: there are some that no name has. Closed."""

_STEPS: Final[tuple[Step, ...]] = get_args(Step)
_MOST_OPEN: Final = 2
_MOST_NAMES: Final = 20


_BRACKETED: Final = re.compile(r"([^\[\]［］]+)[\[［]([^\[\]［］]+)[\]］]([^\[\]［］]+)")


class Spelt(msgspec.Struct, frozen=True, kw_only=True):
    """What one side has of a name."""

    name: str
    kana: str
    former_names: tuple[str, ...]
    substitutes: tuple[int, ...] = ()

    def apart(self) -> "Spelt":
        """Return the name without a former family name in brackets, and that as a former name. Itself where there is none, where
        positions of substitutes would move, or where there is what no name has.
        """
        found = _BRACKETED.fullmatch(self.name)
        if found is None or self.substitutes or prepared(self.name).odd:
            return self
        return Spelt(name=f"{found[1]} {found[3].strip()}", kana=self.kana, former_names=(found[2], *self.former_names))


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """How far two sides are apart, in the steps of `matching`; no step has no difference."""

    steps: int
    notes: tuple[Note, ...] = ()
    differences: tuple[Difference, ...] = ()


class _Pair(msgspec.Struct, frozen=True, kw_only=True):
    ours: Prepared
    cards: Prepared
    former: bool


def judge_names(ledger: Spelt, card: Spelt) -> Judged:
    """Judge name and reading together: the reading supports a name, and a name explains a reading."""
    reading = judge_readings(ledger.kana, card.kana)
    bracketed = (ledger, card) != (ledger.apart(), card.apart())
    ledger, card = ledger.apart(), card.apart()
    ours, cards = prepared(ledger.name), prepared(card.name, card.substitutes)
    for pair in _pairs(ledger, card):
        if not cards.misplaced and (notes := _equal(pair.ours, pair.cards)) is not None:
            found = _of_given_names(ledger.kana, card.kana) if pair.former else reading
            odd = pair.ours.odd or pair.cards.odd
            return _judged_equal(notes, found, former=pair.former or bracketed, odd=odd, substitutes=bool(card.substitutes))
    whole, patched = fold(ours.text), fold(cards.text)
    differences: list[Difference] = ["characters"] if ours.odd or cards.odd else []
    differences += reading.differences if reading is not None else ()
    if cards.misplaced or (WILD in patched and agree(whole, patched)):
        differences.append("substitute")
        open_letters = patched.count(WILD)
        sound = reading is not None and not reading.steps and not cards.misplaced and not ours.odd and not cards.odd
        if sound and agree(whole, patched) and open_letters <= min(_MOST_OPEN, len(patched) - open_letters):
            return Judged(steps=0, notes=(*_needed(ours.text, cards.text), *(reading.notes if reading else ()), "substitute"))
        if agree(whole, patched):
            return Judged(steps=1, differences=tuple(differences))
    close = few_differ(whole, patched) or _leaves_out(ours, cards) or (reading is not None and not reading.steps)
    return Judged(steps=1 if close else 2, differences=("name", *differences))


def judge_readings(ours: str, cards: str) -> Judged | None:
    """Judge two readings; None where a side has none."""
    mine, theirs = prepared(ours), prepared(cards)
    one, other = fold(mine.text, reading=True), fold(theirs.text, reading=True)
    if not ours or not cards:
        return None
    differences: tuple[Difference, ...] = ("characters",) if mine.odd or theirs.odd else ()
    if one != other or not has_letter(one):
        return Judged(steps=1, differences=(*differences, "kana"))
    return Judged(steps=len(differences), notes=_needed(mine.text, theirs.text, reading=True), differences=differences)


def _judged_equal(
    notes: tuple[Note, ...], reading: Judged | None, *, former: bool, odd: bool, substitutes: bool
) -> Judged:  # fmt: skip
    differences: tuple[Difference, ...] = (*(("characters",) if odd else ()), *(reading.differences if reading else ()))
    more: tuple[Note, ...] = (*(("former_name",) if former else ()), *(("substitute",) if substitutes else ()))
    return Judged(
        steps=1 if differences else 0, notes=(*notes, *(reading.notes if reading else ()), *more), differences=differences
    )


def _pairs(ledger: Spelt, card: Spelt) -> Iterator[_Pair]:
    """The names as they are now first; then a former name of one side with the other's of now, never two former ones."""
    ours, cards = prepared(ledger.name), prepared(card.name)
    yield _Pair(ours=ours, cards=cards, former=False)
    for former in _formers(card.former_names, cards):
        yield _Pair(ours=ours, cards=former, former=True)
    for former in _formers(ledger.former_names, ours):
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
    if not has_letter(one):
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


def _of_given_names(ours: str, cards: str) -> Judged | None:
    """As `judge_readings`, of given names alone where both are told apart: the family names are two."""
    mine, theirs = prepared(ours), prepared(cards)
    parted = [text.text.split() for text in (mine, theirs)]
    if all(len(parts) > 1 for parts in parted) and not mine.odd and not theirs.odd:
        return judge_readings(parted[0][-1], parted[1][-1])
    return judge_readings(ours, cards)
