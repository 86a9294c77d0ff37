"""TLS as no ordinary client speaks it, and HTTP/2 frames by hand."""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Final

import h2.config
import h2.connection
import h2.events

from tests.support.raw import Line, NoReplyError, Reply

_RECORD_HEAD: Final = 5


@contextlib.contextmanager
def fragmented_hello(address: tuple[str, int], size: int) -> Iterator[tuple[str, int]]:
    """Relay one connection to `address`, with the client's first TLS record (the ClientHello) cut into records of `size` bytes.

    That is legal (RFC 8446 §5.1), and who looks for the server name in the first record only does not find it.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    open_sockets: list[socket.socket] = []

    def relay() -> None:
        with contextlib.suppress(OSError):
            client, _ = listening.accept()
            server = socket.create_connection(address, 10)
            open_sockets.extend((client, server))
            head = _exactly(client, _RECORD_HEAD)
            hello = _exactly(client, int.from_bytes(head[3:5], "big"))
            for start in range(0, len(hello), size):
                piece = hello[start : start + size]
                server.sendall(head[:3] + len(piece).to_bytes(2, "big") + piece)
            back = threading.Thread(target=_pour, args=(server, client), daemon=True)
            back.start()
            _pour(client, server)
            back.join(10)

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield "127.0.0.1", int(listening.getsockname()[1])
    finally:
        listening.close()
        for found in open_sockets:
            with contextlib.suppress(OSError):
                found.shutdown(socket.SHUT_RDWR)
            found.close()
        thread.join(10)


def _exactly(source: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise ConnectionError("the client has gone")
        data += more
    return data


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class H2Line:
    """One HTTP/2 connection, a stream after another, over a `Line` whose ALPN chose h2. Fields are sent as they are."""

    def __init__(self, line: Line) -> None:
        self._line = line
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self._connection = h2.connection.H2Connection(config)
        self._connection.initiate_connection()
        self._flush()

    def _flush(self) -> None:
        self._line.send(self._connection.data_to_send())

    def ask(self, fields: Sequence[tuple[str, str]], body: bytes = b"") -> Reply:
        """Send one request and return its response. NoReplyError when the stream or connection is ended instead."""
        stream = self._connection.get_next_available_stream_id()
        self._connection.send_headers(stream, list(fields), end_stream=not body)
        if body:
            self._connection.send_data(stream, body, end_stream=True)
        self._flush()
        status, received = 0, b""
        headers: tuple[tuple[str, str], ...] = ()
        while True:
            data = self._line.some()
            if not data:
                raise NoReplyError("the connection ended", received)
            for event in self._connection.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived) and event.stream_id == stream:
                    pairs = [(str(name), str(value)) for name, value in event.headers or []]
                    status, headers = int(pairs[0][1]), tuple(pairs[1:])
                elif isinstance(event, h2.events.DataReceived) and event.stream_id == stream:
                    received += event.data or b""
                    self._connection.acknowledge_received_data(event.flow_controlled_length or 0, stream)
                elif isinstance(event, h2.events.StreamReset) and event.stream_id == stream:
                    raise NoReplyError(f"the stream was reset: {event.error_code}", received)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    raise NoReplyError(f"the connection was ended: {event.error_code}", received)
                elif isinstance(event, h2.events.StreamEnded) and event.stream_id == stream:
                    self._flush()
                    return Reply(status=status, headers=headers, body=received)
            self._flush()
