"""What the check says, in Japanese, for the sentences that officers meet most. Anything else stays as it is, in English.

The English sentences are those of `gateway.policy`; `text/check.toml` has both.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from gateway.kernel.i18n import Language

SENTENCES: Final = Path(__file__).parent / "text" / "check.toml"
_KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "application": "アプリ",
        "route": "操作（route）",
        "role": "役割",
        "zone": "ネットワーク区分",
        "shift": "勤務帯",
        "grant": "一時許可",
    }
)
_SENTENCES: Final = tuple(
    (re.compile(one["en"], re.DOTALL), str(one["ja"])) for one in tomllib.loads(SENTENCES.read_text("utf-8"))["said"]
)


def said(text: str, language: Language) -> str:
    """Return a sentence of the check in a language, or as it is where there is no translation of it."""
    if language == "en":
        return text
    for english, japanese in _SENTENCES:
        if match := english.fullmatch(text):
            kind = _KINDS[match[2]] if "{kind}" in japanese else ""
            return japanese.format(*match.groups(), kind=kind)
    return text
