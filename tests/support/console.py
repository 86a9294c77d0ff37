"""A console over real ports: sessions and log in memory, devices in SQLite, the project's own policies."""

import contextlib
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from gateway.audit.memory import MemoryAuditLog
from gateway.audit.query import Filters
from gateway.console import ConsoleParts, InForce, create_console
from gateway.console.parts import Format
from gateway.domain.identity import AuthEvent, Identity, Proofing, Session
from gateway.domain.posture import Device
from gateway.domain.record import Actor, DecisionRecord, EventRecord, Source
from gateway.kernel.assertion import Verifier
from gateway.kernel.clock import Clock
from gateway.kernel.i18n import Language
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import Front
from gateway.policy.bundle import load_bundle
from gateway.posture.registry import SqliteDevices
from gateway.sessions.memory import MemorySessions
from tests.support.assertions import PORTAL, TestSigner

POLICIES = Path(__file__).parents[2] / "policies"
ORIGIN = "http://console.localhost:8080"
OFFICER = {"sub": "usr_yamamoto", "login": "sec.yamamoto", "name": "山本 凛", "roles": ["security_officer"], "aud": "console"}
AUDITOR = {"sub": "usr_nakamura", "login": "audit.nakamura", "name": "中村 律", "roles": ["auditor"], "aud": "console"}


class World:
    """The console's surroundings, and what to fill them with."""

    def __init__(self, folder: Path, clock: Clock, origin: str = ORIGIN) -> None:
        self.clock = clock
        self.signer = TestSigner()
        self.sessions = MemorySessions(clock=clock)
        self.devices = SqliteDevices(folder / "devices.db")
        self.audit = MemoryAuditLog()
        self.in_force = InForce(version="", loaded_at=0, policies=())
        self.exported: list[tuple[Format, Filters, Language]] = []
        self.export_steps: Iterator[bytes] | None = None
        self.origin = origin
        self._number = itertools.count(1)

    def load_policies(self) -> None:
        bundle = load_bundle(POLICIES)
        self.in_force = InForce(version=bundle.version, loaded_at=self.clock.now() - 3600, policies=bundle.policies)

    def application(self, **changes: Any) -> web.Application:
        verify = Verifier(self.signer.jwks, issuer=PORTAL, audience="console", clock=self.clock)
        parts: dict[str, Any] = {
            "front": Front(origin=self.origin, portal=PORTAL, form_origins=("http://id.localhost:8080",)),
            "verify": verify,
            "clock": self.clock,
            "sessions": self.sessions,
            "devices": self.devices,
            "audit": self.audit,
            "feed": self.audit,
            "policies": lambda: self.in_force,
            "export": self.export,
        }
        return create_console(ConsoleParts(**(parts | changes)))

    def export(self, form: Format, filters: Filters, language: Language) -> Iterator[bytes]:
        self.exported.append((form, filters, language))
        return self.export_steps if self.export_steps is not None else iter([b"first\n", b"second\n"])

    def headers(self, person: dict[str, Any], **changes: Any) -> dict[str, str]:
        signed = self.signer.headers(self.clock.now(), **(person | changes))
        return {**signed, "Origin": self.origin, "X-Forwarded-For": "192.0.2.7", "Accept-Language": "ja"}

    async def session(self, **changes: Any) -> Session:
        """Store a session of Dr. Sato."""
        now = int(self.clock.now())
        identity = Identity(
            subject="usr_sato",
            login="dr.sato",
            name="佐藤 恵",
            roles=("physician",),
            proofing=Proofing(
                level=3, method="simulated", verified_at=now - 86_400, expires_at=None, verifier="demo", transaction="t1"
            ),
        )
        values: dict[str, Any] = {
            "id": new_id("ses"),
            "identity": msgspec.structs.replace(identity, **changes.pop("identity", {})),
            "events": (AuthEvent(kind="pwd", at=now - 60, generation=1), AuthEvent(kind="otp", at=now - 50, generation=1)),
            "generation": 1,
            "created_at": now,
            "last_seen_at": now,
            "expires_at": now + 28_800,
            "idle_seconds": 3600,
            "address": "192.0.2.10",
            "user_agent": "Mozilla/5.0 (X11; Linux x86_64) Chromium/156",
        }
        session = Session(**(values | changes))
        await self.sessions.create(session, "portal.localhost:8080")
        return session

    async def device(self, **changes: Any) -> Device:
        """Add a device to the ledger."""
        now, number = int(self.clock.now()), next(self._number)
        values: dict[str, Any] = {
            "id": f"dev_{number:032x}",
            "label": f"3東病棟 端末{number}",
            "status": "active",
            "ownership": "hospital",
            "compliance": "compliant",
            "compliance_at": now - 7200,
            "compliance_source": "self-attested",
            "registered_at": now - 86_400,
            "registered_by": "usr_sato",
            "cookie_hash": f"{number:064x}",
        }
        device = Device(**(values | changes))
        await self.devices.add(device)
        return device

    async def decision(self, **changes: Any) -> int:
        """Write a decision to the log."""
        values: dict[str, Any] = {
            "id": new_id("dec"),
            "at": "2027-01-15T08:00:00.000Z",
            "outcome": "allow",
            "reason": "",
            "actor": Actor(
                subject="usr_sato", login="dr.sato", name="佐藤 恵", roles=("physician",), session="ses_1", device="dev_1"
            ),
            "source": Source(address="192.0.2.10", door="proxy"),
            "host": "ehr.localhost:8080",
            "method": "GET",
            "path": "/patients/P1001",
            "app": "ehr",
            "route": "ehr.chart",
            "action": "read",
            "patient": "P1001",
            "policies": ("ehr-read-clinical",),
        }
        return await self.audit.append(DecisionRecord(**(values | changes)))

    def events(self, name: str = "") -> list[EventRecord]:
        """The log's events, or those of one name."""
        return [record for record in self.audit.records if isinstance(record, EventRecord) and name in {"", record.event}]

    async def close(self) -> None:
        await self.sessions.close()
        await self.devices.close()


@contextlib.asynccontextmanager
async def opened(folder: Path, clock: Clock, origin: str = ORIGIN) -> AsyncIterator[World]:
    """A world with nothing in it."""
    world = World(folder, clock, origin)
    try:
        yield world
    finally:
        await world.close()
