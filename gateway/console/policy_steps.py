"""The life of a change as steps that an officer sees, and what to do next. Pure."""

from typing import Final, Literal

import msgspec

from gateway.changes.model import Approval, Checked, Draft, Person
from gateway.changes.rules import same_person

StepState = Literal["done", "now", "bad", "later", "maybe"]
"""`now`: it is this one's turn; `bad`: something has to be put right here; `maybe`: worth doing, and not asked for."""
STEPS: Final = ("draft", "check", "cases", "replay", "diff", "second", "publish", "watch")


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step: texts `drafts.step.<name>`, `drafts.step_<state>` and, unless empty, `drafts.said.<said>` with `values`."""

    name: str
    state: StepState
    said: str = ""
    values: dict[str, object] = {}


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """A draft, and who looks at it."""

    draft: Draft
    checked: Checked
    in_force: int
    """Number of the publication in force."""
    files_changed: int
    """Files that differ from what is in force."""
    replayed: bool
    """Somebody replayed exactly this content, against what is in force (a published one: against what was, when it began)."""
    officer: bool
    who: Person

    @property
    def overtaken(self) -> bool:
        """Whether something else was published since it began."""
        return self.draft.base != self.in_force and self.draft.state in {"open", "waiting", "approved"}

    @property
    def edited(self) -> bool:
        """Whether whoever looks wrote any of it, and so can't approve it."""
        return any(same_person(self.who, one) for one in (self.draft.author, *self.draft.editors))

    @property
    def may_edit(self) -> bool:
        """Whether its files can be changed by whoever looks."""
        return self.officer and self.draft.state in {"open", "waiting", "approved"}

    @property
    def approval(self) -> Approval | None:
        """The word of a second person on the present content."""
        words = [word for word in self.draft.approvals if word.content == self.draft.content]
        return words[-1] if words else None

    @property
    def declined(self) -> Approval | None:
        """Why it was sent back: the newest word, when that was no."""
        newest = self.draft.approvals[-1] if self.draft.approvals else None
        return newest if newest is not None and newest.verdict == "declined" and self.draft.state == "open" else None

    @property
    def errors(self) -> int:
        """Problems that keep it from being published."""
        return sum(problem.severity == "error" for problem in self.checked.problems)

    @property
    def warnings(self) -> int:
        """Problems that do not."""
        return len(self.checked.problems) - self.errors


def steps(look: Look) -> tuple[Step, ...]:
    """Return all steps, in order."""
    draft, over = look.draft, look.draft.state == "published"
    changed = over or look.files_changed > 0
    check: StepState = "bad" if look.errors else "done" if changed else "later"
    cases: StepState = "bad" if look.checked.failed else "later" if look.errors or not changed else "done"
    good = changed and check == cases == "done"
    ready = good and not look.overtaken
    second: StepState = (
        "done" if draft.state in {"approved", "published"} else "now" if draft.state == "waiting" or ready else "later"
    )
    return (
        Step(name="draft", state="done" if changed else "now", said="files", values={"count": look.files_changed}),
        Step(
            name="check", state=check, said="problems" if look.errors else "warnings" if look.warnings else "",
            values={"count": look.errors or look.warnings},
        ),
        Step(
            name="cases", state=cases, said="" if look.errors else "failed" if look.checked.failed else "passed",
            values={"failed": len(look.checked.failed), "count": look.checked.passed},
        ),
        Step(name="replay", state="done" if look.replayed else "maybe" if good and not over else "later"),
        Step(
            name="diff", state="bad" if look.overtaken else "done" if changed else "later",
            said="overtaken" if look.overtaken else "",
        ),
        Step(name="second", state=second, said="waiting" if draft.state == "waiting" else ""),
        Step(name="publish", state="done" if over else "now" if draft.state == "approved" and not look.overtaken else "later"),
        Step(name="watch", state="now" if over else "later"),
    )  # fmt: skip


def next_of(look: Look) -> str:
    """Return what to do next: a text of `drafts.next`."""
    draft = look.draft
    if draft.state in {"published", "withdrawn"}:
        return draft.state
    if not look.officer:
        return "look"
    if draft.state == "open":
        return _next_of_open(look)
    if look.overtaken:
        return "update"
    if draft.state == "approved":
        return "publish"
    return "wait" if look.edited else "decide"


def _next_of_open(look: Look) -> str:
    if look.overtaken:
        return "update"
    if not look.files_changed:
        return "change"
    if look.errors:
        return "fix"
    if look.checked.failed:
        return "cases"
    return "submit" if look.replayed else "replay"
