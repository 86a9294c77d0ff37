"""Reading the cases of a bundle: TOML to `cases.Case`, every key known. Pure.

`cases/bases.toml` holds `[base.<name>]` (who asks, how, from what) and `[target."<route>"]` (what is asked for); every other
`cases/*.toml` holds `[[case]]` tables. The format is described in `policies/README.md`.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, get_type_hints

import msgspec

from gateway.kernel.errors import BundleError
from gateway.policy.cases import Case, Expectation
from gateway.policy.facts import AuthKind, Facts, TargetFacts
from gateway.policy.remedy import Outcomes
from gateway.policy.source import decode, printable
from gateway.policy.toml_text import parse_toml

BASES_FILE: Final = "bases.toml"
MAX_CASES: Final = 2_000

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PARTS: Final[dict[str, type[msgspec.Struct]]] = {
    name: hint for name, hint in get_type_hints(Facts).items() if isinstance(hint, type) and issubclass(hint, msgspec.Struct)
}
_PERSONAL: Final = tuple(name for name in Facts.__struct_fields__ if name != "target")


def parse_cases(files: Mapping[str, bytes], folder: str) -> tuple[Case, ...]:
    """Read the case files of a bundle (names to bytes). Raises BundleError: unreadable, unknown keys, or not one case.

    No case is an error, not a success: nothing has been shown.
    """
    where = f"{folder}/cases"
    documents = {name: _toml(data, f"{where}/{name}") for name, data in sorted(files.items())}
    bases_text, bases = documents.pop(BASES_FILE, ("", {}))
    known = _Bases(bases, bases_text, f"{where}/{BASES_FILE}")
    cases: list[Case] = []
    for name, (text, document) in documents.items():
        cases += _read_cases(document, _Place(f"{where}/{name}", text), known)
    if not cases:
        raise BundleError(
            "there is no case", where=where, todo="Write at least one [[case]]: policies that nothing shows to work are not used"
        )
    if len(cases) > MAX_CASES:
        raise BundleError(
            f"{len(cases)} cases, at most {MAX_CASES} are run", where=where, todo="Drop those that show the same thing"
        )
    return tuple(cases)


class _Place:
    """A file, and where in it something stands; tomllib does not tell, so this looks for it in the text."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.lines = text.splitlines()
        self.cases = [number for number, line in enumerate(self.lines, 1) if re.match(r"\s*\[\[\s*case\s*\]\]", line)]

    def line(self, pattern: str, start: int = 1) -> int:
        """First line from `start` that matches, else `start`."""
        return next((n for n, text in enumerate(self.lines[start - 1 :], start) if re.search(pattern, text)), start)

    def error(self, what: str, todo: str, key: str = "", start: int = 1) -> BundleError:
        line = self.line(rf"(?<![\w-]){re.escape(key)}(?![\w-])", start) if key else start
        return BundleError(printable(what), where=f"{self.file}:{line}", todo=printable(todo))


def _toml(data: bytes, where: str) -> tuple[str, dict[str, Any]]:
    text = decode(data, where)
    return text, parse_toml(text, where)


