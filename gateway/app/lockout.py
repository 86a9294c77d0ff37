"""Whether policies from a folder would lock the officers out: for the command line, with a configuration or without one."""

from typing import Final

import msgspec

from gateway.app.desk import officers_of
from gateway.app.policies import reach_of, routes_of
from gateway.changes.lockout import CONSOLE, ORDINARY, OTHER_ZONE, Locked, Reach, locked_out
from gateway.config import Config
from gateway.console.routes import ROUTES
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.policy.evaluate import Bundle
from gateway.policy.expression import clause_of, pst_of
from gateway.policy.solve import Conditions

_NAMED: Final = (f'App::"{CONSOLE}"', f'Route::"{CONSOLE}.')


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what it rests on."""

    locked: Locked | None = None
    note: str = ""
    """What could not be looked at; empty when nothing."""


async def judge_with(bundle: Bundle, config: Config, clock: Clock) -> Judged:
    """Judge as publishing does: routes, zones and hours of the configuration, and the embedded provider's officers.

    Where its accounts are not there yet, or not ours to open, two people of the role alone stand in, and the note says so.
    """
    officers, note = [], ""
    if config.idp is not None and config.idp.data_dir.exists():
        try:
            officers = await officers_of(config, clock)
        except ConfigError as error:
            note = f"the officers' accounts can't be read, so people of the role alone stand in for them: {error}"
    return Judged(locked=locked_out(bundle, officers, routes_of(config), reach_of(config, clock)), note=note)


def judge_alone(bundle: Bundle) -> Judged:
    """Judge policies of which no configuration is known: in any zone and shift that they name, with the best device.

    Policies of which none names the console may be those of a gateway without one: then nothing is said but that.
    """
    if not any(name in policy.cedar.replace(" :: ", "::") for policy in bundle.policies for name in _NAMED):
        return Judged(note="no policy names the console; --config tells whether there is one that officers must get into")
    zones, shifts = _names(bundle, "network.zone"), _names(bundle, "time.shifts")
    times = [msgspec.structs.replace(time, shifts=(shift,)) for shift in shifts for time in ORDINARY]
    return Judged(
        locked=locked_out(
            bundle, (), ROUTES, Reach(zones=(*zones, OTHER_ZONE), times=(*ORDINARY, *times), evidence="certificate")
        )
    )


def _names(bundle: Bundle, fact: str) -> tuple[str, ...]:
    """What policies compare this fact with."""
    conditions, found = Conditions(), set[str]()
    for policy in bundle.policies:
        for condition in conditions.of(expr for clause in pst_of(policy).clauses for expr in clause_of(clause)):
            literals = condition.vocabulary.literals if condition.vocabulary else {}
            found.update(str(name) for name in literals.get(fact, ()))
    return tuple(sorted(found))
