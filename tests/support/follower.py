"""Somebody who does what the denial page says: sessions, devices, proofings and grants change as the real flows change them.

Nothing here knows of hypotheses: what a step does is written down once more, from the flows (`gateway.doors.portal`), the
provider's bindings (docs/decisions/0020) and the ledgers.
"""

import tomllib
from functools import cache
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from gateway.audit.memory import MemoryAuditLog
from gateway.domain.connection import Connection
from gateway.domain.cookies import SESSION_COOKIE
from gateway.domain.decision import Decision, Deny
from gateway.domain.identity import AuthEvent, AuthKind, Emergency, Handle, Identity, Proofing, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Device, Posture
from gateway.domain.refusal import Refusal
from gateway.domain.request import Limits, RawRequest, Request, parse_request
from gateway.domain.route import App, Route, RouteTable
from gateway.doors.portal.device import _with_device
from gateway.doors.portal.signin import _step_up
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from gateway.pipeline import Pipeline
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.outgoing import Outgoing
from gateway.policy.evaluate import Bundle
from gateway.policy.remedy import CEREMONY_SECONDS, Enrolment, Outcomes
from gateway.policy.remedy import Proofing as Yield
from gateway.policy.steps import FRESH_SECONDS, STEP_SECONDS, WAIT_SECONDS
from gateway.ports import HospitalSituation
from gateway.posture.enrol import new_device
from gateway.posture.ledger import approve, set_compliance
from gateway.posture.observe import judge
from gateway.rp.keys import FileSigner
from gateway.sessions.memory import MemorySessions
from tests.support.policy import STARTER
from tests.support.world import Policies

NOW = 1_800_000_000
ROLES = (
    "physician", "resident", "nurse", "pharmacist", "technologist", "clerk", "external_reader", "vendor", "security_officer",
    "auditor",
)  # fmt: skip
LIKELY = ("physician", "physician", "resident", "nurse", "vendor", "security_officer", *ROLES)
METHODS = {"read": "GET", "write": "POST", "delete": "DELETE", "export": "PUT", "administer": "PATCH"}


@cache
def targets() -> list[dict[str, str]]:
    """What the starter bundle's cases ask for."""
    document = tomllib.loads((STARTER / "cases" / "bases.toml").read_text("utf-8"))
    return list(document["target"].values())


@cache
def apps() -> list[App]:
    """Applications with just those targets as their routes."""
    found: dict[str, list[Route]] = {}
    for target in targets():
        name = target["route"].replace(".", "-")
        pattern = (name, "{patient}") if target.get("patient") else (name,)
        found.setdefault(target["app"], []).append(
            msgspec.convert(
                {
                    "id": target["route"], "app": target["app"], "methods": (METHODS[target["action"]],), "pattern": pattern,
                    "action": target["action"], "sensitivity": target.get("sensitivity", "normal"),
                    "patient": "patient" if target.get("patient") else "",
                },
                Route,
            )
        )  # fmt: skip
    return [
        App(id=app, host=f"{app}.localhost", upstream="http://127.0.0.1:9", title_ja=app, title_en=app, routes=tuple(routes))
        for app, routes in found.items()
    ]


