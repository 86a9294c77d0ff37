"""The embedded provider's proofing office, opened for the command line: beside a running gateway, or before its first start."""

import contextlib
from collections.abc import AsyncIterator

from gateway.app.people import check_embedded
from gateway.app.provider import house_rules
from gateway.app.verifiers import verifier_of
from gateway.config import Config
from gateway.kernel.clock import Clock
from idp.model import ProofingCase, ProofingRecord
from idp.proofing.beside import open_office as open_beside
from idp.proofing.office import (
    Batch,
    CaseView,
    Decided,
    KeyUse,
    Looked,
    NotChecked,
    NotDecided,
    PersonStanding,
    ProofingError,
    ProofingOffice,
    Recheck,
)

__all__ = [
    "Batch",
    "CaseView",
    "Decided",
    "KeyUse",
    "Looked",
    "NotChecked",
    "NotDecided",
    "PersonStanding",
    "ProofingCase",
    "ProofingError",
    "ProofingOffice",
    "ProofingRecord",
    "Recheck",
    "open_office",
]


@contextlib.asynccontextmanager
async def open_office(config: Config, clock: Clock, *, through: str) -> AsyncIterator[ProofingOffice]:
    """Open the office of a configuration's provider, with its verifier. ConfigError: it is not embedded, or the files are not
    ours to write. `through` is who runs this, for the log.
    """
    embedded = check_embedded(config)
    verifier = verifier_of(config, clock)
    async with contextlib.AsyncExitStack() as stack:
        if verifier is not None:
            stack.push_async_callback(verifier.close)
        rules = house_rules(embedded)
        yield await stack.enter_async_context(
            open_beside(embedded.data_dir, clock=clock, verifier=verifier, settings=rules, through=through)
        )
