"""The ledger of break-glasses. Every step is one transaction: what it checks holds when it changes something, on every node."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from gateway.domain.identity import same_login
from gateway.emergency.model import BreakGlass, EndedHow, Finding, NotPossible, State
from gateway.emergency.outbox import Message, Outbox, cancel, hasten, put
from gateway.lasting.port import Cursor, Lasting

PART: Final = "breakglass"
TOPIC: Final = "breakglass"
SCHEMA: Final = (
    """
CREATE TABLE breakglass (
  id TEXT PRIMARY KEY, session TEXT NOT NULL, state TEXT NOT NULL, began_at BIGINT NOT NULL, until BIGINT NOT NULL,
  reviewed BIGINT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX breakglass_session ON breakglass (session);
CREATE INDEX breakglass_state ON breakglass (state);
CREATE INDEX breakglass_began ON breakglass (began_at);
CREATE TABLE notice (
  id TEXT PRIMARY KEY, about TEXT NOT NULL, channel TEXT NOT NULL, state TEXT NOT NULL, due_at BIGINT NOT NULL,
  attempts BIGINT NOT NULL, problem TEXT NOT NULL, created_at BIGINT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX notice_due ON notice (state, due_at);
CREATE INDEX notice_about ON notice (about)
""",
)
OPEN: Final = ("beginning", "running")
LOOKED_THROUGH: Final = 2_000
"""Break-glasses among which a person's are looked for: years of them, in any hospital."""

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(BreakGlass).decode


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """For the console's first page."""

    running: int
    to_review: int


class Ledger:
    """Keeps break-glasses. Every method raises `StoreUnavailable` when the database does not answer."""

    def __init__(self, lasting: Lasting) -> None:
        lasting.prepare(PART, SCHEMA)
        self._lasting: Final = lasting
        self.outbox: Final = Outbox(lasting)

    # ------------------------------------------------------------------ the life of one

    async def begin(self, new: BreakGlass, messages: Sequence[Message] = (), *, due_at: int = 0) -> None:
        """Put a new one in, as `beginning`, and what officers are to be told, due at `due_at`: in one step.

        NotPossible("running") when one is in force in this very session.
        """

        def work(cursor: Cursor) -> None:
            rows = cursor.rows("SELECT body FROM breakglass WHERE session = ? AND state IN (?, ?)", (new.session, *OPEN))
            if any(_read(row[0]).in_force(new.began_at) for row in rows):
                raise NotPossible("running")
            cursor.run(
                "INSERT INTO breakglass (id, session, state, began_at, until, reviewed, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (new.id, new.session, new.state, new.began_at, new.until, 0, _encode(new).decode()),
            )
            for message in messages:
                put(cursor, message, about=new.id, now=new.began_at, due_at=due_at)
            cursor.touched(TOPIC)

        await self._lasting.write(work)

    async def in_force(self, break_id: str, now: int) -> None:
        """Say that it is in force now; its notices are due at once."""

        def work(cursor: Cursor) -> None:
            _change(cursor, break_id, lambda old: _with(old, state="running") if old.state == "beginning" else old)
            hasten(cursor, break_id, now)

        await self._lasting.write(work)

    async def void(self, break_id: str, why: str, now: int) -> None:
        """Say that it never came into force; what was not told yet is not told."""

        def work(cursor: Cursor) -> None:
            _change(
                cursor, break_id, lambda old: _with(old, state="void", ended_at=now, problem=why) if old.state in OPEN else old
            )
            cancel(cursor, break_id)

        await self._lasting.write(work)

    async def trouble(self, break_id: str, why: str) -> None:
        """Note that nobody knows whether it came into force: it counts as if it had."""
        await self._lasting.write(lambda cursor: _change(cursor, break_id, lambda old: _with(old, problem=why)))

    async def end(self, break_id: str, how: EndedHow, now: int, by: str = "") -> bool:
        """Note that it has ended; True when this call ended it. What has ended stays ended."""

        def work(cursor: Cursor) -> bool:
            old = _find(cursor, break_id)
            if old is None or old.state not in OPEN:
                return False
            _store(
                cursor,
                _with(old, state="ended", ended_at=min(now, old.until) if how == "time" else now, ended_how=how, ended_by=by),
            )
            return True

        return await self._lasting.write(work)

    async def review(self, break_id: str, finding: Finding) -> BreakGlass:
        """Close the review. NotPossible: "unknown"; "own", when the officer is the person concerned; "in_force", while it is
        not over; "reviewed", when somebody has closed it already.
        """

        def work(cursor: Cursor) -> BreakGlass:
            old = _find(cursor, break_id)
            if old is None or old.state == "void":
                raise NotPossible("unknown")
            if finding.by == old.subject or same_login(finding.login, old.login):
                raise NotPossible("own")
            if old.state in OPEN:
                raise NotPossible("in_force")
            if old.finding is not None:
                raise NotPossible("reviewed")
            new = _with(old, finding=finding)
            _store(cursor, new)
            return new

        return await self._lasting.write(work)

    # ------------------------------------------------------------------ looking

    async def get(self, break_id: str) -> BreakGlass | None:
        """Return one."""
        return await self._lasting.read(lambda cursor: _find(cursor, break_id))

    async def open(self) -> list[BreakGlass]:
        """Return those that have not ended, oldest first."""

        def work(cursor: Cursor) -> list[BreakGlass]:
            rows = cursor.rows("SELECT body FROM breakglass WHERE state IN (?, ?) ORDER BY began_at, id", OPEN)
            return [_read(row[0]) for row in rows]

        return await self._lasting.read(work)

    async def to_review(self, limit: int = 200) -> list[BreakGlass]:
        """Return those whose review is open, running ones included, oldest first."""
        return await self._select("state <> 'void' AND reviewed = 0 ORDER BY began_at, id", limit, 0)

    async def past(self, limit: int = 50, offset: int = 0) -> list[BreakGlass]:
        """Return those that are settled: reviewed, or never in force; newest first."""
        return await self._select("(reviewed = 1 OR state = 'void') ORDER BY began_at DESC, id", limit, offset)

    async def of(self, subject: str, login: str) -> list[BreakGlass]:
        """Return a person's, newest first, among the newest `LOOKED_THROUGH` of all."""
        found = await self._select("1 = 1 ORDER BY began_at DESC, id", LOOKED_THROUGH, 0)
        return [one for one in found if one.subject == subject or same_login(one.login, login)]

    async def counts(self) -> Counts:
        """Return how many run, and how many reviews are open."""

        def work(cursor: Cursor) -> Counts:
            running = cursor.one("SELECT COUNT(*) FROM breakglass WHERE state IN (?, ?)", OPEN)
            reviews = cursor.one("SELECT COUNT(*) FROM breakglass WHERE state <> 'void' AND reviewed = 0")
            return Counts(running=int(running[0]) if running else 0, to_review=int(reviews[0]) if reviews else 0)

        return await self._lasting.read(work)

    async def stamp(self) -> int:
        """Return a number that differs when the ledger has changed."""
        return await asyncio.to_thread(self._lasting.stamp, TOPIC)

    async def _select(self, where: str, limit: int, offset: int) -> list[BreakGlass]:
        def work(cursor: Cursor) -> list[BreakGlass]:
            rows = cursor.rows(f"SELECT body FROM breakglass WHERE {where} LIMIT ? OFFSET ?", (limit, offset))  # noqa: S608  ours
            return [_read(row[0]) for row in rows]

        return await self._lasting.read(work)


def _find(cursor: Cursor, break_id: str) -> BreakGlass | None:
    row = cursor.one("SELECT body FROM breakglass WHERE id = ?", (break_id,))
    return None if row is None else _read(row[0])


def _change(cursor: Cursor, break_id: str, change: Callable[[BreakGlass], BreakGlass]) -> None:
    old = _find(cursor, break_id)
    if old is None:
        raise NotPossible("unknown")
    _store(cursor, change(old))


def _store(cursor: Cursor, new: BreakGlass) -> None:
    cursor.run(
        "UPDATE breakglass SET state = ?, until = ?, reviewed = ?, body = ? WHERE id = ?",
        (new.state, new.until, int(new.finding is not None), _encode(new).decode(), new.id),
    )
    cursor.touched(TOPIC)


def _with(old: BreakGlass, **changes: State | EndedHow | Finding | str | int | None) -> BreakGlass:
    return msgspec.structs.replace(old, **changes)


def _read(body: str) -> BreakGlass:
    return _decode(body)
