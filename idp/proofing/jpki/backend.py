"""The backend: a text to sign, an answer from a card client, and whether the card is in force."""

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from idp.proofing.jpki import checks, text
from idp.proofing.jpki.der import Malformed
from idp.proofing.jpki.folder import CrlFolder
from idp.proofing.jpki.responder import OcspResponder
from idp.proofing.jpki.roots import load_roots
from idp.proofing.jpki.settings import JpkiSettings, profile_of, refuse_unusable
from idp.proofing.jpki.standing import NoAnswer, RevokedThere, person_of
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    NotProofedReason,
    Outcome,
    Person,
    Proofed,
    Purpose,
    Recorded,
    Show,
    Standing,
    Started,
    Unknown,
)

LEVEL: Final = 3
_OLDEST: Final = 900
"""Seconds from beginning to answer, should the desk's own limit fail."""
_DAY: Final = 86_400

_CLIENT_ERRORS: Final[dict[str, NotProofedReason]] = {
    "pin_locked": "pin_locked", "cancelled": "cancelled", "wrong_card": "wrong_card",
}  # fmt: skip
_READER_ERRORS: Final = frozenset({"reader_failed"})


class _State(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    at: int
    transaction: str


def jpki_backend(settings: JpkiSettings, clock: Clock, *, random: Callable[[int], bytes] = secrets.token_bytes) -> "JpkiBackend":
    """Return the backend. ConfigError: settings that contradict themselves, or a root certificate that is not what it has to be.
    Reads the roots now, and revocation lists whenever they change.
    """
    refuse_unusable(settings)
    return JpkiBackend(settings, clock, random)


class JpkiBackend:
    """See the module. Made by `jpki_backend`."""

    def __init__(self, settings: JpkiSettings, clock: Clock, random: Callable[[int], bytes]) -> None:
        self._settings, self._clock, self._random = settings, clock, random
        self._roots: Final = load_roots(settings.roots, clock.now())
        self._profile: Final = profile_of(settings)
        self._responder = OcspResponder(settings, clock, random=random) if settings.ocsp_url else None
        self._folder = (
            CrlFolder(settings.crl_folder, self._roots, settings.crl_hours, clock) if settings.crl_folder is not None else None
        )

    @property
    def method(self) -> str:
        """`jpki_sign` or `jpki_auth`."""
        return f"jpki_{self._settings.certificate}"

    @property
    def simulated(self) -> bool:
        """In J-LIS's test environment: its cards are nobody's."""
        return self._settings.environment == "test"

    async def begin(self, person: Person, purpose: Purpose) -> Started:
        """Show the text to sign, and the same as a challenge for a card client."""
        settings, at, transaction = self._settings, int(self._clock.now()), new_id(self.method)
        words = text.text_to_sign(
            institution=settings.institution, verifier=settings.verifier, name=person.name, purpose=purpose, at=at,
            transaction=transaction, nonce=self._random(text.NONCE_BYTES),
        )  # fmt: skip
        challenge = base64.b64encode(words.encode()).decode()
        request = msgspec.json.encode({"jpki": 1, "kind": settings.certificate, "challenge": challenge}).decode()
        values = {"text": words, "challenge": challenge, "kind": settings.certificate, "request": request}
        state = _State(text=words, at=at, transaction=transaction)
        return Started(show=Show(template="jpki.html", values=values), state=msgspec.json.encode(state))

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Go through the list of `checks`."""
        now = int(self._clock.now())
        try:
            begun = msgspec.json.decode(state, type=_State)
            given = text.parse_answer(answer)
        except (msgspec.DecodeError, Malformed):
            return NotProofed(reason="unusable_answer")
        if given.error:
            return _reported(given.error)
        # [6] the kind that was asked for
        if given.kind != self._settings.certificate:
            return NotProofed(reason="wrong_card")
        # [15] what was begun here, and lately: its text is the state's, never the answer's
        if not 0 <= now - begun.at <= _OLDEST:
            return NotProofed(reason="unusable_answer")
        judged = checks.judge(
            given.certificate, given.signature, begun.text.encode(), profile=self._profile, roots=self._roots, now=now
        )
        if not isinstance(judged, checks.Judged):
            return judged
        source = self._folder or self._responder
        standing = (
            await source.standing(judged.certificate, judged.root)
            if source is not None
            else NoAnswer(detail="jpki: nobody to ask")
        )
        if isinstance(standing, NoAnswer):
            return Broken(detail=standing.detail)
        if isinstance(standing, RevokedThere):
            return NotProofed(reason="card_revoked")
        return self._proofed(judged, begun.transaction, now)

    def _proofed(self, judged: checks.Judged, transaction: str, now: int) -> Proofed:
        card = judged.certificate
        return Proofed(
            level=LEVEL, method=self.method, evidence="electronic_signature", verified_at=now,
            expires_at=min(card.not_after, now + self._settings.valid_days * _DAY), verifier=self._settings.verifier,
            transaction=transaction, person=Secret(person_of(card.issuer, judged.root.key_id, card.serial)),
            attributes=judged.attributes,
        )  # fmt: skip

    async def recheck(self, record: Recorded) -> Standing:
        """Look through the revocation lists. With OCSP nobody knows: the serial number was not kept."""
        if record.expires_at is not None and record.expires_at <= self._clock.now():
            return Expired()
        if not record.transaction.startswith(f"{self.method}_"):
            return Unknown(detail="jpki: proofed with the other certificate, whose CA's lists are not here")
        if self._folder is None:
            return Unknown(detail="jpki: a responder can't be asked about a card whose number was not kept")
        return await self._folder.recheck(record)

    async def close(self) -> None:
        """Let go of connections."""
        if self._responder is not None:
            await self._responder.close()


def _reported(error: str) -> NotProofed | Broken:
    """Return what a card client's own word for its failure means."""
    if error in _READER_ERRORS:
        return Broken(detail="jpki: the card client says that its reader failed", kind="reader")
    return NotProofed(reason=_CLIENT_ERRORS.get(error, "unusable_answer"))
