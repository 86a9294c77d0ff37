"""An application behind a door that keeps every byte that it gets, tells its connections apart, and can misbehave.

It reads requests as RFC 9112 says and no more leniently, so that what a lenient server would take for a second request stays what
it is. Bytes that are no request are kept in `stray`.
"""

import base64
import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

TEXT: Final = b"0123456789" * 10
"""What `/file` holds: for ranges and conditions."""
ETAG: Final = '"v1"'
_HEAD_LIMIT: Final = 1 << 20
_REQUEST_LINE: Final = re.compile(rb"([A-Z-]+) ([!-~]+) HTTP/1\.([01])")
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as its bytes came."""

    connection: int
    """Number of the connection it came on."""
    head: bytes
    """The request line and fields with their ends, byte for byte."""
    body: bytes
    """Without chunk framing."""
    trailers: bytes = b""

    @property
    def method(self) -> str:
        return self.head.split(b" ", 1)[0].decode("latin-1")

    @property
    def target(self) -> bytes:
        return self.head.split(b" ", 2)[1]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names as spelled, values without surrounding blanks."""
        lines = self.head[:-4].split(b"\r\n")[1:]
        pairs = (line.partition(b":") for line in lines)
        return [(name.decode("latin-1"), value.strip(b" \t").decode("latin-1")) for name, _, value in pairs]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]


Answer = Callable[[Hit, socket.socket], bool]
"""Answers one request on its socket; False ends the connection."""


class RawUpstream:
    """A server on loopback, a thread for each connection. `hits` are in the order in which their heads were complete."""

    def __init__(self, port: int = 0) -> None:
        """`port`: where an earlier one has been; 0: a free one."""
        self.hits: list[Hit] = []
        self.stray: list[bytes] = []
        self.answer: Answer | None = None
        """What a test puts in the place of `answer_plainly`."""
        self.early: bytes | None = None
        """What is said to a request with a body before its body is read, as its answer."""
        self._listening = socket.create_server(("127.0.0.1", port), backlog=256)
        self.port: Final = int(self._listening.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._count = 0
        self._closing = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it with all its connections."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.drop()
        self._thread.join(5)

    def drop(self) -> None:
        """End every open connection, as a restart of the application would."""
        with self._lock:
            for connection in list(self._open):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Begin a test."""
        self.answer, self.early = None, None
        self.hits.clear()
        self.stray.clear()

    def wait(self, count: int = 1, seconds: float = 10.0) -> list[Hit]:
        """Return the hits once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.hits) < count:
            assert time.monotonic() < deadline, f"{len(self.hits)} of {count} requests reached the application: {self.hits}"
            time.sleep(0.005)
        return list(self.hits)

    # ------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                self._count += 1
                number = self._count
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, number), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reading = _Reading(connection)
        try:
            while (hit := reading.request(number, self._note, self._early)) is not None:
                if self.early is not None and hit.body:
                    continue
                answer = self.answer or answer_plainly
                if not answer(hit, connection):
                    return
            if reading.left:
                self.stray.append(reading.left)
        except OSError:
            pass  # the other side is gone, or a test has ended the connection
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _early(self, begun: Hit, connection: socket.socket) -> None:
        if self.early is not None and (begun.values("Content-Length") or begun.values("Transfer-Encoding")):
            connection.sendall(self.early)

    def _note(self, hit: Hit, before: Hit | None) -> None:
        with self._lock:
            if before is None:
                self.hits.append(hit)
            else:
                place = next((index for index, known in enumerate(self.hits) if known is before), None)
                if place is not None:
                    self.hits[place] = hit


