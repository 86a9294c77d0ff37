"""The guideline's clauses that policies say they serve, from `guidelines.toml`. Pure, but for reading that file at import.

The catalogue holds the clauses that we know of, not all that there are; titles are our own words.
"""

import difflib
from pathlib import Path
from typing import Final, Literal

import msgspec


class Clause(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One clause."""

    editions: tuple[Literal["6.0", "7.0"], ...]
    """In which it stands under this number."""
    ja: str
    en: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    clause: dict[str, Clause]


def _load() -> dict[str, Clause]:
    text = (Path(__file__).parent / "guidelines.toml").read_bytes()
    file = msgspec.toml.decode(text, type=_File)
    return {f"{edition}/{name}": clause for name, clause in file.clause.items() for edition in clause.editions}


CLAUSES: Final = _load()
"""By `<edition>/<part>/<clause>`, as `@guideline` names them."""
_FAR: Final = 0.7


def clause_title(clause: str, language: Literal["ja", "en"]) -> str:
    """Return a clause's short title; empty for one that is not in the catalogue."""
    known = CLAUSES.get(clause)
    return "" if known is None else known.ja if language == "ja" else known.en


def nearest_clause(clause: str) -> str:
    """Return the clause of the catalogue that somebody most likely meant; empty when none is near.

    The same number in another edition comes first, then the same edition's.
    """
    edition, _, rest = clause.partition("/")
    for other in ("7.0", "6.0"):
        if f"{other}/{rest}" in CLAUSES:
            return f"{other}/{rest}"
    near = difflib.get_close_matches(clause, [known for known in CLAUSES if known.startswith(f"{edition}/")], 1, _FAR)
    return near[0] if near else ""
