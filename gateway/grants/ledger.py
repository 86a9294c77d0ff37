"""The ledger of grants. Every step is one transaction: what it checks holds when it changes something, on every node."""

from collections.abc import Sequence
from typing import Final

import msgspec

from gateway.grants.model import (
    MAX_WAITING,
    MAX_WAITING_ALL,
    Emergency,
    Grant,
    NotPossible,
    Person,
    check_emergency,
    check_name,
    check_times,
    is_id,
    plain_text,
    within,
)
from gateway.lasting.port import Cursor, Lasting

PART: Final = "grants"
TOPIC: Final = "grants"
SCHEMA: Final = (
    """
CREATE TABLE access_grant (
  id TEXT PRIMARY KEY, subject TEXT NOT NULL, state TEXT NOT NULL, asked_at BIGINT NOT NULL, until BIGINT NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX access_grant_subject ON access_grant (subject, asked_at);
CREATE INDEX access_grant_state ON access_grant (state, until);
CREATE TABLE emergency (
  id TEXT PRIMARY KEY, declared_at BIGINT NOT NULL, is_open BIGINT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX emergency_open ON emergency (is_open);
CREATE INDEX emergency_declared ON emergency (declared_at)
""",
)
LONGEST: Final = 30 * 86_400
"""How long a grant may last unless it is said otherwise."""

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Grant).decode
_decode_emergency = msgspec.json.Decoder(Emergency).decode


class Ledger:
    """Keeps grants. Every method raises `NotPossible` (nothing was changed) or `StoreUnavailable`. Who may ask at all is the
    caller's affair; that a second person approves is this one's.
    """

    def __init__(self, lasting: Lasting, *, longest: int = LONGEST) -> None:
        """`longest`: how many seconds a grant may last."""
        lasting.prepare(PART, SCHEMA)
        self._lasting: Final = lasting
        self.longest: Final = longest

    # ------------------------------------------------------------------ the life of one

    async def ask(self, new: Grant) -> Grant:
        """Put a request in. The id was named on the form: sent twice, it is one. Its state is `waiting`, whatever it says."""
        why, name = plain_text(new.why), check_name(new.name)
        check_times(new.asked_from, new.asked_until, new.asked_at, self.longest)
        if not is_id(new.id):
            raise NotPossible("form")
        asked = msgspec.structs.replace(new, why=why, name=name, begins=new.asked_from, until=new.asked_until, state="waiting")

        def work(cursor: Cursor) -> Grant:
            old = _find(cursor, asked.id)
            if old is not None:
                if old.asked_by != asked.asked_by or old.holder.subject != asked.holder.subject:
                    raise NotPossible("taken")
                return old
            _make_room(cursor, asked)
            cursor.run(
                "INSERT INTO access_grant (id, subject, state, asked_at, until, body) VALUES (?, ?, ?, ?, ?, ?)",
                (asked.id, asked.holder.subject, asked.state, asked.asked_at, asked.until, _encode(asked).decode()),
            )
            cursor.touched(TOPIC)
            return asked

        return await self._lasting.write(work)

    async def approve(self, grant_id: str, by: Person, now: float, *, begins: int, until: int, note: str = "") -> Grant:
        """Put it in force from `begins` to `until`, within what was asked for; the past part of it is left out."""
        said = plain_text(note, least=0)

        def work(cursor: Cursor) -> Grant:
            old = _waiting(cursor, grant_id, by)
            within(old, begins, until)
            check_times(begins, until, now, self.longest)
            return _store(
                cursor,
                msgspec.structs.replace(
                    old, state="approved", begins=begins, until=until, decided_by=by, decided_at=int(now), note=said
                ),
            )

        return await self._lasting.write(work)

    async def decline(self, grant_id: str, by: Person, now: float, *, note: str) -> Grant:
        """Say no, and why."""
        said = plain_text(note)

        def work(cursor: Cursor) -> Grant:
            old = _waiting(cursor, grant_id, by)
            return _store(cursor, msgspec.structs.replace(old, state="declined", decided_by=by, decided_at=int(now), note=said))

        return await self._lasting.write(work)

    async def withdraw(self, grant_id: str, by: Person, now: float) -> Grant:
        """Take one's own request back, or give back what was granted."""

        def work(cursor: Cursor) -> Grant:
            old = _find(cursor, grant_id)
            if old is None or by.subject not in {old.holder.subject, old.asked_by.subject}:
                raise NotPossible("gone")
            if old.state == "waiting":
                return _store(cursor, msgspec.structs.replace(old, state="withdrawn", ended_by=by, ended_at=int(now)))
            if old.state == "approved" and by.subject == old.holder.subject:
                return _store(cursor, msgspec.structs.replace(old, state="ended", ended_by=by, ended_at=int(now)))
            raise NotPossible("state")

        return await self._lasting.write(work)

    async def end(self, grant_id: str, by: Person, now: float) -> Grant:
        """Take an approved one away at once, also before it begins."""

        def work(cursor: Cursor) -> Grant:
            old = _find(cursor, grant_id)
            if old is None:
                raise NotPossible("gone")
            if old.state != "approved":
                raise NotPossible("state")
            return _store(cursor, msgspec.structs.replace(old, state="ended", ended_by=by, ended_at=int(now)))

        return await self._lasting.write(work)

    async def settle(self, now: float) -> tuple[list[Grant], list[Emergency]]:
        """Mark what has ended by itself, and return it, to each caller what others have not had: it stays over, also when the
        clock is put back. What waited too long to be of use is over, too.
        """

        def work(cursor: Cursor) -> tuple[list[Grant], list[Emergency]]:
            rows = cursor.rows("SELECT body FROM access_grant WHERE state IN ('waiting', 'approved') AND until <= ?", (int(now),))
            grants = [_decode(row[0]) for row in rows]
            over = [_store(cursor, msgspec.structs.replace(old, state="over", ended_at=old.until)) for old in grants]
            running = [one for one in _emergencies(cursor) if one.until <= now]
            return over, [_close(cursor, msgspec.structs.replace(one, ended_at=one.until)) for one in running]

        return await self._lasting.write(work)

    # ------------------------------------------------------------------ the emergency

    async def declare(self, new: Emergency) -> Emergency:
        """Declare an emergency."""
        declared = msgspec.structs.replace(new, why=plain_text(new.why), ended_at=None, ended_by=None)
        check_emergency(declared)

        def work(cursor: Cursor) -> Emergency:
            if any(one.in_force(declared.declared_at) for one in _emergencies(cursor)):
                raise NotPossible("running")
            cursor.run(
                "INSERT INTO emergency (id, declared_at, is_open, body) VALUES (?, ?, 1, ?)",
                (declared.id, declared.declared_at, _encode(declared).decode()),
            )
            cursor.touched(TOPIC)
            return declared

        return await self._lasting.write(work)

    async def end_emergency(self, emergency_id: str, by: Person, now: float) -> Emergency:
        """End it before its time."""

        def work(cursor: Cursor) -> Emergency:
            found = next((one for one in _emergencies(cursor) if one.id == emergency_id), None)
            if found is None:
                raise NotPossible("state")
            return _close(cursor, msgspec.structs.replace(found, ended_by=by, ended_at=int(now)))

        return await self._lasting.write(work)

    # ------------------------------------------------------------------ looking

    async def get(self, grant_id: str) -> Grant | None:
        """Return one."""
        return await self._lasting.read(lambda cursor: _find(cursor, grant_id))

    async def of(self, subject: str, limit: int = 20) -> list[Grant]:
        """Return a person's newest."""
        return await self._select("subject = ? ORDER BY asked_at DESC, id", (subject, limit))

    async def open(self) -> list[Grant]:
        """Return those that wait or are approved, by when they were asked for."""
        return await self._select("state IN ('waiting', 'approved') ORDER BY asked_at, id", (10_000,))

    async def settled(self, limit: int = 50, offset: int = 0) -> list[Grant]:
        """Return those that are over or came to nothing, newest first."""
        return await self._select("state NOT IN ('waiting', 'approved') ORDER BY asked_at DESC, id", (limit, offset), "OFFSET ?")

    async def emergencies(self, limit: int = 20) -> list[Emergency]:
        """Return the newest emergencies, over ones included."""

        def work(cursor: Cursor) -> list[Emergency]:
            rows = cursor.rows("SELECT body FROM emergency ORDER BY declared_at DESC, id LIMIT ?", (limit,))
            return [_decode_emergency(row[0]) for row in rows]

        return await self._lasting.read(work)

    async def snapshot(self) -> tuple[list[Grant], list[Emergency]]:
        """Return what waits, is approved or declared, as of one moment."""

        def work(cursor: Cursor) -> tuple[list[Grant], list[Emergency]]:
            rows = cursor.rows("SELECT body FROM access_grant WHERE state IN ('waiting', 'approved')")
            return [_decode(row[0]) for row in rows], _emergencies(cursor)

        return await self._lasting.read(work)

    def stamp(self) -> int:
        """Return a number that differs when the ledger has changed. Blocking."""
        return self._lasting.stamp(TOPIC)

    async def _select(self, where: str, values: Sequence[str | int], more: str = "") -> list[Grant]:
        def work(cursor: Cursor) -> list[Grant]:
            rows = cursor.rows(f"SELECT body FROM access_grant WHERE {where} LIMIT ? {more}", values)  # noqa: S608  our own words
            return [_decode(row[0]) for row in rows]

        return await self._lasting.read(work)


