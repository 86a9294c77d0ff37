"""What the portal's pages share: their parts, small replies, events."""

import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from gateway.domain.cookies import ARRIVALS_COOKIE, BINDING_COOKIE, DEVICE_COOKIE, SESSION_COOKIE, own_cookie
from gateway.domain.identity import Handle, Session
from gateway.domain.record import Actor, EventName, EventRecord, Source
from gateway.domain.refusal import Refusal
from gateway.domain.request import Limits, Request
from gateway.domain.route import App
from gateway.domain.target import parse_target
from gateway.emergency.service import Emergencies
from gateway.grants.office import GrantOffice
from gateway.kernel.clock import Clock
from gateway.kernel.i18n import LANGUAGE_COOKIE, Language
from gateway.kernel.ids import new_id, new_token
from gateway.kernel.secret import Secret
from gateway.kernel.web import page_headers
from gateway.pipeline.considered import Considered
from gateway.pipeline.records import actor_of, printable, source_of, timestamp
from gateway.ports import AssertionSigner, AuditLog, DeviceRegistry, Missing, OneTime, PostureSource, SessionStore
from gateway.present.help_desk import HelpDesk
from gateway.present.mapper import DONE_PATH
from gateway.present.pages import Pages, language_of
from gateway.rp.client import OidcClient
from gateway.rp.flows import Flows
from gateway.rp.verified import Acceptance

logger = logging.getLogger(__name__)

YEAR_SECONDS: Final = 365 * 86_400
MAX_FORM: Final = 16_384
MAX_PARAMETERS: Final = 32
MAX_RETURN: Final = 256
ARRIVALS_SECONDS: Final = 30
MINTED_SECONDS: Final = 60
_MADE: Final = re.compile(r"[0-9a-f]{1,12}")
LIMITS: Final = Limits()


class Origins(msgspec.Struct, frozen=True, kw_only=True):
    """How hosts are reached from a browser."""

    scheme: str
    port: int

    def of(self, host: str) -> str:
        """Return the origin of a host (RFC 6454), without the default port."""
        default = {"http": 80, "https": 443}[self.scheme]
        return f"{self.scheme}://{host}" if self.port == default else f"{self.scheme}://{host}:{self.port}"


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the portal's pages are made with."""

    sessions: SessionStore
    one_time: OneTime
    flows: Flows
    provider: OidcClient
    devices: DeviceRegistry
    posture: PostureSource
    log: AuditLog
    signer: AssertionSigner
    pages: Pages
    clock: Clock
    origins: Origins
    portal_host: str
    apps: tuple[App, ...]
    account_url: str
    """Where a person manages factors at the provider; empty when unknown."""
    roles_claim: str
    verified_claims: Acceptance | None = None
    """Which `verified_claims` of the provider count as an identity proofing; None: none, and they are not asked for."""
    idle_seconds: int
    absolute_seconds: int
    enrolment: Literal["self-service", "officer-approval"]
    zone: ZoneInfo
    """The hospital's time zone, of the times that are shown."""
    emergencies: Emergencies | None = None
    """Break-glass; None where there is none."""
    grants: GrantOffice | None = None
    """Where grants are asked for; None where there is no database for them."""
    help_desk: HelpDesk = HelpDesk()
    """Who is told only to ask it."""
    consider: Callable[[Request, Handle], Awaitable[Considered | None]] | None = None
    """What policies would say to a request (`Pipeline.consider`); there is no break-glass without it."""

    @property
    def portal(self) -> str:
        """The portal's origin."""
        return self.origins.of(self.portal_host)


