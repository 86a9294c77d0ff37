"""A verifier's test environment on an installation that serves: the connection test with the service, and nothing more.

Everything goes as it will, but what is recorded says `rehearsal_...` and counts as level 1, whatever the card was: test cards are
lent to anybody. Its evidence is none, so nobody is told of it as verified. Pages say so.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from idp.proofing.port import Broken, Outcome, Person, Proofed, ProofingBackend, Purpose, Recorded, Standing, Started

LEVEL: Final = 1
PREFIX: Final = "rehearsal_"


def recorded_method(backend: ProofingBackend) -> str:
    """Return the method that stands in the records of a backend, rehearsed or not."""
    return PREFIX + backend.method if isinstance(backend, Rehearsal) else backend.method


class Rehearsal:
    """`ProofingBackend` around another one."""

    def __init__(self, backend: ProofingBackend) -> None:
        self.backend: Final = backend
        """The one that is rehearsed."""

    @property
    def method(self) -> str:
        """That of the backend: what is recorded of a yes is marked."""
        return self.backend.method

    @property
    def simulated(self) -> bool:
        """Always: nobody is really checked."""
        return True

    async def begin(self, person: Person, purpose: Purpose) -> Started | Broken:
        """Begin there."""
        return await self.backend.begin(person, purpose)

    async def complete(self, state: bytes, answer: Mapping[str, str]) -> Outcome:
        """Judge there; a yes counts for little."""
        outcome = await self.backend.complete(state, answer)
        if not isinstance(outcome, Proofed):
            return outcome
        return msgspec.structs.replace(outcome, level=LEVEL, method=PREFIX + outcome.method, evidence="none")

    async def recheck(self, record: Recorded) -> Standing:
        """Ask there."""
        return await self.backend.recheck(record)

    async def close(self) -> None:
        """Let go of connections."""
        await self.backend.close()