def _unknown(place: _Place, given: Mapping[str, Any], known: Sequence[str], inside: str, start: int = 1) -> None:
    """Refuse keys that are not known, with the nearest right name."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            todo = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(sorted(known))}"
            raise place.error(f"{key!a} is not known in {inside}", todo, key, start)


def _table(place: _Place, value: Any, key: str, start: int = 1) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise place.error(f"{key} must be a table", f"Write {key} = {{ ... }}", key, start)
    return value


def _check_facts(place: _Place, given: Mapping[str, Any], inside: str, start: int, extra: Sequence[str] = ()) -> None:
    _unknown(place, given, (*_PERSONAL, *extra), inside, start)
    for name, value in given.items():
        if name in _PARTS:
            _unknown(place, _table(place, value, name, start), _PARTS[name].__struct_fields__, f"{inside}.{name}", start)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for name, value in over.items():
        merged[name] = {**merged.get(name, {}), **value} if name in _PARTS else value
    if "date" in over.get("time", {}) and "day" not in over["time"]:
        merged["time"].pop("day", None)  # it follows from the new date
    return merged


class _Bases:
    """Named people and named targets that cases start from."""

    def __init__(self, document: dict[str, Any], text: str, file: str) -> None:
        self.place = _Place(file, text)
        _unknown(self.place, document, ("base", "target"), "the file")
        self._bases = _table(self.place, document.get("base", {}), "base")
        self._targets = _table(self.place, document.get("target", {}), "target")
        for kind, tables in (("base", self._bases), ("target", self._targets)):
            for name, table in tables.items():
                start = self.place.line(rf'^\s*\[\s*{kind}\s*\.\s*["\']?{re.escape(name)}(?![\w.-])')
                inside = f"{kind}.{name}"
                if not _NAME.fullmatch(name):
                    raise self.place.error(f"{name!a} is not a name", "Use a-z, 0-9, dot, hyphen and underscore", start=start)
                if kind == "base":
                    if not isinstance(_table(self.place, table, inside, start).get("extends", ""), str):
                        raise self.place.error("extends must be one name", 'Write extends = "..."', "extends", start)
                    _check_facts(self.place, _table(self.place, table, inside, start), inside, start, ("extends",))
                else:
                    _unknown(self.place, _table(self.place, table, inside, start), TargetFacts.__struct_fields__, inside, start)

    def person(self, name: str) -> dict[str, Any]:
        """Return the merged facts of a base. LookupError with what and what to do."""
        merged: dict[str, Any] = {}
        chain: list[str] = []
        while name:
            if name in chain:
                raise self.place.error(f"base {name} extends itself", "Break the circle", name)
            chain.append(name)
            table = self._bases.get(name)
            if table is None:
                near = difflib.get_close_matches(str(name), self._bases, 1)
                raise LookupError(
                    f"there is no base {name!a}",
                    f"Did you mean {near[0]}?" if near else f"Add [base.{name}] to {BASES_FILE}",
                )
            merged = _merge({key: value for key, value in table.items() if key != "extends"}, merged)
            name = table.get("extends", "")
        return merged

    def target(self, name: str) -> dict[str, Any]:
        """Return a target's facts. LookupError as `person`."""
        table = self._targets.get(name)
        if table is None:
            near = difflib.get_close_matches(str(name), self._targets, 1)
            raise LookupError(
                f"there is no target {name!a}",
                f"Did you mean {near[0]}?" if near else f'Add [target."{name}"] to {BASES_FILE}',
            )
        return dict(table)


CASE_KEYS: Final = (
    "name",
    "base",
    "target",
    "patient",
    "facts",
    "without",
    "can_touch_key",
    "can_register",
    "new_device_compliant",
    "proofing_service",
    "bound",
    "can_ask_grant",
    "break_glass",
    "expect",
)


