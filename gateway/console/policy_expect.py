"""A case that does not hold any more, made to expect what the policies answer now: for an officer who says that the change means
it so. Pure, but slow: it compiles the bundle. The second person sees it among the differences.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from gateway.kernel.errors import BundleError
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import Case
from gateway.policy.compile import compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import find_remedy

_CASES: Final = "cases/"
_CASE: Final = re.compile(r"\s*\[\[\s*case\s*\]\]")
_EXPECT: Final = re.compile(r"^expect\s*=\s*\{[^\n]*\}[ \t]*(#[^\n]*)?$", re.MULTILINE)


def expect_now(files: Mapping[str, bytes], wanted: Collection[tuple[str, str]]) -> tuple[dict[str, bytes], int]:
    """Return the files with these cases (file, name) expecting the present answers, and how many of them no button can change:
    their text is written in another way, the bundle has problems, or there is no such case.
    """
    try:
        bundle = compile_bundle({one: data for one, data in files.items() if not one.startswith(_CASES)}, ".")
        cases = parse_cases({one.removeprefix(_CASES): data for one, data in files.items() if one.startswith(_CASES)}, ".")
    except BundleError:
        return dict(files), len(wanted)
    after, done = dict(files), 0
    for case in reversed(cases):  # from below: lines above stay where they are
        file = case.file.removeprefix("./")
        if (file, case.name) in wanted and (text := _renewed(after[file].decode("utf-8"), bundle, case)) is not None:
            after[file] = text.encode()
            done += 1
    return after, len(wanted) - done


def _renewed(text: str, bundle: Bundle, case: Case) -> str | None:
    lines = text.split("\n")
    end = next((at for at in range(case.line, len(lines)) if _CASE.match(lines[at])), len(lines))
    block = "\n".join(lines[case.line - 1 : end])
    if len(_EXPECT.findall(block)) != 1:
        return None
    renewed = _EXPECT.sub(lambda _: f"expect = {_expectation(bundle, case)}", block)
    return "\n".join([*lines[: case.line - 1], *renewed.split("\n"), *lines[end:]])


def _expectation(bundle: Bundle, case: Case) -> str:
    answer, expect = bundle.evaluate(case.facts), case.expect
    parts = [f'outcome = "{"allow" if answer.allowed else "deny"}"', f"policies = {_words(answer.policies)}"]
    if not answer.allowed:
        parts.append(f"remedy = {_words(find_remedy(bundle, case.facts, case.outcomes))}")
    if answer.errors:
        parts.append(f"errors = {_words(sorted({error.partition(':')[0] for error in answer.errors}))}")
    if expect.report_only is not None:
        parts.append(f"report_only = {_words(answer.report_only.policies if answer.report_only else ())}")
    if expect.lease_seconds is not None:
        parts.append(f"lease_seconds = {answer.lease_seconds}")
    return f"{{ {', '.join(parts)} }}"


def _words(words: Sequence[str]) -> str:
    """A TOML list; ids and steps hold nothing that needs escaping."""
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
