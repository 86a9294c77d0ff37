"""Questions of a front, cut into what changes with each one and what repeats.

A front mixes the questions of all its clients on a few connections. From one question of a client to its next only some field
lines differ: its port, and what it asks for. `Cutter` cuts these lines out as bytes. What is left repeats, and is remembered with
what a door has worked out from it, so that neither is read again.

It takes nothing that `gateway.doors.plain` would leave to aiohttp's parser, and nothing that is unusual: every line that changes
stands there once, spelled as our fronts write it, with a value that is not empty and has no blanks. Any other head, also one that
the door refuses, is read and judged the ordinary way.
"""

import re
from collections.abc import Sequence
from typing import Final

from gateway.domain.request import Headers
from gateway.doors.plain import MAX_FIELDS, PlainReader, end_of_first, fields_of, first_of
from gateway.kernel.recent import Recent

REMEMBERED: Final = 512
"""Of how many clients' field lines; see `Recent`: at most twice as many. With what a door works out that is 9 kB each for a usual
browser and 23 kB for the longest head, so 24 MB at most. There are cookies in them: in memory only, where the sessions are too.
"""
_VALUE: Final = re.compile(rb"[!-~]+")


class Repeated:
    """The field lines that a question shares with others."""

    __slots__ = ("fields", "known")

    def __init__(self, fields: Headers) -> None:
        self.fields: Final = fields
        self.known: object = None
        """For the door: what follows from these fields, whatever the lines that change say."""


class Question:
    """A whole head, cut."""

    __slots__ = ("_data", "method", "repeated", "target", "values")

    def __init__(self, data: bytes, method: str, target: str, repeated: Repeated, values: Sequence[str]) -> None:
        self._data = data
        self.method: Final = method
        self.target: Final = target
        self.repeated: Final = repeated
        self.values: Final = values
        """Of the lines that change, in the order in which the cutter was told their names."""

    def headers(self) -> Headers:
        """All field lines, as they came."""
        read = PlainReader().read(self._data)
        if read is None:
            raise ValueError("cut, but not plain")
        return read[2]


class Cutter:
    """Cuts the heads of one listener."""

    def __init__(self, names: Sequence[str], *, asked_at: str) -> None:
        """`names` of the lines that change, as the front spells them. `asked_at`: how the target of a question begins; nothing
        else is cut, so that nothing else is remembered.
        """
        self._asked_at: Final = asked_at
        self._begins: Final = [f"\r\n{name}: ".encode("ascii") for name in names]
        self._names: Final = frozenset(name.lower() for name in names)
        self._repeated: Recent[bytes, Repeated] = Recent(REMEMBERED)

    def cut(self, data: bytes) -> Question | None:
        """Return the question when the bytes are one whole head as described above; None when they are anything else."""
        end = end_of_first(data)
        first = first_of(data[:end]) if end else None
        if first is None or not first[1].startswith(self._asked_at):
            return None
        rest = data[end:]  # begins with a line end, as every line that is looked for does, and ends with two
        values = []
        for begin in self._begins:
            start = rest.find(begin)
            if start < 0:
                return None
            value, stop = start + len(begin), rest.find(b"\r\n", start + len(begin))
            if not _VALUE.fullmatch(rest, value, stop):
                return None
            values.append(rest[value:stop].decode("ascii"))
            rest = rest[:start] + rest[stop:]
        repeated = self._repeated.get(rest) or self._read(rest)
        return Question(data, *first, repeated, values) if repeated is not None else None

    def _read(self, rest: bytes) -> Repeated | None:
        fields = fields_of(rest[2:])
        if fields is None or len(fields) + len(self._names) > MAX_FIELDS:
            return None
        if any(name.lower() in self._names for name, _ in fields):
            return None  # a line that changes stands there twice, perhaps spelled otherwise
        repeated = Repeated(fields)
        self._repeated.put(rest, repeated)
        return repeated
