"""A real PostgreSQL (Debian package `postgresql`) of the tests' own: own directory, own unix socket, a database for each test."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.kernel.secret import Secret

START_SECONDS = 30.0
ROLE = "gateway"


def _program(name: str) -> str:
    """Debian keeps the server's programs out of the way, by version."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    found = str(places[-1]) if places else shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed: run `make setup-test`, or install the Debian package postgresql")
    return found


class PostgresServer:
    """One server that can be stopped, frozen, and started again on the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._log = folder / "postgres.log"
        self._process: subprocess.Popen[bytes] | None = None
        # It refuses to run as root, whom containers' tests are.
        nobody = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self._user = nobody.pw_uid if nobody is not None else None
        self._group = nobody.pw_gid if nobody is not None else None
        if nobody is not None:
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._call(_program("initdb"), "--pgdata", str(self._data), "--username", ROLE, "--auth", "trust", "--encoding", "UTF8",
                   "--no-locale", "--no-sync")  # fmt: skip

    def url(self, database: str = "postgres") -> Secret:
        """Where a client finds it."""
        return Secret(f"postgresql://{ROLE}@/{database}?host={self.folder}")

    def database(self, name: str) -> Secret:
        """Make an empty database; return its URL."""
        with psycopg.connect(self.url().reveal(), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            command = [
                _program("postgres"),
                "-D",
                str(self._data),
                "-k",
                str(self.folder),
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
            ]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=self._user,
                group=self._group,
                extra_groups=[] if self._user is not None else None,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{self._log.read_text()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it at once, with all connections (SIGINT: fast shutdown)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All of its processes stand still meanwhile: connections stay open, nothing answers."""
        members = self._members()
        for pid in members:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in members:
                with contextlib.suppress(ProcessLookupError):  # one whose client left ends before the others go on
                    os.kill(pid, signal.SIGCONT)

    def _members(self) -> list[int]:
        if self._process is None:
            return []
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return [self._process.pid, *(int(pid) for pid in children)]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url().reveal(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _call(self, *command: str) -> None:
        subprocess.run(command, check=True, cwd=self.folder, stdout=subprocess.DEVNULL, user=self._user, group=self._group)


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Run a server, and leave nothing behind. The folder is short: socket paths end at 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="gw-pg-") as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server for all tests of a process; each takes a database of its own, and none stops it."""
    with running_postgres() as server:
        yield server
