"""Identity proofing by a platform operator (プラットフォーム事業者): challenge, validate, recheck over HTTPS with a bearer token.

The operator reads the certificate, asks for its revocation and says what it found; we hold no certificate, not for a moment
longer than passing it on takes. The card signs our own text, which holds a nonce of this one beginning: an answer to any other
beginning, another person's or yesterday's, is about another text. What the contract looks like is a profile (`profile`).
"""

import base64
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret, same
from idp.proofing.platform_operator.answers import METHOD, Limits, challenge_values, outcome, references, standing
from idp.proofing.platform_operator.client import Fault, OperatorClient, Reply
from idp.proofing.platform_operator.contract import Call
from idp.proofing.platform_operator.places import fill
from idp.proofing.platform_operator.profile import load_profile
from idp.proofing.platform_operator.settings import PlatformOperatorSettings, check, origin_of, usable_link, values_of
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    Outcome,
    Person,
    Purpose,
    Recorded,
    Show,
    Standing,
    Started,
    Unknown,
)

TTL_SECONDS: Final = 900
"""A challenge that is older is worth nothing, whoever kept it."""
_MOST_STATE: Final = 8192
_DAY: Final = 86_400


class _State(msgspec.Struct, frozen=True, kw_only=True):
    profile: str
    begun_at: int
    values: dict[str, str]
    """The placeholders of the beginning."""


def platform_operator_backend(settings: PlatformOperatorSettings, clock: Clock) -> "PlatformOperatorBackend":
    """Return the backend for one operator. ConfigError: the profile or the settings can't be used. Asks nobody yet."""
    return PlatformOperatorBackend(settings, clock)


class PlatformOperatorBackend:
    """See the module."""

    def __init__(self, settings: PlatformOperatorSettings, clock: Clock) -> None:
        self._profile = load_profile(settings.profile)
        check(settings, self._profile)
        self._settings, self._clock = settings, clock
        self._values = values_of(settings, self._profile)
        origin = origin_of(settings, self._profile)
        self._client = OperatorClient(origin, settings.token, settings.ca_file, settings.timeout_seconds)

    @property
    def method(self) -> str:
        """The recorded method, whichever operator: the record names the profile as its verifier."""
        return METHOD

    @property
    def simulated(self) -> bool:
        """Never."""
        return False

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        """Make the text to be signed, ask the operator where the contract wants that, and send the person on."""
        now, challenge = int(self._clock.now()), self._profile.challenge
        linked = bool(challenge.link or self._settings.app_link)
        handle = Secret(new_token()) if linked else None
        values = self._begun(now, handle)
        if challenge.call is not None:
            try:
                given = challenge_values(self._profile, await self._ask(challenge.call, values))
            except Fault as fault:
                return Broken(detail=fault.detail)
            if isinstance(given, Broken):
                return given
            values |= {f"challenge.{name}": value for name, value in given.items()}
        link = values[f"challenge.{challenge.link}"] if challenge.link else self._app_link(values)
        if link and not usable_link(link):
            return Broken(detail="the operator's address to send the person to is not https")
        values.pop("return", None)  # holds the handle, and nothing of the end needs it
        state = msgspec.json.encode(_State(profile=self._profile.name, begun_at=now, values=values))
        if len(state) > _MOST_STATE:
            return Broken(detail="the operator's challenge is too large to keep")
        return Started(show=self._show(values, link), state=state, handle=handle)

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Have the operator validate what came back."""
        begun = _opened(state)
        if begun is None or begun.profile != self._profile.name:
            return Broken(detail="the beginning is not of this contract: the configuration changed in between")
        if answer.get("cancel") == "1":
            return NotProofed(reason="cancelled")
        now = int(self._clock.now())
        given = self._given(begun, answer)
        if given is None or not begun.begun_at <= now < begun.begun_at + TTL_SECONDS:
            return NotProofed(reason="unusable_answer")
        try:
            reply = await self._ask(self._profile.validate, {**begun.values, **given})
        except Fault as fault:
            return Broken(detail=fault.detail)
        limits = Limits(
            begun_at=begun.begun_at, now=now, skew_seconds=self._settings.skew_seconds,
            valid_seconds=self._settings.valid_days * _DAY,
        )  # fmt: skip
        return outcome(self._profile, reply, begun.values, limits)

    async def recheck(self, record: Recorded) -> Standing:
        """Ask the operator for the state of the person's newest certificate."""
        if record.expires_at is not None and record.expires_at <= self._clock.now():
            return Expired()
        if record.verifier != self._profile.name:  # its names of persons mean nobody, or somebody else, here
            return Unknown(detail="another operator verified")
        recheck, kept = self._profile.recheck, references(record.transaction)
        if recheck is None:
            return Unknown(detail="the operator's contract has no such question")
        if kept is None or not record.is_person(Secret(kept[1])):
            return Unknown(detail="the kept reference is not of this person at this operator")
        try:
            reply = await self._ask(recheck, {**self._values, "verification": kept[0], "user": kept[1]})
        except Fault as fault:
            return Unknown(detail=fault.detail)
        return standing(recheck.state, reply)

    async def close(self) -> None:
        """Close the connections to the operator."""
        await self._client.close()

    def _begun(self, now: int, handle: Secret | None) -> dict[str, str]:
        """Return the placeholders of a beginning: the text with its nonce, and its digest."""
        values = {**self._values, "nonce": new_token(), "time": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        text = fill(self._profile.challenge.text, values)
        digest = hashlib.sha256(text.encode()).digest()
        back = f"{self._settings.return_url}?state={handle.reveal()}" if handle is not None else ""
        return {
            **values, "text": text, "text_base64": base64.b64encode(text.encode()).decode(),
            "digest": base64.b64encode(digest).decode(), "digest_hex": digest.hex(), "return": back,
        }  # fmt: skip

    def _app_link(self, values: Mapping[str, str]) -> str:
        return str(fill(self._settings.app_link, values, lambda value: quote(value, safe="")))

    def _show(self, values: Mapping[str, str], link: str) -> Show:
        fields = " ".join(self._profile.answer.fields)
        shown = {
            "operator": self._profile.title,
            "text": values["text"],
            "digest": values["digest"],
            "fields": fields,
            "link": link,
        }
        return Show(template="platform_operator.html", values=shown, link=link)

    def _given(self, begun: _State, answer: Mapping[str, str]) -> dict[str, str] | None:
        """Return the placeholders of the answer; None unless every field is there, in bounds, and the beginning's own."""
        found = {}
        for name, most in self._profile.answer.fields.items():
            value = answer.get(name, "").strip()
            if not 0 < len(value) <= most or not value.isascii() or not value.isprintable():
                return None
            found[f"answer.{name}"] = value
        for field, name in self._profile.answer.same.items():
            if not same(found[f"answer.{field}"], begun.values[f"challenge.{name}"]):
                return None
        return found

    async def _ask(self, call: Call, values: Mapping[str, str]) -> Reply:
        path = fill(call.path, values, lambda value: quote(value, safe=""))
        body: dict[str, Any] | None = fill(call.body, values) if call.method != "GET" else None
        return await self._client.ask(call.method, path, fill(call.headers, values), body, idempotent=call.idempotent)


def _opened(state: bytes) -> _State | None:
    try:
        return msgspec.json.decode(state, type=_State)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
