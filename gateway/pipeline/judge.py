"""The facts of a request and the policies' answer. What a page's next request would only repeat is kept for the second.

Kept is what was gathered for a session and a route. It counts again only when everything that it was gathered from is the same:
the session, the handle's generation, the device and its evidence, the address, TLS, the target, the policies, and the whole
second, which is all that facts know of time. So nobody can tell, except by time, whether it was gathered or kept.
"""

import asyncio
from typing import Any, Final

import msgspec

from gateway.domain.connection import Connection
from gateway.domain.identity import Handle, Session
from gateway.domain.network import Zones
from gateway.domain.posture import Device, Evidence, Posture
from gateway.domain.record import Beside
from gateway.kernel.errors import StoreUnavailable
from gateway.kernel.recent import Recent
from gateway.pipeline.beside import Trial, marked
from gateway.pipeline.calendar import Calendar
from gateway.pipeline.finder import Found
from gateway.pipeline.gather import gather
from gateway.pipeline.records import recorded_facts, without_guesses
from gateway.policy.cache import AnswerCache
from gateway.policy.evaluate import Answer, Bundle
from gateway.policy.facts import Facts, TargetFacts
from gateway.policy.granted import possibilities
from gateway.policy.remedy import Outcomes, Remedy, last_resort, searching
from gateway.ports import Exceptional, HospitalSituation, NothingExceptional

KEPT: Final = 1024
POLICIES_AT_ONCE: Final = 4096
"""How many policies are evaluated on the way to a remedy before the event loop looks at the network again: a few milliseconds."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Facts and answer, and what they were made from."""

    facts: Facts
    recorded: msgspec.Raw | dict[str, Any]
    """The facts for the log."""
    answer: Answer
    bundle: Bundle
    session: Session
    generation: int
    device: Device | None
    evidence: Evidence
    address: str
    tls: bool
    target: TargetFacts
    second: int
    grants: tuple[str, ...]
    situation: HospitalSituation
    """Of the hospital."""
    known: bool
    """Whether grants and situation were known; if not, the answer is the same whatever they are."""
    report_only: Beside | msgspec.UnsetType = msgspec.UNSET
    """What the report-only policies would have changed."""
    tried: Bundle | None = None
    trial: Beside | msgspec.UnsetType = msgspec.UNSET
    """What `tried`, the bundle on trial, would have answered."""


