"""A gigabyte up and a gigabyte down, at once, through a gateway whose memory stays what it was."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

GIB = 1 << 30
PIECE = b"x" * (1 << 20)
MAY_GROW = 64 << 20
ROOT = Path(__file__).parents[2]


class Application:
    """Takes what is sent to /up, and sends a gigabyte in chunks from /down."""

    def __init__(self) -> None:
        self.taken = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"PUT /up"):
                while self.taken < GIB and (data := await reader.read(1 << 18)):
                    self.taken += len(data)
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif head.startswith(b"GET /small"):
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for _ in range(GIB // len(PIECE)):
                    writer.write(b"%x\r\n%s\r\n" % (len(PIECE), PIECE))
                    await writer.drain()
                writer.write(b"0\r\n\r\n")
            await writer.drain()
        writer.close()


def memory(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(field)


@contextlib.contextmanager
def gateway(upstream_port: int) -> Iterator[tuple[int, int, str]]:
    command = [sys.executable, "-m", "tests.support.gate_process", str(upstream_port)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        try:
            yield process.pid, said["port"], said["cookie"]
        finally:
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(20) == 0


def head(line: str, cookie: str, *more: str) -> bytes:
    return "\r\n".join([line, "Host: ehr.localhost", f"Cookie: {cookie}", *more, "", ""]).encode()


def begin(pid: int) -> int:
    """Let the peak count from here, and return what is in use now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")
    return memory(pid, "VmRSS")


async def small(port: int, cookie: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("GET /small HTTP/1.1", cookie))
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


async def upload(port: int, cookie: str, size: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("PUT /up HTTP/1.1", cookie, f"Content-Length: {size}"))
    for _ in range(size // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()
    answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    return answer


async def download(port: int, cookie: str) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(head("GET /down HTTP/1.1", cookie, "Connection: close"))
    await reader.readuntil(b"\r\n\r\n")
    size, last = 0, b""
    while data := await reader.read(1 << 18):
        size += len(data)
        last = (last + data)[-5:]
    assert last == b"0\r\n\r\n"
    writer.close()
    return size


@pytest.mark.timeout(240)
async def test_memory_does_not_grow_with_a_gigabyte_up_and_down() -> None:
    application = Application()
    server = await asyncio.start_server(application.answer, "127.0.0.1", 0)
    with gateway(server.sockets[0].getsockname()[1]) as (pid, port, cookie):
        # A first exchange loads what is loaded once.
        assert (await small(port, cookie)).startswith(b"HTTP/1.1 204")
        before = begin(pid)
        answer, received = await asyncio.gather(upload(port, cookie, GIB), download(port, cookie))
        peak = memory(pid, "VmHWM")
    server.close()
    assert answer.startswith(b"HTTP/1.1 204")
    assert application.taken == GIB
    assert received > GIB
    assert peak - before < MAY_GROW, f"grew by {(peak - before) >> 20} MiB"
