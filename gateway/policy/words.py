"""Facts and their values in words, Japanese and English, from `text/`. Pure, but for reading those two files at import.

Values are shown so that nothing in them hides (`visible`): names of roles, routes and organisations come from elsewhere.
"""

from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, get_type_hints

import msgspec

from gateway.kernel.i18n import LANGUAGES, Catalogue, Language
from gateway.kernel.web.show import visible
from gateway.policy.facts import Facts

TEXTS: Final = Catalogue.load(Path(__file__).parent / "text")
_KEYS: Final = TEXTS.keys()
_MOST: Final = 12
"""Values of a set that are shown; the rest is counted."""
_LONGEST: Final = 80


class Sentence(msgspec.Struct, frozen=True):
    """The same in both languages, without a full stop."""

    ja: str
    en: str
    cedar: bool = False
    """Part of it is Cedar text, which no sentence of ours says."""

    def text(self, language: Language) -> str:
        """Return it in a language."""
        return self.ja if language == "ja" else self.en


def has(key: str) -> bool:
    """Say whether there is a text of this key."""
    return key in _KEYS


@lru_cache(maxsize=1)
def fact_names() -> dict[str, object]:
    """Return every fact by its name ("device.compliant", "grants") with its type, in the order of `Facts`."""
    names: dict[str, object] = {}
    for part, hint in get_type_hints(Facts).items():
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            names |= {f"{part}.{name}": inner for name, inner in get_type_hints(hint).items()}
        else:
            names[part] = hint
    return names


def value_at(facts: Facts, name: str) -> object:
    """Return a fact by its name; None where it is not known."""
    part, _, attribute = name.partition(".")
    whole = getattr(facts, part)
    return getattr(whole, attribute) if attribute else whole


def in_both(key: str, **values: Sentence | str) -> Sentence:
    """Return a text in both languages, its places filled with sentences or plain values."""
    said = {
        language: TEXTS.text(
            language, key, **{name: one.text(language) if isinstance(one, Sentence) else one for name, one in values.items()}
        )
        for language in LANGUAGES
    }
    return Sentence(said["ja"], said["en"], any(isinstance(one, Sentence) and one.cedar for one in values.values()))


def name_of(fact: str) -> Sentence:
    """Return what a fact is called."""
    return in_both(f"fact.{fact}")


def compared(op: str, fact: str, value: Sentence) -> Sentence:
    """Return the sentence of a comparison: the fact's own, of what happened some time ago, or the general one."""
    if has(key := f"{op}.{fact}"):
        return in_both(key, value=value)
    if has(f"event.{fact}"):
        return in_both(f"ago.{op}", event=in_both(f"event.{fact}"), value=value)
    return in_both(f"op.{op}", name=name_of(fact), value=value)


def value_of_fact(fact: str, value: object) -> Sentence:
    """Return one value of a fact in words; of a set, one member."""
    if isinstance(value, bool):
        return in_both("unit.yes" if value else "unit.no")
    if isinstance(value, int):
        return _number(fact, value)
    if value is None:
        return in_both("unit.unknown")
    text = str(value)
    if has(key := f"word.{fact}.{text}"):
        return in_both("join.word", value=in_both(key))
    return in_both("join.quoted", value=visible(text, _LONGEST))


def several(fact: str, values: Iterable[object], between: str = "join.or") -> Sentence:
    """Return values as a list in words, its last two with `between` in the middle."""
    every = list(values)
    shown = [value_of_fact(fact, value) for value in every[:_MOST]]
    if len(every) > _MOST:
        shown.append(Sentence(f"ほか{len(every) - _MOST}件", f"{len(every) - _MOST} more"))
    return join(shown, between)


def join(sentences: Sequence[Sentence], between: str) -> Sentence:
    """Put sentences together: commas, and `between` before the last."""

    def joined(language: Language) -> str:
        texts = [one.text(language) for one in sentences]
        comma, last = TEXTS.text(language, "join.comma"), TEXTS.text(language, between)
        # Japanese names the word each time; in English a comma does between all but the last two.
        if language == "ja" or between in {"join.either", "join.both"}:
            return last.join(texts)
        return last.join([comma.join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)

    return Sentence(joined("ja"), joined("en"), any(one.cedar for one in sentences))


@lru_cache(maxsize=1024, typed=True)
def found(fact: str, value: Hashable) -> Sentence:
    """Return what was found, as a sentence: "the security key was touched 6 min 52 s ago"."""
    if value is None and has(key := f"unknown.{fact}"):
        return in_both(key)
    if isinstance(value, bool) and has(key := f"{'yes' if value else 'no'}.{fact}"):
        return in_both(key)
    if isinstance(value, tuple):
        if not value and has(key := f"none.{fact}"):
            return in_both(key)
        return in_both("op.found_set", name=name_of(fact), value=several(fact, value, "join.comma"))
    if isinstance(value, int) and not isinstance(value, bool):
        if has(f"event.{fact}"):
            return in_both("ago.found", event=in_both(f"event.{fact}"), value=value_of_fact(fact, value))
        if fact == "time.hour":
            return in_both("hour.eq", value=_clock(value), end=_clock(value + 1))
        if fact == "time.day":
            return in_both("day.eq", value=value_of_fact(fact, value))
    if value == "":
        return in_both("op.empty", name=name_of(fact))
    return compared("eq", fact, value_of_fact(fact, value))


def _number(fact: str, value: int) -> Sentence:
    if fact.endswith("_seconds"):
        return _duration(value)
    if fact.endswith("_days"):
        return in_both("unit.day" if value == 1 else "unit.days", n=str(value))
    if fact == "time.hour":
        return _clock(value)
    if fact == "time.day":
        digits = str(value)
        return _same(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == len("20261124") else digits)
    if has(key := f"word.{fact}.{value}"):
        return in_both("join.word", value=in_both(key))
    return _same(str(value))


def _same(text: str) -> Sentence:
    return Sentence(text, text)


def _clock(hour: int) -> Sentence:
    return in_both("unit.clock", n=str(hour))


def _duration(seconds: int) -> Sentence:
    """412 as "6 min 52 s": exactly that many seconds, in at most four parts."""
    if seconds <= 0:
        return in_both("unit.second", n=str(seconds))
    parts = []
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(in_both("unit.days" if unit == "day" and count > 1 else f"unit.{unit}", n=str(count)))
    return join_plain(parts)


def join_plain(sentences: Sequence[Sentence]) -> Sentence:
    """Put sentences beside each other."""
    space = {language: TEXTS.text(language, "unit.space") for language in LANGUAGES}
    return Sentence(space["ja"].join(one.ja for one in sentences), space["en"].join(one.en for one in sentences))
