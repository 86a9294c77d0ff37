"""Decisions by themselves, without HTTP: `python -m bench.decisions [--quick]`.

CPU time of the deciding thread, the least of many short rounds: what else runs on the machine makes numbers larger, never
smaller. The world is real: disk log, SQLite ledger, sessions in memory, the policies of `policies/` unless said otherwise.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Self
from zoneinfo import ZoneInfo

import cedarpy
from joserfc.jwk import ECKey

from bench.watches import measure_streams
from gateway.audit.writer import DiskAuditLog
from gateway.domain.connection import Connection
from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.decision import Allow
from gateway.domain.identity import AuthEvent, Identity, Proofing, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Device
from gateway.domain.request import RawRequest, Request, parse_request
from gateway.domain.route import App, Match, Route, RouteTable
from gateway.kernel.clock import SystemClock
from gateway.kernel.ids import new_id
from gateway.pipeline import Pipeline
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.outgoing import Outgoing
from gateway.policy.bundle import load_bundle
from gateway.policy.cache import AnswerCache
from gateway.policy.compile import SCHEMA_FILE, compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import (
    AuthenticationFacts,
    DeviceFacts,
    Facts,
    NetworkFacts,
    PrincipalFacts,
    ProofingFacts,
    TargetFacts,
    TimeFacts,
)
from gateway.policy.remedy import Outcomes
from gateway.policy.schema import SCHEMA, cedar_entities, cedar_request, cedar_schema
from gateway.posture.observe import RegistryPosture
from gateway.posture.registry import SqliteDevices
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions

ROOT: Final = Path(__file__).parents[1]
HOST: Final = "ehr.localhost"
SIZES: Final = (10, 100, 1000)


async def measure(quick: bool) -> dict[str, Any]:
    """Return every number: microseconds of CPU, and ratios within this run."""
    rounds = 8 if quick else 30
    found: dict[str, Any] = {"one_decision_us": await _one_decision(rounds)}
    found["by_routes_us"] = {str(count): await _routes(count, rounds) for count in SIZES}
    found["by_policies_us"] = {str(count): _policies(_bundle(count), rounds) for count in SIZES}
    found["open_streams"] = await _streams()
    found["starter_policies_us"] = _policies(load_bundle(ROOT / "policies"), rounds)
    cached = [row["cached"] for row in found["by_policies_us"].values()]
    decided = [row["decide"] for row in found["by_routes_us"].values()]
    lookup = [row["route_lookup"] for row in found["by_routes_us"].values()]
    worst = max(row["uncached_vs_cedarpy"] for row in (*found["by_policies_us"].values(), found["starter_policies_us"]))
    found["targets"] = {
        "cached_flat_in_policies": {"value": max(cached) / min(cached), "at_most": 1.3},
        "decide_flat_in_routes": {"value": max(decided) / min(decided), "at_most": 1.3},
        "route_lookup_flat": {"value": max(lookup) / min(lookup), "at_most": 1.3},
        "uncached_vs_cedarpy": {"value": worst, "at_most": 1.3},
    }
    return found


# ---------------------------------------------------------------- one decision


async def _one_decision(rounds: int) -> dict[str, float]:
    """A physician's repeated GET of a chart: the whole, and its three parts as a door calls them."""
    async with _World(_starter_routes()) as world:
        request = world.request("/patients/p001")
        allow = await world.allowed(request)
        clock = world.clock

        async def whole() -> None:
            decision = await world.allowed(request)
            world.pipeline.outgoing(decision)
            world.pipeline.completed(decision, status=200, bytes_in=0, bytes_out=9, started=clock.monotonic())

        async def decide() -> None:
            await world.pipeline.decide(request, "bench")

        async def outgoing() -> None:
            world.pipeline.outgoing(allow)

        async def completed() -> None:
            world.pipeline.completed(allow, status=200, bytes_in=0, bytes_out=9, started=clock.monotonic())

        return {
            "whole": await _least(whole, rounds),
            "decide": await _least(decide, rounds),
            "outgoing": await _least(outgoing, rounds),
            "completed": await _least(completed, rounds),
        }


async def _routes(count: int, rounds: int) -> dict[str, float]:
    """With so many routes under one prefix; asked for is the last one."""
    routes = tuple(
        Route(id=f"ehr.r{n}", app="ehr", methods=("GET",), pattern=("api", "v1", f"things{n}", "{x}"), action="read", patient="x")
        for n in range(count)
    )
    async with _World(routes) as world:
        target = f"/api/v1/things{count - 1}/p001"
        request = world.request(target)
        table = RouteTable([_app(routes)])

        async def decide() -> None:
            await world.pipeline.decide(request, "bench")

        async def lookup() -> None:
            if not isinstance(table.find(request), Match):
                raise TypeError("no route")

        return {"decide": await _least(decide, rounds), "route_lookup": await _least(lookup, rounds)}


