"""Ports for servers that must know theirs before they begin.

Below those that the system gives to outgoing connections (32768 and up on Linux), and other ones for each of the suite's
processes: a port that was free a moment ago is not somebody else's by then.
"""

import itertools
import os
import random
import socket
from collections.abc import Iterator
from typing import Final

import pytest

_FIRST: Final = 10_000
_EACH: Final = 2_500
_PROCESSES: Final = 8
"""The Makefile's --maxprocesses."""


def _ports() -> Iterator[int]:
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
    first = _FIRST + process * _EACH
    # Not always from the beginning: two suites may run on one machine.
    begin = random.randrange(_EACH)  # noqa: S311  no secret
    return itertools.cycle([first + (begin + number) % _EACH for number in range(_EACH)])


_next: Final = _ports()


def free_port() -> int:
    """Return a port of loopback that nobody listens on and that this process has not given out for long."""
    for port in itertools.islice(_next, _EACH):
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue
    raise RuntimeError(f"none of {_EACH} ports is free")


@pytest.fixture
def unused_tcp_port() -> int:
    """A free port, as above: in the place of pytest-asyncio's, which is one of the system's choice."""
    return free_port()
