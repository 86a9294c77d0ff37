"""The gateway under test: what `gateway serve` runs, in a process of its own, with a line to the bench for what has no page.

It answers on standard output, a JSON line each: `clone` and `fill` make sessions like the one that signed in, `revoke` ends them,
`profile` and `profiled` say where the time went, `memory` what is in use.
"""

import argparse
import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from bench.children import BenchError
from bench.sampler import Sampler
from gateway.app import Gateway, open_gateway
from gateway.config import load_config
from gateway.domain.identity import Session
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret


class _Answers:
    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._sampler = Sampler()

    async def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        match asked["do"]:
            case "clone":
                return await self._clone(asked["count"], asked["host"])
            case "fill":
                return await self._fill(asked["count"], asked["host"])
            case "revoke":
                return await self._revoke(asked["ids"])
            case "profile":
                self._sampler.start()
                return {}
            case "profiled":
                return self._sampler.stop()
            case "memory":
                gc.collect()
                return {"rss": resident()}
            case other:
                raise BenchError(f"nobody knows what {other} is")

    async def _pattern(self) -> Session:
        """The session of the person who signed in."""
        sessions = await self._gateway.sessions.list(time.time())
        return next(session for session in reversed(sessions) if session.device_id)

    async def _clone(self, count: int, host: str) -> dict[str, Any]:
        pattern = await self._pattern()
        made: list[tuple[str, str]] = []
        for _ in range(count):
            session = msgspec.structs.replace(pattern, id=new_id("ses"), created_at=int(time.time()))
            made.append((session.id, (await self._gateway.sessions.create(session, host)).reveal()))
        return {"made": made}

    async def _fill(self, count: int, host: str) -> dict[str, Any]:
        """Sessions of as many different people: nothing in them is shared, as if each had come from a sign-in."""
        pattern = msgspec.json.encode(await self._pattern())
        began = time.monotonic()
        for number in range(count):
            session = msgspec.json.decode(pattern, type=Session)
            identity = msgspec.structs.replace(session.identity, subject=new_id("usr"), login=f"person.{number}")
            new = msgspec.structs.replace(session, id=new_id("ses"), identity=identity, provider_session=new_id("sid"))
            await self._gateway.sessions.create(new, host)
            if not number % 1000:
                await asyncio.sleep(0)
        return {"seconds": time.monotonic() - began}

    async def _revoke(self, ids: list[str]) -> dict[str, Any]:
        at = time.monotonic()
        ended = [await self._gateway.sessions.revoke(session_id) for session_id in ids]
        return {"at": at, "ended": sum(ended)}


def resident() -> int:
    """Return this process's memory in use, bytes."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise BenchError("/proc tells no VmRSS")


async def _run(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config, os.environ)
    async with open_gateway(config) as gateway:
        if gateway.provider is None:
            raise BenchError("the provider of a run is embedded")
        await gateway.provider.seed_user(
            login="dr.sato",
            name="佐藤 恵",
            roles=("physician",),
            organization="demo-hospital",
            birth_date="1984-05-12",
            kana="サトウ メグミ",
            password=Secret(arguments.password),
            totp_secret=Secret(arguments.totp),
        )
        answers = _Answers(gateway)
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _say({"ready": True})
        while line := await reader.readline():
            _say(await answers.answer(json.loads(line)))


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("--password", required=True)
    parser.add_argument("--totp", required=True)
    asyncio.run(_run(parser.parse_args()))


if __name__ == "__main__":
    main()
