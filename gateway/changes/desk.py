"""The desk: what is looked at, checked, and put into force, with the database (`gateway.changes.port.ChangeDesk`).

What takes long (compiling, cases, who would be locked out) is done before the transaction, on the content that the caller named;
the transaction then finds out that it is still that content, and still the policies in force that it was to follow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from gateway.changes import rules, store
from gateway.changes.bundle_files import accept_files, content_of, merged, snapshot_of
from gateway.changes.examine import Examined, Question, examine, examine_apart, is_large, without_lockout
from gateway.changes.lockout import TODO, Officer, Reach
from gateway.changes.model import (
    INITIAL_TITLE,
    ChangeRefused,
    Checked,
    Draft,
    Files,
    NodeState,
    Person,
    Publication,
    RefusedWhy,
)
from gateway.changes.texts import MAX_REASON, MAX_TITLE, check_text
from gateway.domain.route import Route
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.lasting.port import Cursor, Lasting
from gateway.policy.compile import version_of
from gateway.policy.known import NOTHING, Known

MAX_NOTE: Final = 2_000
AT_ONCE: Final = 2
"""So many bundles are checked at a time, however many officers type."""
THE_FOLDER: Final = Person(subject="gateway", login="")
"""Who the first publication is by: nobody in particular, whoever filled the folder."""

Officers = Callable[[], Awaitable[Sequence[Officer]]]


class Desk:
    """`ChangeDesk` over a database. Of any number of desks over one database, in any processes, all give the same answers."""

    def __init__(
        self,
        lasting: Lasting,
        *,
        clock: Clock,
        officers: Officers,
        routes: Sequence[Route],
        reach: Callable[[], Reach] = Reach,
        known: Known = NOTHING,
    ) -> None:
        """`officers` are those who are active now; `routes` those of all applications, the console's included; `reach` is what
        officers can reach in these days; `known` has the other names of the configuration. Makes the tables: blocking.
        """
        self._lasting: Final = lasting
        self._clock: Final = clock
        self._officers: Final = officers
        self._routes: Final = tuple(routes)
        self._reach: Final = reach
        self._known: Final = known
        self._at_once: Final = asyncio.Semaphore(AT_ONCE)
        lasting.prepare(store.PART, store.SCHEMA)

    # ------------------------------------------------------------------ looking

    async def in_force(self) -> tuple[Publication, Mapping[str, bytes]]:
        """The newest publication."""

        def work(cursor: Cursor) -> tuple[Publication, dict[str, bytes]]:
            found = store.in_force(cursor)
            return found, store.bundle_by_content(cursor, found.content)

        return await self._lasting.read(work)

    async def publication(self, number: int) -> tuple[Publication, Mapping[str, bytes]]:
        """One of them."""

        def work(cursor: Cursor) -> tuple[Publication, dict[str, bytes]]:
            found = store.publication(cursor, number)
            return found, store.bundle_by_content(cursor, found.content)

        return await self._lasting.read(work)

    async def files_of(self, version: str) -> Mapping[str, bytes]:
        """By the version that records name."""
        return await self._lasting.read(lambda cursor: store.bundle_by_version(cursor, version))

    async def history(self) -> list[Publication]:
        """All publications."""
        return await self._lasting.read(store.history)

    async def drafts(self) -> list[Draft]:
        """All drafts."""
        return await self._lasting.read(store.drafts)

    async def draft(self, draft_id: str) -> Draft:
        """One of them."""
        return await self._lasting.read(lambda cursor: store.draft(cursor, draft_id))

    async def nodes(self) -> list[NodeState]:
        """What each process said last."""
        return await self._lasting.read(store.nodes)

    async def check(self, files: Files) -> Checked:
        """Problems, warnings, failed cases, and whether two officers could go on."""
        return (await self._examine(accept_files(files))).checked

    # ------------------------------------------------------------------ making a change

    async def begin(self, who: Person, *, title: str, why: str, files: Files | None = None) -> Draft:
        """From what is in force, or with `files`."""
        title, why = _texts(title, why)
        given = accept_files(files) if files is not None else None
        draft_id, now = new_id("chg"), self._now()

        def work(cursor: Cursor) -> Draft:
            base = store.in_force(cursor)
            mine = given if given is not None else store.bundle_by_content(cursor, base.content)
            draft = Draft(
                id=draft_id,
                title=title,
                why=why,
                author=who,
                editors=(who,),
                base=base.number,
                files=mine,
                content=content_of(mine),
                revision=1,
                state="open",
                created_at=now,
                changed_at=now,
            )
            store.keep_draft(cursor, draft)
            return draft

        return await self._lasting.write(work)

    async def save(self, who: Person, draft_id: str, *, revision: int, files: Files, title: str = "", why: str = "") -> Draft:
        """Keep the files, good or not."""
        given = accept_files(files)
        title, why = _texts(title, why, needed=False)
        content, now = content_of(given), self._now()

        def work(cursor: Cursor) -> Draft:
            before = store.draft(cursor, draft_id)
            draft = rules.edited(before, who, now, revision=revision, files=given, content=content)
            return self._kept(cursor, before, msgspec.structs.replace(draft, title=title or draft.title, why=why or draft.why))

        return await self._lasting.write(work)

    async def bring_up_to_date(self, who: Person, draft_id: str, *, revision: int) -> Draft:
        """Put it onto what is in force."""
        now = self._now()

        def work(cursor: Cursor) -> Draft:
            before, newest = store.draft(cursor, draft_id), store.in_force(cursor)
            base = store.bundle_by_content(cursor, store.publication(cursor, before.base).content)
            files, both = merged(base, before.files, store.bundle_by_content(cursor, newest.content))
            draft = rules.edited(before, who, now, revision=revision, files=files, content=content_of(files))
            if before.base == newest.number:
                return before
            if both:
                todo = "Begin a new change from what is in force, and make yours there again"
                raise ChangeRefused("changed", f"both sides changed {', '.join(both)}", todo)
            accept_files(files)
            return self._kept(cursor, before, msgspec.structs.replace(draft, base=newest.number))

        return await self._lasting.write(work)

    async def withdraw(self, who: Person, draft_id: str) -> Draft:
        """Give it up."""
        now = self._now()
        return await self._step(draft_id, lambda draft, _: rules.withdrawn(draft, now))

    # ------------------------------------------------------------------ the second person

    async def submit(self, who: Person, draft_id: str, *, content: str) -> Draft:
        """Ask a second person."""
        now = self._now()
        draft, newest = await self._both(draft_id)
        rules.submitted(draft, content, newest, now)
        await self._good(draft.files)
        return await self._step(draft_id, lambda draft, newest: rules.submitted(draft, content, newest, now))

    async def approve(self, who: Person, draft_id: str, *, content: str, note: str = "", revision: int = 0) -> Draft:
        """Approve exactly this content."""
        note = check_text("the note", note, MAX_NOTE, lines=True, needed=False)
        now = self._now()
        return await self._step(draft_id, lambda draft, _: rules.approved(draft, who, content, revision, note, now))

    async def decline(self, who: Person, draft_id: str, *, content: str, note: str) -> Draft:
        """Send it back."""
        note = check_text("the note", note, MAX_NOTE, lines=True)
        now = self._now()
        return await self._step(draft_id, lambda draft, _: rules.declined(draft, who, content, note, now))

    # ------------------------------------------------------------------ putting in force

    async def publish(self, who: Person, draft_id: str, *, content: str) -> Publication:
        """Put approved content in force."""
        now = self._now()
        draft, newest = await self._both(draft_id)
        rules.published(draft, content, newest, now)
        await self._good(draft.files)

        def work(cursor: Cursor) -> Publication:
            before, newest = store.draft(cursor, draft_id), store.in_force(cursor)
            draft, approver = rules.published(before, content, newest, now)
            new = Publication(
                number=newest.number + 1,
                kind="publish",
                version=_version(draft.files),
                content=content,
                at=now,
                title=draft.title,
                why=draft.why,
                author=draft.author,
                approved_by=approver,
                draft=draft.id,
            )
            store.publish(cursor, new, draft.files)
            store.keep_draft(cursor, draft)
            return new

        return await self._lasting.write(work)

    async def roll_back(self, who: Person, number: int, *, why: str, expected: int) -> Publication:
        """Put an earlier bundle in force again."""
        why = check_text("the reason", why, MAX_REASON, lines=True)
        now = self._now()

        def look(cursor: Cursor) -> tuple[Publication, dict[str, bytes]]:
            target = store.publication(cursor, number)
            rules.returnable(target, store.in_force(cursor), expected)
            return target, store.bundle_by_content(cursor, target.content)

        target, files = await self._lasting.read(look)
        await self._good(files, analysed=False)  # it was in force: what only warns of mistakes is not in its way

        def work(cursor: Cursor) -> Publication:
            newest = store.in_force(cursor)
            rules.returnable(target, newest, expected)
            new = Publication(
                number=newest.number + 1,
                kind="rollback",
                version=target.version,
                content=target.content,
                at=now,
                title=target.title,
                why=why,
                author=who,
                approved_by=None,
                returns_to=target.number,
            )
            store.publish(cursor, new, files)
            return new

        return await self._lasting.write(work)

    async def begin_with_folder(self, files: Files) -> Publication:
        """Make the policies of the folder the first publication, unless there is one; return the newest. The caller has checked
        them. Of several processes that start at once, one does it.
        """
        given, now = accept_files(files), self._now()

        def work(cursor: Cursor) -> Publication:
            found = store.newest(cursor)
            if found is not None:
                return found
            first = Publication(
                number=1,
                kind="initial",
                version=_version(given),
                content=content_of(given),
                at=now,
                title=INITIAL_TITLE,
                why="First start with a database",
                author=THE_FOLDER,
                approved_by=None,
            )
            store.publish(cursor, first, given)
            return first

        return await self._lasting.write(work)

    # ------------------------------------------------------------------ trials

    async def try_out(self, who: Person, draft_id: str, *, content: str) -> Draft:
        """Evaluate a good draft beside what is in force."""
        now = self._now()
        draft, _ = await self._both(draft_id)
        rules.tried(draft, content, now)
        checked = without_lockout(await self._examine(draft.files))  # a trial locks nobody out
        if not checked.good:
            raise _not_good(checked)

        def work(cursor: Cursor) -> Draft:
            before = store.draft(cursor, draft_id)
            after = rules.tried(before, content, now)
            other = store.on_trial(cursor)
            if other is not None and other.id != draft_id:
                store.keep_draft(cursor, msgspec.structs.replace(other, trial=False))
            store.keep_bundle(cursor, content, checked.version, after.files)
            return self._kept(cursor, before, after)

        return await self._lasting.write(work)

    async def end_trial(self, who: Person, draft_id: str) -> Draft:
        """End that."""
        now = self._now()
        return await self._step(
            draft_id, lambda draft, _: msgspec.structs.replace(draft, trial=False, changed_at=now) if draft.trial else draft
        )

    # ------------------------------------------------------------------

    def _now(self) -> int:
        return int(self._clock.now())

    async def _both(self, draft_id: str) -> tuple[Draft, Publication]:
        return await self._lasting.read(lambda cursor: (store.draft(cursor, draft_id), store.in_force(cursor)))

    async def _step(self, draft_id: str, step: Callable[[Draft, Publication], Draft]) -> Draft:
        def work(cursor: Cursor) -> Draft:
            before = store.draft(cursor, draft_id)
            return self._kept(cursor, before, step(before, store.in_force(cursor)))

        return await self._lasting.write(work)

    @staticmethod
    def _kept(cursor: Cursor, before: Draft, after: Draft) -> Draft:
        store.keep_draft(cursor, after)
        if before.trial or after.trial:
            cursor.touched(store.TOPIC)
        return after

    async def _examine(self, files: Files, *, analysed: bool = True) -> Examined:
        question = Question(
            files=dict(files),
            routes=self._routes,
            known=self._known,
            officers=tuple(await self._officers()),
            reach=self._reach(),
            analysed=analysed,
        )
        async with self._at_once:
            return await asyncio.to_thread(examine_apart if is_large(files) else examine, question)

    async def _good(self, files: Files, *, analysed: bool = True) -> Checked:
        found = await self._examine(files, analysed=analysed)
        if found.locked is not None:
            raise ChangeRefused("lockout", found.locked.what, TODO, found.checked)
        if not found.checked.good:
            raise _not_good(found.checked)
        return found.checked


def _not_good(checked: Checked) -> ChangeRefused:
    why: RefusedWhy = "not_good"
    errors = [problem for problem in checked.problems if problem.severity == "error"]
    if errors:
        first = errors[0]
        place = f"{first.file}:{first.line}: " if first.line else f"{first.file}: " if first.file else ""
        return ChangeRefused(why, f"{place}{first.what}", first.todo, checked)
    case = checked.failed[0]
    what = f"{case.file}:{case.line}: the case {case.name!r} does not hold (of {len(checked.failed)} that do not)"
    return ChangeRefused(why, what, "Correct the policies, or the case if it is wrong", checked)


def _texts(title: str, why: str, *, needed: bool = True) -> tuple[str, str]:
    return (
        check_text("the title", title, MAX_TITLE, needed=needed),
        check_text("the reason", why, MAX_REASON, lines=True, needed=needed),
    )


def _version(files: Files) -> str:
    return version_of(snapshot_of(files).policies)
