"""`gateway demo` as a stranger runs it: a process of its own, started from a folder where it has nothing to write."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pyotp

from tests.support.ports import free_port

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
PERIOD: Final = 30

_RECORDER: Final = '''\
"""Notes every path that this process opens for writing, makes, renames or removes."""
import os, sys
_to = os.open(os.environ["WRITES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_busy = False
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_DIRECTORY
_CHANGING = {
    "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "sqlite3.connect",
}

def _note(event, arguments):
    global _busy
    if _busy or not (event in _CHANGING or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING)):
        return
    _busy = True
    try:
        paths = arguments[:2] if event in {"os.rename", "os.link", "os.symlink"} else arguments[:1]
        for path in paths:
            if isinstance(path, (str, bytes, os.PathLike)) and os.path.isabs(path):
                os.write(_to, os.fsencode(path) + b"\\n")
    finally:
        _busy = False

sys.addaudithook(_note)
'''

_WITH_POLICIES: Final = """\
import sys
from collections.abc import Iterator
from pathlib import Path
import gateway.demo.run
from gateway.cli import main
gateway.demo.run.POLICIES, gateway.demo.run.TEMPLATE = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
sys.exit(main(sys.argv[1:]))
"""
_TEMPLATE: Final = Path(__file__).parents[2] / "gateway" / "demo" / "gateway.toml.in"
_DATABASE: Final = 'database = "policies.sqlite3"\n'


class Shown(msgspec.Struct, frozen=True):
    """The ready file, of which the tests read this much."""

    urls: dict[str, str]
    people: list[dict[str, Any]]
    log_dir: str
    config: str
    ca: str = ""
    p12: str = ""
    p12_password: str = ""
    client_certificate: str = ""
    client_key: str = ""


class Demo:
    """One data directory and the process that serves it; may be stopped and started again."""

    def __init__(self, folder: Path, *, tls: bool = False, policies: Path | None = None, recorded: bool = False) -> None:
        """`policies`: a bundle that is followed where it lies, instead of the repository's in a database. `recorded`: note every
        path that is written to.
        """
        self.data: Final = folder / "data"
        self.elsewhere: Final = folder / "elsewhere"
        self.ready_file: Final = folder / "ready.json"
        self.port: Final = free_port()
        self._output: Final = folder / "output"
        self._writes: Final = folder / "writes"
        self._tls = tls
        self._policies = policies
        self._recorded = recorded
        self._process: subprocess.Popen[bytes] | None = None
        self._spent: dict[str, int] = {}
        self.shown = Shown(urls={}, people=[], log_dir="", config="")
        self.keys: Final[dict[str, dict[str, Any]]] = {}
        """What people's security keys hold, by login: kept by the tests between two visits."""
        for name in ("", "home", "tmp", "cwd"):
            (self.elsewhere / name).mkdir(parents=True, exist_ok=True)

    # ---- running

    def start(self) -> None:
        """Start, and wait for the ready file."""
        arguments = ["demo", "--port", str(self.port), "--data-dir", str(self.data), "--ready-file", str(self.ready_file)]
        if self._tls:
            arguments.append("--tls")
        command = [str(gateway_command())]
        if self._policies is not None:
            text = _TEMPLATE.read_text("utf-8")
            assert text.count(_DATABASE) == 1
            template = self.data.with_name("gateway.toml.in")
            template.write_text(text.replace(_DATABASE, ""), "utf-8")
            command = [sys.executable, "-c", _WITH_POLICIES, str(self._policies), str(template)]
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [*command, *arguments],
                cwd=self.elsewhere / "cwd",
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.ready_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"gateway demo did not start:\n{self.output()}")
            time.sleep(0.05)
        self.shown = msgspec.json.decode(self.ready_file.read_bytes(), type=Shown)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Stop it, and assert what the issue promises of its end: clean, quiet, nothing left outside its data directory."""
        process, self._process = self._process, None
        assert process is not None, "the demo does not run"
        assert process.poll() is None, f"the demo ended by itself with {process.returncode}:\n{self.output()}"
        process.send_signal(number)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{number.name} did not end the demo in {STOP_SECONDS:g} s:\n{self.output()}") from None
        output = self.output()
        assert code == 0, f"{number.name} ended the demo with {code}:\n{output}"
        assert "Traceback" not in output, output
        assert " ERROR " not in output, output
        assert " CRITICAL " not in output, output
        assert not self.ready_file.exists(), "the ready file is still there"
        left = [str(path) for path in self.elsewhere.rglob("*") if not path.is_dir()]
        assert left == [], f"written outside the data directory: {left}"
        assert self.written_outside() == set()

    def end(self) -> None:
        """Stop it if it still runs: for the end of a test that may have failed half-way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def output(self) -> str:
        """What it has printed so far."""
        return self._output.read_text("utf-8", "replace")

    def written_outside(self) -> set[str]:
        """Paths outside its data directory that it wrote to, made, renamed or removed, but for the ready file's."""
        if not self._recorded:
            return set()
        noted = {Path(line) for line in self._writes.read_text("utf-8").splitlines()}
        assert any(path.is_relative_to(self.data) for path in noted), "nothing was recorded"
        allowed = {self.ready_file, self.ready_file.with_name(f"{self.ready_file.name}.part"), Path(os.devnull)}
        return {str(path) for path in noted if not path.is_relative_to(self.data) and path not in allowed}

    # ---- people

    @property
    def urls(self) -> dict[str, str]:
        """Origins by name: portal, ehr, imaging, id, console."""
        return self.shown.urls

    def password(self, login: str) -> str:
        """A person's password."""
        return str(self._person(login)["password"])

    def code(self, login: str) -> str:
        """A one-time code that was not used yet. Each counts once: the third within half a minute has to wait."""
        step = max(self._spent.get(login, -1) + 1, int(time.time() // PERIOD))
        while step > int(time.time() // PERIOD) + 1:  # one step of drift is allowed either way
            time.sleep(0.2)
        self._spent[login] = step
        return pyotp.TOTP(str(self._person(login)["totp_secret"])).at(step * PERIOD)

    def printed_code(self, login: str) -> str:
        """The code that `gateway demo --code` prints: what a stranger without an authenticator app types."""
        done = self.command("demo", "--code", login, "--data-dir", str(self.data))
        assert done.returncode == 0, done.stderr
        self._spent[login] = int(time.time() // PERIOD)
        return done.stdout

    def _person(self, login: str) -> dict[str, Any]:
        return next(person for person in self.shown.people if person["name"] == login)

    # ---- the command line

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `gateway` command to its end."""
        return subprocess.run(
            [str(gateway_command()), *arguments],
            cwd=self.elsewhere / "cwd",
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def verify(self, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `gateway audit verify` on its log, or on a copy."""
        return self.command("audit", "verify", str(folder or self.shown.log_dir))

    def log(self, *filters: str) -> list[dict[str, Any]]:
        """Its log by `gateway audit export`: a decision has how its request ended in `completion`."""
        done = self.command("audit", "export", self.shown.log_dir, "--format", "jsonl", *filters)
        assert done.returncode == 0, done.stderr
        rows = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
        return [{**row["record"], "completion": row["completion"]} for row in rows]

    # ------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("XDG_", "PYTHON"))}
        environment |= {
            "HOME": str(self.elsewhere / "home"),
            "TMPDIR": str(self.elsewhere / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if self._recorded:
            hook = self._writes.with_name("hook")
            hook.mkdir(exist_ok=True)
            (hook / "sitecustomize.py").write_text(_RECORDER, "utf-8")
            environment |= {"PYTHONPATH": str(hook), "WRITES": str(self._writes)}
        return environment


@contextlib.contextmanager
def running_demo(folder: Path, *, tls: bool = False, recorded: bool = False) -> Iterator[Demo]:
    """A demo that serves meanwhile. At the end it is stopped, and what is promised of that asserted, unless the test failed."""
    demo = Demo(folder, tls=tls, recorded=recorded)
    try:
        demo.start()
        yield demo
        demo.stop()
    finally:
        demo.end()


def gateway_command() -> Path:
    """The installed command of this very environment."""
    found = Path(sys.executable).with_name("gateway")
    assert found.exists(), f"{found} is missing: run `make setup-test`"
    return found
