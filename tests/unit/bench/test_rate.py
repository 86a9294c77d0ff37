"""The constant-rate client: a server that stops is seen in every request that came due meanwhile."""

import socket
import threading
import time

import pytest

from bench.children import BenchError
from bench.rate import Paced, quantile

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Server:
    """Answers on every connection, one request after the other; `stall_at` is the request before which it sleeps."""

    def __init__(self, answer: bytes = ANSWER, stall_at: int = -1, stall: float = 0.0) -> None:
        self.port = 0
        self.served = 0
        self._answer, self._stall_at, self._stall = answer, stall_at, stall
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._gate = threading.Lock()
        self.port = int(self._listening.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while connection.recv(65_536):
                with self._gate:
                    if self.served == self._stall_at:
                        time.sleep(self._stall)
                    self.served += 1
                    connection.sendall(self._answer)

    def close(self) -> None:
        self._listening.close()


def paced(server: Server, rate: float, seconds: float) -> list[float]:
    client = Paced(server.port, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try:
        client.run(rate, seconds)
    finally:
        client.close()
        server.close()
    return client.latencies


def test_every_request_is_answered_and_counted() -> None:
    server = Server()
    assert len(paced(server, 200, 0.5)) == server.served == 100


def test_a_stall_counts_for_all_that_were_due_meanwhile() -> None:
    # 200/s, 0.4 s of silence: about 80 requests came due in it, and the first half of them waited 0.2 s or longer.
    late = [latency for latency in paced(Server(stall_at=20, stall=0.4), 200, 0.6) if latency >= 0.2]
    assert len(late) >= 35


def test_an_error_is_no_latency() -> None:
    with pytest.raises(BenchError, match="answered 403"):
        paced(Server(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), 100, 0.1)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)])
def test_quantiles_are_by_nearest_rank(share: float, expected: float) -> None:
    assert quantile([float(value) for value in range(100, 0, -1)], share) == expected