def _read_cases(document: dict[str, Any], place: _Place, bases: _Bases) -> list[Case]:
    _unknown(place, document, ("case",), "the file")
    tables = document.get("case", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise place.error("cases are not a list of tables", "Begin each with [[case]]", "case")
    cases: list[Case] = []
    names: set[str] = set()
    for index, table in enumerate(tables):
        case = _read_case(table, place, place.cases[index] if index < len(place.cases) else 1, bases)
        if case.name in names:
            raise place.error(f"two cases are named {case.name!a}", "Give each its own name", start=case.line)
        names.add(case.name)
        cases.append(case)
    return cases


def _read_case(table: dict[str, Any], place: _Place, line: int, bases: _Bases) -> Case:
    _unknown(place, table, CASE_KEYS, "a case", line)
    for key in ("name", "base", "target"):
        if not isinstance(table.get(key), str) or not table[key]:
            raise place.error(f"this case has no {key}", f'Add {key} = "..."', start=line)
    if not table["name"].isprintable():
        raise place.error("this case's name holds an invisible character", "Delete it", start=line)
    if "expect" not in table:
        raise place.error("this case expects nothing", "Add expect.outcome and expect.policies", start=line)
    try:
        merged = {**bases.person(table["base"]), "target": bases.target(table["target"])}
    except LookupError as error:
        raise place.error(error.args[0], error.args[1], start=line) from None
    overrides = _table(place, table.get("facts", {}), "facts", line)
    _check_facts(place, overrides, "facts", line)
    merged = _merge(merged, overrides)
    if "patient" in table:
        merged["target"]["patient"] = table["patient"]
    _remove(merged, table.get("without", []), place, line)
    _agree_on_the_day(merged, place, line)
    _unknown(place, _table(place, table["expect"], "expect", line), Expectation.__struct_fields__, "expect", line)
    try:
        # A fact that is not known is left out in TOML, and is None here.
        facts = msgspec.convert(_with_unknown(merged), Facts)
        expect = msgspec.convert(table["expect"], Expectation)
        outcomes = _outcomes(table)
    except msgspec.ValidationError as error:
        raise place.error(str(error), "README.md in the policies folder lists the facts and their words", start=line) from None
    if (expect.outcome == "deny") != (expect.remedy is not None):
        todo = (
            "Say what would let the person in, or [] for nothing"
            if expect.outcome == "deny"
            else "An allow has no remedy: drop it"
        )
        raise place.error("expect.remedy goes with a deny", todo, start=line)
    return Case(name=table["name"], file=place.file, line=line, facts=facts, outcomes=outcomes, expect=expect)


def _with_unknown(merged: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(merged)
    for part, struct in _PARTS.items():
        optional = {name: None for name, hint in get_type_hints(struct).items() if type(None) in getattr(hint, "__args__", ())}
        if part in filled:
            filled[part] = {**optional, **filled[part]}
    return filled


def _agree_on_the_day(merged: dict[str, Any], place: _Place, line: int) -> None:
    """Let `time.day` follow from `time.date`; refuse two that disagree: no request has such facts."""
    time = merged.get("time", {})
    try:
        day = int(str(time["date"]).replace("-", ""))
    except (KeyError, ValueError):
        return  # no date: the conversion says so
    if time.setdefault("day", day) != day:
        raise place.error(
            f"time.day is {time['day']}, and time.date {time['date']!a}", "Write the same day twice, or one", start=line
        )


def _remove(merged: dict[str, Any], without: Any, place: _Place, line: int) -> None:
    """Make facts unknown that the base knows: `without = ["authentication.key_touch_age_seconds"]`."""
    for path in without if isinstance(without, list) else [without]:
        part, _, name = str(path).partition(".")
        if part not in merged or part not in _PARTS or name not in merged[part]:
            raise place.error(f"without: there is no fact {str(path)!a} here", 'Write without = ["<part>.<fact>"]', start=line)
        merged[part] = {key: value for key, value in merged[part].items() if key != name}


def _outcomes(table: Mapping[str, Any]) -> Outcomes:
    """What the remedy's steps yield in this case; by default everything is possible."""
    said = msgspec.convert({key: table[key] for key in _Possible.__struct_fields__ if key in table}, _Possible)
    outcomes = Outcomes(key_touch=said.can_touch_key, bound=said.bound, grants=said.can_ask_grant, break_glass=said.break_glass)
    if not said.proofing_service:
        outcomes = msgspec.structs.replace(outcomes, proofing=None)
    if not said.can_register or outcomes.enrolment is None:
        return msgspec.structs.replace(outcomes, enrolment=None)
    return msgspec.structs.replace(
        outcomes, enrolment=msgspec.structs.replace(outcomes.enrolment, compliant=said.new_device_compliant)
    )


class _Possible(msgspec.Struct, frozen=True, kw_only=True):
    can_touch_key: bool = True
    can_register: bool = True
    new_device_compliant: bool = True
    proofing_service: bool = True
    bound: tuple[AuthKind, ...] = ("fido2", "otp", "pwd")
    can_ask_grant: bool = True
    break_glass: bool = True