class Judge:
    """Asks one bundle at a time; another bundle begins with nothing kept. Belongs to one thread."""

    def __init__(self, bundle: Bundle, *, zones: Zones, calendar: Calendar, exceptional: Exceptional | None = None) -> None:
        self._exceptional: Exceptional = exceptional or NothingExceptional()
        self._zones = zones
        self._calendar = calendar
        self._answers = AnswerCache(bundle)
        self._trial = Trial()
        self._kept: Recent[tuple[str, str, str], Judged] = Recent(KEPT)

    def judge(
        self,
        bundle: Bundle,
        handle: Handle,
        posture: Posture,
        found: Found,
        connection: Connection,
        now: float,
        trial: Bundle | None = None,
    ) -> Judged:
        """Gather the facts at `now` (epoch seconds) and answer by `bundle`. Never raises for what the facts hold. `trial` changes
        nothing.

        StoreUnavailable when nobody knows which grants are in force, or what is declared, and it makes a difference.
        """
        session, target = handle.session, found.target
        grants, situation, unknown = self._in_force(session.identity.subject, now)
        key = (session.id, target.route, target.patient)
        kept = self._kept.get(key)
        if (
            kept is not None
            and kept.session is session
            and kept.generation == handle.generation
            and kept.device is posture.device
            and kept.evidence == posture.evidence
            and kept.address == connection.peer_address
            and kept.tls is connection.tls
            and kept.target is target
            and kept.second == int(now)
            and kept.bundle is bundle
            and kept.tried is trial
            and kept.grants == grants
            and kept.known is (unknown is None)
            and kept.situation == situation
        ):
            return kept
        facts = self._gather(handle, posture, target, connection, now, situation, grants)
        if unknown is not None and not self._same_whatever(bundle, facts):
            raise unknown
        recorded = recorded_facts(facts)
        encoded = recorded if isinstance(recorded, msgspec.Raw) else None
        answer = self._of(bundle).evaluate(facts, encoded)
        judged = Judged(
            facts=facts,
            recorded=recorded if unknown is None else without_guesses(facts),
            answer=answer,
            bundle=bundle,
            session=session,
            generation=handle.generation,
            device=posture.device,
            evidence=posture.evidence,
            address=connection.peer_address,
            tls=connection.tls,
            target=target,
            second=int(now),
            grants=grants,
            situation=situation,
            known=unknown is None,
            report_only=marked(answer),
            tried=trial,
            trial=self._trial.ask(trial, facts, encoded) if trial is not None else msgspec.UNSET,
        )
        self._kept.put(key, judged)
        return judged

    async def remedy(
        self, judged: Judged, handle: Handle, posture: Posture, connection: Connection, now: float, outcomes: Outcomes
    ) -> Remedy:
        """Return what would let the person in; the rest as given to `judge`.

        Other requests are answered in between: a hypothesis costs what a decision does.
        """

        def later(seconds: int) -> Facts:
            return self._gather(handle, posture, judged.target, connection, now + seconds, judged.situation, judged.grants)

        answers = self._of(judged.bundle)
        at_once = max(1, POLICIES_AT_ONCE // len(judged.bundle.policies))
        asking = searching(judged.answer, answers.reads, judged.facts, outcomes, later)
        said: list[bool] | None = None
        while True:
            try:
                hypotheses = next(asking) if said is None else asking.send(said)
            except StopIteration as done:
                found: Remedy = done.value
                return found
            said = []
            for begin in range(0, len(hypotheses), at_once):
                before = len(answers)
                said += answers.allowed(hypotheses[begin : begin + at_once])
                if len(answers) > before:
                    await asyncio.sleep(0)

    def last_resort(self, judged: Judged, outcomes: Outcomes, remedy: Remedy) -> bool:
        """Whether break-glass would help at once, beside that remedy."""
        return last_resort(self._of(judged.bundle), judged.facts, outcomes, remedy)

    def waiting(self, subject: str) -> tuple[str, ...]:
        """Return the names of the grants that somebody has asked for and nobody has decided."""
        return self._exceptional.waiting_of(subject)

    def _gather(
        self, handle: Handle, posture: Posture, target: TargetFacts, connection: Connection, now: float,
        situation: HospitalSituation, grants: tuple[str, ...],
    ) -> Facts:  # fmt: skip
        return gather(
            handle=handle,
            posture=posture,
            target=target,
            connection=connection,
            zones=self._zones,
            now=now,
            calendar=self._calendar,
            situation=situation,
            grants=grants,
        )

    def _in_force(self, subject: str, now: float) -> tuple[tuple[str, ...], HospitalSituation, StoreUnavailable | None]:
        try:
            return self._exceptional.grants_of(subject, now), self._exceptional.situation(now), None
        except StoreUnavailable as error:
            return (), "normal", error

    def _same_whatever(self, bundle: Bundle, facts: Facts) -> bool:
        """Whether the answer is the same whatever is in force: then nobody has to wait for the database that says what is."""
        possible = possibilities(bundle.reads.grants, facts)
        if possible is None:
            return False
        answers = self._of(bundle)
        return len({_gist(answers.evaluate(facts)) for facts in possible}) == 1

    def _of(self, bundle: Bundle) -> AnswerCache:
        if bundle is not self._answers.bundle:
            self._answers = AnswerCache(bundle)
        return self._answers


def _gist(answer: Answer) -> tuple[bool, bool, bool]:
    return answer.allowed, answer.forbidden, bool(answer.errors)
