"""The code that a person shows at the counter: one for each account at a time, for minutes, for a handful of tries.

It ties whoever stands there to the signed-in browser that asked. Only officers can try codes, and only with the account's name.
"""

import secrets
from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.kernel.ids import new_id
from gateway.kernel.secret import same
from idp.model import AuthEvent
from idp.ports import OneTimeStore
from idp.protocol.binding import authenticator

TRIES: Final = 8
"""Codes that officers may enter for one visit, right and wrong ones."""
_VISIT: Final = "in-person-visit"
_CASE: Final = "in-person-case"
_CASE_SECONDS: Final = 60 * 86_400
_DIGITS: Final = 6


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A person on the way to the counter."""

    id: str
    user_id: str
    code: str
    tries: int = TRIES
    proved: tuple[AuthEvent, ...] = ()
    """What was proved in the sitting that shows the code: the newest event of each authenticator that can be bound."""


class Visits:
    """Keeps visits, and which case came of which."""

    def __init__(self, once: OneTimeStore, *, seconds: int) -> None:
        self._once, self._seconds = once, seconds

    async def open(self, user_id: str) -> Visit | None:
        """Begin a visit; the one before ends. None: another one was begun in the same moment."""
        code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
        visit = Visit(id=new_id("visit"), user_id=user_id, code=code)
        await self._once.take(_VISIT, _name(user_id))
        stored = await self._once.put_as(_VISIT, _name(user_id), msgspec.json.encode(visit), self._seconds)
        return visit if stored else None

    async def remember(self, user_id: str, visit_id: str, proved: Iterable[AuthEvent]) -> None:
        """Remember what was proved in the sitting in which a visit began. Nothing happens when that one is over."""
        newest = {name: event for event in sorted(proved, key=lambda event: event.at) if (name := authenticator(event))}

        def note(value: bytes) -> bytes | None:
            visit = msgspec.json.decode(value, type=Visit)
            if visit.id != visit_id:
                return None
            return msgspec.json.encode(msgspec.structs.replace(visit, proved=tuple(newest.values())))

        await self._once.change(_VISIT, _name(user_id), note)

    async def knock(self, user_id: str, code: str) -> Visit | None:
        """Use a try up, and return the visit if the code is right."""

        def count(value: bytes) -> bytes | None:
            visit = msgspec.json.decode(value, type=Visit)
            return msgspec.json.encode(msgspec.structs.replace(visit, tries=visit.tries - 1)) if visit.tries > 0 else None

        value = await self._once.change(_VISIT, _name(user_id), count)
        visit = msgspec.json.decode(value, type=Visit) if value is not None else None
        return visit if visit is not None and same(visit.code, code) else None

    async def end(self, user_id: str, visit_id: str) -> bool:
        """End a visit; False when it is over, or another one took its place (which goes on)."""
        value = await self._once.peek(_VISIT, _name(user_id))
        if value is None or msgspec.json.decode(value, type=Visit).id != visit_id:
            return False
        return await self._once.take(_VISIT, _name(user_id)) is not None

    async def note_case(self, visit_id: str, case_id: str) -> None:
        """Remember the case that came of a visit."""
        await self._once.put_as(_CASE, visit_id, case_id.encode(), _CASE_SECONDS)

    async def case_of(self, visit_id: str) -> str | None:
        """Return the case that came of a visit; None: none yet."""
        value = await self._once.peek(_CASE, visit_id)
        return value.decode() if value is not None else None


def _name(user_id: str) -> str:
    return f"in-person {user_id}"
