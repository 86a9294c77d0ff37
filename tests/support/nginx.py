"""Debian's nginx before a whole site, configured by `gateway.frontconf.nginx` and nothing else."""

import contextlib
import json
import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from gateway.config import load_config
from gateway.frontconf.nginx import Options, render
from tests.support.fronts_site import Site

START_SECONDS: Final = 20.0
SERVER: Final = f"""\
[server]
public_port = {{port}}
[server.front]
socket = "run/front.sock"
trusted_uids = [{os.getuid()}]
tells_tls = true
certificate_field = "x-forwarded-tls-client-cert"
[[doors]]
kind = "nginx"
socket = "run/nginx.sock"
trusted_uids = [{os.getuid()}]
tells_tls = true
certificate_field = "x-forwarded-tls-client-cert"
"""
"""The part of `gateway.toml` that makes room for an nginx on this machine, run by the user of the tests."""


class Nginx:
    """One nginx with a configuration. `start` and `stop`, or `with`."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "temp").mkdir(exist_ok=True)
        self.folder: Final = folder
        self.port: Final = port
        self.file: Final = folder / "nginx.conf"
        self.file.write_text(text, "utf-8")
        self._output: Final = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def _command(self, *more: str) -> list[str]:
        return ["nginx", "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(self.file), *more]

    def check(self) -> subprocess.CompletedProcess[str]:
        """`nginx -t`: what it says to the configuration."""
        return subprocess.run(self._command("-t"), capture_output=True, text=True, timeout=60, check=False)

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command("-g", "daemon off;"), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                if len(self.pids()) > 1:  # the master listens before it has workers
                    return
            except OSError:
                pass
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"nginx did not start:\n{self.output()}")
            time.sleep(0.05)

    def signal(self, number: signal.Signals) -> None:
        """HUP: reload; USR1: open the logs again."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """End it. Safe to call twice."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def pids(self) -> frozenset[int]:
        """The master and its workers; those that look after a cache come and go."""
        if self._process is None or self._process.poll() is not None:
            return frozenset()
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text("ascii").split()
        workers = [int(pid) for pid in children if b"worker process" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return frozenset((self._process.pid, *workers))

    def output(self) -> str:
        """What it printed, and its error log."""
        files = (self._output, self.folder / "error.log")
        return "\n".join(file.read_text("utf-8", "replace") for file in files if file.exists())

    def lines(self) -> list[dict[str, Any]]:
        """Its access log."""
        text = (self.folder / "access.json").read_text("utf-8", "replace")
        return [json.loads(line) for line in text.splitlines()]


def places(folder: Path) -> dict[str, Any]:
    """Where an nginx of the tests has its files, and who it is."""
    (folder / "temp").mkdir(parents=True, exist_ok=True)
    return {
        "user": pwd.getpwuid(os.getuid()).pw_name, "pid": str(folder / "pid"), "error_log": str(folder / "error.log"),
        "access_log": str(folder / "access.json"), "lease_dir": str(folder / "lease"), "temp_dir": str(folder / "temp"),
    }  # fmt: skip


def options(site: Site, folder: Path, **more: Any) -> Options:
    """What the generator has to be told for an nginx of the tests, beside `gateway.toml`."""
    base = Options(
        listen=f"127.0.0.1:{site.port}",
        redirect_port=0,
        certificate=str(site.folder / "tls" / "server.pem"),
        key=str(site.folder / "tls" / "server.key"),
        client_ca=str(site.devices.file),
        stapling="off",
        worker_processes="1",
        worker_connections=1024,
        files=0,
    )
    return msgspec.structs.replace(base, **places(folder), **more)


@contextlib.contextmanager
def with_nginx(site: Site, **more: Any) -> Iterator[Nginx]:
    """Run one before a site that has started."""
    folder = site.folder / "nginx"
    text = render(load_config(site.config, os.environ), options(site, folder, **more))
    with Nginx(folder, text, site.port) as running:
        yield running


FOLLOWED: Final = (
    SERVER
    + """\
access_log = "nginx/access.json"
access_log_state = "state/nginx-log.json"
status_socket = "run/status.sock"
"""
)
"""The same, with nginx's access log taken into the gateway's, so that there are leases."""