def _find(cursor: Cursor, grant_id: str) -> Grant | None:
    row = cursor.one("SELECT body FROM access_grant WHERE id = ?", (grant_id,))
    return None if row is None else _decode(row[0])


def _waiting(cursor: Cursor, grant_id: str, by: Person) -> Grant:
    """What a second person may decide."""
    old = _find(cursor, grant_id)
    if old is None:
        raise NotPossible("gone")
    if old.own_of(by):
        raise NotPossible("own")
    if old.state != "waiting":
        raise NotPossible("state")
    return old


def _make_room(cursor: Cursor, new: Grant) -> None:
    rows = cursor.rows("SELECT subject FROM access_grant WHERE state = 'waiting'")
    if len(rows) >= MAX_WAITING_ALL or sum(row[0] == new.holder.subject for row in rows) >= MAX_WAITING:
        raise NotPossible("many")


def _store(cursor: Cursor, new: Grant) -> Grant:
    cursor.run(
        "UPDATE access_grant SET state = ?, until = ?, body = ? WHERE id = ?",
        (new.state, new.until, _encode(new).decode(), new.id),
    )
    cursor.touched(TOPIC)
    return new


def _emergencies(cursor: Cursor) -> list[Emergency]:
    return [_decode_emergency(row[0]) for row in cursor.rows("SELECT body FROM emergency WHERE is_open = 1")]


def _close(cursor: Cursor, ended: Emergency) -> Emergency:
    cursor.run("UPDATE emergency SET is_open = 0, body = ? WHERE id = ?", (_encode(ended).decode(), ended.id))
    cursor.touched(TOPIC)
    return ended
