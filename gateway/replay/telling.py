"""What two bundles together can tell of recorded facts: who asks for what, and then only what the policies that this concerns
read. Two records that they can't tell apart are one question. Pure.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Any, Final

import msgspec

from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.reads import place
from gateway.policy.source import tokenize
from gateway.replay.concern import ABOUT, Concerned
from gateway.replay.recorded import filled, missing

_ABOUT: Final = (
    "principal.id",
    "target.route",
    "principal.roles",
    "principal.organization",
    "target.app",
    "target.action",
    "target.sensitivity",
)
_SENSITIVITY: Final = "target.sensitivity"
MAX_SUBJECTS: Final = 5_000
"""Of who asks for what, kept at a time."""
_about: Final = attrgetter(*_ABOUT)


class Lacks(Exception):  # noqa: N818  no error of anybody: the record was written by a version that did not know the fact
    """The record does not say everything that a policy which concerns it reads."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class Subject:
    """One "who asks for what": the policies of both bundles that it concerns, and what they read."""

    def __init__(self, before: Bundle, after: Bundle) -> None:
        self.before: Final = before
        self.after: Final = after
        self.same: Final = [policy.cedar for policy in before.policies] == [policy.cedar for policy in after.policies]
        """Both would say the same to anything."""
        exact = before.reads.exact | after.reads.exact
        limits: dict[str, set[int]] = {}
        for bundle in (before, after):
            for name, numbers in bundle.reads.thresholds.items():
                if name not in exact:
                    limits.setdefault(name, set()).update(numbers)
        self.needed: Final = (exact | limits.keys()) - ABOUT
        """Facts that a record must hold."""
        self._exactly = _getter(sorted(exact - ABOUT))
        names = sorted(limits.keys() - ABOUT)
        self._numbers = _getter(names)
        self._limits = tuple(tuple(sorted(limits[name])) for name in names)
        self.pairs: dict[tuple[Any, ...], Any] = {}
        """What was answered, by `key`."""

    def key(self, recorded: Any) -> tuple[Any, ...]:
        """Return a key: two records about this subject with the same key have the same answers. Raises Lacks."""
        try:
            exactly, numbers = self._exactly(recorded), self._numbers(recorded)
        except AttributeError:  # a whole part is not there
            raise Lacks(missing(recorded, self.needed)) from None
        for value in exactly:
            if value is msgspec.UNSET:
                raise Lacks(missing(recorded, self.needed))
        for value in numbers:
            if value is msgspec.UNSET:
                raise Lacks(missing(recorded, self.needed))
        return (*exactly, *map(place, numbers, self._limits))


class Telling:
    """Finds the subject of a record."""

    def __init__(self, before: Bundle, after: Bundle) -> None:
        self._before, self._after = Concerned(before), Concerned(after)
        bundles = (before, after)
        self._persons = _named(bundles, "User")
        self._routes = _named(bundles, "Route")
        self._sensitive = any(_SENSITIVITY in bundle.reads.exact for bundle in bundles)
        self._subjects: dict[tuple[Any, ...], Subject] = {}

    def subject(self, recorded: Any) -> Subject:
        """Return who asks for what. Raises Lacks."""
        try:
            person, route, *about = _about(recorded)
        except AttributeError:
            person, route, about = msgspec.UNSET, msgspec.UNSET, []
        # Of these the sensitivity alone may be unknown: where nobody asks for it.
        if any(value is msgspec.UNSET for value in (person, route, *about[:-1])) or (
            not about or (about[-1] is msgspec.UNSET and self._sensitive)
        ):
            names = ABOUT if self._sensitive else ABOUT - {_SENSITIVITY}
            raise Lacks(missing(recorded, names & frozenset(_ABOUT)))
        key = (
            person if self._persons is None or person in self._persons else None,
            route if self._routes is None or route in self._routes else None,
            *about,
        )
        subject = self._subjects.get(key)
        if subject is None:
            subject = self._new(filled(recorded))
            if len(self._subjects) >= MAX_SUBJECTS:
                self._subjects.clear()
            self._subjects[key] = subject
        return subject

    def forget(self) -> None:
        """Let go of everything that was answered."""
        self._subjects.clear()

    def _new(self, facts: Facts) -> Subject:
        return Subject(self._before.by(facts), self._after.by(facts))


def _getter(names: list[str]) -> Any:
    """Return a function from recorded facts to the tuple of these."""
    if not names:
        return lambda _: ()
    if len(names) == 1:
        one = attrgetter(names[0])
        return lambda recorded: (one(recorded),)
    return attrgetter(*names)


def _named(bundles: Iterable[Bundle], kind: str) -> frozenset[str] | None:
    """Return the ids of the entities of this kind that policies name; None: it could be any.

    An entity stands in a policy only as `Kind::"id"`, three tokens.
    """
    found: set[str] = set()
    for bundle in bundles:
        for policy in bundle.policies:
            texts = [token.text for token, _, _ in tokenize(policy.cedar, "")]
            if any(text.startswith("?") for text in texts):
                return None
            for name, colons, literal in zip(texts, texts[1:], texts[2:], strict=False):
                if name == kind and colons == "::":
                    if not literal.startswith('"') or "\\" in literal:
                        return None
                    found.add(literal[1:-1])
    return frozenset(found)
