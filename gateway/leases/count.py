"""nginx's own count of requests (`stub_status`), against the lines that were seen."""

import asyncio
import collections
import re
from pathlib import Path
from typing import Final

import msgspec

LOOKS: Final = 4
"""A difference counts when it has stood for so many looks: requests end while one looks."""
ANSWER_SECONDS: Final = 5.0
_FORM: Final = re.compile(
    rb"Active connections: \d+ \nserver accepts handled requests\n \d+ \d+ (\d+) \nReading: (\d+) Writing: (\d+) Waiting: \d+ \n"
)


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What nginx says, this very question left out."""

    requests: int
    """Requests since it has started, those that still run included."""
    running: int


async def read_status(socket: Path, path: str) -> Status:
    """Ask nginx for this path, which its log will show. Raises OSError when it does not answer, or says something else."""
    async with asyncio.timeout(ANSWER_SECONDS):
        reader, writer = await asyncio.open_unix_connection(str(socket))
        try:
            writer.write(f"GET {path} HTTP/1.0\r\nHost: gateway\r\n\r\n".encode("ascii"))
            answer = await reader.read(4096)
            while not reader.at_eof():
                answer += await reader.read(4096)
        finally:
            writer.close()
    found = _FORM.search(answer)
    if found is None:
        raise OSError("nginx does not say how many requests there were")
    return Status(requests=int(found[1]) - 1, running=int(found[2]) + int(found[3]) - 1)


class Count:
    """Lines against requests. `lines` is counted by the reader of the log; `compare` after each look."""

    def __init__(self, *, lines: int = 0, base: int | None = None, requests: int = 0) -> None:
        """As it was kept: see `kept`."""
        self.lines = lines
        self._base = base
        self._requests = requests
        self._differences: collections.deque[int] = collections.deque(maxlen=LOOKS)

    def kept(self) -> tuple[int, int | None, int]:
        """What to hand to a later process: lines, base, requests."""
        return self.lines, self._base, self._requests

    def compare(self, status: Status, lines: int) -> int | None:
        """Return how many lines are lost (positive) or too many (negative), once that is certain; None when nginx began anew.

        `lines`: how many were seen of the requests that had ended when `status` was read. What is returned counts as known.
        """
        anew, self._requests = status.requests < self._requests, status.requests
        ended = status.requests - status.running
        if self._base is None or anew:
            self._base = ended - lines
            self._differences.clear()
            return None if anew else 0
        self._differences.append(ended - lines - self._base)
        if len(self._differences) < LOOKS:
            return 0
        least, most = min(self._differences), max(self._differences)
        certain = least if least > 0 else min(most, 0)
        if certain:
            self._base += certain
            self._differences.clear()
        return certain
