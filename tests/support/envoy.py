"""A real Envoy before a gateway, with the configuration that `gateway front-config envoy` makes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

from gateway.config import load_config
from gateway.frontconf.envoy import Options, render
from tests.support.fronts_site import Site
from tests.support.served import START_SECONDS, STOP_SECONDS

Transport = Literal["http", "grpc"]
ENVOY: Final = shutil.which("envoy", path=str(Path(sys.executable).parent))

_UID: Final = os.getuid()
_BY_SOCKET: Final = f"""\
[server]
public_port = {{port}}
[server.front]
socket = "run/front.sock"
trusted_uids = [{_UID}]
tells_tls = true
certificate_field = "x-forwarded-tls-client-cert"
[[doors]]
kind = "envoy-{{kind}}"
socket = "run/envoy.sock"
trusted_uids = [{_UID}]
tells_tls = true
certificate_field = "x-forwarded-tls-client-cert"
"""


class Envoy:
    """One Envoy process. `options` of its configuration are for the files of a `Site`."""

    def __init__(self, site: Site, *, text: str | None = None, **changes: Any) -> None:
        """`text`: a configuration, when it is not to be the generated one."""
        self.site: Final = site
        self.port: Final = site.port
        values: dict[str, Any] = {
            "address": "127.0.0.1",
            "certificate": str(site.folder / "tls" / "server.pem"),
            "key": str(site.folder / "tls" / "server.key"),
            "client_ca": str(site.devices.file),
            **changes,
        }
        self.options: Final = Options(**values)
        self.text: Final = text or render(load_config(site.config, os.environ), self.options)
        self.config: Final = site.folder / "envoy.json"
        self._output: Final = site.folder / "envoy.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, stdout: int | None = None) -> None:
        """Start it, and wait until it listens. `stdout`: a descriptor for its standard output, in place of `output`."""
        assert ENVOY is not None, "make setup-test installs it"
        self.config.write_text(self.text, "utf-8")
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [ENVOY, "-c", str(self.config), "--concurrency", "1", "--disable-hot-restart", "-l", "warning"],
                stdin=subprocess.DEVNULL, stdout=output if stdout is None else stdout, stderr=output,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not _listens(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"Envoy did not start:\n{self.output()}")
            time.sleep(0.02)

    def pids(self) -> frozenset[int]:
        assert self._process is not None
        return frozenset((self._process.pid,))

    def output(self) -> str:
        return self._output.read_text("utf-8", "replace") if self._output.exists() else ""

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def edited(text: str, old: str, new: str) -> str:
    """A configuration with one mistake in it."""
    assert old in text
    changed = text.replace(old, new)
    json.loads(changed)
    return changed


def by_socket(transport: Transport) -> str:
    """`[server]` and a door on unix sockets."""
    return _BY_SOCKET.replace("{kind}", transport)


@contextlib.contextmanager
def with_envoy(site: Site, **options: Any) -> Iterator[Envoy]:
    """Run one before a site."""
    running = Envoy(site, **options)
    try:
        running.start()
        yield running
    finally:
        running.stop()
