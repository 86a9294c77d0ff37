"""A console with a desk of changes over SQLite, on the project's own policies."""

import contextlib
import re
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from gateway.changes.bundle_files import files_of_snapshot
from gateway.changes.desk import Desk
from gateway.changes.lockout import Officer
from gateway.changes.model import Draft, Person
from gateway.console.routes import ROUTES
from gateway.domain.route import Route
from gateway.kernel.clock import Clock
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.folder import read_folder
from tests.support.console import OFFICER, ORIGIN, POLICIES, World, opened

SECOND: Final[dict[str, Any]] = {
    "sub": "usr_kobayashi", "login": "sec.kobayashi", "name": "小林 葵", "roles": ["security_officer"], "aud": "console",
}  # fmt: skip
FIRST_PERSON: Final = Person(subject=str(OFFICER["sub"]), login=str(OFFICER["login"]), name=str(OFFICER["name"]))
SECOND_PERSON: Final = Person(subject=SECOND["sub"], login=SECOND["login"], name=SECOND["name"])
KEY_AGE: Final = "context.authentication.key_touch_age_seconds < 300"
"""In ehr.cedar, of who prescribes."""


class PoliciesWorld:
    """The console's surroundings, and the desk."""

    def __init__(self, world: World, lasting: SqliteLasting, desk: Desk) -> None:
        self.world, self.lasting, self.desk = world, lasting, desk

    def application(self, **parts: Any) -> web.Application:
        """The console."""
        return self.world.application(**{"desk": self.desk, **parts})

    async def draft(self, title: str = "処方: キーの確認を4分以内に", by: Person = FIRST_PERSON) -> Draft:
        """Begin a change."""
        return await self.desk.begin(by, title=title, why="監査の指摘 12 への対応")

    async def changed(self, by: Person = FIRST_PERSON, **begin: Any) -> Draft:
        """Begin a change that changes something and is good: a title."""
        draft = await self.draft(by=by, **begin)
        files = retitled(draft.files)
        return await self.desk.save(by, draft.id, revision=draft.revision, files=files)

    async def published(self) -> Draft:
        """Have one made, approved and put in force."""
        draft = await self.changed()
        await self.desk.submit(FIRST_PERSON, draft.id, content=draft.content)
        await self.desk.approve(SECOND_PERSON, draft.id, content=draft.content)
        await self.desk.publish(FIRST_PERSON, draft.id, content=draft.content)
        return await self.desk.draft(draft.id)


def retitled(files: dict[str, bytes], text: str = "（見直し済み）") -> dict[str, bytes]:
    """Return the files with the first Japanese title of guards.cedar longer."""
    before = files["guards.cedar"].decode()
    head, rest = before.split('@title_ja("', 1)
    title, tail = rest.split('")', 1)
    return {**files, "guards.cedar": f'{head}@title_ja("{title}{text}")'.encode() + tail.encode()}


@contextlib.asynccontextmanager
async def policies_world(folder: Path, clock: Clock, origin: str = ORIGIN) -> AsyncIterator[PoliciesWorld]:
    """Open it with the project's policies as the first publication."""
    async with opened(folder, clock, origin) as world:
        world.load_policies()
        lasting = SqliteLasting(folder / "policies.sqlite3")
        people = [Officer(subject=str(one["sub"]), login=str(one["login"])) for one in (OFFICER, SECOND)]
        officers: Callable[[], Awaitable[list[Officer]]] = _answer(people)
        desk = Desk(lasting, clock=clock, officers=officers, routes=(*ROUTES, *_starter_routes()))
        await desk.begin_with_folder(files_of_snapshot(read_folder(POLICIES)))
        try:
            yield PoliciesWorld(world, lasting, desk)
        finally:
            lasting.close()


def _starter_routes() -> tuple[Route, ...]:
    """The routes that the starter bundle and its cases speak of, but the console's."""
    targets = tomllib.loads((POLICIES / "cases" / "bases.toml").read_text("utf-8"))["target"]
    found = {target["route"]: target for target in targets.values()}
    for path in POLICIES.glob("*.cedar"):
        for name in re.findall(r'Route::"([\w.-]+)"', path.read_text("utf-8")):
            found.setdefault(name, {"app": name.partition(".")[0], "action": "read"})
    return tuple(
        Route(
            id=name,
            app=target["app"],
            methods=("GET",),
            pattern=(name,),
            action=target["action"],
            sensitivity=target.get("sensitivity", "normal"),
        )
        for name, target in found.items()
        if target["app"] != "console"
    )


def _answer(people: list[Officer]) -> Callable[[], Awaitable[list[Officer]]]:
    async def officers() -> list[Officer]:
        return people

    return officers