class Exchange:
    """One request to one of our own pages."""

    def __init__(self, parts: Parts, request: Request, http: web.BaseRequest) -> None:
        self.parts: Final = parts
        self.request: Final = request
        self.http: Final = http
        self.query: Final = _query(request.query)
        self.language: Final[Language] = language_of(request.headers, request.query)
        self.cookies: Final[list[str]] = []
        """Set-Cookie values of the reply."""
        self._binding: str | None = None
        self._seen: Handle | None = None

    # ---- reading

    def one(self, name: str) -> str | None:
        """A query parameter's only value; a duplicated parameter counts as absent (first-or-last confusion)."""
        values = [value for key, value in self.query if key == name]
        return values[0] if len(values) == 1 else None

    def doubled(self, name: str) -> bool:
        """True when a query parameter was given more than once: somebody means two things at once."""
        return sum(key == name for key, _ in self.query) > 1

    async def form(self) -> dict[str, str]:
        """The urlencoded body, at most 16 KiB, duplicates refused. Raises `Stop` otherwise."""
        kind = (self.request.header("content-type") or "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Stop("flow.expired", 415)
        body = b""
        async for chunk in self.http.content.iter_chunked(4096):
            body += chunk
            if len(body) > MAX_FORM:
                raise Stop("flow.expired", 413)
        try:
            pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=32)
        except ValueError as error:
            raise Stop("flow.expired", 400) from error
        form = dict(pairs)
        if len(form) != len(pairs):
            raise Stop("flow.expired", 400)
        return form

    async def refused_return(self, wanted: str) -> web.Response:
        """Say that `wanted` is no place to go to. The log gets its path only: a query may hold a code, or what was looked for."""
        path = re.split(r"[?#]|%3f|%23", wanted, maxsplit=1, flags=re.IGNORECASE)[0]
        return await self.refuse("flow.return", 400, "/", event="return.refused", detail={"rd": printable(path, MAX_RETURN)})

    async def handle(self) -> Handle | None:
        """The live session behind this host's cookie."""
        found = await self._resolved()
        self._seen = None if isinstance(found, Missing) else found
        return self._seen

    async def ended(self) -> bool:
        """True when this host's cookie stands for a session that was ended or ran out, as far as the store still knows."""
        found = await self._resolved()
        return isinstance(found, Missing) and found.why != "unknown"

    async def _resolved(self) -> Handle | Missing:
        token = own_cookie(self.request.headers, SESSION_COOKIE)
        if not token:
            return Missing(why="unknown")
        return await self.parts.sessions.resolve(token, self.request.host, self.parts.clock.now())

    def same_origin(self) -> bool:
        """True when a browser says that this very host's page sent the request (no header: not a browser we serve)."""
        origin = self.request.header("origin")
        if origin is not None:
            return origin == self.parts.origins.of(self.request.host)
        return self.request.header("sec-fetch-site") == "same-origin"

    def returning_to(self, wanted: str) -> str | None:
        """Return `wanted` when it is a canonical origin-form target of this host: the only kind of place that people are sent to.

        Our own pages are no place to come back to, but for the one that says that a step is done.
        """
        parsed = parse_target(wanted, max_length=LIMITS.target_length, max_segments=LIMITS.segments)
        if isinstance(parsed, Refusal) or (parsed.segments[0] == ".gateway" and wanted != DONE_PATH):
            return None
        return wanted

    # ---- cookies

    def binding(self) -> str:
        """This browser's binding value at this host; made once and then kept, so that no cookies pile up. It ends with when it
        was made.
        """
        if self._binding is None:
            found = own_cookie(self.request.headers, BINDING_COOKIE)
            self._binding = found or f"{new_token()}.{int(self.parts.clock.now()):x}"
            if not found:
                self.set_cookie(BINDING_COOKIE, self._binding)
        return self._binding

    def minted(self) -> bool:
        """Whether that cookie is so new that a response to another tab may still put another in its place."""
        made = self.binding().rpartition(".")[2]
        now = self.parts.clock.now()
        return bool(_MADE.fullmatch(made)) and 0 <= now - int(made, 16) <= MINTED_SECONDS

    def set_cookie(self, name: str, value: str, max_age: int | None = None) -> None:
        """Set one of our cookies; without `max_age` it ends with the browser."""
        age = "" if max_age is None else f"; Max-Age={max_age}"
        self.cookies.append(f"{name}={value}; Path=/; Secure; HttpOnly; SameSite=Lax{age}")

    def arrivals(self) -> int:
        """How often in a row this browser came back from a sign-in to this host and had no session; by its own count."""
        found = own_cookie(self.request.headers, ARRIVALS_COOKIE) or ""
        return int(found) if found in {"1", "2", "3"} else 0

    def count_arrivals(self, count: int) -> None:
        """Remember that number for a while; 0 forgets it."""
        if count or self.arrivals():
            self.set_cookie(ARRIVALS_COOKIE, str(count), ARRIVALS_SECONDS if count else 0)

    def keep_language(self) -> None:
        """Remember the language where the address says one. Not a secret, so without our prefix: the apps may read it."""
        if self.one("lang") == self.language:
            self.cookies.append(f"{LANGUAGE_COOKIE}={self.language}; Path=/; SameSite=Lax; Max-Age={YEAR_SECONDS}")

    def set_session(self, token: Secret) -> None:
        """Give this host its handle."""
        self.set_cookie(SESSION_COOKIE, token.reveal())

    def forget_session(self) -> None:
        """Take this host's handle away."""
        self.set_cookie(SESSION_COOKIE, "", 0)

    def set_device(self, token: str) -> None:
        """Give this browser its device secret (Chromium keeps cookies for 400 days at most)."""
        self.set_cookie(DEVICE_COOKIE, token, YEAR_SECONDS)

    # ---- replying

    def page(self, template: str, status: int = 200, form_origins: Sequence[str] = (), **values: Any) -> web.Response:
        """Render one of our pages."""
        body = self.parts.pages.render(template, self.language, **{"switch": "", "emergency": self.emergency(), **values})
        reply = web.Response(status=status, body=body, content_type="text/html", charset="utf-8")
        for name, value in page_headers(*form_origins):
            reply.headers[name] = value
        self.keep_language()
        return self.finish(reply)

    def emergency(self) -> dict[str, str] | None:
        """What our pages say of the break-glass of the session, where its handle was looked at; None without one."""
        found = self._seen.emergency(self.parts.clock.now()) if self._seen is not None else None
        if found is None:
            return None
        until = datetime.fromtimestamp(found.until, self.parts.zone).strftime("%H:%M")
        here = self.request.host == self.parts.portal_host
        return {"id": found.id, "until": until, "patient": found.patient, "end": "/.gateway/emergency/end" if here else ""}

    def redirect(self, location: str) -> web.Response:
        """Go elsewhere with a GET."""
        return self.finish(web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"}))

    def json(self, value: Mapping[str, object], status: int = 200) -> web.Response:
        """Answer our own script."""
        body = msgspec.json.encode(value)
        reply = web.Response(status=status, body=body, content_type="application/json")
        reply.headers["Cache-Control"] = "no-store"
        return self.finish(reply)

    async def refuse(
        self,
        key: str,
        status: int,
        retry: str = "",
        *,
        event: EventName = "page.refused",
        session: Session | None = None,
        target: str = "",
        detail: Mapping[str, str] | None = None,
    ) -> web.Response:
        """Record a refusal and say why; the page's reference is the event's id. `retry` is where to begin again."""
        why = {"why": key} if detail is None else detail
        target = target or f"{self.request.host}{self.request.path}"
        reference = await self.event(event, "failure", session=session, target=target, detail=why)
        return self.stop(key, status, retry, reference)

    def stop(self, key: str, status: int, retry: str = "", reference: str = "") -> web.Response:
        """Say why a flow can't go on, without a record of its own."""
        return self.page("flow.html", status, key=key, retry=retry, decision=reference or new_id("evt"))

    def finish(self, reply: web.Response) -> web.Response:
        """Put the cookies on the reply."""
        for cookie in self.cookies:
            reply.headers.add("Set-Cookie", cookie)
        return reply

    # ---- events

    async def event(
        self,
        event: EventName,
        outcome: Literal["success", "failure"],
        *,
        session: Session | None = None,
        target: str = "",
        detail: Mapping[str, str] | None = None,
    ) -> str:
        """Record an event and return its id. Raises AuditError: then the door answers Unavailable."""
        parts = self.parts
        actor = (
            actor_of(Handle(session=session, host=self.request.host, generation=session.generation), session.device_id or "")
            if session is not None
            else Actor()
        )
        source: Source = source_of(self.request.connection, "portal")
        event_id = new_id("evt")
        lifted = session.emergency if session is not None else None
        if lifted is not None and lifted.until > parts.clock.now():
            detail = {**(detail or {}), "break_glass": lifted.id}
        await parts.log.append(
            EventRecord(
                id=event_id,
                at=timestamp(parts.clock.now()),
                event=event,
                outcome=outcome,
                actor=actor,
                source=source,
                target=target,
                detail={key: value[:512] for key, value in (detail or {}).items()},
            )
        )
        return event_id


def _query(text: str) -> list[tuple[str, str]]:
    """The parameters of an address; none of them where there are more than any page of ours has."""
    try:
        return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return []


class Stop(Exception):  # noqa: N818  it ends a flow with a page, it is not an error of ours
    """Ends a request to one of our pages with a record and a page that says why."""

    def __init__(self, key: str, status: int, retry: str = "") -> None:
        super().__init__(key)
        self.key = key
        self.status = status
        self.retry = retry
