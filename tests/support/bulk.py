"""An application that takes and gives large bodies, in a process of its own: `python -m tests.support.bulk`.

Prints its port. `PUT /bulk` answers how many bytes came and their CRC-32, after a pause at the beginning in which whoever does
not wait for it would have to keep what comes; `GET /bulk?SIZE` sends so many. Ends with its standard input.
"""

import json
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random

MIB = 1 << 20
PAUSE_SECONDS = 1.0
ROOT = Path(__file__).parents[2]
PIECE = Random(1).randbytes(MIB)  # noqa: S311  content that does not compress, the same in every process


def checksum(pieces: int) -> int:
    """CRC-32 of so many pieces."""
    value = 0
    for _ in range(pieces):
        value = zlib.crc32(PIECE, value)
    return value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        left, taken, value = int(self.headers["Content-Length"]), 0, 0
        while left and (data := self.rfile.read(min(left, MIB))):
            if not taken:
                time.sleep(PAUSE_SECONDS)
            left -= len(data)
            taken += len(data)
            value = zlib.crc32(data, value)
        self._answer(json.dumps({"bytes": taken, "crc": value}).encode())

    def do_GET(self) -> None:
        _, _, size = self.path.partition("?")
        if not size:
            self._answer(b"small")
            return
        self.send_response(200)
        self.send_header("Content-Length", size)
        self.end_headers()
        for _ in range(int(size) // MIB):
            self.wfile.write(PIECE)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class names it so
        """Say nothing."""


@contextmanager
def bulk_application() -> Iterator[int]:
    """Run one; yield its port."""
    command = [sys.executable, "-m", "tests.support.bulk"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            assert process.wait(20) == 0


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.shutdown()
