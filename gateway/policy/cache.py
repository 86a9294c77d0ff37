"""Answers of one bundle, remembered. An optimisation that nothing but time can show: every answer is the one that the bundle
would give now.

Answers are found by everything that this bundle can tell of the facts (`gateway.policy.reads`): the person, the target, each
attribute that a policy reads, and of a number that policies only compare with literals, how it compares with each of them. So
nothing is ever "still valid for a while": the moment an age passes a limit that some policy sets, it is another question.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import Final

import msgspec

from gateway.kernel.recent import Recent
from gateway.policy.evaluate import Answer, Bundle, about_one
from gateway.policy.facts import Facts
from gateway.policy.reads import Reads, place, whole_numbers

MAX_ANSWERS: Final = 4096
"""Answers that are kept: see `Recent`."""
_ALWAYS: Final = ("principal", "target.app", "target.route", "target.action")
_NUMBERS: Final = whole_numbers()
_LONG: Final = (-(2**63), 2**63)
"""What Cedar can't take as a whole number is another question, too."""

_encoded: Final = msgspec.json.Encoder().encode
_typed: Final = msgspec.json.Decoder(Facts).decode


class AnswerCache:
    """The answers of one bundle. Belongs to one thread; make a new one for another bundle."""

    def __init__(self, bundle: Bundle, *, size: int = MAX_ANSWERS) -> None:
        self.bundle: Final = bundle
        reads = bundle.reads
        self._exactly = attrgetter(*_ALWAYS, *sorted(reads.exact))
        # Every number, read or not: it can still be one that Cedar can't take.
        self._numbers = attrgetter(*_NUMBERS)
        self._limits = tuple(tuple(sorted({*_LONG, *reads.thresholds.get(name, ())})) for name in _NUMBERS)
        self._answers: Recent[tuple[object, ...], Answer] = Recent(size)
        self._allowed: Recent[tuple[object, ...], bool] = Recent(size)

    def __len__(self) -> int:
        return len(self._answers) + len(self._allowed)

    @property
    def reads(self) -> Reads:
        """What the bundle can tell of the facts."""
        return self.bundle.reads

    def evaluate(self, facts: Facts, encoded: bytes | msgspec.Raw | None = None) -> Answer:
        """Return what `bundle.evaluate` returns for these facts. Never raises. `encoded`: these very facts as JSON, where the
        caller has it already.
        """
        try:
            # Facts of a wrong type are never looked up: 1 and True would be found under the same key.
            _typed(_encoded(facts) if encoded is None else encoded)
            key = self._key(facts)
        except Exception:  # noqa: BLE001  the bundle says what is wrong with them
            return self.bundle.evaluate(facts)
        answer = self._answers.get(key)
        if answer is None:
            answer = self.bundle.evaluate(facts)
            self._answers.put(key, answer)
        return answer

    def allowed(self, hypotheses: Sequence[Facts]) -> list[bool]:
        """Return what `bundle.allowed` returns. As there, the facts are not checked: `evaluate` comes first."""
        about_one(hypotheses)
        keys = [self._key(facts) for facts in hypotheses]
        known = {key: self._known(key) for key in keys}
        # Each only once, as far as policies can tell them apart.
        asked = {key: facts for key, facts in zip(keys, hypotheses, strict=True) if known[key] is None}
        if asked:
            for key, allowed in zip(asked, self.bundle.allowed(list(asked.values())), strict=True):
                known[key] = allowed
                self._allowed.put(key, allowed)
        return [known[key] is True for key in keys]

    def _known(self, key: tuple[object, ...]) -> bool | None:
        answer = self._answers.get(key)
        return self._allowed.get(key) if answer is None else answer.allowed

    def _key(self, facts: Facts) -> tuple[object, ...]:
        return (self._exactly(facts), *map(place, self._numbers(facts), self._limits))
