"""A proofing in progress: whose it is, in which browser, and how it moves from the ward's computer to the person's phone.

What the browsers hold (the name of a proofing, a hand-over's token) is kept as a hash only. All of it lives for minutes.
"""

import secrets
from typing import Final

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret, hash_token, same
from idp.ports import OneTimeStore
from idp.proofing.port import Purpose, Show, Started

TOKEN_SECONDS: Final = 300
"""How long a hand-over may be taken."""
ENDED_SECONDS: Final = 600
"""How long the first browser can learn how it ended."""
_STATE: Final = "proofing"
_HAND_OVER: Final = "proofing-handover"
_JUDGING: Final = "proofing-judging"
_ENDED: Final = "proofing-ended"
_JUDGED_SECONDS: Final = 120
"""Longer than any verdict may take."""
_LONGEST_NAME: Final = 256
_FIRST_NUMBER: Final = 10
_NUMBERS: Final = 90


class HandOver(msgspec.Struct, frozen=True, kw_only=True):
    """What the first browser shows: the token in a link (as a QR code), and two digits that the phone shows as well."""

    token: Secret
    number: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a proofing ended that another browser took over."""

    outcome: str
    """`done`, `review`, `broken`, `reader_failed`, or a `RefusedReason`."""
    reference: str = ""
    """Of what was kept: the record's `transaction` (`done`), the case's id (`review`)."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a proofing in progress."""

    user_id: str
    browser: str
    """Hash of the binding cookie of the browser that may answer."""
    method: str
    purpose: Purpose
    state: bytes
    """The backend's."""
    show: Show
    begun_at: int
    transaction_id: str = ""
    """The sign-in that it is for; empty: none."""
    first: str = ""
    """Hash of the binding cookie of the browser that began it, once another took over; else empty."""
    number: str = ""
    """The two digits of the hand-over; empty: there was none."""


class _Token(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    user_id: str
    browser: str
    number: str


class _Judging(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str


class _End(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    browser: str
    outcome: str
    reference: str = ""


class InProgress:
    """Keeps proofings in progress. `browser` is always the value of a browser's binding cookie; an empty one is nobody's."""

    def __init__(self, once: OneTimeStore, clock: Clock, *, ttl_seconds: int) -> None:
        self._once, self._clock, self._ttl = once, clock, ttl_seconds

    async def begin(self, state: State, started: Started) -> str | None:
        """Keep a new one; return its name, which is the backend's handle where there is one. None: it gave that one before."""
        name = started.handle.reveal() if started.handle is not None else new_token()
        stored = await self._once.put_as(_STATE, name, msgspec.json.encode(state), self._ttl)
        return name if stored else None

    async def look(self, name: str, browser: str) -> State | None:
        """Return one that this browser may answer."""
        return _of(await self._once.peek(_STATE, name), browser) if 0 < len(name) <= _LONGEST_NAME else None

    async def take(self, name: str, browser: str) -> State | None:
        """Take it: nobody can answer it again. Ask `look` first: a name of another browser's is used up here, too.

        Until `judged` it still counts as under way: what ends a person's proofings in progress ends this one, too.
        """
        value = await self._once.take(_STATE, name) if 0 < len(name) <= _LONGEST_NAME else None
        state = _of(value, browser)
        if state is not None:
            await self._once.put_as(
                _JUDGING, _judging(name), msgspec.json.encode(_Judging(user_id=state.user_id)), _JUDGED_SECONDS
            )
        return state

    async def judged(self, name: str) -> bool:
        """Whether what was taken was still under way: there is a verdict now. Once."""
        return await self._once.take(_JUDGING, _judging(name)) is not None

    async def hand_over(self, name: str, state: State) -> HandOver:
        """Let another browser answer instead of the one whose state it is now, by a token that works once, for minutes."""
        number = str(_FIRST_NUMBER + secrets.randbelow(_NUMBERS))
        kept = _Token(name=hash_token(name), user_id=state.user_id, browser=state.browser, number=number)
        key = await self._once.put(_HAND_OVER, msgspec.json.encode(kept), TOKEN_SECONDS)
        return HandOver(token=Secret(f"{key}.{name}"), number=number)

    async def take_over(self, token: str, browser: str) -> tuple[str, State] | None:
        """Use a token up, whatever comes of it; bind the proofing to this browser instead, and return its name and state.

        None: unknown, used or late; or the proofing is over, or was taken over before.
        """
        key, _, name = token.partition(".")
        value = await self._once.take(_HAND_OVER, key)
        kept = msgspec.json.decode(value, type=_Token) if value is not None else None
        if kept is None or not browser or not same(kept.name, hash_token(name)):
            return None

        def move(value: bytes) -> bytes | None:
            state = msgspec.json.decode(value, type=State)
            if state.user_id != kept.user_id or not same(state.browser, kept.browser):
                return None
            moved = msgspec.structs.replace(state, browser=hash_token(browser), first=kept.browser, number=kept.number)
            return msgspec.json.encode(moved)

        moved = await self._once.change(_STATE, name, move)
        return (name, msgspec.json.decode(moved, type=State)) if moved is not None else None

    async def end(self, name: str, state: State, outcome: str, reference: str = "") -> None:
        """Say how it ended, for the browser that began it; nothing is kept where that one has answered itself."""
        if state.first:
            end = _End(user_id=state.user_id, browser=state.first, outcome=outcome, reference=reference)
            await self._once.put_as(_ENDED, name, msgspec.json.encode(end), ENDED_SECONDS)

    async def ended(self, user_id: str, name: str, browser: str) -> Ended | None:
        """Return how it ended, to this person in the browser that began it. None: not yet, or not theirs."""
        value = await self._once.peek(_ENDED, name) if browser and 0 < len(name) <= _LONGEST_NAME else None
        end = msgspec.json.decode(value, type=_End) if value is not None else None
        if end is None or end.user_id != user_id or not same(end.browser, hash_token(browser)):
            return None
        return Ended(outcome=end.outcome, reference=end.reference)


def _judging(name: str) -> str:
    return f"judging {name}"


def _of(value: bytes | None, browser: str) -> State | None:
    state = msgspec.json.decode(value, type=State) if value is not None else None
    return state if state is not None and browser and same(state.browser, hash_token(browser)) else None
