"""Names as text: what of their spelling does not count, and what is not text at all. Pure; never raises.

`fold` takes away, in steps that can be left out one by one so that a comparison can say which it needed:
  `width`          half and full width, and letters composed of two code points (NFKC, where it is neither of those below)
  `variant_kanji`  variation selectors, compatibility ideographs, the groups of `variants.toml`, and the repetition mark 々
  `kana_script`    hiragana for katakana; only in readings
  `marks`          ー and all that looks like a hyphen; apostrophes
  `case`           upper and lower case
  `spaces`         all of them, of whatever width, and the middle dot between words in kana
Small kana, voicing marks, long vowels spelt out, and accents of Latin letters count: they make another name.
"""

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import msgspec

Step = Literal["width", "variant_kanji", "kana_script", "marks", "case", "spaces"]

WILD: Final = "\uffff"
"""Stands for one letter, whichever. No text has it: it is no character, so that `prepared` takes it out."""

LONGEST: Final = 200
"""Letters of a name that are looked at; no register has a longer one."""

_COMPATIBLE: Final = re.compile("([\uf900-\ufaff\U0002f800-\U0002fa1f]+)")
_LEFT_BY_WIDTH: Final = re.compile("([\uf900-\ufaff\U0002f800-\U0002fa1f\u00a0\u2000-\u200a\u202f\u205f\u3000]+)")
_DASHES: Final = "゠‐‑‒–—―−─━ー⁃﹘"
_MARKS: Final = str.maketrans(dict.fromkeys(_DASHES, "-") | dict.fromkeys("’‘ʼʻ`´＇", "'"))
_TO_KATAKANA: Final = str.maketrans({chr(code): chr(code + 0x60) for code in (*range(0x3041, 0x3097), 0x309D, 0x309E)})
_UNSEEN: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Nothing to see, although their category is one of letters, marks or symbols."""
_UNREADABLE: Final = frozenset("\ufffc\ufffd")
_FIRST_ASIAN: Final = "\u2e80"


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A text of which only letters and spaces are left."""

    text: str
    odd: bool
    """There was something that no name has: control and bidi characters, nothing of width, private or broken letters."""
    misplaced: bool = False
    """A substitute's position names no letter."""


def load_variants(text: str) -> dict[int, str]:
    """Return what each variant folds to: the first of its group. ValueError when a table lacks its source, or a group is none:
    fewer than two letters, one that another group has, or one that NFKC changes anyway.
    """
    seen: dict[str, str] = {}
    for source, table in tomllib.loads(text).items():
        if set(table) != {"what", "groups"} or not table["what"]:
            raise ValueError(f"variants.{source}: a table has what its source is, and groups")
        for group in table["groups"]:
            letters = list(group)
            twice = [char for char in letters if char in seen or letters.count(char) > 1]
            unlike = [char for char in letters if unicodedata.normalize("NFKC", char) != char or is_selector(char)]
            if len(letters) < 2 or twice or unlike:  # noqa: PLR2004  a pair at least
                raise ValueError(f"variants.{source}: {group!r} is no group: {', '.join(twice + unlike) or 'too short'}")
            seen |= dict.fromkeys(letters, letters[0])
    return str.maketrans(seen)


def prepared(text: str, substitutes: Iterable[int] = ()) -> Prepared:
    """Take out what is no letter, and put `WILD` where a letter only stands for another (`substitutes`: positions from 1, in code
    points of the text as it came).
    """
    places = frozenset(substitutes)
    kept, odd = [], False
    for place, char in enumerate(text, 1):
        if place in places:
            odd = odd or is_unseen(char)
            kept.append(WILD)
        elif is_selector(char):
            after_kanji = place > 1 and is_kanji(text[place - 2])
            odd = odd or not after_kanji
            kept.append(char if after_kanji else "")
        elif is_unseen(char):
            odd = True
        else:
            odd = odd or char in _UNREADABLE or unicodedata.category(char) == "Co"
            kept.append(char)
    return Prepared(text="".join(kept), odd=odd, misplaced=any(not 1 <= place <= len(text) for place in places))


