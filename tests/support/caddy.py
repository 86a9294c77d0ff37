"""Debian's Caddy before a whole site, configured by `gateway.frontconf.caddy` and nothing else."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from gateway.config import load_config
from gateway.frontconf.caddy import Options, render
from tests.support.fronts_site import Site

START_SECONDS: Final = 20.0
SERVER: Final = f"""\
[server]
public_port = {{port}}
[server.front]
socket = "run/front.sock"
trusted_uids = [{os.getuid()}]
tells_tls = true
certificate_field = "client-cert"
[[doors]]
kind = "forward-auth"
socket = "run/forward-auth.sock"
trusted_uids = [{os.getuid()}]
tells_tls = true
certificate_field = "client-cert"
"""
"""The part of `gateway.toml` that makes room for a Caddy on this machine."""


class Caddy:
    """One Caddy with a Caddyfile. `start` and `stop`, or `with`."""

    def __init__(self, folder: Path, text: str, port: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder: Final = folder
        self.port: Final = port
        self.file: Final = folder / "Caddyfile"
        self.file.write_text(text, "utf-8")
        self._output: Final = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Caddy's commands on the file, to its end."""
        return subprocess.run(
            ["caddy", *arguments, "--config", str(self.file), "--adapter", "caddyfile"],
            env=self._environment(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    def formatted(self) -> str:
        """The Caddyfile as `caddy fmt` would write it."""
        done = subprocess.run(
            ["caddy", "fmt", str(self.file)], env=self._environment(), capture_output=True, text=True, check=False
        )
        return done.stdout

    def start(self) -> None:
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                ["caddy", "run", "--config", str(self.file), "--adapter", "caddyfile"],
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"caddy did not start:\n{self.output()}") from None
                time.sleep(0.05)

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
        return frozenset() if self._process is None or self._process.poll() is not None else frozenset({self._process.pid})

    def output(self) -> str:
        return self._output.read_text("utf-8", "replace") if self._output.exists() else ""

    def _environment(self) -> dict[str, str]:
        # It keeps certificates and a copy of its configuration at home.
        home = str(self.folder / "home")
        return {"PATH": os.environ["PATH"], "HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}


def before(site: Site, **options: Any) -> Caddy:
    """Make a Caddy before a site whose `[server]` part is `SERVER`; not started yet. `options` as in `Options`."""
    tls = site.folder / "tls"
    mine = Options(
        address="127.0.0.1",
        port=site.port,
        redirect_port=0,
        certificate=str(tls / "server.pem"),
        key=str(tls / "server.key"),
        client_ca=str(site.devices.file),
    )
    chosen = msgspec.structs.replace(mine, **options)
    text = render(load_config(site.config, os.environ), chosen)
    return Caddy(site.folder / f"caddy-{chosen.port}", text, chosen.port)


@contextlib.contextmanager
def with_caddy(site: Site, **options: Any) -> Iterator[Caddy]:
    """Run one before a site."""
    with before(site, **options) as running:
        yield running
