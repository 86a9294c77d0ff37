"""Japanese and English: which one to speak, and catalogues of text."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

Language = Literal["ja", "en"]
LANGUAGES: Final[tuple[Language, ...]] = ("ja", "en")
LANGUAGE_COOKIE: Final = "gw-lang"


def negotiate(accept_language: str | None, chosen: str | None = None) -> Language:
    """Return the person's explicit choice (`?lang=` or the cookie) if it is one of ours, else the best of Accept-Language
    (RFC 9110 §12.5.4), else Japanese. Never fails: a malformed header counts as absent.
    """
    for language in LANGUAGES:
        if chosen == language:
            return language
    best: tuple[float, Language] = (0.0, "ja")
    for part in (accept_language or "")[:1000].split(","):
        tag, _, parameter = part.strip().partition(";")
        primary = tag.split("-")[0].lower()
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        if primary in LANGUAGES and quality > best[0]:
            best = (quality, "ja" if primary == "ja" else "en")
    return best[1]


class Catalogue:
    """Texts by key in both languages, from `<dir>/ja.toml` and `<dir>/en.toml` (flat or nested tables, joined by dots).

    Loading fails when a key is missing in one language, so that no page can.
    """

    def __init__(self, texts: Mapping[Language, Mapping[str, str]]) -> None:
        self._texts = texts
        missing = set(texts["ja"]) ^ set(texts["en"])
        if missing:
            raise ValueError(f"texts without a translation: {', '.join(sorted(missing))}")

    @classmethod
    def load(cls, folder: Path) -> "Catalogue":
        """Read both files of `folder`."""
        return cls({lang: _flatten(tomllib.loads((folder / f"{lang}.toml").read_text("utf-8"))) for lang in LANGUAGES})

    def text(self, language: Language, key: str, /, **values: object) -> str:
        """Return the text of `key` with `{name}` places filled in. An unknown key is a programming error: KeyError."""
        template = self._texts[language][key]
        return template.format(**values) if values else template

    def keys(self) -> frozenset[str]:
        """Every key, for tests that look for unused ones."""
        return frozenset(self._texts["ja"])


def _flatten(table: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = str(value)
    return flat
