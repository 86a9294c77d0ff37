"""What a policy's annotations may say. Pure: only their form; whether a clause exists is for `analysis` to say."""

import difflib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

from gateway.kernel.errors import BundleError
from gateway.policy.source import PolicySource

MAX_LEASE_SECONDS: Final = 5
MAX_TITLE: Final = 200

_REQUIRED: Final = ("id", "title_ja", "title_en")
_OPTIONAL: Final = ("guideline", "mode", "lease")
_ID: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_GUIDELINE: Final = re.compile(r"[5-9]\.\d/(overview|governance|planning|ops|outsourced)/\d{1,2}(\.\d{1,2}){0,2}(-\d{1,2})?")
_LEASE: Final = re.compile(r"([0-9])s")


def check_annotations(source: PolicySource, annotations: Mapping[str, str]) -> Iterator[BundleError]:
    """Yield what is wrong: an annotation that is not known, one that lacks, a value that can't stand."""

    def problem(name: str, what: str, todo: str) -> BundleError:
        return BundleError(what, where=f"{source.file}:{source.line_of('@', name)}", todo=todo)

    known = (*_REQUIRED, *_OPTIONAL)
    for name in annotations:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            yield problem(name, f"@{name} is not known", f"Did you mean @{near[0]}?" if near else f"Known: @{', @'.join(known)}")
    for name in _REQUIRED:
        if name not in annotations:
            yield problem(name, f"this policy has no @{name}", f'Add @{name}("...") before it')
    for name, value in annotations.items():
        wrong = wrong_value(name, value)
        if wrong:
            yield problem(name, *wrong)


def wrong_value(name: str, value: str) -> tuple[str, str] | None:
    """Return (what is wrong, what to do) for an annotation's value that can't stand."""
    shown = ascii(value[:60])
    if name == "id" and (len(value) > 64 or not _ID.fullmatch(value)):  # noqa: PLR2004  said in the message
        return f"@id({shown}) is not an id", "Use up to 64 of a-z, 0-9 and single hyphens, beginning with a letter"
    if name == "guideline" and not all(_GUIDELINE.fullmatch(part.strip()) for part in value.split(",")):
        return (
            f"@guideline({shown}) is not a clause",
            'Write <version>/<overview|governance|planning|ops|outsourced>/<clause>, as "7.0/ops/14-5"; several with commas',
        )
    if name == "mode" and value != "report-only":
        return f"@mode({shown}) is not known", 'Write @mode("report-only"), or leave it out to enforce'
    if name == "lease" and not (_LEASE.fullmatch(value) and 1 <= int(value[0]) <= MAX_LEASE_SECONDS):
        return f"@lease({shown}) is not a lease", f'Write @lease("1s") to @lease("{MAX_LEASE_SECONDS}s")'
    if name.startswith("title_"):
        # Escapes like \u{202e} pass the check of the file's own characters, so the decoded text is checked as well.
        if not value.strip() or len(value) > MAX_TITLE:
            return f"@{name} is empty or longer than {MAX_TITLE} characters", "Say in one sentence what the policy does"
        if any(unicodedata.category(char)[0] == "C" or unicodedata.category(char) in {"Zl", "Zp"} for char in value):
            return f"@{name} holds an invisible character", "Delete it: a reader could not see what it does"
    return None
