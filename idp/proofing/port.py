"""The port that every proofing backend implements. `tests/contract/test_proofing_contract.py` is its suite.

A backend reads a card, or has a service read it, and says what the card is and whom it names. It keeps nothing: what it must
remember between the two calls travels in `Started.state`, which the desk (`idp.proofing.desk`) stores once, for one browser, for
minutes. Whether the card is this person's is not its business, unless it says so (`vouched`): the desk compares (`matching`).
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from gateway.kernel.secret import Secret

Purpose = Literal["sign_in", "renewal"]
"""Why: a client asked for a proofed person, or the person renews of their own accord (invited or not)."""

NotProofedReason = Literal[
    "wrong_person", "wrong_card", "card_expired", "card_not_yet_valid", "card_revoked", "pin_locked", "cancelled",
    "name_mismatch", "unknown_card", "not_confirmed", "unusable_answer",
]  # fmt: skip
"""Closed: each has a text that says what to do. `wrong_person`: the verifier itself says that it is somebody else; `wrong_card`:
no My Number Card, or not the certificate that was asked for; `name_mismatch`: the card names somebody whom the roster does not;
`unknown_card`: nothing on it says whose it is, and it was not used here before; `not_confirmed`: an officer said no.
"""

BrokenKind = Literal["service", "reader"]
"""Where the fault is, for what the person can do: at the verifier's end or ours, or at the card reader in front of them."""

Evidence = Literal["electronic_signature", "electronic_record", "document", "vouch", "none"]
"""What was looked at, in the words of OpenID Connect for Identity Assurance; `none`: nothing (the simulation)."""


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Who is to be proofed, as the hospital's staff ledger has them."""

    user_id: str
    name: str
    birth_date: str | None = None
    """YYYY-MM-DD."""
    kana: str | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What the verifier read of the person, exactly as it came. For comparing only: it is never logged, and kept, sealed, only
    while an officer has to compare it.
    """

    name: str
    substitutes: tuple[int, ...] = ()
    """Positions in `name`, from 1, of characters that stand for ones which the card's character set lacks."""
    kana: str = ""
    """Empty: not read."""
    birth_date: str = ""
    """YYYY-MM-DD, or the card's `EYYYYMMDD`. Empty: not read."""
    former_names: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "Verified(***)"


class Show(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the backend, to be shown to the person. Its form posts the backend's own fields to `/login/proofing/answer`."""

    template: str
    """File in `idp/proofing/templates`."""
    values: dict[str, str] = {}
    link: str = ""
    """Where the person's browser goes to be read (https, absolute). It comes back to `/login/proofing/return` with a query that
    is the answer. Empty: the page's form is the answer."""


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A proofing has begun."""

    show: Show
    state: bytes
    """The backend's own, opaque to everybody else, at most 8 KiB. The browser never sees it."""
    handle: Secret | None = None
    """What comes back in the query of `/login/proofing/return` as `state`: unguessable. The desk finds the state by it."""


class Proofed(msgspec.Struct, frozen=True, kw_only=True):
    """The card is in force, and its holder was there."""

    level: int
    """Identity assurance level 1 to 3."""
    method: str
    evidence: Evidence
    verified_at: int
    """Epoch seconds."""
    expires_at: int | None
    """When the result ends by itself; None: the desk's own limit alone counts."""
    verifier: str
    transaction: str
    """The verifier's own reference, unique at that verifier: with it an auditor can ask them. No personal data."""
    person: Secret
    """What this verifier recognises the same person or card by. Never stored: the desk keeps a keyed digest of it."""
    attributes: Verified | None = None
    """Whom the card names; None where it was not read."""
    vouched: bool = False
    """True when whoever verified compared the card with the roster's `Person` and stands in for it: the desk does not compare."""


class NotProofed(msgspec.Struct, frozen=True, kw_only=True):
    """The verifier answered, and the answer is no."""

    reason: NotProofedReason


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """There is no answer: the service or reader does not work. Says nothing about the person, and is never `NotProofed`."""

    detail: str
    """For the log: short, without personal data."""
    kind: BrokenKind = "service"


Outcome = Proofed | NotProofed | Broken


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What was kept of a proofing, for asking whether it still holds."""

    verifier: str
    """Who verified. By the same method it may have been another one than whom the backend asks now."""
    transaction: str
    verified_at: int
    expires_at: int | None
    is_person: Callable[[Secret], bool]
    """Whether this is what the verifier recognised the person by: so that a list can be looked through, though nothing but a
    digest was kept."""


class Valid(msgspec.Struct, frozen=True, kw_only=True):
    """The verifier says that the card is in force."""


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """It was revoked, or the person is not who they were."""


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """It has ended by itself."""


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """There is no answer; the record stays as it is."""

    detail: str
    """For the log: short, without personal data."""


Standing = Valid | Revoked | Expired | Unknown


class ProofingBackend(Protocol):
    """Proofs people in one way."""

    @property
    def method(self) -> str:
        """The method's name as it is recorded: `simulated`, `jpki_sign`, `in_person` ..."""
        ...

    @property
    def simulated(self) -> bool:
        """True when nobody is really checked. Pages say so, and the composition root must not use it outside demo mode."""
        ...

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        """Start. Reads nothing about the person that it does not need."""
        ...

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Judge what came back. `state` is what `begin` gave, used for the first time; `answer` is whatever the browser sent:
        unverified, possibly empty. An answer that makes no sense is `NotProofed(reason="unusable_answer")`. A fault at the other
        end (5xx, time-out, a token that does not verify, a list that is stale) is Broken.
        """
        ...

    async def recheck(self, record: Recorded) -> Standing:
        """Ask whether a result still holds. A backend that can't know says Unknown."""
        ...

    async def close(self) -> None:
        """Let go of connections. May be called again."""
        ...
