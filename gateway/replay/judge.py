"""Each record put to both bundles, and counted. Pure but for the time zone's rules."""

from collections import OrderedDict, deque
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import msgspec

from gateway.audit.verify.lines import seconds
from gateway.audit.verify.parts import Head
from gateway.policy.evaluate import Answer, Bundle
from gateway.policy.remedy import Outcomes, find_remedy
from gateway.replay.recorded import decode, filled
from gateway.replay.report import SAMPLES, SAMPLES_A_ROUTE, UNKNOWN_HOUR, Sample
from gateway.replay.tally import CHANGED, Kind, Tally, Who
from gateway.replay.telling import Lacks, Subject, Telling

MAX_ANSWERS: Final = 100_000
"""Answers that are kept; then it begins anew, which costs time only."""
MAX_LEASED: Final = 20_000
"""Decisions with a lease whose uses are still to come. A lease lasts seconds."""
_MAX_TEXT: Final = 200
_MAX_KEPT: Final = 16_384
"""Bytes of facts whose answer is kept: what is larger is no ordinary request's, and could fill the memory."""
_MINUTE: Final = len("2027-01-15T08:00")
_MINUTES: Final = 100_000


class Person(msgspec.Struct, frozen=True):
    """Who acted, as recorded."""

    subject: str = ""
    login: str = ""
    name: str = ""
    roles: tuple[str, ...] = ()


class Seen(Head, frozen=True, kw_only=True):
    """What replay reads of a record. Anything else in it is passed over."""

    id: str = ""
    outcome: str = ""
    phase: str = ""
    actor: Person = Person()
    app: str = ""
    route: str = ""
    action: str = ""
    bundle: str = ""
    lease_seconds: int = 0
    began: str = ""
    facts: msgspec.Raw = msgspec.Raw()


read: Final = msgspec.json.Decoder(Seen).decode


class _Pair(msgspec.Struct, frozen=True):
    """Both answers to one question."""

    before: Answer
    after: Answer
    kind: Kind


class _Counted(msgspec.Struct, frozen=True):
    """How a decision was counted, for its uses."""

    kind: Kind
    who: Who
    lacks: tuple[str, ...] = ()


class _Candidate(msgspec.Struct, frozen=True):
    """A record that may become a sample."""

    record: Seen
    pair: _Pair | None
    why: str
    recorded: Any


