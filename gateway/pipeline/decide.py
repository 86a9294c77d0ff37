"""The one decision function behind every door.

Steps, each numbered above its code:

1. The request finds its route, once. No route, or not the one that the front will use: Refuse.
2. The session cookie of this host stands for a handle. None or dead: Challenge.
3. The device is what it can prove on this very request.
4. The facts are gathered: the closed set that policies can read.
5. The policy set in force answers; an evaluation error denies.
6. A Deny asks the same policy set what would let the person in: the remedy.
7. The decision is written to the log; where the action asks for it, synced. No record: Unavailable.

Fails closed: a store or log that does not answer, and any error that nobody expected, is Unavailable.
"""

import logging
from collections.abc import Coroutine
from typing import Any, Final, Literal, Protocol

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.cookies import SESSION_COOKIE, own_cookie
from gateway.domain.decision import Allow, Challenge, Decision, Deny, Refuse, Unavailable
from gateway.domain.identity import Handle, Proofing
from gateway.domain.network import Zones
from gateway.domain.posture import Posture
from gateway.domain.reason import (
    ChallengeReason,
    DenyReason,
    RefuseReason,
    RemedyStep,
    UnavailableReason,
    UpstreamProblem,
)
from gateway.domain.record import CompletionRecord
from gateway.domain.request import RawRequest, Refusal, Request
from gateway.domain.route import Match, RouteTable
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.considered import Considered
from gateway.pipeline.finder import Finder, Found
from gateway.pipeline.judge import Judge, Judged
from gateway.pipeline.outgoing import Outgoing
from gateway.pipeline.records import decision_record, source_of, timestamp
from gateway.pipeline.streams import Streams, StreamWatch
from gateway.policy.evaluate import Answer, Bundle
from gateway.policy.facts import Facts
from gateway.policy.remedy import Outcomes, Remedy
from gateway.ports import AuditLog, Exceptional, Missing, PostureSource, SessionStore

logger = logging.getLogger(__name__)

SYNCED_ACTIONS: Final = frozenset({"write", "delete", "export", "administer"})
_STORES: Final = frozenset({UnavailableReason.SESSION_STORE, UnavailableReason.DEVICE_REGISTRY})
"""A `StoreUnavailable` names its store in `where` with one of these; anything else counts as the session store."""
_MISSING: Final = {
    "unknown": ChallengeReason.COOKIE_UNKNOWN,
    "idle": ChallengeReason.SESSION_IDLE,
    "expired": ChallengeReason.SESSION_EXPIRED,
    "revoked": ChallengeReason.SESSION_REVOKED,
}


class PolicySource(Protocol):
    """Where the policy set in force is read, once a decision."""

    @property
    def current(self) -> Bundle:
        """The bundle in force; a decision keeps the one that it began with."""
        ...

    @property
    def trial(self) -> Bundle | None:
        """The bundle that is tried out: asked, recorded, never obeyed."""
        ...


class _Draft:
    """A decision together with what it was made from, on its way to the log."""

    __slots__ = ("decision", "judged", "match")

    def __init__(self, decision: Decision, match: Match | None = None, judged: Judged | None = None) -> None:
        self.decision = decision
        self.match = match
        self.judged = judged


