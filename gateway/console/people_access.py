"""What a person has, had or waits for beyond the usual: grants and break-glasses, for the person's page."""

from typing import Final

import msgspec

from gateway.console.parts import ConsoleParts
from gateway.emergency.model import BreakGlass
from gateway.grants.model import Grant, Person
from gateway.kernel.errors import StoreUnavailable

PAST: Final = 5
"""Past ones of each kind on the page."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Of each kind first what waits or is in force, then the newest past ones; None where the store did not answer."""

    grants: tuple[Grant, ...] | None
    emergencies: tuple[BreakGlass, ...] | None


async def access_of(parts: ConsoleParts, person: Person) -> Access:
    """Look up what there is of a person, by subject or login; empty where there is no database for it."""
    return Access(grants=await _grants(parts, person), emergencies=await _emergencies(parts, person))


async def _grants(parts: ConsoleParts, person: Person) -> tuple[Grant, ...] | None:
    if parts.grants is None:
        return ()
    ledger, now = parts.grants.ledger, parts.clock.now()
    try:
        going = [one for one in await ledger.open() if one.holder.same_as(person) and one.until > now]
        newest = await ledger.of(person.subject)
    except StoreUnavailable:
        return None
    ids = {one.id for one in going}
    return (*going, *[one for one in newest if one.id not in ids][:PAST])


async def _emergencies(parts: ConsoleParts, person: Person) -> tuple[BreakGlass, ...] | None:
    if parts.emergencies is None:
        return ()
    try:
        found = await parts.emergencies.ledger.of(person.subject, person.login)
    except StoreUnavailable:
        return None
    return (*[one for one in found if one.to_review], *[one for one in found if not one.to_review][:PAST])
