"""The port that every proofing backend implements. `tests/contract/test_proofing_contract.py` is its suite.

A backend reads a card, or has a service read it, and says whether it is this person's. It keeps nothing: what it must remember
between the two calls travels in `Started.state`, which the desk (`idp.proofing.desk`) stores once, for one browser, for minutes.
"""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from gateway.kernel.secret import Secret

Purpose = Literal["sign_in", "renewal"]
"""Why: a client asked for a proofed person, or the person renews of their own accord."""

NotProofedReason = Literal["wrong_person", "card_expired", "card_revoked", "pin_locked", "cancelled", "unusable_answer"]
"""Closed: each has a text that says what to do."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to be proofed, as the hospital's staff ledger has them."""

    user_id: str
    name: str
    birth_date: str | None = None
    """YYYY-MM-DD."""
    kana: str | None = None


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the backend, to be shown to the person. Its form posts the backend's own fields to `/login/proofing/answer`."""

    template: str
    """File in `idp/proofing/templates`."""
    values: dict[str, str] = {}


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A proofing has begun."""

    show: Show
    state: bytes
    """The backend's own, opaque to everybody else, at most 8 KiB. The browser never sees it."""


class Proofed(msgspec.Struct, frozen=True, kw_only=True):
    """The card is this person's, and in force."""

    level: int
    """Identity assurance level 1 to 3."""
    method: str
    verified_at: int
    """Epoch seconds."""
    expires_at: int | None
    """When the result ends by itself; None: the desk's own limit alone counts."""
    verifier: str
    transaction: str
    """The verifier's own reference, unique at that verifier: with it an auditor can ask them."""
    person: Secret
    """What this verifier recognises the same natural person by. Never stored: the desk keeps a keyed digest of it."""


class NotProofed(msgspec.Struct, frozen=True, kw_only=True):
    """The verifier answered, and the answer is no."""

    reason: NotProofedReason


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """There is no answer: the service or reader does not work. Says nothing about the person, and is never `NotProofed`."""

    detail: str
    """For the log: short, without personal data."""


Outcome = Proofed | NotProofed | Broken


class ProofingBackend(Protocol):
    """Proofs people in one way."""

    @property
    def method(self) -> str:
        """The method's name as it is recorded: `simulated`, `jpki_sign`, `in_person_ic` ..."""
        ...

    @property
    def simulated(self) -> bool:
        """True when nobody is really checked. Pages say so, and the composition root must not use it outside demo mode."""
        ...

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        """Start. Reads nothing about the person that it does not need to compare."""
        ...

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Judge what came back. `state` is what `begin` gave, used for the first time; `answer` is whatever the browser sent:
        unverified, possibly empty. An answer that makes no sense is `NotProofed(reason="unusable_answer")`.
        """
        ...
