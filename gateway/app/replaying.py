"""Replays of policies over this installation's log: the console's office, and what each replay is about."""

import contextlib
from collections.abc import Mapping

from gateway.app.verifiers import outcome_of
from gateway.config import Config
from gateway.kernel.clock import Clock
from gateway.lasting.port import Lasting
from gateway.policy.remedy import Outcomes
from gateway.replay.office import ReplayOffice
from gateway.replay.run import Wish


def wish_of(config: Config, before: Mapping[str, bytes], after: Mapping[str, bytes], days: int, now: float) -> Wish:
    """Return a replay of the last days, as of `now`."""
    return Wish(
        folder=config.audit.dir,
        anchor=config.audit.anchor,
        before=before,
        after=after,
        days=days,
        now=now,
        zone=config.policies.timezone,
        outcomes=Outcomes(proofing=outcome_of(config)),
    )


def open_replays(config: Config, lasting: Lasting, clock: Clock, stack: contextlib.AsyncExitStack) -> ReplayOffice:
    """Open the office over the database; what runs when the process ends is given up."""
    office = ReplayOffice(lasting, clock, lambda before, after, days: wish_of(config, before, after, days, clock.now()))
    stack.push_async_callback(office.close)
    return office