@cache
def _signer() -> FileSigner:
    return FileSigner(ECKey.generate_key("P-256", private=True))


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How somebody comes to the door."""

    roles: tuple[str, ...]
    organization: str
    kinds: tuple[tuple[AuthKind, int], ...]
    """What was proved, and how many seconds ago."""
    has_key: bool
    bound: tuple[AuthKind, ...]
    """Of which kinds the authenticators are bound to the proofing."""
    proofing: tuple[int, int, int | None] | None
    """Level, seconds since it was made, seconds until it ends."""
    device: str
    """`none`, `pending`, `blocked`, `active`, `not_compliant`."""
    evidence: str
    ownership: str
    compliance_age: int
    address: str
    at: int
    target: int
    situation: HospitalSituation
    outcomes: Outcomes


@st.composite
def starts(draw: st.DrawFn) -> Start:
    """Anybody, anywhere, at any time."""
    ages = st.one_of(st.integers(0, 400), st.integers(0, 30_000))
    kinds = draw(st.lists(st.tuples(st.sampled_from(get_args(AuthKind)), ages), min_size=1, max_size=3))
    has_key = draw(st.booleans())
    # Whose bound key is not at hand registers another one, which is bound to nothing: a page can't know that beforehand.
    return Start(
        roles=tuple(draw(st.lists(st.sampled_from(LIKELY), min_size=1, max_size=2, unique=True))),
        organization=draw(st.sampled_from(["demo-hospital", "other", ""])),
        kinds=tuple((kind, age) for kind, age in kinds if kind != "fido2" or has_key) or (("pwd", 60),),
        has_key=has_key,
        bound=draw(st.sampled_from([(), ("otp", "pwd"), *([("fido2",), ("fido2", "otp", "pwd")] if has_key else [])])),
        proofing=draw(
            st.none()
            | st.tuples(
                st.sampled_from([3, 3, 2, 1]),
                st.integers(0, 400 * 86_400),
                st.none() | st.integers(1, 8000) | st.integers(1, 10**8),
            )
        ),
        device=draw(st.sampled_from(["none", "none", "pending", "blocked", "active", "active", "not_compliant"])),
        evidence=draw(st.sampled_from(["cookie", "key"])),
        ownership=draw(st.sampled_from(["hospital", "personal", "vendor"])),
        compliance_age=draw(st.integers(0, 3600) | st.integers(0, 90 * 86_400)),
        address=draw(st.sampled_from(["10.1.0.9", "10.2.0.9", "198.51.100.7"])),
        at=NOW + draw(st.integers(0, 14 * 86_400)),
        target=draw(st.sampled_from(range(len(targets())))),
        situation=draw(st.sampled_from(["normal", "normal", "normal", "emergency"])),
        outcomes=draw(
            st.builds(
                Outcomes,
                enrolment=st.sampled_from([Enrolment(), Enrolment(approval=True), None]),
                proofing=st.sampled_from([Yield(), None, None, Yield(level=2, expires_in_days=30), Yield(binds=False)]),
                grants=st.booleans(),
                break_glass=st.sampled_from([True, True, False]),
            )
        ),
    )


class Follower:
    """One person at one gateway, with real parts but for where they are kept."""

    def __init__(self, bundle: Bundle, start: Start) -> None:
        self.start = start
        self.clock = ManualClock(start.at)
        self.sessions = MemorySessions(clock=self.clock)
        self.device: Device | None = None
        self.granted: set[str] = set()
        self.apps = apps()
        self.pipeline = Pipeline(
            routes=RouteTable(self.apps), sessions=self.sessions, posture=self, policies=Policies(bundle), log=MemoryAuditLog(),
            outgoing=Outgoing(issuer="http://portal.localhost", signer=_signer(), apps=self.apps),
            zones=Zones({"ward": ["10.1.0.0/16"], "office": ["10.2.0.0/16"]}),
            calendar=Calendar(ZoneInfo("Asia/Tokyo"), shifts={}), clock=self.clock, outcomes=start.outcomes, exceptional=self,
        )  # fmt: skip
        target = targets()[start.target]
        self.host = f"{target['app']}.localhost"
        self.method = METHODS[target["action"]]
        self.path = f"/{target['route'].replace('.', '-')}" + ("/p001" if target.get("patient") else "")
        self.token = ""
        self.session_id = ""

    # ---- what the gateway asks

    async def observe(self, connection: Connection, handle: Handle) -> Posture:
        return judge(handle=handle, certificate=None, by_certificate=None, by_session=self.device)

    def grants_of(self, subject: str, now: float) -> tuple[str, ...]:
        return tuple(sorted(self.granted))

    def situation(self, now: float) -> HospitalSituation:
        return self.start.situation

    def waiting_of(self, subject: str) -> tuple[str, ...]:
        return ()

    # ---- coming, and asking

    @property
    def now(self) -> int:
        return int(self.clock.now())

    async def come(self) -> None:
        start, now = self.start, self.now
        proofing = None
        if start.proofing is not None:
            level, age, left = start.proofing
            proofing = Proofing(
                level=level, method="in_person_ic", verified_at=now - age, expires_at=None if left is None else now + left,
                verifier="v", transaction="t0",
            )  # fmt: skip
        bound = tuple(sorted(start.bound)) if proofing is not None else ()
        identity = Identity(
            subject="usr_1", login="someone", name="誰か", roles=start.roles, organization=start.organization, proofing=proofing,
            bound_kinds=bound,
        )  # fmt: skip
        events = tuple(self.event(kind, now - age, 1, bound) for kind, age in start.kinds)
        if start.device != "none":
            self.device = self.made(active=start.device in {"active", "not_compliant"})
            state = {"pending": "pending", "blocked": "blocked"}.get(start.device, "active")
            compliance = "non_compliant" if start.device == "not_compliant" else "compliant"
            self.device = msgspec.structs.replace(
                self.device, status=state, compliance=compliance, compliance_at=now - start.compliance_age
            )
        session = Session(
            id=new_id("ses"), identity=identity, events=events, generation=1, created_at=now, last_seen_at=now,
            expires_at=now + 86_400, idle_seconds=80_000, device_id=self.device.id if self.device is not None else None,
            device_evidence=start.evidence if self.device is not None else "none",  # type: ignore[arg-type]  # one of them
        )  # fmt: skip
        self.session_id = session.id
        self.token = (await self.sessions.create(session, self.host)).reveal()

    async def ask(self) -> Decision:
        return await self.pipeline.decide(self.request(), "test")

    def request(self) -> Request:
        headers = (("Host", self.host), ("Cookie", f"{SESSION_COOKIE}={self.token}"))
        connection = Connection(peer_address=self.start.address)
        raw = RawRequest(method=self.method, target=self.path, headers=headers, connection=connection)
        request = parse_request(raw, Limits())
        assert not isinstance(request, Refusal), request
        return request

    # ---- doing what the page says

    async def do(self, step: str, denied: Deny, pace: float) -> None:
        """Do one step; `pace`: what part of the longest time it takes."""
        longest = WAIT_SECONDS if step == "register_device" and self._approval else STEP_SECONDS[step]  # type: ignore[index]
        seconds = round(longest * pace)
        await {
            "key_touch": self.key_touch, "second_factor": self.second_factor, "register_device": self.register_device,
            "device_compliance": self.device_compliance, "identity_proofing": self.identity_proofing, "grant": self.grant,
            "break_glass": self.break_glass,
        }[step](seconds, denied)  # fmt: skip

    @property
    def _approval(self) -> bool:
        enrolment = self.start.outcomes.enrolment
        return enrolment is not None and enrolment.approval

    async def session(self) -> Session:
        found = await self.sessions.get(self.session_id, self.clock.now())
        assert found is not None
        return found

    async def change(self, change: Any) -> None:
        token = await self.sessions.change(self.session_id, change, self.host)
        assert token is not None
        self.token = token.reveal()

    def event(self, kind: AuthKind, at: int, generation: int, bound: tuple[AuthKind, ...]) -> AuthEvent:
        return AuthEvent(
            kind=kind, at=at, phishing_resistant=kind == "fido2", generation=generation, bound=kind in bound,
            bound_generation=generation if kind in bound else 0,
        )  # fmt: skip

    async def proved(self, *kinds: AuthKind, identity: Identity | None = None) -> None:
        """Come back from the provider: its token tells of everything that was proved there, and what of it is bound."""
        session = await self.session()
        identity = identity or session.identity
        told = {(event.kind, event.at) for event in session.events} | {(kind, self.now) for kind in kinds}
        claims = {
            "auth_events": [
                {"kind": kind, "at": at, "phishing_resistant": kind == "fido2", "bound": kind in identity.bound_kinds}
                for kind, at in sorted(told, key=lambda one: one[1])
            ]
        }
        await self.change(_step_up(identity, "", claims, self.clock.now()))

    async def key_touch(self, seconds: int, denied: Deny) -> None:
        self.clock.advance(seconds)
        await self.proved("fido2")

    async def second_factor(self, seconds: int, denied: Deny) -> None:
        self.clock.advance(seconds)
        await self.proved(*await self._two())

    async def _two(self) -> tuple[AuthKind, ...]:
        """What the person has at hand of two factors: the key where that is what they use, else password and a code."""
        kinds = {event.kind for event in (await self.session()).events}
        if "fido2" in kinds:
            return ("fido2",)
        return ("pwd", "recovery" if "recovery" in kinds and "otp" not in kinds else "otp")

    def made(self, *, active: bool) -> Device:
        return new_device(
            device_id=new_id("dev"), label="ward", ownership=self.start.ownership,  # type: ignore[arg-type]  # one of them
            mode="self-service" if active else "officer-approval", attested=True, registered_by="usr_1", now=self.clock.now(),
            cookie=Secret("c" * 43), key_jwk="{}", certificate=None,
        )  # fmt: skip

    async def register_device(self, seconds: int, denied: Deny) -> None:
        if self._approval:
            self.device = self.made(active=False)
            await self.change(_with_device(self.device.id, "key"))
            self.clock.advance(seconds)
            self.device = approve(self.device, login="sec.yamamoto", now=self.clock.now())
            return
        self.clock.advance(seconds)
        self.device = self.made(active=True)
        await self.change(_with_device(self.device.id, "key"))

    async def device_compliance(self, seconds: int, denied: Deny) -> None:
        self.clock.advance(seconds)
        assert self.device is not None
        self.device = set_compliance(self.device, compliance="compliant", source="officer:sec.yamamoto", now=self.clock.now())

    async def identity_proofing(self, seconds: int, denied: Deny) -> None:
        """The ceremony: signed in lately or asked again; then bound is what that was."""
        yields = self.start.outcomes.proofing
        assert yields is not None
        session = await self.session()
        if max(event.at for event in session.events) < self.now - CEREMONY_SECONDS:
            await self.proved("pwd", "otp")
        fresh = {event.kind for event in (await self.session()).events if event.at >= self.now - CEREMONY_SECONDS}
        self.clock.advance(seconds)
        proofing = Proofing(
            level=yields.level, method=yields.method, verified_at=self.now, verifier="v", transaction=new_id("t"),
            expires_at=None if yields.expires_in_days is None else self.now + yields.expires_in_days * 86_400 + 3600,
        )  # fmt: skip
        bound = tuple(sorted(fresh)) if yields.binds else ()
        await self.proved(identity=msgspec.structs.replace(session.identity, proofing=proofing, bound_kinds=bound))

    async def grant(self, seconds: int, denied: Deny) -> None:
        """Asked for by the name that the page gives, and approved."""
        assert denied.grant
        self.clock.advance(seconds)
        self.granted.add(denied.grant)

    async def break_glass(self, seconds: int, denied: Deny) -> None:
        typing = min(seconds, FRESH_SECONDS)
        self.clock.advance(seconds - typing)
        session = await self.session()
        lately = {event.kind for event in session.events if event.at >= self.now - FRESH_SECONDS + typing}
        if not ("fido2" in lately or ("pwd" in lately and lately & {"otp", "recovery"})):
            await self.proved(*await self._two())
        self.clock.advance(typing)
        now = self.now

        def begin(session: Session) -> Session:
            emergency = Emergency(id=new_id("brk"), began_at=now, until=now + 3600, reason="critical", patient="p001")
            generation = session.generation + 1
            return msgspec.structs.replace(session, emergency=emergency, emergency_generation=generation, generation=generation)

        await self.change(begin)
