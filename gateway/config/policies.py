"""The section `[policies]`: where the bundle and its changes are, and the hospital's calendar."""

from collections.abc import Mapping
from types import MappingProxyType
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from gateway.config.leaves import Day, ExistingFolder, Identifier, Span, StatePath, TimeZone
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret


def _tokyo() -> ZoneInfo:
    try:
        return ZoneInfo("Asia/Tokyo")
    except ZoneInfoNotFoundError as error:
        raise ConfigError("this machine has no time zone data", todo="Install the package tzdata.") from error


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """The Cedar bundle, and where changes of it are made."""

    dir: ExistingFolder
    """The policies in force; with a database only the first ones, until another bundle is published."""
    database: StatePath | None = None
    """SQLite, for all processes of one machine: drafts, publications, grants, break-glass. With neither this nor `postgres_url`
    policies change by their folder alone.
    """
    postgres_url: Secret | None = None
    """`postgresql://` URL of a database for several machines, in place of `database`; it may hold a password."""
    timezone: TimeZone = msgspec.field(default_factory=_tokyo)
    """What hours and weekdays in policies mean."""
    holidays: tuple[Day, ...] = ()
    """The hospital's own holidays: the end of the year, the day it was founded."""
    national_holidays: bool = True
    """Whether Japan's national holidays are holidays here."""
    shifts: Mapping[Identifier, Span] = MappingProxyType({})
    """Named parts of the day that policies can ask about; they may overlap."""
