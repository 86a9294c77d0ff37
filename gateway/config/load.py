"""Read a `gateway.toml`: text, then structs, then the rules between sections. Problems are reported together where possible."""

import codecs
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gateway.config.locate import Locations
from gateway.config.model import Config, Sections
from gateway.config.reader import Reader
from gateway.config.rules import find_disagreements
from gateway.kernel.errors import ConfigError

MAX_FILE_BYTES: Final = 1_048_576
_AT_LINE: Final = re.compile(r" \(at line (\d+), column \d+\)$")


class InvalidConfigError(ConfigError):
    """A configuration file with problems: `problems` holds each, located, in the order of the file."""

    def __init__(self, problems: Iterable[ConfigError]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.what, where=first.where, todo=first.todo)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def read_config(path: Path) -> str:
    """Return the text of a configuration file, or raise InvalidConfigError."""
    return _read(path.absolute())


def load_config(path: Path, environ: Mapping[str, str], *, text: str | None = None) -> Config:
    """Return the configuration of the file, or raise InvalidConfigError with every problem that was found.

    `text` is what stood in the file when it was read before (`read_config`); without it the file is read now.

    Reads the secrets that it names, and looks whether the files and folders that it names are there. Does not open
    stores, parse keys or certificates, or judge whether it is fit for production: see `gateway.config.production`.
    """
    path = path.absolute()
    text = _read(path) if text is None else text
    data = _parse(path, text)
    locations = Locations(text)
    reader = Reader(str(path), path.parent, locations, environ)
    sections = reader.table(Sections, data, ())
    if sections is None:
        raise InvalidConfigError(_in_file_order(reader.problems))
    values: dict[str, Any] = {field: getattr(sections, field) for field in Sections.__struct_fields__}
    config = Config(**values, file=path, locations=locations)
    for where, what, todo in find_disagreements(config):
        reader.problem(where, what, todo)
    if reader.problems:
        raise InvalidConfigError(_in_file_order(reader.problems))
    return config


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _single(
            f"can't be read: {(error.strerror or str(error)).lower()}", str(path), "Name a configuration file."
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise _single("is larger than a megabyte", str(path), "Name a configuration file.")
    if content.startswith(codecs.BOM_UTF8):
        raise _single(
            "begins with a byte order mark (BOM), which TOML does not allow",
            f"{path}:1",
            'Save it as UTF-8 without BOM; in Windows Notepad: Save as, Encoding "UTF-8", not "UTF-8 with BOM".',
        )
    try:
        return content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _single("is not UTF-8 text here", f"{path}:{line}", "Save the file as UTF-8.") from error


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _AT_LINE.search(message)
        line = int(found[1]) if found else text.count("\n") + 1
        repeated = Locations(text).repeated(line)
        if repeated is not None:
            what = f"`{repeated[0]}` is given twice, first on line {repeated[1]}"
            raise _single(what, f"{path}:{line}", "Keep one of the two.") from error
        what = f"this is not TOML: {(message[: found.start()] if found else message).rstrip('.')}"
        raise _single(what, f"{path}:{line}", "Correct the line; texts stand in quotes.") from error


def _single(what: str, where: str, todo: str) -> InvalidConfigError:
    return InvalidConfigError([ConfigError(what, where=where, todo=todo)])


def _in_file_order(problems: list[ConfigError]) -> list[ConfigError]:
    return sorted(problems, key=lambda problem: int(problem.where.rpartition(":")[2]))