def fold(text: str, *, reading: bool = False, without: Step | None = None) -> str:
    """Return a prepared text with only what counts. `reading`: it is kana, in either script."""
    if without != "width":
        text = "".join(part if place % 2 else _nfkc(part) for place, part in enumerate(_LEFT_BY_WIDTH.split(text)))
    if without != "variant_kanji":
        text = _without_variants(text)
    if reading and without != "kana_script":
        text = text.translate(_TO_KATAKANA)
    if without != "marks":
        text = text.translate(_MARKS)
    if without != "case":
        text = text.casefold()
    if without != "spaces":
        text = "".join(char for char in text if char != "・" and unicodedata.category(char) != "Zs")
    return text


def words(text: str) -> tuple[str, ...]:
    """Return a prepared text's words, folded. Japanese names have one or two."""
    return tuple(fold(text, without="spaces").split())


def is_latin(text: str) -> bool:
    """True when nothing in a folded text is of an East Asian script (or a wildcard)."""
    return bool(text) and all(char < _FIRST_ASIAN for char in text)


def has_letter(text: str) -> bool:
    """True when there is a letter in a text: dashes, dots and digits alone stand where a name is lacking."""
    return any(char.isalpha() or is_kanji(char) for char in text)


def agree(whole: str, patched: str) -> bool:
    """True when a folded text is another one, whose `WILD` stands for exactly one letter each."""
    return len(whole) == len(patched) and all(mine in (yours, WILD) for mine, yours in zip(patched, whole, strict=True))


def few_differ(one: str, other: str) -> bool:
    """True when at most a third of the letters (at least one, of two or more) would have to be changed, added or left out."""
    longer = max(len(one), len(other))
    if longer > LONGEST or not one or not other:
        return False
    return _distance(one, other) * 3 <= longer


def is_selector(char: str) -> bool:
    """True for a variation selector, which chooses one shape of the ideograph before it."""
    return "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef"


def is_kanji(char: str) -> bool:
    """True for an ideograph. Also for code points of the ideographic planes that this Python's Unicode does not know yet."""
    return char in "々〇" or "\u3400" <= char <= "\u9fff" or bool(_COMPATIBLE.fullmatch(char)) or _is_of_late_plane(char)


def is_unseen(char: str) -> bool:
    """True for what a reader can't see, or is no character: control, bidi, zero width, line ends, unassigned code points."""
    if char in _UNSEEN:
        return True
    if _is_of_late_plane(char):
        return False
    return unicodedata.category(char) in {"Cc", "Cf", "Cn", "Cs", "Zl", "Zp"}


def _is_of_late_plane(char: str) -> bool:
    return 0x20000 <= ord(char) < 0x3FFFE and ord(char) & 0xFFFE != 0xFFFE  # noqa: PLR2004  the ideographic planes


def _without_variants(text: str) -> str:
    text = "".join(char for char in text if not is_selector(char))
    text = "".join(_nfkc(part) if place % 2 else part for place, part in enumerate(_COMPATIBLE.split(text)))
    kept: list[str] = []
    for char in text.translate(VARIANTS):
        kept.append(kept[-1] if char == "々" and kept and is_kanji(kept[-1]) else char)
    return "".join(kept)


def _nfkc(text: str) -> str:
    return unicodedata.normalize("NFKC", text)


def _distance(one: str, other: str) -> int:
    """Levenshtein's, where `WILD` agrees with any letter."""
    row = list(range(len(other) + 1))
    for place, mine in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, yours in enumerate(other, 1):
            same = mine == yours or WILD in (mine, yours)
            before, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, before + (not same))
    return row[-1]


VARIANTS: Final = load_variants(Path(__file__).with_name("variants.toml").read_text("utf-8"))
"""What `fold` takes letters for."""
