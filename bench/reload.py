"""A thousand policies exchanged under load, again and again: how late answers become meanwhile, and whether one of them is wrong.

Two bundles take turns in the gateway's folder. They differ in one policy, which forbids one route. The load asks for another one,
at a constant rate; a second client asks for the one that is forbidden and allowed in turn, and remembers what it was told when.
"""

import asyncio
import http.client
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Final, Literal

import msgspec

from bench.children import LOOPBACK, BenchError, run_tool
from bench.guarded import APP, CHART, SYNCED
from bench.rate import quantile
from bench.stand import Guarded
from gateway.policy.bundle import load_bundle

POLICIES: Final = 1000
RATE: Final = 200
ROUND_SECONDS: Final = 8.0
EVERY_SECONDS: Final = 2.5
"""Between two exchanges; a round has three."""
TURN_SECONDS: Final = 20.0
"""How long a bundle may take until it counts."""
_PAUSE: Final = 0.01
_OK: Final = 200
_FORBIDDEN: Final = 403

_FILLER: Final = """\
@id("bench-{number}")
@title_ja("測定用の方針{number}")
@title_en("For measuring {number}")
permit (principal in Role::"bench-{number}", action == Action::"read", resource in App::"ehr")
when {{ context.authentication.factors >= 2 && context.device.registered && context.network.zone == "bench-{number}" }};
"""
_CLOSED: Final = """\
@id("bench-closed")
@title_ja("測定用: この経路を閉じます")
@title_en("For measuring: this route is closed")
forbid (principal, action, resource == Route::"ehr.synced");
"""

State = Literal["open", "closed"]


class Told(msgspec.Struct, frozen=True):
    """What the second client was told."""

    asked: float
    answered: float
    status: int


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    p99_before: list[float]
    p99_during: list[float]
    """Of each round, in seconds."""
    exchanges: int
    asked: int
    """Answers to the second client."""
    refused: int
    """Neither allowed nor forbidden: an error, or no answer."""
    wrong: int
    """By the bundle that was no longer in force."""
    takes: list[float]
    """From the exchange in the folder to the first answer by the new bundle, seconds."""


async def measure_reload(guarded: Guarded, rounds: int) -> Found:
    """Exchange the policies of a running gateway. BenchError when one is never taken over."""
    bundles = _bundles(guarded)
    watch = Watch(guarded)
    asking = asyncio.create_task(watch.ask())
    takes: list[float] = []
    before: list[float] = []
    during: list[float] = []
    try:
        await _exchange(guarded, bundles, "open", watch, takes)
        takes.clear()
        state: State = "open"
        for _ in range(rounds):
            before.append((await _paced(guarded))["p99"])
            load = asyncio.create_task(_paced(guarded))
            while not load.done():
                state = "closed" if state == "open" else "open"
                await _exchange(guarded, bundles, state, watch, takes)
                await asyncio.wait([load], timeout=EVERY_SECONDS)
            during.append((await load)["p99"])
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return Found(
        p99_before=before,
        p99_during=during,
        exchanges=len(takes),
        asked=len(watch.told),
        refused=sum(told.status not in {_OK, _FORBIDDEN} for told in watch.told),
        wrong=watch.wrong(),
        takes=takes,
    )


def _bundles(guarded: Guarded) -> dict[State, Path]:
    """Make both bundles beside the gateway's folder."""
    folder = guarded.site.folder
    starter = load_bundle(folder / "policies")
    texts = [_FILLER.format(number=number) for number in range(POLICIES - len(starter.policies) - len(starter.templates) - 1)]
    made: dict[State, Path] = {"open": folder / "bundle-open", "closed": folder / "bundle-closed"}
    for state, place in made.items():
        shutil.copytree(folder / "policies", place)
        for number in range(0, len(texts), 200):
            (place / f"bench{number:04}.cedar").write_text("\n".join(texts[number : number + 200]), "utf-8")
        if state == "closed":
            (place / "closed.cedar").write_text(_CLOSED, "utf-8")
    return made


async def _exchange(guarded: Guarded, bundles: dict[State, Path], state: State, watch: "Watch", takes: list[float]) -> None:
    """Put a bundle in the folder's place, and wait until the second client is told so."""
    folder = guarded.site.folder
    new = folder / "policies.new"
    shutil.copytree(bundles[state], new)
    old = folder / "policies.old"
    (folder / "policies").rename(old)
    new.rename(folder / "policies")
    shutil.rmtree(old)
    began = time.monotonic()
    wanted = _OK if state == "open" else _FORBIDDEN
    while not (watch.told and watch.told[-1].status == wanted and watch.told[-1].asked >= began):
        if time.monotonic() - began > TURN_SECONDS:
            raise BenchError(f"the bundle was not taken over within {TURN_SECONDS:.0f} s")
        await asyncio.sleep(_PAUSE)
    watch.turns.append((began, wanted))
    takes.append(watch.told[-1].answered - began)


async def _paced(guarded: Guarded) -> dict[str, float]:
    options = [part for name, value in guarded.headers(APP) for part in ("--header", f"{name}: {value}")]
    command = [sys.executable, "-m", "bench.rate", str(guarded.site.port), CHART, *options]
    found: dict[str, float] = json.loads(await run_tool(*command, "--rate", str(RATE), "--seconds", str(ROUND_SECONDS)))
    if found["count"] != round(RATE * ROUND_SECONDS):
        raise BenchError(f"{found['count']} answers under load")
    return found


class Watch:
    """The second client."""

    def __init__(self, guarded: Guarded) -> None:
        self._port = guarded.site.port
        self._headers = dict(guarded.headers(APP))
        self.told: list[Told] = []
        self.turns: list[tuple[float, int]] = []
        """Exchanges that were seen to count: when the folder had the bundle, and the status that it gives."""

    async def ask(self) -> None:
        """Ask until cancelled."""
        while True:
            self.told.append(await asyncio.to_thread(self._once))
            await asyncio.sleep(_PAUSE)

    def _once(self) -> Told:
        asked = time.monotonic()
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=10)
        try:
            connection.request("GET", SYNCED, headers=self._headers)
            reply = connection.getresponse()
            reply.read()
            status = reply.status
        except OSError:
            status = 0
        finally:
            connection.close()
        return Told(asked, time.monotonic(), status)

    def wrong(self) -> int:
        """Answers by a bundle after the first answer by its successor, and before the next exchange."""
        count = 0
        for number, (began, wanted) in enumerate(self.turns):
            until = self.turns[number + 1][0] if number + 1 < len(self.turns) else float("inf")
            inside = [told for told in self.told if began <= told.asked and told.answered < until]
            first = next((index for index, told in enumerate(inside) if told.status == wanted), len(inside))
            count += sum(told.status != wanted for told in inside[first:])
        return count


def cells(found: Found) -> list[list[str]]:
    """Return the table."""
    ms = 1000.0
    pairs = (("without", found.p99_before), ("with", found.p99_during))
    rows = [[f"{POLICIES:,} policies exchanged under {RATE} requests/s", "p99 ms"]]
    rows += [[f"{name} exchanges", f"{quantile(values, 0.5) * ms:.2f}"] for name, values in pairs]
    takes = f"{quantile(found.takes, 0.5):.1f} s, at most {max(found.takes):.1f} s"
    return [*rows, [f"{found.exchanges} exchanges; from the folder to the first answer by the new policies", takes]]
