"""Whatever stands in a case file is read or refused with a place, never a crash."""

import json
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from gateway.kernel.errors import BundleError
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import Case
from tests.support.policy import facts, facts_toml

KEYS = [
    "case",
    "base",
    "target",
    "name",
    "facts",
    "device",
    "authentication",
    "kinds",
    "without",
    "expect",
    "outcome",
    "policies",
    "remedy",
    "extends",
    "principal",
    "roles",
    "anyone",
    "ehr.chart",
    "patient",
    "can_register",
    "situation",
    "grants",
    "other",
]
WORDS = ("anyone", "ehr.chart", "allow", "deny", "device.compliant", "\u202e", "\x1b")

leaves = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5), st.sampled_from(WORDS)
)
tables = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=4)),
    max_leaves=20,
)
overrides = st.dictionaries(st.sampled_from(KEYS), tables, max_size=4)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


def document(table: dict[str, Any]) -> bytes:
    return "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in table.items()).encode()


def attempt(files: dict[str, bytes]) -> tuple[tuple[Case, ...], BundleError | None]:
    try:
        return parse_cases(files, "p"), None
    except BundleError as error:
        return (), error


@settings(max_examples=500, deadline=None)
@given(overrides, overrides, st.booleans())
def test_any_values_anywhere(case: dict[str, Any], base: dict[str, Any], at_the_top: bool) -> None:
    good = {"name": "x", "base": "anyone", "target": "ehr.chart", "expect": {"outcome": "allow", "policies": []}}
    files = {
        "bases.toml": facts_toml(facts()) + b"\n[base.other]\n" + document(base),
        "a.toml": document({**case, "case": [good]} if at_the_top else {"case": [{**good, **case}]}),
    }
    read, error = attempt(files)
    event("read" if error is None else "refused")
    assert len(read) == (error is None)
    if error is not None:
        assert error.where.startswith("p/cases")
        assert error.todo
        assert str(error).isprintable()
