"""A client that sends bytes as they are, and reads what comes back: for what no HTTP library would send."""

import socket
import ssl
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

PATIENCE: Final = 15.0
"""Seconds until a reply that does not come is a failure."""
_CLOSED: Final = (ConnectionError, ssl.SSLError)


class NoReplyError(AssertionError):
    """The connection ended, or stayed silent, before a whole reply was there."""

    def __init__(self, why: str, received: bytes) -> None:
        super().__init__(f"{why}; received: {received[:300]!r}")
        self.received = received


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One response, as it was read."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool = True
    """False when the connection ended within the body."""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def value(self, name: str) -> str:
        return next(iter(self.values(name)), "")


class Line:
    """One connection to a door."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        tls: ssl.SSLContext | None = None,
        sni: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """Connect, and shake hands when `tls` is given; `sni` is the name that TLS is spoken for, `session` one to resume."""
        plain = socket.create_connection(address, PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket: socket.socket = (
                tls.wrap_socket(plain, server_hostname=sni, session=session) if tls is not None else plain
            )
        except BaseException:
            plain.close()
            raise
        self._buffer = bytearray()
        self.hung_up = False
        """Whether the other end was seen to end the connection."""

    @classmethod
    def unix(cls, path: Path) -> "Line":
        """Connect to a unix socket."""
        line = cls.__new__(cls)
        line._socket = socket.socket(socket.AF_UNIX)
        line._socket.settimeout(PATIENCE)
        line._socket.connect(str(path))
        line._buffer, line.hung_up = bytearray(), False
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def protocol(self) -> str:
        """Return what ALPN chose."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.selected_alpn_protocol() or ""

    def session(self) -> ssl.SSLSession | None:
        """Return what another connection can resume (in TLS 1.3 there is something once a reply was read)."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return self._socket.session

    def resumed(self) -> bool:
        """Whether this connection goes on with the session that was given."""
        assert isinstance(self._socket, ssl.SSLSocket)
        return bool(self._socket.session_reused)

    def send(self, data: bytes) -> None:
        """Send all of it; that the other end has hung up is no failure: what it said before is still to be read."""
        try:
            self._socket.sendall(data)
        except (*_CLOSED, TimeoutError):
            pass

    def drip(self, data: bytes, pause: float, size: int = 1) -> bool:
        """Send in small pieces; return False as soon as the other end has said something or hung up."""
        self._socket.settimeout(pause)
        try:
            for start in range(0, len(data), size):
                self._socket.sendall(data[start : start + size])
                try:
                    more = self._socket.recv(65_536)
                except (TimeoutError, ssl.SSLWantReadError):
                    continue
                self._buffer += more
                return False
        except _CLOSED:
            return False
        finally:
            self._socket.settimeout(PATIENCE)
        return True

    def reset(self) -> None:
        """Hang up without a word (RST)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    # ---- reading

    def reply(self, method: str = "GET") -> Reply:
        """Read one final response; interim ones (1xx but 101) are passed over. NoReplyError when there is none."""
        while True:
            head = self._until(b"\r\n\r\n")
            status, headers = _parsed(head)
            if status == 101 or status >= 200:
                break
        fields = {name.lower(): value for name, value in headers}
        body, whole = b"", True
        if method != "HEAD" and status not in {101, 204, 304}:
            if fields.get("transfer-encoding", "").lower() == "chunked":
                body, whole = self._chunks()
            elif "content-length" in fields:
                length = int(fields["content-length"])
                whole = self._fill(length)
                body = self._take(length)
            else:
                body = self.rest()
        return Reply(status=status, headers=headers, body=body, whole=whole)

    def rest(self, seconds: float = PATIENCE) -> bytes:
        """Read until the other end hangs up, or for so long; return all of it."""
        self._read_until(lambda: False, seconds)
        return self._take(len(self._buffer))

    def exactly(self, count: int) -> bytes:
        """Read so many bytes."""
        if not self._fill(count):
            raise NoReplyError(f"{count} bytes were to come", bytes(self._buffer))
        return self._take(count)

    def some(self) -> bytes:
        """Read what comes next, at least a byte; nothing at the end."""
        self._fill(1)
        return self._take(len(self._buffer))

    def more(self, seconds: float) -> bool:
        """Whether another byte comes within so long."""
        return self._read_until(lambda: bool(self._buffer), seconds)

    def ended(self, seconds: float = PATIENCE) -> bool:
        """Whether the other end hangs up within so long, saying nothing more."""
        return self.rest(seconds) == b"" and self.hung_up

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        try:
            while size := int(self._until(b"\r\n").strip().partition(b";")[0], 16):
                if not self._fill(size + 2):
                    return body + self._take(len(self._buffer)), False
                body += self._take(size + 2)[:size]
            while self._until(b"\r\n") != b"\r\n":
                pass
        except NoReplyError:
            return body, False
        return body, True

    def _until(self, mark: bytes) -> bytes:
        if not self._read_until(lambda: mark in self._buffer, PATIENCE):
            raise NoReplyError("the connection ended or went silent", bytes(self._buffer))
        return self._take(self._buffer.index(mark) + len(mark))

    def _fill(self, count: int) -> bool:
        return self._read_until(lambda: len(self._buffer) >= count, PATIENCE)

    def _read_until(self, done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._socket.settimeout(left)
            try:
                more = self._socket.recv(65_536)
            except TimeoutError:
                return done()
            except _CLOSED:
                more = b""
            finally:
                self._socket.settimeout(PATIENCE)
            if not more:
                self.hung_up = True
                return done()
            self._buffer += more
        return True


def _parsed(head: bytes) -> tuple[int, tuple[tuple[str, str], ...]]:
    first, *lines = head[:-4].split(b"\r\n")
    version, _, rest = first.partition(b" ")
    assert version in {b"HTTP/1.1", b"HTTP/1.0"}, f"no HTTP response: {head[:200]!r}"
    pairs = (line.partition(b":") for line in lines)
    return int(rest[:3]), tuple((name.decode("latin-1"), value.strip().decode("latin-1")) for name, _, value in pairs)


def head(method: str, target: str | bytes, lines: Sequence[str | bytes], *, version: str = "HTTP/1.1") -> bytes:
    """Return a request's head. Text is sent as UTF-8; nothing is checked or repaired."""
    first = method.encode("utf-8", "surrogateescape") + b" " + _bytes(target) + b" " + version.encode()
    return b"\r\n".join([first, *(_bytes(line) for line in lines), b"", b""])


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
