"""The people whom the gateway knows: those with an account, those with a live session; from where, with what, since when."""

from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from gateway.console.page import Pages
from gateway.console.parts import ConsoleParts
from gateway.console.people_access import access_of
from gateway.console.people_port import Account
from gateway.console.proofing_port import Standing
from gateway.console.recording import Recorder
from gateway.console.rows import local
from gateway.domain.identity import Session
from gateway.domain.posture import Device
from gateway.domain.record import DecisionRecord, EventRecord, Record
from gateway.grants.model import Person
from gateway.kernel.web.show import visible
from gateway.kernel.web.site import CLAIMS, PageError, language_of

LOOKED_BACK: Final = 1000
"""Records of the log, of each process, that are looked through for the newest decisions of a person."""
NEWEST: Final = 20
_MOST_PEOPLE: Final = 500


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, with what is going on."""

    subject: str
    login: str
    name: str
    roles: tuple[str, ...]
    department: str
    active: bool
    account: bool
    """Has an account at the embedded provider; else known by a live session only."""
    sessions: tuple[Session, ...]
    devices: tuple[Device, ...]
    standing: Standing | None

    @property
    def emergency(self) -> bool:
        """Whether one of the sessions holds a break-glass; it may be over."""
        return any(session.emergency is not None for session in self.sessions)


class People:
    """Serves the list and the page of one person."""

    def __init__(self, pages: Pages, parts: ConsoleParts, recorder: Recorder) -> None:
        self._pages = pages
        self._parts = parts
        self._recorder = recorder

    async def everybody(self, request: web.Request) -> web.Response:
        """Everybody, filtered by `q` (name, login, department) and `role`."""
        await self._recorder.viewed(request)
        people = await self._known()
        query, role = request.query.get("q", "").strip()[:100], request.query.get("role", "")[:60]
        found = [
            one
            for one in people
            if (not role or role in one.roles)
            and all(word in f"{one.name}\n{one.login}\n{one.department}".casefold() for word in query.casefold().split())
        ]
        roles = sorted({name for one in people for name in one.roles})
        return self._pages.show(
            request, "people.html", people=found[:_MOST_PEOPLE], found=len(found), all=len(people), query=query, role_chosen=role,
            roles=roles,
        )  # fmt: skip

    async def person(self, request: web.Request) -> web.Response:
        """One person."""
        await self._recorder.viewed(request)
        subject = request.match_info["subject"]
        one = next((one for one in await self._known() if one.subject == subject), None)
        if one is None:
            raise PageError(404, "person")
        now = self._parts.clock.now()
        records = await self._records()
        decisions = [record for record in records if isinstance(record, DecisionRecord) and record.actor.subject == subject]
        happenings = [
            record
            for record in records
            if isinstance(record, EventRecord) and record.actor.subject == subject and record.event != "console.view"
        ]
        return self._pages.show(
            request, "person.html", one=one, now=now, decisions=decisions[:NEWEST], happenings=happenings[:NEWEST],
            labels={device.id: device.label for device in await self._parts.devices.list()},
            access=await access_of(self._parts, Person(subject=one.subject, login=one.login)),
            japanese=language_of(request) == "ja", me=request[CLAIMS].sub,
            local=lambda at: local(at, self._parts.zone), proofing=self._parts.proofing is not None,
        )  # fmt: skip

    # ------------------------------------------------------------------

    async def _known(self) -> list[Known]:
        sessions: dict[str, list[Session]] = {}
        for session in await self._parts.sessions.list(self._parts.clock.now()):
            sessions.setdefault(session.identity.subject, []).append(session)
        devices: dict[str, list[Device]] = {}
        for device in await self._parts.devices.list():
            devices.setdefault(device.registered_by, []).append(device)
        accounts: Sequence[Account] = await self._parts.accounts() if self._parts.accounts is not None else ()
        office = self._parts.proofing
        standings = {one.person.id: one for one in await office.standings()} if office is not None else {}
        found = [
            Known(
                subject=account.subject, login=account.login, name=account.name, roles=account.roles,
                department=account.department,
                active=account.active, account=True, sessions=tuple(sessions.pop(account.subject, ())),
                devices=tuple(devices.get(account.subject, ())), standing=standings.get(account.subject),
            )
            for account in accounts
        ]  # fmt: skip
        for subject, theirs in sessions.items():
            identity = theirs[-1].identity
            found.append(
                Known(
                    subject=subject, login=identity.login, name=identity.name, roles=identity.roles,
                    department=identity.department,
                    active=True, account=False, sessions=tuple(theirs), devices=tuple(devices.get(subject, ())),
                    standing=standings.get(subject),
                )
            )  # fmt: skip
        return sorted(found, key=lambda one: (not one.sessions, visible(one.login)))

    async def _records(self) -> list[Record]:
        """Newest first, of this process and those beside it."""
        records = [record for _, record in self._parts.feed.recent(LOOKED_BACK)]
        if self._parts.others is not None:
            async with self._parts.others.following():
                records += [record for _, _, record in self._parts.others.recent(LOOKED_BACK)]
        return sorted(records, key=lambda record: record.at, reverse=True)
