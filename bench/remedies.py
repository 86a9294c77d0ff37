"""What the search for a remedy costs, by the number of policies: found at once, and nothing helps; and how long it keeps the
event loop from other requests at a stretch.
"""

import json
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench.decisions import SIZES, _facts
from gateway.pipeline.judge import POLICIES_AT_ONCE
from gateway.policy.cache import AnswerCache
from gateway.policy.compile import SCHEMA_FILE, compile_bundle
from gateway.policy.evaluate import Bundle
from gateway.policy.facts import Facts
from gateway.policy.remedy import Outcomes, Remedy, searching
from gateway.policy.schema import cedar_schema

HELPS: Final = "context.device.registered && context.proofing.level >= 2"
NOTHING: Final = (
    "context.device.compliant && context.proofing.level >= 2 && context.authentication has key_touch_age_seconds && "
    'context.authentication.key_touch_age_seconds < 300 && context.grants.contains("work") && context.network.zone == "moon"'
)
"""It reads all that steps change, so that no two hypotheses are the same question; and nobody is ever there."""


class Found(msgspec.Struct, frozen=True):
    """One search."""

    asked: int
    """Different questions that were put to the policies."""
    milliseconds: float
    longest: float
    """Milliseconds in which nothing else was done."""
    again: float
    """Milliseconds of the same search once more: the answers are remembered."""


def table(quick: bool = False) -> list[list[str]]:
    """Measure, and return a table."""
    rows = [["search for a remedy", "policies", "questions", "ms", "longest stretch, ms", "again, ms"]]
    for name, condition in (("one step helps", HELPS), ("nothing helps", NOTHING)):
        for size in SIZES:
            found = _measured(_bundle(size, condition), 3 if quick else 15)
            rows.append(
                [name, f"{size:,}", str(found.asked), f"{found.milliseconds:.1f}", f"{found.longest:.1f}", f"{found.again:.2f}"]
            )
    return rows


def _bundle(count: int, condition: str) -> Bundle:
    """So many policies, all of them for this person and target: Cedar can't leave one out by its head."""
    texts = [
        f'@id("p{n}")\n@title_ja("題")\n@title_en("Title")\n'
        f'permit (principal, action == Action::"read", resource in App::"ehr")\n'
        f'when {{ principal in Role::"physician" && {condition} && context.time.hour < {24 + n} }};\n'
        for n in range(count)
    ]
    return compile_bundle({SCHEMA_FILE: cedar_schema().encode(), "a.cedar": "".join(texts).encode()}, "bench")


def _unknown() -> Facts:
    """Somebody who has signed in with a password, and done nothing else."""
    facts = _facts("physician")
    weak = msgspec.structs.replace(facts.authentication, kinds=("pwd",), factors=1)
    device = msgspec.structs.replace(facts.device, registered=False, compliant=False, evidence="none", evidence_strength=0)
    return msgspec.structs.replace(facts, authentication=weak, device=device)


def _measured(bundle: Bundle, rounds: int) -> Found:
    found = [_search(bundle) for _ in range(rounds)]
    return Found(
        asked=found[0].asked,
        milliseconds=statistics.median(one.milliseconds for one in found),
        longest=statistics.median(one.longest for one in found),
        again=statistics.median(one.again for one in found),
    )


def _search(bundle: Bundle) -> Found:
    answers, facts = AnswerCache(bundle), _unknown()
    now = answers.evaluate(facts)
    before, stretches = len(answers), list[float]()

    def once(note: Callable[[float], None]) -> Remedy:
        """As `gateway.pipeline.judge` does it, with the clock read where that one lets others in."""
        asking = searching(now, answers.reads, facts, Outcomes())
        at_once = max(1, POLICIES_AT_ONCE // len(bundle.policies))
        said: Sequence[bool] | None = None
        began = time.thread_time()
        while True:
            try:
                hypotheses = next(asking) if said is None else asking.send(said)
            except StopIteration as done:
                note(time.thread_time() - began)
                remedy: Remedy = done.value
                return remedy
            heard: list[bool] = []
            for start in range(0, len(hypotheses), at_once):
                heard += answers.allowed(hypotheses[start : start + at_once])
                note(time.thread_time() - began)
                began = time.thread_time()
            said = heard

    once(stretches.append)
    asked, again = len(answers) - before, list[float]()
    once(again.append)
    return Found(asked, sum(stretches) * 1000, max(stretches) * 1000, sum(again) * 1000)


if __name__ == "__main__":
    print(json.dumps(table(), ensure_ascii=False, indent=2))
