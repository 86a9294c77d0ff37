"""What an inventory tool says of devices: a CSV file, read whole or not at all. Pure: the time comes in.

Columns `device`, `attribute`, `value`, `observed_at`, in any order, named in the first line:

    device,attribute,value,observed_at
    dev_01ARZ3NDEKTSV4RRFFQ69G5FAV,disk_encrypted,true,2026-11-23T06:00:00+09:00
"""

import csv
import io
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Final, get_args
from zoneinfo import ZoneInfo

from gateway.domain.posture import Attribute, PostureName
from gateway.kernel.errors import GatewayError

COLUMNS: Final = ("device", "attribute", "value", "observed_at")
MAX_BYTES: Final = 16 * 1024 * 1024
MAX_SKEW_SECONDS: Final = 60
"""How far the clock of the inventory may be ahead of ours."""
SHOWN: Final = 20
"""Problems that are told one by one."""
_NAMES: Final[dict[str, PostureName]] = {name: name for name in get_args(PostureName)}
_VALUES: Final = {"true": True, "false": False}
_LONGEST: Final = 40


class InventoryError(GatewayError):
    """A file that is not taken: `problems` says each bad line, "FILE:12: what is wrong"."""

    def __init__(self, problems: Collection[str]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - SHOWN
        lines = [*self.problems[:SHOWN], *([f"... and {more} more"] if more > 0 else []), "Nothing was taken."]
        super().__init__("\n".join(lines))


def parse_inventory(
    data: bytes, name: str, *, known: Collection[str], zone: ZoneInfo, now: float, source: str
) -> dict[str, tuple[Attribute, ...]]:
    """Return what is said of each device. InventoryError, with every bad line, when one can't be taken.

    `known`: ids of the devices in the ledger. A time without an offset is the hospital's (`zone`). `source` is kept with each.
    """
    rows = _Rows(name, known=known, zone=zone, now=now, source=source)
    for line, row in _lines(data, name):
        rows.take(line, row)
    if rows.problems:
        raise InventoryError(rows.problems)
    if not rows.said:
        raise InventoryError([f"{name}: there is nothing below the first line"])
    return {device: tuple(attributes.values()) for device, attributes in rows.said.items()}


def _lines(data: bytes, name: str) -> Iterator[tuple[int, Mapping[str, str]]]:
    if len(data) > MAX_BYTES:
        raise InventoryError([f"{name}: is larger than {MAX_BYTES // 1024 // 1024} MB"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InventoryError([f"{name}:{line}: is not UTF-8 text"]) from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(reader, [])]
        if sorted(header) != sorted(COLUMNS):
            raise InventoryError([f"{name}:1: the first line should name the columns {','.join(COLUMNS)}"])
        for row in reader:
            if row:
                cells = [*row, *[""] * (len(header) - len(row))]
                yield reader.line_num, {**dict(zip(header, cells, strict=False)), "": "more" if len(row) > len(header) else ""}
    except csv.Error as error:
        raise InventoryError([f"{name}:{reader.line_num}: is no CSV: {error}"]) from None


class _Rows:
    """What was taken so far, and what could not be."""

    def __init__(self, name: str, *, known: Collection[str], zone: ZoneInfo, now: float, source: str) -> None:
        self.problems: list[str] = []
        self.said: dict[str, dict[PostureName, Attribute]] = {}
        self._lines: dict[tuple[str, str], int] = {}
        self._name = name
        self._known = known
        self._zone = zone
        self._now = now
        self._source = source

    def take(self, line: int, row: Mapping[str, str]) -> None:
        """Take one row, or note what is wrong with it."""
        device, attribute, value, observed = (row[column].strip() for column in COLUMNS)
        if row[""]:
            return self._problem(line, "has more cells than the first line")
        if device not in self._known:
            return self._problem(line, f"there is no device {_shown(device)}")
        if attribute not in _NAMES:
            return self._problem(line, f"{_shown(attribute)} is none of {', '.join(_NAMES)}")
        if value not in _VALUES:
            return self._problem(line, f"the value should be true or false, not {_shown(value)}")
        try:
            moment = datetime.fromisoformat(observed)
            at = int((moment if moment.tzinfo else moment.replace(tzinfo=self._zone)).timestamp())
        except (ValueError, OverflowError):
            return self._problem(line, f"{_shown(observed)} is no time; write it like 2026-11-23T06:00:00+09:00")
        if not 0 < at <= self._now + MAX_SKEW_SECONDS:
            return self._problem(line, f"{_shown(observed)} is {'in the future' if at > 0 else 'too long ago'}")
        first = self._lines.setdefault((device, attribute), line)
        if first != line:
            return self._problem(line, f"{attribute} of this device stands on line {first} already")
        self.said.setdefault(device, {})[_NAMES[attribute]] = Attribute(
            name=_NAMES[attribute], value=_VALUES[value], at=at, source=self._source
        )
        return None

    def _problem(self, line: int, what: str) -> None:
        self.problems.append(f"{self._name}:{line}: {what}")


def _shown(text: str) -> str:
    safe = "".join(char if char.isprintable() else "?" for char in text)
    return f'"{safe if len(safe) <= _LONGEST else safe[:_LONGEST] + "..."}"'
