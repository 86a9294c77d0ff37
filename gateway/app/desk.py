"""The desk of policy changes, opened for the command line: beside a running gateway, or while none runs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from gateway.app.people import check_owner, open_accounts
from gateway.app.policies import known_of, open_lasting, reach_of, routes_of
from gateway.changes.desk import Desk
from gateway.changes.lockout import OFFICER_ROLE, Officer
from gateway.config import Config
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError


@contextlib.asynccontextmanager
async def open_desk_alone(config: Config, clock: Clock) -> AsyncIterator[tuple[Desk, Sequence[Officer] | None]]:
    """Open the database and the desk of a configuration; also the officers whom the embedded provider knows, None where another
    one knows the people.

    ConfigError when no database is configured, or its file is not ours to write; StoreUnavailable when it does not answer.
    """
    if config.policies.database is not None:
        check_owner(config.policies.database)
    lasting = await asyncio.to_thread(open_lasting, config)
    if lasting is None:
        raise ConfigError(
            "policies come from their folder alone: there is no place for changes",
            where=config.where("policies"),
            todo="Name a database in [policies], or change the files in the folder.",
        )
    try:
        officers = await officers_of(config, clock) if config.idp is not None else None

        async def known() -> Sequence[Officer]:
            return officers or ()

        yield (
            Desk(
                lasting,
                clock=clock,
                officers=known,
                routes=routes_of(config),
                reach=lambda: reach_of(config, clock),
                known=known_of(config),
            ),
            officers,
        )
    finally:
        lasting.close()


async def officers_of(config: Config, clock: Clock) -> list[Officer]:
    """Return the embedded provider's active officers. ConfigError when there is none, or its files are not ours."""
    async with open_accounts(config, clock) as people:
        users = [standing.user for standing in await people.list()]
    return [
        Officer(subject=user.id, login=user.login, roles=user.roles, organization=user.organization)
        for user in users
        if user.active and OFFICER_ROLE in user.roles
    ]
