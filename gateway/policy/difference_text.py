"""A difference as lines of text for a terminal. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from gateway.kernel.i18n import Language
from gateway.kernel.web.show import visible
from gateway.policy.difference import CaseChange, ConditionChange, Difference, PolicyChange, TemplateChange
from gateway.policy.words import TEXTS

_MARKS: Final = {"added": "+", "removed": "-", "changed": "~"}
_TEXT: Final = 300


def difference_lines(found: Difference, language: Language) -> list[str]:
    """Return what differs, in a language: policies first, then templates and cases."""
    return list(_Lines(language).of(found))


class _Lines:
    def __init__(self, language: Language) -> None:
        self._language: Language = language

    def text(self, key: str, **values: object) -> str:
        return TEXTS.text(self._language, f"diff.{key}", **values)

    def of(self, found: Difference) -> Iterator[str]:
        if found.empty:
            yield self.text("same" if found.before == found.after else "layout")
            return
        yield from self._section("policies", found.policies)
        yield from self._section("templates", found.templates)
        yield from self._section("cases", found.cases)

    def _section(self, key: str, changes: Sequence[PolicyChange | TemplateChange | CaseChange]) -> Iterator[str]:
        if not changes:
            return
        counts = Counter(change.kind for change in changes)
        summary = self.text("summary", added=counts["added"], removed=counts["removed"], changed=counts["changed"])
        yield f"{self.text(key)}: {summary}"
        for change in changes:
            if isinstance(change, PolicyChange):
                yield from self._policy(change)
            elif isinstance(change, TemplateChange):
                yield f"  {_MARKS[change.kind]} {change.id}: {visible(change.title.text(self._language), _TEXT)}"
            else:
                yield f"  {_MARKS[change.kind]} {change.file}: {visible(change.name, _TEXT)}"
                yield from (f"      {visible(said.text(self._language), _TEXT)}" for said in change.statements)
        yield ""

    def _policy(self, change: PolicyChange) -> Iterator[str]:
        language = self._language
        head = f"{change.id} ({change.outline.text(language)})"
        yield f"  {_MARKS[change.kind]} {head}: {visible(change.title.text(language), _TEXT)}"
        for said in change.statements:
            yield f"      {visible(said.text(language), _TEXT)}"
        for number, when in enumerate(change.when):
            yield f"      {self.text('when') if number == 0 else ' ' * len(self.text('when'))}  {when.text(language)}"
        for condition in change.conditions:
            yield from self._condition(change, condition)

    def _condition(self, change: PolicyChange, condition: ConditionChange) -> Iterator[str]:
        reach = f" ({self.text(f'{condition.reach}_{change.effect}')})" if condition.reach else ""
        yield f"      {self.text(f'condition_{condition.kind}')}{reach}:"
        if condition.before is not None:
            yield f"        - {condition.before.text(self._language)}"
        if condition.after is not None:
            yield f"        + {condition.after.text(self._language)}"