class _Reading:
    """The requests of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.left = b""

    def request(
        self, number: int, note: Callable[[Hit, Hit | None], None], early: Callable[[Hit, socket.socket], None]
    ) -> Hit | None:
        """Read one request; None at the end of the connection, or where what comes is none (it is `left`)."""
        while b"\r\n\r\n" not in self.left:
            if len(self.left) > _HEAD_LIMIT or not self._more():
                return None
        head, _, rest = self.left.partition(b"\r\n\r\n")
        head += b"\r\n\r\n"
        begun = Hit(connection=number, head=head, body=b"")
        if not _REQUEST_LINE.fullmatch(head.split(b"\r\n", 1)[0]):
            return None
        self.left = rest
        # Known from its head on: a body that never ends must not hide that it was here.
        note(begun, None)
        early(begun, self._connection)
        coding, length = begun.values("Transfer-Encoding"), begun.values("Content-Length")
        body, trailers = b"", b""
        if begun.values("Expect"):
            self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if coding:
            body, trailers = self._chunks()
        elif length:
            body = self._exactly(int(length[0]))
        hit = Hit(connection=number, head=head, body=body, trailers=trailers)
        note(hit, begun)
        return hit

    def _chunks(self) -> tuple[bytes, bytes]:
        body = b""
        while size := int(self._line().partition(b";")[0], 16):
            body += self._exactly(size)
            self._exactly(2)
        trailers = b""
        while line := self._line():
            trailers += line + b"\r\n"
        return body, trailers

    def _line(self) -> bytes:
        while b"\r\n" not in self.left:
            self._need()
        line, _, self.left = self.left.partition(b"\r\n")
        return line

    def _exactly(self, count: int) -> bytes:
        while len(self.left) < count:
            self._need()
        data, self.left = self.left[:count], self.left[count:]
        return data

    def _need(self) -> None:
        if not self._more():
            raise ConnectionError("the connection ended within a body")

    def _more(self) -> bool:
        data = self._connection.recv(65_536)
        self.left += data
        return bool(data)


# ---------------------------------------------------------------- answers


def response(status: str, body: bytes, *fields: str, method: str = "GET") -> bytes:
    """Return a response's bytes; a HEAD's has no body."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""])
    return head.encode() + (b"" if method == "HEAD" else body)


def saying(data: bytes, *, keep: bool = False) -> Answer:
    """Return what answers each request with these bytes, and then ends the connection unless it is to `keep` it."""

    def answer(hit: Hit, connection: socket.socket) -> bool:
        connection.sendall(data)
        return keep

    return answer


def answer_plainly(hit: Hit, connection: socket.socket) -> bool:
    """Answer like an ordinary application: pages, a file with ranges and conditions, a WebSocket that echoes raw bytes."""
    path = hit.target.partition(b"?")[0]
    if path.startswith(b"/ws/") and hit.values("Upgrade"):
        _echo(hit, connection)
        return False
    if path == b"/events":
        _events(connection)
        return False
    if path == b"/file":
        connection.sendall(_file(hit))
        return True
    body = b"from the application"
    connection.sendall(response("200 OK", body, "Content-Type: text/plain", method=hit.method))
    return True


def _file(hit: Hit) -> bytes:
    fields = (f"ETag: {ETAG}", "Accept-Ranges: bytes", "Content-Type: text/plain")
    if ETAG in hit.values("If-None-Match"):
        return "\r\n".join(["HTTP/1.1 304 Not Modified", *fields, "", ""]).encode()
    wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", next(iter(hit.values("Range")), ""))
    if wanted is None:
        return response("200 OK", TEXT, *fields, method=hit.method)
    first, last = int(wanted[1]), int(wanted[2])
    if first >= len(TEXT):
        return response("416 Range Not Satisfiable", b"", f"Content-Range: bytes */{len(TEXT)}", *fields)
    part = TEXT[first : last + 1]
    span = f"Content-Range: bytes {first}-{first + len(part) - 1}/{len(TEXT)}"
    return response("206 Partial Content", part, span, *fields, method=hit.method)


def _events(connection: socket.socket) -> None:
    """A stream of server-sent events that goes on until somebody ends it."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"c\r\ndata: beat\n\n\r\n")
        time.sleep(0.05)


def _echo(hit: Hit, connection: socket.socket) -> None:
    key = hit.values("Sec-WebSocket-Key")[0].encode()
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()  # noqa: S324  RFC 6455 §4.2.2 says SHA-1
    fields = ["Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
    connection.sendall("\r\n".join(["HTTP/1.1 101 Switching Protocols", *fields, "", ""]).encode())
    while data := connection.recv(65_536):
        connection.sendall(data)
