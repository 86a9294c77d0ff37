"""From parsed TOML to typed, frozen structs, with every problem located. The structs are the schema: see `model`.

What a field accepts follows from its annotation: `str`, `int` (with `msgspec.Meta` limits), `bool`, `Literal`, another struct (a
table), `tuple[X, ...]` (an array, of tables too), `Mapping[K, X]` (a table with free keys), `X | None`, `Annotated[X, Leaf(...)]`
(anything with a form of its own), and `Secret`, which is written as `NAME_file = "..."` or `NAME_env = "..."` and never stands in
the file itself.
"""

import difflib
import functools
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from gateway.config.locate import KeyPath, Locations, dotted
from gateway.config.secrets import read_secret_env, read_secret_file
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret

S = TypeVar("S", bound=msgspec.Struct)

SHOWN: Final = 60
"""Longest piece of a wrong value that an error repeats."""
BARE_KEY: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


_WANTED: Final = {
    str: "a text in quotes",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


class InvalidValueError(Exception):
    """A value that its leaf does not take: what is wrong, and what to do."""

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo


class Leaf(msgspec.Struct, frozen=True):
    """How to read one value with a form of its own. `parse` raises `InvalidValueError`."""

    parse: Callable[[str, Path], Any]
    """Called with the text and the folder that relative paths count from."""


class Reader:
    """Reads one file's data into structs and gathers problems instead of stopping at the first."""

    def __init__(self, file: str, folder: Path, locations: Locations, environ: Mapping[str, str]) -> None:
        self.problems: list[ConfigError] = []
        self._file = file
        self._folder = folder
        self._locations = locations
        self._environ = environ

    def problem(self, path: KeyPath, what: str, todo: str) -> None:
        """Note a problem at the line of `path`."""
        self.problems.append(ConfigError(what, where=f"{self._file}:{self._locations.line(path)}", todo=todo))

    def table(self, kind: type[S], data: Any, path: KeyPath) -> S | None:
        """Read a table into `kind`; None when a problem was noted in it."""
        if not isinstance(data, dict):
            self.problem(path, f"`{dotted(path)}` should be a table, not {_words(data)}", f"Write it as [{dotted(path)}].")
            return None
        before = len(self.problems)
        hints = hints_of(kind)
        known = {name: (name, hint) for name, hint in hints.items() if not is_secret(hint)}
        secrets = [name for name, hint in hints.items() if is_secret(hint)]
        accepted = [*known, *(f"{name}_{how}" for name in secrets for how in ("file", "env"))]
        for key in data:
            if key not in accepted:
                self._unknown(key, accepted, secrets, path)
        values: dict[str, Any] = {}
        for field in msgspec.structs.fields(kind):
            name = field.name
            if name in secrets:
                values[name] = self._secret(name, data, path, required=field.required)
            elif name in data:
                values[name] = self._value(hints[name], data[name], (*path, name))
            elif field.required:
                self._missing(name, hints[name], path)
        return kind(**values) if len(self.problems) == before else None

    def _unknown(self, key: str, accepted: list[str], secrets: list[str], path: KeyPath) -> None:
        here = (*path, key)
        if key in secrets:
            self.problem(
                here,
                f"the secret `{dotted(here)}` stands in the file itself",
                f'Move it to a file that only the gateway can read and write {key}_file = "FILE", or {key}_env = "VARIABLE".',
            )
            return
        place = f"in [{dotted(path)}]" if path else "at the top level"
        self.problem(here, f"unknown key `{_shown(key)}` {place}", _did_you_mean(key, accepted))

    def _missing(self, name: str, hint: Any, path: KeyPath) -> None:
        if path:
            self.problem(path, f"[{dotted(path)}] has no `{name}`", f"Add `{name} = ...` there: {describe(hint)}.")
        else:
            self.problem(path, f"there is no [{name}] section", "Add it; deploy/gateway.toml shows one.")

    def _secret(self, name: str, data: Mapping[str, Any], path: KeyPath, *, required: bool) -> Secret | None:
        given = [f"{name}_{how}" for how in ("file", "env") if f"{name}_{how}" in data]
        if not given:
            if required and name not in data:
                self.problem(
                    path, f"[{dotted(path)}] has no `{name}`", f'Add {name}_file = "FILE" or {name}_env = "VARIABLE" there.'
                )
            return None
        here = (*path, given[0])
        if len(given) > 1:
            self.problem((*path, given[1]), f"`{name}` is given twice, by file and by environment", "Keep one of the two.")
            return None
        value = data[given[0]]
        if not isinstance(value, str) or not value:
            self.problem(here, f"`{dotted(here)}` should be a text in quotes, not {_words(value)}", "Correct it.")
            return None
        try:
            return read_secret_file(self._folder / value) if given[0].endswith("_file") else read_secret_env(value, self._environ)
        except ConfigError as error:
            self.problem(here, f"`{dotted(here)}`: {error.what}", error.todo)
            return None

    def _value(self, hint: Any, data: Any, path: KeyPath) -> Any:
        """Read one value; the result counts only when no problem was noted meanwhile."""
        hint, notes = _unwrap(hint)
        origin, arguments = get_origin(hint), get_args(hint)
        try:
            for note in notes:
                if isinstance(note, Leaf):
                    return note.parse(_expect(data, str), self._folder)
            if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
                return self.table(hint, data, path)
            if origin is tuple:
                items = _expect(data, list)
                return tuple(self._value(arguments[0], item, (*path, index)) for index, item in enumerate(items))
            if origin is Mapping:
                return self._free_keys(arguments[0], arguments[1], data, path)
            if origin is Literal:
                return _choice(arguments, data)
            return _limited(_expect(data, hint), notes)
        except InvalidValueError as error:
            self.problem(path, f"`{dotted(path)}` {error.what}", error.todo)
            return None

    def _free_keys(self, key_hint: Any, hint: Any, data: Any, path: KeyPath) -> Mapping[str, Any]:
        return types.MappingProxyType(
            {
                self._value(key_hint, key, (*path, key)): self._value(hint, value, (*path, key))
                for key, value in _expect(data, dict).items()
            }
        )


@functools.cache
def hints_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Annotations of a struct by field name."""
    return get_type_hints(kind, include_extras=True)


def is_secret(hint: Any) -> bool:
    """True for `Secret` and `Secret | None`."""
    return _unwrap(hint)[0] is Secret


def describe(hint: Any) -> str:
    """Say in words what a field takes."""
    hint, notes = _unwrap(hint)
    if get_origin(hint) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(hint))
    if any(isinstance(note, Leaf) for note in notes) or hint is str:
        return "a text in quotes"
    if get_origin(hint) is tuple:
        return "a list in [ ]"
    if hint in {int, float}:
        return _WANTED[hint] + "".join(
            f" from {note.ge} to {note.le}" for note in notes if isinstance(note, msgspec.Meta) and note.le is not None
        )
    return "true or false" if hint is bool else "a table"


def _unwrap(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """Take `| None` and `Annotated` off a hint; return what is inside and the annotations."""
    if get_origin(hint) in {types.UnionType, Union}:
        inner = [choice for choice in get_args(hint) if choice is not types.NoneType]
        return _unwrap(inner[0])
    if get_origin(hint) is Annotated:
        base, *notes = get_args(hint)
        return base, tuple(notes)
    return hint, ()


def _expect(data: Any, kind: type) -> Any:
    if kind is float and type(data) is int:
        return float(data)
    if type(data) is not kind:  # exact: a TOML `true` is no number
        wanted = _WANTED[kind]
        raise InvalidValueError(f"should be {wanted}, not {_words(data)}", "Correct it.")
    return data


def _limited(data: Any, notes: Iterable[Any]) -> Any:
    for note in notes:
        low, high = getattr(note, "ge", None), getattr(note, "le", None)
        # Written so that "not a number" is out of any limits.
        if (low is not None and not data >= low) or (high is not None and not data <= high):
            raise InvalidValueError(f"should be from {low} to {high}, not {data}", "Correct it.")
    return data


def _choice(choices: tuple[str, ...], data: Any) -> str:
    if data in choices:
        return str(data)
    wanted = " or ".join(f'"{choice}"' for choice in choices)
    raise InvalidValueError(f"should be {wanted}, not {_words(data)}", _did_you_mean(str(data), choices))


def _did_you_mean(word: str, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"Did you mean `{near[0]}`?" if near else f"Choose from: {', '.join(choices)}."


def _words(data: Any) -> str:
    match data:
        case bool():
            return str(data).lower()
        case str():
            return f'the text "{_shown(data)}"'
        case int() | float():
            return f"the number {_shown(str(data))}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def _shown(text: str) -> str:
    safe = "".join(char if char.isprintable() else "?" for char in text)
    return safe if len(safe) <= SHOWN else f"{safe[:SHOWN]}..."
