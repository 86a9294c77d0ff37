"""A small world for tests of the pipeline: real parts in memory, one app, one person, and knobs to break things."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
from joserfc.jwk import ECKey

from gateway.audit.memory import MemoryAuditLog
from gateway.domain.connection import Connection
from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.identity import AuthEvent, Handle, Identity, Proofing, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Device, Posture
from gateway.domain.record import CompletionRecord, DecisionRecord, Record
from gateway.domain.refusal import Refusal
from gateway.domain.request import Limits, RawRequest, Request, parse_request
from gateway.domain.route import App, Route, RouteTable
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.pipeline import Pipeline
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.outgoing import Outgoing
from gateway.policy.bundle import load_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import Outcomes
from gateway.ports import Missing, PostureSource, SessionChange
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions

POLICIES = Path(__file__).parents[2] / "policies"
HOST = "ehr.localhost"


def routes() -> tuple[Route, ...]:
    def route(name: str, method: str, path: str, action: str = "read", **more: object) -> Route:
        pattern = tuple(path.removeprefix("/").split("/"))
        return msgspec.convert(
            {"id": f"ehr.{name}", "app": "ehr", "methods": (method,), "pattern": pattern, "action": action, **more}, Route
        )

    return (
        route("home", "GET", "/"),
        route("patients", "GET", "/patients"),
        route("chart", "GET", "/patients/{patient}", patient="patient"),
        route("vitals", "GET", "/patients/{patient}/vitals/stream", websocket=True, patient="patient"),
        route("notices", "GET", "/notices/stream"),
        route("upload", "POST", "/patients/{patient}/documents", "write", patient="patient"),
        route("prescribe", "POST", "/patients/{patient}/prescriptions", "write", sensitivity="high", patient="patient"),
    )


def ehr(upstream: str = "http://127.0.0.1:9") -> App:
    return App(
        id="ehr", host=HOST, upstream=upstream, title_ja="電子カルテ", title_en="EHR", routes=routes(),
        headers=(("X-Remote-User", "login"), ("X-Remote-Name", "name")),
    )  # fmt: skip


class FixedPosture:
    """Shows what it was told to; broken when told so."""

    def __init__(self) -> None:
        self.posture = Posture()
        self.broken = False
        self.connections: list[Connection] = []
        """What it was shown, for tests of what a door believes."""

    async def observe(self, connection: Connection, handle: Handle) -> Posture:
        if self.broken:
            raise StoreUnavailable("the registry does not answer", where="device_registry")
        self.connections.append(connection)
        return self.posture


class BreakableSessions:
    """Real memory sessions that can be told to break."""

    def __init__(self, inner: MemorySessions) -> None:
        self.inner = inner
        self.broken = False
        self.bug = False

    async def resolve(self, token: str, host: str, now: float) -> Handle | Missing:
        if self.bug:
            raise ZeroDivisionError
        if self.broken:
            raise StoreUnavailable("the store does not answer", where="session_store")
        return await self.inner.resolve(token, host, now)

    async def get(self, session_id: str, now: float) -> Session | None:
        if self.broken:
            raise StoreUnavailable("the store does not answer", where="session_store")
        return await self.inner.get(session_id, now)

    def changes(self) -> AsyncIterator[SessionChange]:
        return self.inner.changes()


class Policies:
    def __init__(self, bundle: Bundle) -> None:
        self.current = bundle
        self.trial: Bundle | None = None


class World:
    """Everything that a decision needs."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.sessions = MemorySessions(clock=self.clock)
        self.breakable = BreakableSessions(self.sessions)
        self.posture = FixedPosture()
        self.log = MemoryAuditLog()
        self.policies = Policies(load_bundle(POLICIES))
        self.signer = FileSigner(ECKey.generate_key("P-256", private=True))
        self.app = ehr()
        self.pipeline = self.make_pipeline(self.posture)

    def make_pipeline(self, posture: PostureSource) -> Pipeline:
        return Pipeline(
            routes=RouteTable([self.app]),
            sessions=self.breakable,  # type: ignore[arg-type]  # only what a decision needs
            posture=posture,
            policies=self.policies,
            log=self.log,
            outgoing=Outgoing(issuer="http://portal.localhost:8080", signer=self.signer, apps=[self.app]),
            zones=Zones({}),
            calendar=Calendar(ZoneInfo("Asia/Tokyo")),
            clock=self.clock,
            outcomes=Outcomes(),
        )

    @property
    def now(self) -> int:
        return int(self.clock.now())

    def device(self, **changes: object) -> Device:
        device = Device(
            id="dev_1", label="ward", status="active", ownership="hospital", compliance="compliant", compliance_at=self.now,
            compliance_source="test", registered_at=self.now, registered_by="usr_1",
        )  # fmt: skip
        return msgspec.structs.replace(device, **changes)

    def good_device(self) -> None:
        self.posture.posture = Posture(device=self.device(), evidence="key")

    def proofing(self) -> Proofing:
        return Proofing(level=3, method="m", verified_at=self.now, expires_at=None, verifier="v", transaction="t")

    async def sign_in(
        self,
        *kinds: str,
        roles: tuple[str, ...] = ("physician",),
        proofed: bool = True,
        host: str = HOST,
        device: str | None = None,
    ) -> tuple[Session, str]:
        events = tuple(
            AuthEvent(kind=kind, at=self.now, phishing_resistant=kind == "fido2", generation=1)  # type: ignore[arg-type]  # literals
            for kind in kinds or ("pwd", "otp")
        )
        identity = Identity(
            subject="usr_1", login="dr.sato", name="佐藤 恵", roles=roles, organization="demo-hospital",
            proofing=self.proofing() if proofed else None,
        )  # fmt: skip
        session = Session(
            id=new_id("ses"), identity=identity, events=events, generation=1, created_at=self.now, last_seen_at=self.now,
            expires_at=self.now + 36_000, idle_seconds=900, device_id=device, device_evidence="cookie" if device else "none",
        )  # fmt: skip
        return session, (await self.sessions.create(session, host)).reveal()

    def request(self, target: str = "/patients", method: str = "GET", cookie: str | None = None, **headers: str) -> Request:
        lines = [("Host", HOST)]
        if cookie is not None:
            lines.append(("Cookie", f"{SESSION_COOKIE}={cookie}"))
        lines += [(name.replace("_", "-"), value) for name, value in headers.items()]
        raw = RawRequest(method=method, target=target, headers=tuple(lines), connection=Connection(peer_address="192.0.2.1"))
        request = parse_request(raw, Limits())
        assert not isinstance(request, Refusal), request
        return request

    def records(self) -> list[Record]:
        return [record for _, record in self.log.recent(1000)]

    def decisions(self) -> list[DecisionRecord]:
        return [record for record in self.records() if isinstance(record, DecisionRecord)]

    def completions(self) -> list[CompletionRecord]:
        return [record for record in self.records() if isinstance(record, CompletionRecord)]


def stepped_up(now: int) -> Callable[[Session], Session]:
    """A change that adds a touch of the security key."""

    def change(session: Session) -> Session:
        generation = session.generation + 1
        event = AuthEvent(kind="fido2", at=now, phishing_resistant=True, generation=generation)
        return msgspec.structs.replace(session, events=(*session.events, event), generation=generation)

    return change
