"""What officers are to be told, until they have been: kept in the database, so that no restart loses it.

One row is one message on one channel. Whoever sends takes it first (one atomic step, on every node), and has `CLAIM_SECONDS` to
say what came of it; a process that died meanwhile is followed by another, so a message may come twice, with the same id, and
never not at all.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from gateway.lasting.port import Cursor, Lasting

Channel = Literal["mail", "webhook"]
NoticeState = Literal["waiting", "sent", "cancelled", "given_up", "told"]
"""`told`: it was given up, and an officer has told the people."""
TOPIC: Final = "notice"
CLAIM_SECONDS: Final = 120
"""Longer than any attempt may take (`gateway.emergency.sending.ATTEMPT_SECONDS`)."""
PAUSES: Final = (5, 15, 60, 300, 900, 3600)
"""Seconds until it is tried again, the last of them as often as it takes."""
GIVE_UP_SECONDS: Final = 3 * 86_400


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message on one channel."""

    id: str
    """`ntc_...`: the same in every attempt."""
    channel: Channel
    kind: str
    """What happened: `break_glass.began`, `policy.rolled_back` ..."""
    subject: str
    text: str
    at: str
    """RFC 3339 UTC."""
    detail: dict[str, str] = {}


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message that could not be sent so far."""

    id: str
    channel: Channel
    kind: str
    about: str
    created_at: int
    attempts: int
    problem: str
    given_up: bool


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A message that this process is to send now."""

    message: Message
    about: str
    attempt: int
    created_at: int


_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(Message).decode


def put(cursor: Cursor, message: Message, *, about: str, now: int, due_at: int) -> None:
    """Put a message in, within the caller's transaction; one whose id is there already stays as it is."""
    cursor.run(
        "INSERT INTO notice (id, about, channel, state, due_at, attempts, problem, created_at, body)"
        " VALUES (?, ?, ?, 'waiting', ?, 0, '', ?, ?) ON CONFLICT (id) DO NOTHING",
        (message.id, about, message.channel, due_at, now, _encode(message).decode()),
    )
    cursor.touched(TOPIC)


def hasten(cursor: Cursor, about: str, now: int) -> None:
    """Let what was not tried yet be due now."""
    cursor.run(
        "UPDATE notice SET due_at = ? WHERE about = ? AND state = 'waiting' AND attempts = 0 AND due_at > ?", (now, about, now)
    )
    cursor.touched(TOPIC)


def cancel(cursor: Cursor, about: str) -> None:
    """Take back what was not tried yet."""
    cursor.run("UPDATE notice SET state = 'cancelled' WHERE about = ? AND state = 'waiting' AND attempts = 0", (about,))


class Outbox:
    """The rows. Every method raises `StoreUnavailable` when the database does not answer."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting: Final = lasting

    async def put(self, messages: Sequence[Message], *, about: str, now: int) -> None:
        """Put messages in, due at once."""

        def work(cursor: Cursor) -> None:
            for message in messages:
                put(cursor, message, about=about, now=now, due_at=now)

        await self._lasting.write(work)

    async def take(self, now: int) -> Taken | None:
        """Take the message that has been due for longest; None when none is. Nobody else gets it for `CLAIM_SECONDS`."""

        def look(cursor: Cursor) -> bool:
            return cursor.one("SELECT 1 FROM notice WHERE state = 'waiting' AND due_at <= ? LIMIT 1", (now,)) is not None

        def work(cursor: Cursor) -> Taken | None:
            row = cursor.one(
                "SELECT id, about, attempts, created_at, body FROM notice WHERE state = 'waiting' AND due_at <= ?"
                " ORDER BY due_at, id LIMIT 1",
                (now,),
            )
            if row is None:
                return None
            attempt = int(row[2]) + 1
            cursor.run("UPDATE notice SET due_at = ?, attempts = ? WHERE id = ?", (now + CLAIM_SECONDS, attempt, row[0]))
            return Taken(message=_decode(row[4]), about=str(row[1]), attempt=attempt, created_at=int(row[3]))

        # Looking locks nobody out; most of the time there is nothing.
        return await self._lasting.write(work) if await self._lasting.read(look) else None

    async def sent(self, notice_id: str) -> None:
        """Note that it was sent."""
        await self._lasting.write(
            lambda cursor: cursor.run("UPDATE notice SET state = 'sent', problem = '' WHERE id = ?", (notice_id,))
        )

    async def failed(self, taken: Taken, problem: str, now: int) -> int | None:
        """Note that it could not be sent; return when it is tried again, None when never."""
        due = now + PAUSES[min(taken.attempt, len(PAUSES)) - 1]
        over = due >= taken.created_at + GIVE_UP_SECONDS
        state: NoticeState = "given_up" if over else "waiting"
        await self._lasting.write(
            lambda cursor: cursor.run(
                "UPDATE notice SET state = ?, due_at = ?, problem = ? WHERE id = ? AND state = 'waiting'",
                (state, due, problem, taken.message.id),
            )
        )
        return None if over else due

    async def next_due(self) -> int | None:
        """Return when the next message is due, epoch seconds; None when none waits."""
        row = await self._lasting.read(lambda cursor: cursor.one("SELECT MIN(due_at) FROM notice WHERE state = 'waiting'"))
        return int(row[0]) if row is not None and row[0] is not None else None

    async def unsent(self, limit: int = 50) -> list[Waiting]:
        """Return what was tried and could not be sent, oldest first."""

        def work(cursor: Cursor) -> list[Waiting]:
            rows = cursor.rows(
                "SELECT body, about, created_at, attempts, problem, state FROM notice"
                " WHERE state = 'given_up' OR (state = 'waiting' AND problem <> '') ORDER BY created_at, id LIMIT ?",
                (limit,),
            )
            return [_waiting(*row) for row in rows]

        return await self._lasting.read(work)

    async def given_up(self, notice_id: str) -> Waiting | None:
        """Return a message that was given up; None when there is none of this id, or it was not."""
        row = await self._lasting.read(
            lambda cursor: cursor.one(
                "SELECT body, about, created_at, attempts, problem, state FROM notice WHERE id = ? AND state = 'given_up'",
                (notice_id,),
            )
        )
        return None if row is None else _waiting(*row)

    async def told(self, notice_id: str) -> bool:
        """Note that an officer has told the people of what was given up; False when it was not, or somebody has noted it."""
        return await self._lasting.write(
            lambda cursor: cursor.run("UPDATE notice SET state = 'told' WHERE id = ? AND state = 'given_up'", (notice_id,)) == 1
        )

    async def states(self, about: str) -> list[tuple[Channel, str, str]]:
        """Return (channel, state, problem) of each message about something."""
        rows = await self._lasting.read(
            lambda cursor: cursor.rows("SELECT channel, state, problem FROM notice WHERE about = ? ORDER BY id", (about,))
        )
        return [(row[0], row[1], row[2]) for row in rows]


def _waiting(body: str, about: str, created_at: int, attempts: int, problem: str, state: str) -> Waiting:
    message = _decode(body)
    return Waiting(
        id=message.id, channel=message.channel, kind=message.kind, about=about, created_at=created_at, attempts=attempts,
        problem=problem, given_up=state == "given_up",
    )  # fmt: skip
