"""The desk at which changes are made: what the console and the command line ask for, with the same answers."""

from collections.abc import Mapping
from typing import Protocol

from gateway.changes.model import Checked, Draft, Files, NodeState, Person, Publication


class ChangeDesk(Protocol):
    """Every method raises `ChangeRefused` (nothing was changed) or `StoreUnavailable`. Who may ask at all is the caller's affair.

    Each change is one transaction: of two officers who publish at once one does, and the other is `overtaken`.
    """

    async def in_force(self) -> tuple[Publication, Mapping[str, bytes]]:
        """Return the newest publication and its files."""
        ...

    async def publication(self, number: int) -> tuple[Publication, Mapping[str, bytes]]:
        """Return a publication and its files."""
        ...

    async def files_of(self, version: str) -> Mapping[str, bytes]:
        """Return the files of a bundle that was ever in force or on trial, by the version that records name."""
        ...

    async def history(self) -> list[Publication]:
        """Return all publications, newest first."""
        ...

    async def drafts(self) -> list[Draft]:
        """Return all drafts, the last changed first; published and withdrawn ones too."""
        ...

    async def draft(self, draft_id: str) -> Draft:
        """Return a draft."""
        ...

    async def check(self, files: Files) -> Checked:
        """Say what is to be said of these files: problems, warnings, failed cases. Changes nothing. Seconds for large bundles."""
        ...

    async def begin(self, who: Person, *, title: str, why: str, files: Files | None = None) -> Draft:
        """Begin a draft from what is in force, or with `files`."""
        ...

    async def save(self, who: Person, draft_id: str, *, revision: int, files: Files, title: str = "", why: str = "") -> Draft:
        """Keep the files, good or not (title and reason too, unless empty). Approvals are void.

        `changed` when `revision` is not the newest.
        """
        ...

    async def bring_up_to_date(self, who: Person, draft_id: str, *, revision: int) -> Draft:
        """Put a draft onto what is in force now: file by file, what only one side changed.

        `changed` where both did, naming the files.
        """
        ...

    async def withdraw(self, who: Person, draft_id: str) -> Draft:
        """Give a draft up; its trial ends."""
        ...

    async def submit(self, who: Person, draft_id: str, *, content: str) -> Draft:
        """Ask a second person. Refused unless the draft is good, up to date, and leaves two officers in."""
        ...

    async def approve(self, who: Person, draft_id: str, *, content: str, note: str = "", revision: int = 0) -> Draft:
        """Approve exactly this content. `own` for anybody who edited it, `changed` when it is not the present one.

        With `revision`, title and reason must be those that were looked at, too.
        """
        ...

    async def decline(self, who: Person, draft_id: str, *, content: str, note: str) -> Draft:
        """Send it back, with a note."""
        ...

    async def publish(self, who: Person, draft_id: str, *, content: str) -> Publication:
        """Put approved content in force, on every node within about a second. Checked once more."""
        ...

    async def roll_back(self, who: Person, number: int, *, why: str, expected: int) -> Publication:
        """Put the bundle of an earlier publication in force again, at once. `expected`: the number in force now."""
        ...

    async def try_out(self, who: Person, draft_id: str, *, content: str) -> Draft:
        """Evaluate a good draft beside what is in force, on every node, recorded and not enforced. It replaces another trial."""
        ...

    async def end_trial(self, who: Person, draft_id: str) -> Draft:
        """End that."""
        ...

    async def nodes(self) -> list[NodeState]:
        """Return what each process said last."""
        ...
