"""A console with a desk of changes and an office of replays, over a log on disk that a test fills."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.changes.model import Draft
from gateway.domain.record import Actor, DecisionRecord, Record
from gateway.kernel.clock import Clock
from gateway.policy.facts import Facts
from gateway.replay.office import ReplayOffice
from tests.support.console import ORIGIN
from tests.support.console_policies import FIRST_PERSON, PoliciesWorld, policies_world
from tests.support.logs import Place
from tests.support.policy import facts
from tests.support.replay import record, wish

NIGHT: Final = """
@id("nurses-not-at-night")
@title_ja("看護師は夜間に検査画像を閲覧できません")
@title_en("Nurses may not view images at night")
forbid (principal in Role::"nurse", action, resource in App::"imaging")
when { context.time.hour >= 20 || context.time.hour < 6 };
"""
CLERKS: Final = """
@id("clerks-view-images")
@title_ja("事務職員は病棟から検査画像を閲覧できます")
@title_en("Clerks may view images from a ward")
permit (principal in Role::"clerk", action == Action::"read", resource in App::"imaging")
when { context.network.zone == "ward" && context.device.compliant && context.authentication.factors >= 2 };
"""
NASTY: Final = "佐藤\u202e恵<script>alert(1)</script>\u200b"
NAMES: Final = ("田中 美咲", "鈴木 陽菜", "高橋 健", "伊藤 さくら", "渡辺 翔", NASTY)


def of(person: int, role: str, hour: int, number: int, outcome: str = "allow", **changes: Any) -> DecisionRecord:
    """Somebody views an image at an hour of 15 January 2027 in Japan."""
    at = f"2027-01-{15 if hour < 17 else 14}T{(hour - 9) % 24:02d}:00:00.000Z"
    if hour < 9:
        at = at.replace("-15T", "-14T")
    what = facts(
        principal={"id": f"usr_{person}", "roles": (role,)},
        time={"hour": hour},
        target={"app": "imaging", "route": "imaging.study", "patient": ""},
    )
    return as_record(what, person, number, at=at, outcome=outcome, **changes)


def as_record(what: Facts | dict[str, Any], person: int, number: int, **changes: Any) -> DecisionRecord:
    """A decision of one of the people with names."""
    one = record(what, number, **changes)
    name = NAMES[person % len(NAMES)]
    actor = Actor(subject=f"usr_{person}", login=f"staff.{person:03d}", name=name, roles=one.actor.roles, session="ses_1")
    return DecisionRecord(**{name: getattr(one, name) for name in one.__struct_fields__} | {"actor": actor})


def day_in_the_hospital() -> list[Record]:
    """Nurses by day and night, clerks who are refused."""
    records: list[Record] = []
    for hour in range(24):
        for person in range(3 + hour % 4):
            records.append(of(person, "nurse", hour, len(records)))
        if 8 <= hour < 18:
            records.append(of(40 + hour % 3, "clerk", hour, len(records), "deny"))
    return records


class ReplayWorld:
    """The console's surroundings, the desk, the office and where the log is."""

    def __init__(self, policies: PoliciesWorld, place: Place, clock: Clock, slow: bool) -> None:
        self.policies, self.place, self.clock = policies, place, clock
        self.office = self.another(slow=slow)

    def another(self, *, slow: bool = False) -> ReplayOffice:
        """An office as another process has it, on the same database."""
        folder = self.place.folder
        workers = 1 if slow else 2
        return ReplayOffice(
            self.policies.lasting,
            self.clock,
            lambda before, after, days: wish(folder, before, after, days=days, now=self.clock.now(), workers=workers),
        )

    def application(self, **parts: Any) -> web.Application:
        return self.policies.application(**{"replays": self.office, **parts})

    async def fill(self, records: Sequence[Record] | None = None) -> None:
        """Write the log."""
        await self.place.write(day_in_the_hospital() if records is None else records, segment_bytes=200_000)

    async def draft(self, *texts: str) -> Draft:
        """Begin a change that adds policies."""
        draft = await self.policies.draft("夜間の検査画像")
        files = {**draft.files, "night.cedar": "\n".join(texts or (NIGHT, CLERKS)).encode()}
        return await self.policies.desk.save(FIRST_PERSON, draft.id, revision=draft.revision, files=files)

    async def over(self, content: str) -> None:
        """Wait until no replay of this content runs."""
        async with asyncio.timeout(60):
            while (await self.office.standing(content)).running is not None:  # noqa: ASYNC110  the database announces nothing
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def replay_world(folder: Path, clock: Clock, origin: str = ORIGIN, *, slow: bool = False) -> AsyncIterator[ReplayWorld]:
    """Open it, with nothing in the log."""
    async with policies_world(folder, clock, origin) as policies:
        world = ReplayWorld(policies, Place(folder / "audit"), clock, slow)
        try:
            yield world
        finally:
            await world.office.close()
