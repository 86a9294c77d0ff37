"""Grants for tests: people, requests, and a ledger over a database of the test's own."""

from pathlib import Path

import msgspec

from gateway.grants.book import GrantBook
from gateway.grants.ledger import Ledger
from gateway.grants.model import Emergency, Grant, Person
from gateway.grants.office import GrantOffice
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.granted import GrantUse
from gateway.ports import AuditLog

NOW = 1_800_000_000
VENDOR = Person(subject="usr_ito", login="vendor.ito", name="伊藤 健")
OFFICER = Person(subject="usr_yamamoto", login="sec.yamamoto", name="山本 凛")
SECOND = Person(subject="usr_inoue", login="sec.inoue", name="井上 蓮")
USES = (GrantUse(name="ehr-maintenance"), GrantUse(name=""))


def a_grant(**changes: object) -> Grant:
    """A vendor's request for two hours from now."""
    one = Grant(
        id=new_id("grt"), name="ehr-maintenance", holder=VENDOR, asked_by=VENDOR, why="月次の保守作業", asked_at=NOW,
        asked_from=NOW, asked_until=NOW + 7200, begins=NOW, until=NOW + 7200,
    )  # fmt: skip
    return msgspec.structs.replace(one, **changes)


def an_emergency(**changes: object) -> Emergency:
    """An officer's, for an hour."""
    one = Emergency(id=new_id("sit"), why="震度6強の地震", declared_by=OFFICER, declared_at=NOW, until=NOW + 3600)
    return msgspec.structs.replace(one, **changes)


async def approved(ledger: Ledger, *, now: float = NOW, **changes: object) -> Grant:
    """Ask, and approve as asked."""
    one = await ledger.ask(a_grant(**changes))
    return await ledger.approve(one.id, OFFICER, now, begins=one.asked_from, until=one.asked_until)


def open_office(folder: Path, clock: ManualClock, log: AuditLog) -> GrantOffice:
    """An office over a database in a folder."""
    ledger = Ledger(SqliteLasting(folder / "grants.sqlite3"))
    return GrantOffice(ledger, GrantBook(ledger, clock, log), lambda: USES)