class Pipeline:
    """Decides requests and keeps open streams under their decision."""

    def __init__(
        self,
        *,
        routes: RouteTable,
        sessions: SessionStore,
        posture: PostureSource,
        policies: PolicySource,
        log: AuditLog,
        outgoing: Outgoing,
        zones: Zones,
        calendar: Calendar,
        clock: Clock,
        outcomes: Outcomes,
        exceptional: Exceptional | None = None,
    ) -> None:
        """`outcomes`: what the steps of a remedy yield at this hospital."""
        self._finder = Finder(routes)
        self._sessions = sessions
        self._posture = posture
        self._policies = policies
        self._log = log
        self._outgoing = outgoing
        self._clock = clock
        self._outcomes = outcomes
        self._judge = Judge(policies.current, zones=zones, calendar=calendar, exceptional=exceptional)
        self.streams: Final = Streams(self.recheck, sessions, clock)

    # ------------------------------------------------------------------ deciding

    async def decide(self, request: Request, door: str) -> Decision:
        """Decide a canonical request and write the record. Never raises but for cancellation."""
        decision_id = new_id("dec")
        draft = await self._guarded(decision_id, self._decide(decision_id, request))
        return await self._record(
            draft, connection=request.connection, door=door, host=request.host, method=request.method, target=request.target
        )

    async def refuse(self, raw: RawRequest, refusal: Refusal, door: str) -> Refuse | Unavailable:
        """Record that a request was not even decided, and return that as a decision."""
        decision = Refuse(id=new_id("dec"), reason=refusal.reason, detail=refusal.detail)
        hosts = [value for name, value in raw.headers if name.lower() == "host"]
        recorded = await self._record(
            _Draft(decision),
            connection=raw.connection,
            door=door,
            host=",".join(hosts),
            method=raw.method,
            target=raw.target,
        )
        if isinstance(recorded, Refuse | Unavailable):
            return recorded
        raise AssertionError("a refusal can only stay one or become unavailable")

    async def recheck(self, allow: Allow) -> Decision | None:
        """Decide an open stream again, with the session as it is now. None while it is still allowed."""
        request = allow.request
        draft = await self._guarded(allow.id, self._decide_again(allow))
        if isinstance(draft.decision, Allow):
            return None
        return await self._record(
            draft,
            connection=request.connection,
            door="stream",
            host=request.host,
            method=request.method,
            target=request.target,
            phase="stream",
            request_id=allow.id,
        )

    async def consider(self, request: Request, handle: Handle) -> Considered | None:
        """Return what would let a person in who asks for `request` by this handle: just what its denial would say now; None when
        it has no route. Nothing is recorded and nobody let in. StoreUnavailable when it can't be known.
        """
        found = self._finder.find(request)
        if isinstance(found, RefuseReason):
            return None
        posture = await self._posture.observe(request.connection, handle)
        now = self._clock.now()
        judged = self._judged(found, handle, posture, request, now)
        if judged.answer.allowed:
            return Considered(match=found.match, allowed=True, remedy=(), break_glass=False)
        remedy = await self._remedy(judged, handle, posture, request.connection, now)
        beside = self._judge.last_resort(judged, self._yields(judged, posture), remedy)
        break_glass = beside or remedy.steps == ("break_glass",)
        return Considered(match=found.match, allowed=False, remedy=_words(remedy), break_glass=break_glass)

    @staticmethod
    async def _guarded(decision_id: str, deciding: Coroutine[Any, Any, _Draft]) -> _Draft:
        try:
            return await deciding
        except StoreUnavailable as error:
            logger.error("no decision %s: %s", decision_id, error)  # noqa: TRY400  expected kind: the message says it all
            reason = UnavailableReason(error.where) if error.where in _STORES else UnavailableReason.SESSION_STORE
            return _Draft(Unavailable(id=decision_id, reason=reason, detail=error.what))
        except Exception as error:
            # Fail closed on what nobody expected: the person gets a 503 with the id, the trace goes to the operator.
            logger.exception("no decision %s: unexpected error", decision_id)
            return _Draft(Unavailable(id=decision_id, reason=UnavailableReason.INTERNAL, detail=type(error).__name__))

    async def _decide(self, decision_id: str, request: Request) -> _Draft:
        # 1. The request finds its route, once.
        found = self._finder.find(request)
        if isinstance(found, RefuseReason):
            return _Draft(Refuse(id=decision_id, reason=found))
        match = found.match
        if request.routed is not None and request.routed != match.route.id:
            detail = "the front has chosen another route: its configuration is not the one made from this gateway's"
            return _Draft(Refuse(id=decision_id, reason=RefuseReason.ROUTE_MISMATCH, detail=detail))
        # 2. The session cookie of this host stands for a handle.
        token = own_cookie(request.headers, SESSION_COOKIE)
        if token is None:
            reason = ChallengeReason.SIGN_IN_REQUIRED
            return _Draft(Challenge(id=decision_id, reason=reason, request=request, route=match.route), match)
        handle = await self._sessions.resolve(token, request.host, self._clock.now())
        if isinstance(handle, Missing):
            reason = _MISSING[handle.why]
            return _Draft(Challenge(id=decision_id, reason=reason, request=request, route=match.route), match)
        return await self._conclude(decision_id, request, found, handle)

    async def _decide_again(self, allow: Allow) -> _Draft:
        found = self._finder.find(allow.request)
        if isinstance(found, RefuseReason):
            return _Draft(Refuse(id=allow.id, reason=found))
        session = await self._sessions.get(allow.handle.session.id, self._clock.now())
        if session is None:
            reason = ChallengeReason.SESSION_REVOKED
            return _Draft(Challenge(id=allow.id, reason=reason, request=allow.request, route=found.match.route), found.match)
        # A stream keeps the generation that it was opened with: a later step-up does not lift it.
        handle = Handle(session=session, host=allow.handle.host, generation=allow.handle.generation)
        return await self._conclude(allow.id, allow.request, found, handle, stream=True)

    async def _conclude(
        self, decision_id: str, request: Request, found: Found, handle: Handle, *, stream: bool = False
    ) -> _Draft:
        match = found.match
        # 3. The device is what it can prove on this very request.
        posture = await self._posture.observe(request.connection, handle)
        # 4. The closed set of facts. 5. The policy set in force answers.
        now = self._clock.now()
        judged = self._judged(found, handle, posture, request, now)
        emergency = handle.emergency(now)
        answer = judged.answer
        if answer.allowed:
            allow = Allow(
                id=decision_id,
                request=request,
                route=match.route,
                handle=handle,
                posture=posture,
                policies=answer.policies,
                lease_seconds=_lease(answer, request, judged.facts, handle.proofing(), now),
                break_glass=emergency.id if emergency is not None else "",
            )
            return _Draft(allow, match, judged)
        # 6. What would let the person in? An open stream is cut, with no page that could say it.
        remedy = Remedy() if stream else await self._remedy(judged, handle, posture, request.connection, now)
        deny = Deny(
            id=decision_id,
            reason=_deny_reason(errors=bool(answer.errors), forbidden=answer.forbidden),
            request=request,
            route=match.route,
            handle=handle,
            posture=posture,
            policies=answer.policies,
            errors=answer.errors,
            remedy=_words(remedy),
            grant=remedy.grant,
            last_resort=self._judge.last_resort(judged, self._yields(judged, posture), remedy),
            waiting=bool(remedy.grant) and remedy.grant in self._judge.waiting(handle.session.identity.subject),
            break_glass=emergency.id if emergency is not None else "",
        )
        return _Draft(deny, match, judged)

    def _judged(self, found: Found, handle: Handle, posture: Posture, request: Request, now: float) -> Judged:
        policies = self._policies
        return self._judge.judge(policies.current, handle, posture, found, request.connection, now, policies.trial)

    async def _remedy(self, judged: Judged, handle: Handle, posture: Posture, connection: Connection, now: float) -> Remedy:
        return await self._judge.remedy(judged, handle, posture, connection, now, self._yields(judged, posture))

    def _yields(self, judged: Judged, posture: Posture) -> Outcomes:
        outcomes = msgspec.structs.replace(self._outcomes, bound=judged.session.identity.bound_kinds)
        if posture.note in {"pending", "blocked"}:
            # A device that waits for an officer, or was blocked by one, is not helped by registering it again.
            outcomes = msgspec.structs.replace(outcomes, enrolment=None)
        return outcomes

    # ------------------------------------------------------------------ recording

    async def _record(
        self,
        draft: _Draft,
        *,
        connection: Connection,
        door: str,
        host: str,
        method: str,
        target: str,
        phase: Literal["request", "stream"] = "request",
        request_id: str = "",
    ) -> Decision:
        # 7. Written before anybody acts on it; synced where the action asks for it.
        decision, judged = draft.decision, draft.judged
        try:
            index = self._log.write(
                decision_record(
                    decision,
                    now=self._clock.now(),
                    source=source_of(connection, door),
                    host=host,
                    method=method,
                    target=target,
                    match=draft.match,
                    facts=judged.recorded if judged is not None else None,
                    bundle=judged.bundle.version if judged is not None else "",
                    report_only=judged.report_only if judged is not None else msgspec.UNSET,
                    trial=judged.trial if judged is not None else msgspec.UNSET,
                    phase=phase,
                    request_id=request_id,
                )
            )
            if isinstance(decision, Allow) and (decision.route.sync or decision.route.action in SYNCED_ACTIONS):
                await self._log.synced(index)
        except AuditError as error:
            # Debug: the log itself has said it once, loudly; once a request it would fill the disk further.
            logger.debug("no record, no access: %s", error)
            return Unavailable(id=decision.id, reason=UnavailableReason.AUDIT_LOG)
        if isinstance(decision, Allow):
            return msgspec.structs.replace(decision, record_index=index)
        return decision

    def completed(
        self,
        allow: Allow,
        *,
        status: int,
        bytes_in: int,
        bytes_out: int,
        started: float,
        problem: UpstreamProblem = UpstreamProblem.NONE,
    ) -> None:
        """Write how an allowed request ended, during this very call. `started` is monotonic."""
        record = CompletionRecord(
            id=allow.id,
            at=timestamp(self._clock.now()),
            status=status,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            duration_ms=max(0, round((self._clock.monotonic() - started) * 1000)),
            problem=str(problem),
            break_glass=allow.break_glass or msgspec.UNSET,
        )
        try:
            self._log.write(record)
        except AuditError as error:
            # The log is broken from here on, so every later decision is Unavailable; nothing more can be done for this one.
            logger.debug("completion of %s could not be written: %s", record.id, error)

    # ------------------------------------------------------------------ for the doors

    def outgoing(self, allow: Allow) -> list[tuple[str, str]]:
        """Headers to set on the upstream request, and on it only."""
        return self._outgoing.headers(allow, self._clock.now())

    def own_names(self) -> frozenset[str]:
        """Header fields that any upstream may be set, in lower case."""
        return self._outgoing.names

    def protected_names(self) -> frozenset[str]:
        """Folded header names that clients may never send on: see `gateway.domain.headers`."""
        return self._outgoing.protected

    def watch(self, allow: Allow) -> StreamWatch:
        """Keep an open stream under its decision; use as a context manager, and end the stream when `.cut` is set."""
        return self.streams.watch(allow)


def _lease(answer: Answer, request: Request, facts: Facts, proofing: Proofing | None, now: float) -> int:
    """How long a front may reuse this Allow: never for anything that changes something, stays open or is exceptional, and not
    beyond the end of the person's identity proofing.
    """
    plain = request.method in {"GET", "HEAD"} and not request.websocket and facts.target.action == "read"
    if not plain or facts.situation != "normal" or facts.grants or answer.errors:
        return 0
    if proofing is None or proofing.expires_at is None or proofing.expires_at <= now:
        return answer.lease_seconds
    return min(answer.lease_seconds, int(proofing.expires_at - now))


def _words(remedy: Remedy) -> tuple[RemedyStep, ...]:
    return tuple(RemedyStep(step) for step in remedy.steps)


def _deny_reason(*, errors: bool, forbidden: bool) -> DenyReason:
    if errors:
        return DenyReason.POLICY_ERROR
    return DenyReason.POLICY_FORBIDS if forbidden else DenyReason.NO_POLICY_PERMITS
