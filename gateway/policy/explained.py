"""An explanation as lines of text: for a terminal, and for a ticket at the help desk. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from gateway.kernel.i18n import Language
from gateway.kernel.web.show import visible
from gateway.policy.explain import Explanation, PolicyExplained, Unmet
from gateway.policy.facts import Facts
from gateway.policy.words import TEXTS, Sentence, fact_names, found, in_both, value_at

NEAREST: Final = 5
"""Permits that are shown with what they miss; those beyond only by their title."""
IN_A_TICKET: Final = 3
_TITLE: Final = 200


def lines_of(explanation: Explanation, language: Language, *, ticket: bool = False) -> list[str]:
    """Return the explanation in a language. For a ticket: no text of a policy, and only what decided or would have helped."""
    return list(_Lines(language, ticket=ticket).of(explanation))


def taken(facts: Facts) -> list[Sentence]:
    """Return the facts that an answer is about, in words; those that are empty or not known are left out."""
    values = ((name, value_at(facts, name)) for name in fact_names() if name != "principal.id")
    return [found(name, value) for name, value in values if value is not None and value not in {"", ()}]


def taken_lines(facts: Facts, language: Language) -> list[str]:
    """Return them as lines of text: what somebody supposed."""
    return [TEXTS.text(language, "explain.taken"), *(f"  - {said.text(language)}" for said in taken(facts)), ""]


class _Lines:
    def __init__(self, language: Language, *, ticket: bool) -> None:
        self._language: Language = language
        self._ticket = ticket

    def text(self, key: str, **values: object) -> str:
        return TEXTS.text(self._language, f"explain.{key}", **values)

    def of(self, said: Explanation) -> Iterator[str]:
        yield self.text(said.why)
        if not said.consistent:
            yield self.text("inconsistent")
        yield f"{self.text('version')}: {said.version[:12]}"
        determining = "determining_permit" if said.answer.allowed else "determining_forbid"
        yield from self._section(determining, (self._determining(one) for one in said.determining))
        yield from self._section("erring", (self._missing(one) for one in said.erring))
        if not said.answer.allowed:
            yield from self._remedy(said)
            near = [one for one in said.permits if one.about_this]
            most = IN_A_TICKET if self._ticket else len(near)
            shown = [self._missing(one, full=place < NEAREST) for place, one in enumerate(near[:most])]
            if others := len(said.permits) - len(near):
                shown.append([self.text("elsewhere", value=others)])
            yield from self._section("nearest", shown)
        if not self._ticket:
            yield from self._section("forbids_not", (self._missing(one) for one in said.forbids))
        marked = [one for one in said.report_only if one.applies == "true" or not self._ticket]
        yield from self._section("report_only", (self._marked(one) for one in marked))

    def _section(self, key: str, entries: Iterable[list[str]]) -> Iterator[str]:
        every = list(entries)
        if every:
            yield ""
            yield self.text(key)
            for entry in every:
                yield from (f"  {line}" for line in entry)

    def _remedy(self, said: Explanation) -> Iterator[str]:
        steps = [f"{number}. {self._said(step)}" for number, step in enumerate(said.steps, 1)]
        yield from self._section("remedy", [steps or [self.text("remedy_none")]])

    def _head(self, one: PolicyExplained, note: str = "") -> str:
        template = self.text("template", value=visible(one.template, 64)) if one.template else ""
        notes = "; ".join(filter(None, (note, template)))
        return f"{one.id}: {visible(one.title.text(self._language), _TITLE)}" + (f" ({notes})" if notes else "")

    def _determining(self, one: PolicyExplained) -> list[str]:
        return [self._head(one), *(f"  - {self._said(read.said)}" for read in one.reads)]

    def _missing(self, one: PolicyExplained, *, full: bool = True) -> list[str]:
        count = len(one.unmet)
        head = self._head(one, self.text("misses_one") if count == 1 else self.text("misses", n=count))
        return [head, *(line for unmet in one.unmet for line in self._unmet(one, unmet))] if full else [head]

    def _marked(self, one: PolicyExplained) -> list[str]:
        if one.applies == "true":
            return [self._head(one, f"{self.text(f'policy_{one.effect}')}, {self.text('would')}")]
        return [self._head(one, self.text("would_not")), *(line for unmet in one.unmet for line in self._unmet(one, unmet))]

    def _unmet(self, one: PolicyExplained, unmet: Unmet) -> list[str]:
        place = in_both("explain.no_words", value=f"{one.id}, {one.file.rpartition('/')[2]}:{one.line}")
        wanted = [place if self._ticket and said.cedar else said for said in unmet.wanted]
        return [
            f"  - {self.text('wants')}: {'; '.join(map(self._said, wanted))}",
            f"    {self.text('found')}: {'; '.join(map(self._said, unmet.found))}",
        ]

    def _said(self, sentence: Sentence) -> str:
        return sentence.text(self._language)
