"""A constant rate of requests whatever the server does, and how late each answer was.

The load is open: request n is due at start + n / rate, and its latency is counted from then, also when it could not be sent
because the client or the server was behind. A server that stops for a while thus shows in every request that came due meanwhile
(coordinated omission would show it in one). A request never waits for another's answer: when no connection is idle, one more is
opened, beforehand as far as possible.

Not asyncio: its timers are good to a millisecond, which is what is measured here. Run as a program it prints one JSON object.
"""

import argparse
import gc
import json
import select
import socket
import time
from collections import deque
from typing import Final

from bench.children import LOOPBACK, BenchError

READY_CONNECTIONS: Final = 8
SLACK: Final = 0.0002
"""Seconds before a request is due in which we stop sleeping and look at the clock instead."""
GIVE_UP_SECONDS: Final = 10.0


class _Connection:
    __slots__ = ("due", "need", "seen", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection((LOOPBACK, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self.seen = b""
        self.need = 0
        """Bytes of the whole answer, once its head is there."""

    def take(self) -> bool:
        """Read what is there; True when the answer is whole."""
        data = self.socket.recv(65_536)
        if not data:
            raise BenchError("the server closed a connection")
        self.seen += data
        if not self.need and b"\r\n\r\n" in self.seen:
            head, _, _ = self.seen.partition(b"\r\n\r\n")
            status = head.split(b" ", 2)[1]
            if status != b"200":
                raise BenchError(f"the server answered {status.decode('latin-1')}")
            lines = [line.partition(b":") for line in head.lower().split(b"\r\n")[1:]]
            lengths = [int(value) for name, _, value in lines if name == b"content-length"]
            if len(lengths) != 1:
                raise BenchError("an answer without Content-Length")
            self.need = len(head) + 4 + lengths[0]
        return bool(self.need) and len(self.seen) >= self.need


class Paced:
    """Sends requests at a rate, and keeps each one's latency in seconds."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port, self._request = port, request
        self._idle: deque[_Connection] = deque(_Connection(port) for _ in range(READY_CONNECTIONS))
        self._poll = select.epoll()
        self._busy: dict[int, _Connection] = {}
        self.latencies: list[float] = []
        self.sent_late: list[float] = []
        """How late each request left, seconds: the client's own share."""

    def run(self, rate: float, seconds: float) -> None:
        """Send `rate * seconds` requests, and wait for all of their answers."""
        count = round(rate * seconds)
        start = time.perf_counter() + 0.05
        for number in range(count):
            due = start + number / rate
            self._until(due)
            self._send(due)
        give_up = time.perf_counter() + GIVE_UP_SECONDS
        while self._busy:
            if time.perf_counter() > give_up:
                raise BenchError(f"{len(self._busy)} requests were never answered")
            self._collect(0.05)

    def _until(self, due: float) -> None:
        while (left := due - time.perf_counter()) > 0:
            # epoll_wait(2) counts milliseconds and rounds up: never sleep into the last one.
            self._collect(max(0.0, left - SLACK - 0.001) if left > SLACK else 0.0)

    def _send(self, due: float) -> None:
        connection = self._idle.popleft() if self._idle else _Connection(self._port)
        connection.due, connection.seen, connection.need = due, b"", 0
        self._busy[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.EPOLLIN)
        connection.socket.sendall(self._request)
        self.sent_late.append(time.perf_counter() - due)

    def _collect(self, wait: float) -> None:
        for number, _ in self._poll.poll(wait):
            connection = self._busy[number]
            if connection.take():
                self.latencies.append(time.perf_counter() - connection.due)
                self._poll.unregister(connection.socket)
                del self._busy[number]
                self._idle.append(connection)

    def close(self) -> None:
        """Let go of the connections."""
        for connection in (*self._idle, *self._busy.values()):
            connection.socket.close()
        self._poll.close()


def quantile(values: list[float], share: float) -> float:
    """Return the smallest value that at least this share of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)]


def main() -> None:
    """Measure, and print JSON in seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--header", action="append", default=[], help="NAME: VALUE")
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--seconds", type=float, default=5.0)
    arguments = parser.parse_args()
    lines = [f"GET {arguments.path} HTTP/1.1", *arguments.header, "", ""]
    paced = Paced(arguments.port, "\r\n".join(lines).encode("latin-1"))
    gc.disable()  # a collection of ours would be counted as the server's
    try:
        paced.run(arguments.rate, min(1.0, arguments.seconds))  # warm
        paced.latencies.clear()
        paced.sent_late.clear()
        paced.run(arguments.rate, arguments.seconds)
    finally:
        paced.close()
    found = {
        "count": len(paced.latencies),
        "p50": quantile(paced.latencies, 0.5),
        "p99": quantile(paced.latencies, 0.99),
        "max": max(paced.latencies),
        "late_p99": quantile(paced.sent_late, 0.99),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