class Replayer:
    """Counts records, in any order. Belongs to one thread."""

    def __init__(self, before: Bundle, after: Bundle, *, zone: tzinfo, since: str, outcomes: Outcomes) -> None:
        """`since`: RFC 3339 UTC with milliseconds; older decisions are only counted as that. `outcomes`: of remedies."""
        self._before = before
        self._after = after
        self._telling = Telling(before, after)
        self._zone = zone
        self._since = since
        self._outcomes = outcomes
        self._kept = 0
        self._leased: OrderedDict[str, _Counted] = OrderedDict()
        self._hours: dict[str, int] = {}
        self._candidates: dict[Kind, dict[str, deque[_Candidate]]] = {}
        self.tally = Tally()

    def begin(self) -> None:
        """Count a new part of the log, which may come from anywhere."""
        self.tally = Tally()
        self._leased.clear()
        self._candidates.clear()

    def take(self, _index: int, record: Seen) -> None:
        """Count one record."""
        if record.type == "decision":
            self._decision(record)
        elif record.type == "use":
            self._use(record)

    def _decision(self, record: Seen) -> None:
        # A time that can't be read is never left out.
        if record.at < self._since and seconds(record.at) is not None:
            self.tally.older += 1
            return
        if not record.facts or record.facts == b"null" or record.outcome not in {"allow", "deny"}:
            self.tally.undecided += 1
            return
        kind, names, pair, why, recorded = self._compare(record)
        tally = self.tally
        tally.count(kind)
        if kind in CHANGED:
            tally.changed(kind, _who(record), self._hour(record.at))
        if record.lease_seconds:
            self._leased[record.id] = _Counted(kind, _who(record), names)
            if len(self._leased) > MAX_LEASED:
                self._leased.popitem(last=False)
        if names:
            tally.lack(names)
        if not kind.startswith("still_"):
            self._keep(kind, _Candidate(record, pair, why, recorded))

    def _keep(self, kind: Kind, candidate: _Candidate) -> None:
        """Keep a record as a sample, in the place of the oldest of its route. What is to be said of it comes with `finish`."""
        routes = self._candidates.setdefault(kind, {})
        route = candidate.record.route[:_MAX_TEXT]
        if route in routes:
            routes[route].append(candidate)
        elif len(routes) < SAMPLES:
            routes[route] = deque((candidate,), SAMPLES_A_ROUTE)

    def finish(self) -> Tally:
        """Return what was counted since `begin`."""
        for kind, routes in self._candidates.items():
            for candidates in routes.values():
                for candidate in candidates:
                    self.tally.sample(kind, self._sample(kind, candidate))
        return self.tally

    def _compare(self, record: Seen) -> tuple[Kind, tuple[str, ...], _Pair | None, str, Any]:
        """Return how a decision counts; which facts it lacks; both answers, if any; what is wrong with it, if anything."""
        try:
            recorded = decode(record.facts)
        except (msgspec.DecodeError, RecursionError) as error:
            return "unreadable", (), None, str(error)[:_MAX_TEXT], None
        try:
            subject = self._telling.subject(recorded)
            key = subject.key(recorded)
        except Lacks as lacks:
            return "lacking", lacks.names, None, ", ".join(lacks.names)[:_MAX_TEXT], None
        pair = subject.pairs.get(key)
        if pair is None:
            pair = self._ask(subject, recorded)
            if len(record.facts) <= _MAX_KEPT:
                self._kept += 1
                if self._kept > MAX_ANSWERS:
                    self._kept = 0
                    self._telling.forget()
                subject.pairs[key] = pair
        if record.bundle == self._before.version and (record.outcome == "allow") is not pair.before.allowed:
            return "not_reproduced", (), pair, "", recorded
        if (record.outcome == "allow") is not pair.before.allowed:
            self.tally.otherwise += 1
        return pair.kind, (), pair, "", recorded

    def _ask(self, subject: Subject, recorded: Any) -> _Pair:
        self.tally.questions += 1
        facts = filled(recorded)
        before = subject.before.evaluate(facts)
        after = before if subject.same else subject.after.evaluate(facts)
        return _Pair(before, after, _kind(before.allowed, after.allowed))

    def _use(self, record: Seen) -> None:
        if record.at < self._since and seconds(record.at) is not None:
            return
        counted = self._leased.get(record.id)
        if counted is None:
            self.tally.loose_uses += 1
            return
        self.tally.uses += 1
        self.tally.count(counted.kind)
        if counted.lacks:
            self.tally.lack(counted.lacks)
        if counted.kind in CHANGED:
            self.tally.changed(counted.kind, counted.who, self._hour(record.began))

    def _sample(self, kind: Kind, candidate: _Candidate) -> Sample:
        record, pair = candidate.record, candidate.pair
        who = _who(record)
        return Sample(
            id=record.id[:_MAX_TEXT],
            at=record.at[:_MAX_TEXT],
            subject=who.subject,
            login=who.login,
            name=who.name,
            roles=who.roles[:8],
            app=record.app[:_MAX_TEXT],
            route=who.route,
            action=record.action[:_MAX_TEXT],
            recorded=record.outcome,
            before=pair.before.policies[:10] if pair is not None else (),
            after=pair.after.policies[:10] if pair is not None else (),
            allowed_before=pair is not None and pair.before.allowed,
            allowed_after=pair is not None and pair.after.allowed,
            errors=pair.after.errors[:5] if pair is not None else (),
            remedy=find_remedy(self._after, filled(candidate.recorded), self._outcomes) if kind == "lost" else (),
            why=candidate.why,
        )

    def _hour(self, at: str) -> int:
        """Return the hour of the day in the hospital's time zone."""
        minute = at[:_MINUTE]
        hour = self._hours.get(minute)
        if hour is None or len(at) != len("2027-01-15T08:00:00.000Z"):
            moment = seconds(at)
            if moment is None:
                return UNKNOWN_HOUR
            try:
                hour = datetime.fromtimestamp(moment, UTC).astimezone(self._zone).hour
            except (OverflowError, ValueError, OSError):
                return UNKNOWN_HOUR
            if len(self._hours) >= _MINUTES:
                self._hours.clear()
            self._hours[minute] = hour
        return hour


def _kind(before: bool, after: bool) -> Kind:
    if before:
        return "still_allowed" if after else "lost"
    return "gained" if after else "still_denied"


def _who(record: Seen) -> Who:
    actor = record.actor
    return Who(
        actor.subject[:_MAX_TEXT],
        actor.login[:_MAX_TEXT],
        actor.name[:_MAX_TEXT],
        tuple(role[:_MAX_TEXT] for role in actor.roles[:20]),
        record.route[:_MAX_TEXT],
    )
