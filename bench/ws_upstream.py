"""An application of silent WebSockets: it takes every upgrade, sends one message, and waits. Other requests get a page."""

import argparse
import asyncio
import base64
import hashlib
import re
from typing import Final

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""
HELLO: Final = b"\x81\x02ok"
_KEY: Final = re.compile(rb"\r\nsec-websocket-key:[ \t]*([^\r\n]+)", re.IGNORECASE)
_PAGE: Final = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"


class _Connection(asyncio.Protocol):
    __slots__ = ("_open", "_seen", "_transport")

    def __init__(self) -> None:
        self._seen = b""
        self._open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport if isinstance(transport, asyncio.Transport) else None

    def data_received(self, data: bytes) -> None:
        if self._open or self._transport is None:
            return
        self._seen += data
        if not self._seen.endswith(b"\r\n\r\n"):
            return
        key = _KEY.search(self._seen)
        self._seen = b""
        if key is None:
            self._transport.write(_PAGE)
            return
        self._open = True
        accept = base64.b64encode(hashlib.sha1(key[1].strip() + _GUID, usedforsecurity=False).digest())
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        self._transport.write(head + accept + b"\r\n\r\n" + HELLO)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
