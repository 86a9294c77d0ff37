"""The processes of a run: started together, and all ended with it, whatever happened."""

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 8.0
LOOPBACK: Final = "127.0.0.1"
_TMPFS: Final = next((path for path in (Path("/dev/shm"),) if path.is_dir()), None)  # noqa: S108  we make a folder in it
_PR_SET_PDEATHSIG: Final = 1


class BenchError(Exception):
    """The run can't go on: what it would print would not be what it says."""


class NotMeasuredError(Exception):
    """This row can't be had here; the reason is printed in its place."""


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.create_server((LOOPBACK, 0)) as probe:
        return int(probe.getsockname()[1])


def raise_file_limit() -> int:
    """Allow this process and its children as many open files as the system lets them; return how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _die_with_parent() -> None:
    """Let the kernel end this child when the bench dies without a chance to (prctl(2))."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Children:
    """Long-lived processes. What they say goes to a file each in `folder`."""

    def __init__(self, folder: Path, in_memory: Path) -> None:
        self.folder: Final = folder
        self.in_memory: Final = in_memory
        """A folder that is on no disk, where the system has one (tmpfs)."""
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str] | None = None, talk: bool = False
    ) -> "subprocess.Popen[bytes]":
        """Start one. With `talk` its standard input and output are pipes to us."""
        said = self.said_file(name)
        with said.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is ours: we end them in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509  no threads run here yet that could hold a lock
            )
        self._running.append((name, process))
        return process

    def python(self, name: str, module: str, *arguments: str, talk: bool = False) -> "subprocess.Popen[bytes]":
        """Start a module of the bench."""
        return self.start(name, [sys.executable, "-m", module, *arguments], talk=talk)

    def cpu_seconds(self, names: Sequence[str]) -> float:
        """Return how much CPU time processes of these names have had, and those that they started (proc_pid_stat(5))."""
        return sum(_cpu_seconds(process.pid) for name, process in self._running if name in names)

    def said_file(self, name: str) -> Path:
        """Where a process's words go."""
        return self.folder / f"{name}.said"

    async def ready(self, name: str, process: "subprocess.Popen[bytes]", address: int | Path) -> None:
        """Wait until something accepts connections at a port of loopback, or at a unix socket."""
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{name} did not start:\n{self.said_file(name).read_text('utf-8', 'replace')[-2000:]}")
            await asyncio.sleep(0.02)

    def stop(self, process: "subprocess.Popen[bytes]") -> None:
        """End one in order; by force when it does not."""
        self._end([process])
        self._running = [(name, other) for name, other in self._running if other is not process]

    def stop_all(self) -> None:
        """End all of them, the newest first."""
        self._end([process for _, process in reversed(self._running)])
        self._running.clear()

    @staticmethod
    def _end(processes: "list[subprocess.Popen[bytes]]") -> None:
        for process in processes:
            if process.stdin is not None:
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.close()
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _cpu_seconds(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(") ")[2].split()
    started = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK") + sum(_cpu_seconds(int(child)) for child in started)


def _accepts(address: int | Path) -> bool:
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with socket.socket(family) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect((LOOPBACK, address) if isinstance(address, int) else str(address))
        except OSError:
            return False
    return True


@contextlib.asynccontextmanager
async def children(folder: Path) -> AsyncIterator[Children]:
    """Yield a set of processes that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="gw-bench-", dir=_TMPFS) as name:
        every = Children(folder, Path(name))
        try:
            yield every
        finally:
            every.stop_all()


async def run_tool(*command: str) -> str:
    """Run a program to its end and return what it printed; it is ended with us. BenchError when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise BenchError(f"{command[0]} failed ({process.returncode}): {err.decode('utf-8', 'replace')[-2000:]}")
    return out.decode("utf-8", "replace")


class Talk:
    """Questions and answers with one of our own processes: a JSON line each way, one at a time."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    async def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        if self._process.stdin is None:
            raise BenchError("this process was not started to be talked with")
        self._process.stdin.write(json.dumps({"do": do, **more}).encode() + b"\n")
        self._process.stdin.flush()
        return await self.heard()

    async def heard(self) -> dict[str, Any]:
        """Wait for the next line."""
        if self._process.stdout is None:
            raise BenchError("this process was not started to be talked with")
        line = await asyncio.to_thread(self._process.stdout.readline)
        if not line:
            raise BenchError("a process of the bench has ended; see its words")
        answer: dict[str, Any] = json.loads(line)
        return answer
