"""The sockets of the service: bound once, kept over a reload, never taken from somebody else."""

import os
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from gateway.app.sockets import Sockets, places
from gateway.config import Config, load_config
from gateway.kernel.errors import ConfigError
from tests.support.configuration import MINIMAL, write_config
from tests.support.ports import free_port

FRONT = 'front = { socket = "front.sock", trusted_uids = [33] }'


def config(folder: Path, port: int = 0, front: str = FRONT) -> Config:
    listen = f"port = {port}\n" if port else ""
    return load_config(write_config(folder, MINIMAL.replace(FRONT, f"{listen}{front}")), {})


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def test_every_listener_has_its_place(tmp_path: Path) -> None:
    port = free_port()
    door = '[[doors]]\nkind = "forward-auth"\nsocket = "door.sock"\ntrusted_uids = [33]\n'
    text = MINIMAL.replace(FRONT, f"port = {port}\n{FRONT}") + door
    loaded = load_config(write_config(tmp_path, text), {})
    assert [str(place) for place in places(loaded)] == [
        f"127.0.0.1:{port}", str(tmp_path / "front.sock"), str(tmp_path / "door.sock"),
    ]  # fmt: skip
    sockets = Sockets.bind(loaded)
    for path in ("front.sock", "door.sock"):
        assert connects(tmp_path / path)
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == 0o666, "who may speak is asked of the kernel"
    socket.create_connection(("127.0.0.1", port)).close()
    sockets.close()
    assert not (tmp_path / "front.sock").exists()
    assert not (tmp_path / "door.sock").exists()


def test_a_socket_that_a_crash_left_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "front.sock"))
    sockets = Sockets.bind(config(tmp_path))
    assert connects(tmp_path / "front.sock")
    sockets.close()


def test_a_socket_that_somebody_serves_is_not_taken(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "front.sock"))
        other.listen()
        with pytest.raises(ConfigError, match=r"can't listen on .*front.sock .Address already in use"):
            Sockets.bind(config(tmp_path))
        assert connects(tmp_path / "front.sock")


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "front.sock").write_text("mine")
    with pytest.raises(ConfigError, match="can't listen on"):
        Sockets.bind(config(tmp_path))
    assert (tmp_path / "front.sock").read_text() == "mine"


def test_when_one_is_taken_none_is_kept(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "front.sock").write_text("mine")
    with pytest.raises(ConfigError, match=r"gateway\.toml:4: can't listen on"):
        Sockets.bind(config(tmp_path, port))
    socket.create_server(("127.0.0.1", port)).close()


def test_a_place_that_stays_keeps_its_socket_over_a_reload(tmp_path: Path) -> None:
    first_port, second_port = free_port(), free_port()
    old = Sockets.bind(config(tmp_path, first_port))
    client = socket.create_connection(("127.0.0.1", first_port))  # waits in the queue
    inode = (tmp_path / "front.sock").stat().st_ino
    new = Sockets.bind(config(tmp_path, second_port), known=old)
    old.close(but=new)
    assert (tmp_path / "front.sock").stat().st_ino == inode
    assert connects(tmp_path / "front.sock")
    socket.create_connection(("127.0.0.1", second_port)).close()
    with pytest.raises(ConnectionError):
        socket.create_connection(("127.0.0.1", first_port))
    client.close()
    new.close()


def test_a_reload_that_fails_leaves_the_sockets_of_before(tmp_path: Path) -> None:
    port = free_port()
    old = Sockets.bind(config(tmp_path, port))
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(ConfigError):
        Sockets.bind(config(tmp_path, taken.getsockname()[1]), known=old)
    assert connects(tmp_path / "front.sock")
    socket.create_connection(("127.0.0.1", port)).close()
    old.close()


def test_it_waits_for_what_is_being_given_up(tmp_path: Path) -> None:
    holder = socket.create_server(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    giving_up = threading.Timer(0.2, holder.close)
    giving_up.start()
    began = time.monotonic()
    Sockets.bind(config(tmp_path, port), patience=10).close()
    assert time.monotonic() - began < 5
    giving_up.join()


def test_another_process_takes_them_over(tmp_path: Path) -> None:
    port = free_port()
    ours = Sockets.bind(config(tmp_path, port))
    descriptors = {name: os.dup(descriptor) for name, descriptor in ours.descriptors().items()}
    theirs = Sockets.inherited(descriptors)
    ours.close()
    taken = [theirs.take(place) for place in places(config(tmp_path, port))]
    with socket.create_connection(("127.0.0.1", port)) as client:
        accepted, _ = next(sock for sock in taken if sock.family == socket.AF_INET).accept()
        accepted.sendall(b"x")
        assert client.recv(1) == b"x"
        accepted.close()
    for sock in taken:
        sock.close()
