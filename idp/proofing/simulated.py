"""A verifier that verifies nobody: the person at the demo chooses how the proofing ends. Only for demo mode.

It behaves as a real one does, for whoever uses it: it has a page of its own, an outcome of each kind, and a reference per run.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    Outcome,
    Person,
    Proofed,
    Purpose,
    Recorded,
    Show,
    Standing,
    Started,
    Valid,
)

METHOD: Final = "simulated"
LEVEL: Final = 3
VALID_SECONDS: Final = 365 * 86_400


class _State(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    transaction: str


def simulated_backend(clock: Clock, *, demo_mode: bool) -> "SimulatedBackend":
    """Return the simulation. ConfigError unless `demo_mode` is said explicitly: it would let anybody pass as anybody."""
    if demo_mode is not True:
        raise ConfigError(
            "the simulated identity proofing verifies nobody and refuses to start outside demo mode",
            where="idp.proofing",
            todo="Configure a real verifier, or run `gateway demo`.",
        )
    return SimulatedBackend(clock)


class SimulatedBackend:
    """See the module. Made by `simulated_backend` alone."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @property
    def method(self) -> str:
        """The recorded method, which no policy should take for a real one."""
        return METHOD

    @property
    def simulated(self) -> bool:
        """Always."""
        return True

    async def begin(self, person: Person, purpose: Purpose) -> Started:
        """Show the page on which the outcome is chosen."""
        state = _State(user_id=person.user_id, transaction=new_id("sim"))
        return Started(show=Show(template="simulated.html"), state=msgspec.json.encode(state))

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """End as chosen."""
        begun = msgspec.json.decode(state, type=_State)
        match answer.get("outcome"):
            case "success":
                now = int(self._clock.now())
                return Proofed(
                    level=LEVEL, method=METHOD, evidence="none", verified_at=now, expires_at=now + VALID_SECONDS,
                    verifier=METHOD, transaction=begun.transaction, person=Secret(begun.user_id), vouched=True,
                )  # fmt: skip
            case "wrong_person":
                return NotProofed(reason="wrong_person")
            case "expired":
                return NotProofed(reason="card_expired")
            case "down":
                return Broken(detail="simulated: the service does not answer")
            case "cancel":
                return NotProofed(reason="cancelled")
            case _:
                return NotProofed(reason="unusable_answer")

    async def recheck(self, record: Recorded) -> Standing:
        """Hold until it ends by itself."""
        over = record.expires_at is not None and record.expires_at <= self._clock.now()
        return Expired() if over else Valid()

    async def close(self) -> None:
        """Do nothing."""
