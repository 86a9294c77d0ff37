"""Counting, in pieces that can be put together: each process counts its parts of the log. Pure."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from gateway.replay.report import SAMPLES, SAMPLES_A_ROUTE, UNKNOWN_HOUR, Lacking, Line, Sample

Kind = Literal["lost", "gained", "still_allowed", "still_denied", "lacking", "unreadable", "not_reproduced"]
CHANGED: Final = frozenset({"lost", "gained"})
MAX_LINES: Final = 20_000
"""People, roles or routes that are told apart."""
MAX_LACKS: Final = 200


class Who(msgspec.Struct, frozen=True):
    """Whom and what a request counts for."""

    subject: str
    login: str
    name: str
    roles: tuple[str, ...]
    route: str


class Tally(msgspec.Struct, kw_only=True):
    """What was counted so far."""

    counts: dict[str, int] = {}
    uses: int = 0
    loose_uses: int = 0
    older: int = 0
    undecided: int = 0
    questions: int = 0
    otherwise: int = 0
    """Recorded under other policies, with another outcome than those in force give; counted in their kind as well."""
    people: dict[str, Line] = {}
    roles: dict[str, Line] = {}
    routes: dict[str, Line] = {}
    lost_hours: list[int] = msgspec.field(default_factory=lambda: [0] * (UNKNOWN_HOUR + 1))
    gained_hours: list[int] = msgspec.field(default_factory=lambda: [0] * (UNKNOWN_HOUR + 1))
    lacks: dict[str, int] = {}
    """By the facts' names, joined with spaces."""
    samples: dict[str, dict[str, list[Sample]]] = {}
    """By kind and route, newest last."""

    def changed(self, kind: Kind, who: Who, hour: int, number: int = 1) -> None:
        """Count a request whose outcome changes under everything that it belongs to. `count` comes beside."""
        lost = kind == "lost"
        (self.lost_hours if lost else self.gained_hours)[hour] += number
        _add(self.people, who.subject, who, lost, number)
        for role in who.roles or ("",):
            _add(self.roles, role, None, lost, number)
        _add(self.routes, who.route, None, lost, number)

    def count(self, kind: Kind, number: int = 1) -> None:
        """Count a request."""
        self.counts[kind] = self.counts.get(kind, 0) + number

    def lack(self, names: tuple[str, ...], number: int = 1) -> None:
        """Count a record that does not hold these facts."""
        key = " ".join(names)
        if key not in self.lacks and len(self.lacks) >= MAX_LACKS:
            key = ""
        self.lacks[key] = self.lacks.get(key, 0) + number

    def sample(self, kind: Kind, sample: Sample) -> None:
        """Keep a sample, and let the oldest of its route go."""
        kept = self.samples.setdefault(kind, {}).setdefault(sample.route, [])
        kept.append(sample)
        del kept[:-SAMPLES_A_ROUTE]

    def take(self, other: "Tally") -> None:
        """Add what another process counted."""
        for kind, number in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + number
        for name in ("uses", "loose_uses", "older", "undecided", "questions", "otherwise"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in ((self.people, other.people), (self.roles, other.roles), (self.routes, other.routes)):
            for key, line in theirs.items():
                _merge(mine, key, line)
        for hours, more in ((self.lost_hours, other.lost_hours), (self.gained_hours, other.gained_hours)):
            for hour, number in enumerate(more):
                hours[hour] += number
        for key, number in other.lacks.items():
            self.lack(tuple(key.split()), number)
        for kind, routes in other.samples.items():
            for route, samples in routes.items():
                kept = self.samples.setdefault(kind, {}).setdefault(route, [])
                kept[:] = sorted((*kept, *samples), key=_age)[-SAMPLES_A_ROUTE:]

    def newest(self, kind: Kind) -> tuple[Sample, ...]:
        """Return the samples of a kind, newest first."""
        every = [sample for samples in self.samples.get(kind, {}).values() for sample in samples]
        return tuple(sorted(every, key=_age, reverse=True)[:SAMPLES])

    def hours(self) -> tuple[Line, ...]:
        """Return the hours of the day, and what could not be placed in one where there is any."""
        every = [
            Line(key="?" if hour == UNKNOWN_HOUR else f"{hour:02d}", lost=lost, gained=gained)
            for hour, (lost, gained) in enumerate(zip(self.lost_hours, self.gained_hours, strict=True))
        ]
        return tuple(every if every[-1].lost or every[-1].gained else every[:-1])

    def lacking(self) -> tuple[Lacking, ...]:
        """Return what records lack, most often first."""
        every = [Lacking(facts=tuple(key.split()), requests=number) for key, number in self.lacks.items()]
        return tuple(sorted(every, key=lambda one: (-one.requests, one.facts)))


def most_first(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Return lines by losses, then gains, then key."""
    return tuple(sorted(lines, key=lambda line: (-line.lost, -line.gained, line.key)))


def _age(sample: Sample) -> tuple[str, str]:
    return sample.at, sample.id


def _add(lines: dict[str, Line], key: str, who: Who | None, lost: bool, number: int) -> None:
    line = lines.get(key)
    if line is None:
        if len(lines) >= MAX_LINES:
            key, who = "", None
            line = lines.get("")
        if line is None:
            line = lines[key] = Line(key=key, login=who.login if who else "", name=who.name if who else "")
    if lost:
        line.lost += number
    else:
        line.gained += number


def _merge(lines: dict[str, Line], key: str, other: Line) -> None:
    if key not in lines and len(lines) >= MAX_LINES:
        key = ""
    line = lines.setdefault(key, Line(key=key, login=other.login if key else "", name=other.name if key else ""))
    line.lost += other.lost
    line.gained += other.gained
