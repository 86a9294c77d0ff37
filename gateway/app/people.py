"""The embedded provider's accounts, opened for the command line: beside a running gateway, or before its first start."""

import contextlib
import os
import pwd
from collections.abc import AsyncIterator
from pathlib import Path

from gateway.config import Config
from gateway.config.model import EmbeddedProvider
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from idp.details import Details
from idp.model import Standing
from idp.people import Enrolment, People, open_people
from idp.web.options import SERVICE_NAME

__all__ = ["Details", "Enrolment", "People", "Standing", "open_accounts"]


@contextlib.asynccontextmanager
async def open_accounts(config: Config, clock: Clock) -> AsyncIterator[People]:
    """Open the accounts of a configuration's provider. ConfigError: it is not embedded, or the files are not ours to write."""
    embedded = check_embedded(config)
    async with open_people(embedded.data_dir, clock=clock, service_name=SERVICE_NAME) as people:
        yield people


def check_embedded(config: Config) -> EmbeddedProvider:
    """Return the embedded provider's section. ConfigError: it is not embedded, or its files are not ours to write."""
    if config.idp is None:
        raise ConfigError(
            f"accounts are kept by the provider at {config.identity.issuer}, not here",
            where=config.where("identity"),
            todo="Manage people there.",
        )
    check_owner(config.idp.data_dir)
    return config.idp


def check_owner(folder: Path) -> None:
    """Refuse to make files that the gateway's user could not open afterwards (root may write everywhere)."""
    nearest = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    owner = nearest.stat().st_uid
    if owner == os.geteuid() or (os.geteuid() and nearest != folder):
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    raise ConfigError(
        f"belongs to the user {name}, and what is made there must",
        where=str(nearest),
        todo=f"Run this as {name}: sudo -u {name} ...",
    )
