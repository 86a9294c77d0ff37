"""As many requests as a server takes: one round of wrk, one thread, connections that are kept."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from bench.children import BenchError, run_tool

CONNECTIONS: Final = 32
_RATE: Final = re.compile(r"^Requests/sec:\s+([\d.]+)", re.MULTILINE)
_LATENCY: Final = re.compile(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)
_TOTAL: Final = re.compile(r"^\s+(\d+) requests in", re.MULTILINE)
_WRONG: Final = re.compile(r"^\s*(Non-2xx.*|Socket errors:.*)$", re.MULTILINE)
_SECONDS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for, again and again."""

    url: str
    headers: tuple[tuple[str, str], ...] = ()
    script: str = ""
    """A file in Lua that chooses each request (`various`); empty: the same one for ever."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one round gave."""

    rate: float
    """Requests a second, all answered 2xx."""
    total: int
    p50: float
    """Seconds, at full load: mostly queueing."""
    p99: float


async def press(target: Target, seconds: int) -> Round:
    """Press a server for some seconds. BenchError when anything but 2xx came back: a rate of errors means nothing."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "--timeout", "5s"]
    for name, value in target.headers:
        command += ["-H", f"{name}: {value}"]
    if target.script:
        command += ["-s", target.script]
    return parse_wrk(await run_tool(*command, target.url), target.url)


_VARIOUS: Final = """\
local requests, number = {{}}, 0
init = function()
  for line in io.lines("{file}") do
    local path, cookie = line:match("^(%S+) (.+)$")
    wrk.headers["Cookie"] = cookie
    requests[#requests + 1] = wrk.format("GET", path)
  end
end
request = function()
  number = number % #requests + 1
  return requests[number]
end
"""


def various(file: Path, requests: Sequence[tuple[str, str]]) -> str:
    """Write a script that sends these requests (path and Cookie field) in turn; return its place, beside `file`."""
    file.write_text("".join(f"{path} {cookie}\n" for path, cookie in requests), "utf-8")
    script = file.with_suffix(".lua")
    script.write_text(_VARIOUS.format(file=file), "utf-8")
    return str(script)


def parse_wrk(text: str, url: str) -> Round:
    """Read what wrk 4 prints with `--latency`."""
    wrong = _WRONG.search(text)
    if wrong is not None:
        raise BenchError(f"{url}: {wrong[1]}")
    rate, total = _RATE.search(text), _TOTAL.search(text)
    latency = {found[1]: float(found[2]) * _SECONDS[found[3]] for found in _LATENCY.finditer(text)}
    if rate is None or total is None or set(latency) != {"50", "99"}:
        raise BenchError(f"{url}: wrk said something unknown:\n{text}")
    if not int(total[1]):
        raise BenchError(f"{url}: nothing was answered")
    return Round(rate=float(rate[1]), total=int(total[1]), p50=latency["50"], p99=latency["99"])
