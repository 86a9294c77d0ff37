"""Every text that a page can ask for is there in both languages, and none is left over."""

import re
from pathlib import Path
from typing import get_args

import pytest

import idp.proofing
import idp.web
from gateway.kernel.i18n import LANGUAGES, Catalogue
from idp.login import Problem as LoginProblem
from idp.model import CaseKind, CaseState
from idp.proofing.desk import RefusedReason
from idp.proofing.port import Evidence
from idp.store.changes import EndedWhy
from idp.web.guard import HaltKey
from idp.web.parts import Problem as ProviderProblem
from idp.web.proofing import Kind

WEB = Path(idp.web.__file__).parent
SOURCES = [*WEB.glob("*.py"), *WEB.glob("templates/*.html"), *Path(idp.proofing.__file__).parent.glob("templates/*.html")]
TEXTS = Catalogue.load(WEB / "text")


def asked_for() -> set[str]:
    """The keys in the sources, with each closed set of reasons spelled out."""
    source = "\n".join(path.read_text("utf-8") for path in SOURCES)
    keys = set(re.findall(r"""\bt\(\s*["']([a-z_.]+[a-z_])["']""", source))
    keys |= set(re.findall(r"""["']([a-z_]+\.[a-z_]+)["'] if """, source))
    keys |= {
        key
        for pair in re.findall(r"""["']([a-z_]+\.[a-z_]+)["'] if \w+(?:\.\w+)? else ["']([a-z_]+\.[a-z_]+)["']""", source)
        for key in pair
    }
    keys |= {f"error.{name}" for name in re.findall(r'error="([a-z_]+)"', source)}
    keys |= {f"error.{name}" for pair in re.findall(r'error="([a-z_]+)" if [^,)]+ else "([a-z_]+)"', source) for name in pair}
    halts = {
        *get_args(HaltKey),
        *re.findall(r'key="([a-z_]+)"', source),
        *get_args(ProviderProblem),
    }
    keys |= {f"halt.{name}.{part}" for name in halts for part in ("title", "text")}
    keys |= {f"refuse.{name}" for name in get_args(LoginProblem)}
    reasons = {
        "broken",
        "reader_failed",
        "unavailable",
        "review",
        *(name for group in get_args(RefusedReason) for name in (get_args(group) or (group,))),
    }
    keys |= {f"not_proofed.{name}.{part}" for name in reasons for part in ("title", "text", "todo")}
    keys |= {f"consent.{part}.{kind}" for part in ("who", "read") for kind in get_args(Kind)}
    keys |= {f"phone.{why}.{part}" for why in ("used", "cookies") for part in ("title", "text", "todo")}
    keys |= {f"method.{name}" for name in re.findall(r'"(\w+)"', (re.findall(r"record_methods = \[(.*?)\]", source) or [""])[0])}
    for prefix, kinds in (
        ("own.evidence_kind", Evidence), ("own.ended_why", EndedWhy), ("own.bound_kind", ("pwd", "otp", "fido2")),
        ("own.case_kind", CaseKind), ("own.case_state", tuple(name for name in get_args(CaseState) if name != "open")),
    ):  # fmt: skip
        keys |= {f"{prefix}.{name}" for name in (kinds if isinstance(kinds, tuple) else get_args(kinds))}
    return keys


def test_nothing_is_missing() -> None:
    assert asked_for() - TEXTS.keys() == set()


def test_nothing_is_left_over() -> None:
    assert TEXTS.keys() - asked_for() == set()


@pytest.mark.parametrize("key", sorted(TEXTS.keys()))
def test_both_languages_have_the_same_places(key: str) -> None:
    places = [set(re.findall(r"\{(\w+)\}", TEXTS.text(language, key))) for language in LANGUAGES]
    assert places[0] == places[1]


@pytest.mark.parametrize("key", sorted(TEXTS.keys()))
def test_japanese_is_japanese_and_english_is_not(key: str) -> None:
    kana = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
    assert kana.search(TEXTS.text("ja", key))
    assert not kana.search(TEXTS.text("en", key))