async def _streams(sessions: int = 50, each: int = 100) -> dict[str, Any]:
    """5,000 streams, dealt out to 50 sessions."""
    async with _World(_starter_routes()) as world:
        made = [await world.sign_in(number) for number in range(sessions)]
        groups = []
        for _, token in made:
            request = world.request("/patients/p001", token)
            groups.append([await world.allowed(request) for _ in range(each)])

        async def end(number: int) -> None:
            await world.sessions.revoke(made[number][0])

        return await measure_streams(world.pipeline, groups, end)


class _World:
    """A pipeline on real parts, one person, one device."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.clock = SystemClock()
        self._routes = routes
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")

    async def __aenter__(self) -> Self:
        folder, clock, now = Path(self._folder.name), self.clock, int(self.clock.now())
        app = _app(self._routes)
        self._log = await DiskAuditLog.open(folder / "log", key_file=folder / "log.pem")
        self._devices = SqliteDevices(folder / "devices.sqlite3")
        await self._devices.add(
            Device(
                id="dev_1", label="ward", status="active", ownership="hospital", compliance="compliant", compliance_at=now,
                compliance_source="bench", registered_at=now, registered_by="usr_1", cookie_hash="0" * 64,
            )
        )  # fmt: skip
        self.sessions = MemorySessions(clock=clock)
        signer = FileSigner(ECKey.generate_key("P-256", private=True))
        self.pipeline = Pipeline(
            routes=RouteTable([app]), sessions=self.sessions, posture=RegistryPosture(self._devices, clock=clock),
            policies=_Fixed(load_bundle(ROOT / "policies")), log=self._log,
            outgoing=Outgoing(issuer="https://portal.localhost", signer=signer, apps=[app]),
            zones=Zones({"ward": ["10.0.0.0/8"]}), calendar=Calendar(ZoneInfo("Asia/Tokyo")), clock=clock, outcomes=Outcomes(),
        )  # fmt: skip
        _, self._token = await self.sign_in(1)
        return self

    async def sign_in(self, number: int) -> tuple[str, str]:
        """Return the session's id and its token."""
        now = int(self.clock.now())
        proofing = Proofing(level=3, method="jpki_sign", verified_at=now, expires_at=None, verifier="bench", transaction="t")
        session = Session(
            id=new_id("ses"),
            identity=Identity(
                subject=f"usr_{number}", login="dr.sato", name="佐藤 恵", roles=("physician",), organization="demo",
                proofing=proofing,
            ),
            events=(AuthEvent(kind="pwd", at=now, generation=1), AuthEvent(kind="otp", at=now, generation=1)), generation=1,
            created_at=now, last_seen_at=now, expires_at=now + 36_000, idle_seconds=900, device_id="dev_1",
            device_evidence="cookie",
        )  # fmt: skip
        return session.id, (await self.sessions.create(session, HOST)).reveal()

    async def __aexit__(self, *error: object) -> None:
        await self._devices.close()
        await self._log.close()
        self._folder.cleanup()

    def request(self, target: str, token: str = "") -> Request:
        token = token or self._token
        headers = (("Host", HOST), ("User-Agent", "x" * 100), ("Accept", "*/*"), ("Cookie", f"{SESSION_COOKIE}={token}"))
        connection = Connection(peer_address="10.1.2.3", tls_version="TLSv1.3", server_name=HOST)
        request = parse_request(RawRequest(method="GET", target=target, headers=headers, connection=connection))
        if not isinstance(request, Request):
            raise TypeError(f"refused: {request}")
        return request

    async def allowed(self, request: Request) -> Allow:
        decision = await self.pipeline.decide(request, "bench")
        if not isinstance(decision, Allow):
            raise TypeError(f"not allowed: {decision}")
        return decision


class _Fixed:
    def __init__(self, bundle: Bundle) -> None:
        self.current = bundle
        self.trial: Bundle | None = None


def _app(routes: tuple[Route, ...]) -> App:
    return App(id="ehr", host=HOST, upstream="http://127.0.0.1:9", title_ja="電子カルテ", title_en="EHR", routes=routes)


def _starter_routes() -> tuple[Route, ...]:
    places = (("home", ("",)), ("patients", ("patients",)), ("chart", ("patients", "{p}")), ("static", ("static", "**")))
    return tuple(
        Route(
            id=f"ehr.{name}", app="ehr", methods=("GET",), pattern=pattern, action="read", patient="p" if "{p}" in pattern else ""
        )
        for name, pattern in places
    )


