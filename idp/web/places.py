"""Where a proofing takes place: in a sign-in, on the account page, or on a phone that took one over from a terminal.

Each keeps a note of where it stands, so that every page of it can be looked at again by a GET (another language, a reload, the
back button), and no answer of a verifier stays in an address. A sign-in keeps it among its own notes; the other two have a
*sitting*, which lives for minutes and belongs to one browser.
"""

from typing import Final, Literal

import msgspec
from aiohttp import web

from gateway.kernel.secret import hash_token, same
from idp.model import LoginTransaction, User
from idp.web.cookies import browser_of, session_of
from idp.web.guard import Halt
from idp.web.parts import Parts

PlaceKind = Literal["sign_in", "own", "phone"]
SECONDS: Final = 1800
_SITTING: Final = "proofing-sitting"
_POINTER: Final = "proofing-place"
_VISIT: Final = "proofing-visit"
_PREFIX: Final = "prf."
_NOTE: Final = "proofing"
_LONGEST_ID: Final = 128
_LONGEST_NAME: Final = 256


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, as one request sees it."""

    kind: PlaceKind
    id: str
    """The field `tx` of its forms and addresses. Of no use in another browser."""
    user: User
    note: str
    number: str = ""
    """On a phone: the two digits that the terminal shows, too."""
    over: bool = False
    """The sign-in lacks nothing any more."""
    since: int = 0
    """When the sign-in or the sitting began, epoch seconds."""

    @property
    def here(self) -> str:
        """Where it can be looked at."""
        return f"/login/proofing?tx={self.id}"

    @property
    def again(self) -> str:
        """Where it can be begun anew; empty on a phone, which never begins one."""
        return {"sign_in": f"/login?tx={self.id}", "own": "/account/proofing/start", "phone": ""}[self.kind]


class _Sitting(msgspec.Struct, frozen=True, kw_only=True):
    kind: PlaceKind
    user_id: str
    browser: str
    session_id: str
    number: str
    note: str
    at: int


class _Pointer(msgspec.Struct, frozen=True, kw_only=True):
    place: str
    browser: str


def is_sitting(name: str) -> bool:
    """Whether a field `tx` names a sitting; otherwise it can only be a sign-in."""
    return name.startswith(_PREFIX)


def place_of(transaction: LoginTransaction, user: User, *, over: bool) -> Place:
    """Return the place that a sign-in is."""
    return Place(
        kind="sign_in",
        id=transaction.id,
        user=user,
        note=transaction.notes.get(_NOTE, ""),
        over=over,
        since=transaction.created_at,
    )


class Places:
    """Keeps notes, sittings, and which place a browser comes back to from a verifier."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._once = parts, parts.store.once

    async def open(
        self, request: web.Request, kind: PlaceKind, user: User, *, session_id: str = "", number: str = "", note: str = ""
    ) -> Place:
        """Begin a sitting in this browser. With `session_id` it ends with that session."""
        now = int(self._parts.clock.now())
        sitting = _Sitting(
            kind=kind,
            user_id=user.id,
            browser=hash_token(browser_of(request)),
            session_id=session_id,
            number=number,
            note=note,
            at=now,
        )
        name = await self._once.put(_SITTING, msgspec.json.encode(sitting), SECONDS)
        return Place(kind=kind, id=_PREFIX + name, user=user, note=note, number=number, since=now)

    async def sitting(self, request: web.Request, name: str) -> Place:
        """Return a sitting of this browser (and, where it has one, of its live session). Halt: there is no such one."""
        known = len(name) <= _LONGEST_ID and browser_of(request) != ""
        value = await self._once.peek(_SITTING, name.removeprefix(_PREFIX)) if known else None
        sitting = msgspec.json.decode(value, type=_Sitting) if value is not None else None
        user = await self._parts.store.users.get(sitting.user_id) if sitting is not None else None
        if sitting is None or user is None or not user.active or not same(sitting.browser, hash_token(browser_of(request))):
            raise Halt(410, "transaction_unknown")
        if sitting.session_id:
            session = await self._parts.store.sessions.resolve(session_of(request), int(self._parts.clock.now()))
            if session is None or session.id != sitting.session_id:
                raise Halt(403, "not_completed")
        return Place(kind=sitting.kind, id=name, user=user, note=sitting.note, number=sitting.number, since=sitting.at)

    async def note(self, request: web.Request, place: Place, text: str, *, proofing: int = 0) -> Place:
        """Note where it stands. `proofing`: the number of what was kept, for the sign-in. Halt: it is over meanwhile."""
        if place.kind == "sign_in":
            after: object = await self._parts.flows.update(
                place.id, browser_of(request),
                lambda old: msgspec.structs.replace(old, notes={**old.notes, _NOTE: text}, proofing=proofing or old.proofing),
            )  # fmt: skip
        else:
            after = await self._once.change(_SITTING, place.id.removeprefix(_PREFIX), lambda old: _noted(old, text))
        if after is None:
            raise Halt(410, "transaction_unknown")
        return msgspec.structs.replace(place, note=text)

    async def point(self, request: web.Request, name: str, place: Place) -> None:
        """Remember that this browser comes back to this place with the proofing of that name. The last to say so counts."""
        pointer = msgspec.json.encode(_Pointer(place=place.id, browser=hash_token(browser_of(request))))
        own = f"{_POINTER} {name}"  # the name itself is that of the proofing, of whatever kind
        if not await self._once.put_as(_POINTER, own, pointer, SECONDS):
            await self._once.change(_POINTER, own, lambda _: pointer)

    async def visiting(self, name: str, visit: str) -> None:
        """Remember with which visit to the counter the proofing of that name began."""
        await self._once.put_as(_VISIT, f"{_VISIT} {name}", visit.encode(), SECONDS)

    async def visit_of(self, name: str) -> str:
        """Return it; empty: there is none, or it is too long ago."""
        value = await self._once.peek(_VISIT, f"{_VISIT} {name}") if 0 < len(name) <= _LONGEST_NAME else None
        return value.decode() if value is not None else ""

    async def pointed(self, request: web.Request, name: str) -> str | None:
        """Return the id of the place that this browser comes back to, also with an answer that was taken before. None: none."""
        value = (
            await self._once.peek(_POINTER, f"{_POINTER} {name}")
            if 0 < len(name) <= _LONGEST_NAME and browser_of(request)
            else None
        )
        pointer = msgspec.json.decode(value, type=_Pointer) if value is not None else None
        if pointer is None or not same(pointer.browser, hash_token(browser_of(request))):
            return None
        return pointer.place


def _noted(value: bytes, text: str) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(value, type=_Sitting), note=text))
