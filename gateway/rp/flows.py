"""How a sign-in (or a remedy) travels: app host -> portal -> provider -> portal -> app host.

Each leg hands over a one-time name. A *flow* remembers where to come back to and which browser began it at the app's host; a
*state* belongs to the browser at the portal; a *handoff* gives the app's host its own handle to the session. Flow and handoff
are bound to the same browser cookie at the app's host, the state to the one at the portal: a link sent to somebody else, or a
code taken from a history, opens nothing (login CSRF, CVE-2025-52553).

Many tabs may begin at once, and a browser that had no such cookie yet then keeps the last of those it is given. What was begun
with a new one (`minted`) and comes back with another is no sign-in either, but its flow may be begun anew, a few times: who is
sent that way signs in as themselves, to a place of the host that anybody may link to.
"""

from typing import Final, Literal, TypeVar

import msgspec

from gateway.kernel.secret import hash_token, same
from gateway.policy.remedy import CEREMONY_SECONDS
from gateway.ports import OneTime

Purpose = Literal["sign_in", "key_touch", "second_factor", "register_device", "identity_proofing", "break_glass", "grant"]
FLOW_SECONDS: Final = 2400
STATE_SECONDS: Final = 2400
"""Longer than the embedded provider keeps a sign-in open: who types into its page must be able to come back from it."""
HANDOFF_SECONDS: Final = 60
_PROOFED: Final = "urn:zt-gateway:acr:proofed"
_PROOFED_ANEW: Final = "urn:zt-gateway:acr:proofed-anew"
MAX_ATTEMPTS: Final = 5
"""How often in a row a flow may be begun anew by itself."""
ATTEMPT_SECONDS: Final = 60
"""An attempt that lasted so long was none of a loop."""


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """Where a browser wants to come back to, and why it left."""

    host: str
    path: str
    """Canonical origin-form target of `host`."""
    purpose: Purpose
    binding: str
    """SHA-256 of the binding cookie at `host`."""
    generation: int = 0
    """Generation of the handle that was told to do more; 0 when nobody was signed in."""
    anew: bool = False
    """A session of this browser was ended or ran out: the provider must ask again, whatever it remembers."""
    minted: bool = False
    """The binding cookie was new then: another tab's may have taken its place in the browser."""
    attempt: int = 0
    """How often it was begun anew by itself."""
    method: str = "GET"
    target: str = ""
    """Of the request that was refused, where that is another than `path`; for break-glass."""
    grant: str = ""
    """The name of the grant that would help."""
    filled: tuple[str, str] = ("", "")
    """Reason and patient, where a form was sent too late to count; for break-glass."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """One authorization request."""

    flow: Flow
    nonce: str
    verifier: str
    binding: str
    """SHA-256 of the binding cookie at the portal."""
    minted: bool = False
    """That cookie was new then."""
    session_id: str
    """The session that is to be stepped up; empty for a new one."""
    anew: bool = False
    """The provider was told to ask again."""
    proofing: str = ""
    """Transaction of the proofing that was in force then, where another one was asked for."""
    asked_at: int
    """Epoch seconds."""


class Handoff(msgspec.Struct, frozen=True, kw_only=True):
    """Permission for one browser at one host to get its handle."""

    session_id: str
    flow: Flow


class Astray(msgspec.Struct, frozen=True, kw_only=True):
    """What came back to a browser that does not hold the cookie it was begun with: good for nothing but beginning anew."""

    flow: Flow


T = TypeVar("T", Flow, State, Handoff)


class Flows:
    """Stores the three kinds in a one-time store."""

    def __init__(self, store: OneTime) -> None:
        self._store = store

    async def begin(self, flow: Flow) -> str:
        """Remember a flow, return its name for the portal's address."""
        return await self._store.put("flow", msgspec.json.encode(flow), FLOW_SECONDS)

    async def look(self, name: str) -> Flow | None:
        """Return a flow without using it up: a reload of the portal's page must work."""
        return _decode(await self._store.peek("flow", name), Flow)

    async def ask(self, state: State) -> str:
        """Remember an authorization request, return its `state`."""
        return await self._store.put("state", msgspec.json.encode(state), STATE_SECONDS)

    async def answered(self, name: str, binding: str) -> State | Astray | None:
        """Use up a state, once. None when unknown, used, expired, or begun by another browser; `Astray` when it may have been
        this one.
        """
        state = _decode(await self._store.take("state", name), State)
        if state is None or same(state.binding, hash_token(binding)):
            return state
        return Astray(flow=state.flow) if state.minted else None

    async def hand_over(self, handoff: Handoff) -> str:
        """Remember a handoff, return its code."""
        return await self._store.put("handoff", msgspec.json.encode(handoff), HANDOFF_SECONDS)

    async def receive(self, code: str, host: str, binding: str) -> Handoff | Astray | None:
        """Use up a handoff, once. None when unknown, used, expired, for another host, or for another browser; `Astray` when it
        may have been this one.
        """
        handoff = _decode(await self._store.take("handoff", code), Handoff)
        if handoff is None or handoff.flow.host != host:
            return None
        if same(handoff.flow.binding, hash_token(binding)):
            return handoff
        return Astray(flow=handoff.flow) if handoff.flow.minted else None


def _decode(value: bytes | None, kind: type[T]) -> T | None:
    return None if value is None else msgspec.json.decode(value, type=kind)


def request_extras(
    purpose: Purpose, *, id_token: str, language: str, anew: bool = False, proofed: bool = False
) -> dict[str, str]:
    """What to ask of the provider for a purpose (OpenID Connect Core §3.1.2.1, EAP ACR values). `proofed`: the session has an
    identity proofing in force, so that only another one helps.
    """
    extras: dict[str, str] = {"ui_locales": language}
    if anew:
        # `max_age` beside it makes `auth_time` a required claim: by it the answer shows that the person was asked.
        extras |= {"prompt": "login", "max_age": "0"}
    if id_token:
        extras["id_token_hint"] = id_token
    if purpose == "key_touch":
        extras |= {"acr_values": "phr", "max_age": "0"}
    elif purpose == "identity_proofing":
        # The proofing is bound to what the person signed in with: that must not be long ago.
        extras |= {"acr_values": f"{_PROOFED_ANEW} {_PROOFED}" if proofed else _PROOFED}
        extras.setdefault("max_age", str(CEREMONY_SECONDS))
    elif purpose in {"second_factor", "break_glass"}:
        extras |= {"acr_values": "urn:zt-gateway:acr:mfa", "max_age": "0"}
    else:
        extras["acr_values"] = "urn:zt-gateway:acr:mfa"
    return extras