# ---------------------------------------------------------------- policies


def _bundle(count: int) -> Bundle:
    """So many policies, each for a role of its own; the last one permits."""
    texts = [
        f'@id("p{n}")\n@title_ja("題")\n@title_en("Title")\n'
        f'permit (principal, action == Action::"read", resource in App::"ehr")\n'
        f'when {{ principal in Role::"r{n}" && context.authentication.factors >= 2 && context.proofing.level >= 2 &&'
        " context.device.registered && context.device.compliant };\n"
        for n in range(count)
    ]
    return compile_bundle({SCHEMA_FILE: cedar_schema().encode(), "a.cedar": "".join(texts).encode()}, "bench")


def _policies(bundle: Bundle, rounds: int) -> dict[str, float]:
    """One answer: remembered, not remembered, and Cedar's own call with everything parsed beforehand, on the same input."""
    facts = _facts(f"r{len(bundle.policies) - 1}")
    cache = AnswerCache(bundle)
    policies = cedarpy.PolicySet.from_str("\n".join(policy.cedar for policy in bundle.policies))
    entities, request = cedar_entities(facts.principal, facts.target), cedar_request(facts)
    if not cache.evaluate(facts).allowed or not cedarpy.is_authorized(request, policies, entities, SCHEMA).allowed:
        raise TypeError("this bundle does not allow what is measured")

    def remembered() -> None:
        cache.evaluate(facts)

    def asked() -> None:
        bundle.evaluate(facts)

    def cedar() -> None:
        cedarpy.is_authorized(request, policies, entities, SCHEMA)

    def cedar_without_schema() -> None:
        cedarpy.is_authorized(request, policies, entities)

    found = _interleaved((remembered, asked, cedar, cedar_without_schema), rounds)
    return {
        "cached": found[0],
        "uncached": found[1],
        "cedarpy_is_authorized": found[2],
        "cedarpy_is_authorized_without_schema": found[3],
        "uncached_vs_cedarpy": found[1] / found[2],
        "uncached_vs_cedarpy_without_schema": found[1] / found[3],
    }


def _facts(role: str) -> Facts:
    return Facts(
        principal=PrincipalFacts(id="usr_1", roles=("physician", role), organization="demo"),
        authentication=AuthenticationFacts(
            kinds=("otp", "pwd"), factors=2, phishing_resistant=False, age_seconds=60, key_touch_age_seconds=None
        ),
        proofing=ProofingFacts(level=3, method="jpki_sign", age_days=3),
        device=DeviceFacts(
            registered=True, compliant=True, evidence="cookie", evidence_strength=1, ownership="hospital",
            compliance_age_seconds=60,
        ),
        network=NetworkFacts(zone="ward", tls=True),
        time=TimeFacts(hour=10, weekday=2, date="2026-11-24", day=20261124, shifts=("day",)),
        situation="normal",
        grants=(),
        target=TargetFacts(app="ehr", route="ehr.chart", action="read", sensitivity="normal", patient="p001"),
    )  # fmt: skip


# ---------------------------------------------------------------- measuring

_ROUND_SECONDS: Final = 0.004


async def _least(step: Callable[[], Awaitable[None]], rounds: int) -> float:
    """The least CPU time of one step over so many short rounds, in microseconds."""
    await step()
    started = time.thread_time()
    await step()
    times = max(3, int(_ROUND_SECONDS / max(time.thread_time() - started, 1e-6)))
    found = []
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(times):
            await step()
        found.append((time.thread_time() - started) / times)
        await asyncio.sleep(0)
    return min(found) * 1e6


def _interleaved(steps: tuple[Callable[[], None], ...], rounds: int) -> list[float]:
    """The median of each step, one round of each after the other, in microseconds."""
    found: list[list[float]] = [[] for _ in steps]
    times = []
    for step in steps:
        started = time.thread_time()
        step()
        times.append(max(3, int(_ROUND_SECONDS / max(time.thread_time() - started, 1e-6))))
    for _ in range(rounds):
        for step, count, values in zip(steps, times, found, strict=True):
            started = time.thread_time()
            for _ in range(count):
                step()
            values.append((time.thread_time() - started) / count)
    return [statistics.median(values) * 1e6 for values in found]


def main() -> None:
    """Measure and print."""
    print(json.dumps(asyncio.run(measure("--quick" in sys.argv[1:])), indent=2))


if __name__ == "__main__":
    main()
