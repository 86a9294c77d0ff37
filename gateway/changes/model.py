"""What a change of the policies is made of. Plain values.

A bundle's files are names as in its folder (`ehr.cedar`, `links.toml`, `cases/ehr.toml`) to bytes. `content` is the
hash over all of them, cases included (`gateway.policy.folder.Snapshot.fingerprint`); `version` the one over what decides:
decision records name it.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

Files = Mapping[str, bytes]
DraftState = Literal["open", "waiting", "approved", "published", "withdrawn"]
"""`waiting`: for a second person; a declined draft is `open` again, with the note. Any edit of a draft makes it `open`."""
Kind = Literal["initial", "publish", "rollback"]
RefusedWhy = Literal[
    "gone",             # no such draft, publication or version
    "state",            # not possible in the draft's present state
    "changed",          # somebody else saved, or it is not the content that was looked at
    "own",              # the author, or anybody who edited it, can't approve it
    "not_good",         # the policies have problems, or a case fails: `problems`
    "lockout",          # fewer than two officers could still approve and publish
    "overtaken",        # another bundle was published since the draft began: bring it up to date
    "same",             # it is what is in force
    "form",             # a text is missing, too long, or holds invisible characters
]  # fmt: skip


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who did something."""

    subject: str
    """Of the identity provider; `cli:<login>` from a command line."""
    login: str
    name: str = ""


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What a second person said of exactly this content."""

    by: Person
    at: int
    content: str
    verdict: Literal["approved", "declined"]
    note: str = ""


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A change that is being made."""

    id: str
    """`chg_...`"""
    title: str
    why: str
    author: Person
    editors: tuple[Person, ...]
    """Everybody who saved it, the author included: none of them can approve it."""
    base: int
    """Number of the publication that it began from."""
    files: dict[str, bytes]
    content: str
    revision: int
    """Rises with every save: who saves names the one that they began from."""
    state: DraftState
    approvals: tuple[Approval, ...] = ()
    created_at: int
    changed_at: int
    trial: bool = False
    """Evaluated beside the policies in force, recorded, not enforced (a report-only bundle)."""


INITIAL_TITLE: Final = "Policies of the installation"
"""Of the first publication, and of those that go back to it. The console says it in the reader's language."""


class Publication(msgspec.Struct, frozen=True, kw_only=True):
    """One bundle that was put in force."""

    number: int
    """1, 2, 3 ... the newest is in force."""
    kind: Kind
    version: str
    content: str
    at: int
    title: str
    why: str
    author: Person
    approved_by: Person | None
    """None: the first one, or a rollback, which takes back to what was approved before."""
    draft: str = ""
    returns_to: int = 0
    """Of a rollback: the publication whose bundle this is again."""

    @property
    def is_initial(self) -> bool:
        """Whether it is what the gateway began with, then or again."""
        return self.kind == "initial" or (self.returns_to > 0 and self.title == INITIAL_TITLE)


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """What one process that decides has in force."""

    node: str
    """`<host name>/<slot>`"""
    number: int
    """Of the publication; 0: policies from a folder."""
    version: str
    trial: str = ""
    """Version of the report-only bundle that it evaluates; empty for none."""
    error: str = ""
    """Why it can't load what is published; it keeps what it had."""
    at: int
    """When it said so, epoch seconds: a process that is gone says nothing any more."""


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be said of some files. Good when there is no problem and no failed case."""

    version: str
    content: str
    problems: tuple["Problem", ...]
    """In the order of files and lines. `severity` `error` keeps it from being published, `warning` does not."""
    passed: int
    failed: tuple["FailedCase", ...]
    uncovered: tuple[str, ...] = ()
    """Policies that no case shows deciding."""
    undecided: tuple[str, ...] = ()
    """Policies and routes of which the analysis can't tell whether they ever match, or what makes them superfluous."""

    @property
    def good(self) -> bool:
        """Whether it may be approved and published."""
        return not self.failed and all(problem.severity != "error" for problem in self.problems)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong, where, and what to do."""

    file: str
    """As in `files`; empty for the bundle as a whole."""
    line: int
    """From 1; 0 for the file as a whole."""
    what: str
    todo: str
    severity: Literal["error", "warning"] = "error"


class FailedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case that does not hold."""

    file: str
    line: int
    name: str
    differences: tuple[tuple[str, str, str], ...]
    """(what, expected, got)."""


class ChangeRefused(Exception):  # noqa: N818  a refusal, not a failure
    """What was asked for can't be done; nothing was changed."""

    def __init__(self, why: RefusedWhy, what: str, todo: str = "", checked: Checked | None = None) -> None:
        super().__init__(what)
        self.why = why
        self.what = what
        self.todo = todo
        self.checked = checked
        """With `not_good`."""

    def __str__(self) -> str:
        return f"{self.what}. {self.todo}" if self.todo else self.what
