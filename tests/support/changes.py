"""A small bundle, officers, and a desk for tests of the life of a change."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from gateway.changes.desk import Desk
from gateway.changes.lockout import Officer, Reach
from gateway.changes.model import ChangeRefused, Draft, Person, Publication
from gateway.console.routes import ROUTES
from gateway.kernel.clock import Clock, ManualClock
from gateway.lasting.port import Lasting
from gateway.lasting.sqlite import SqliteLasting
from gateway.policy.compile import SCHEMA_FILE
from gateway.policy.schema import cedar_schema
from tests.support.policy import CASES, facts, facts_toml, policy

CONSOLE = policy(
    "console",
    'principal in Role::"security_officer" && context.authentication.phishing_resistant',
    scope='principal, action, resource in App::"console"',
)
GOOD = "context.device.registered"
READ = policy(when=GOOD)
NURSE = policy("nurse", f'principal in Role::"nurse" && {GOOD}')
"""One more, that nobody in the cases is touched by."""
YAMAMOTO = Person(subject="usr_yamamoto", login="s.yamamoto", name="山本 隆")
KATO = Person(subject="usr_kato", login="s.kato", name="加藤 直")
MORI = Person(subject="usr_mori", login="s.mori", name="森 望")


def files(read: str = READ, *, console: str = CONSOLE, cases: bytes = CASES, **more: str) -> dict[str, bytes]:
    """Return a good bundle: everybody reads, officers have the console. `more`: name of a file to its policies."""
    return {
        SCHEMA_FILE: cedar_schema().encode(),
        "a.cedar": read.encode(),
        "console.cedar": console.encode(),
        "cases/bases.toml": facts_toml(facts()),
        "cases/a.toml": cases,
        **{f"{name}.cedar": text.encode() for name, text in more.items()},
    }


def officer(person: Person) -> Officer:
    return Officer(subject=person.subject, login=person.login)


OFFICERS = (officer(YAMAMOTO), officer(KATO), officer(MORI))


def new_desk(
    lasting: Lasting, *, clock: Clock | None = None, officers: Sequence[Officer] = OFFICERS, reach: Reach | None = None
) -> Desk:
    async def known() -> Sequence[Officer]:
        return officers

    found = reach or Reach(zones=("ward",))
    return Desk(lasting, clock=clock or ManualClock(), officers=known, routes=ROUTES, reach=lambda: found)


async def changed(desk: Desk, text: str = "// changed\n", *, who: Person = YAMAMOTO) -> Draft:
    """Begin a change that adds `text` to a.cedar of what is in force."""
    draft = await desk.begin(who, title="変更", why="必要なため")
    more = {**draft.files, "a.cedar": draft.files["a.cedar"] + text.encode()}
    return await desk.save(who, draft.id, revision=draft.revision, files=more)


async def approved(desk: Desk, draft: Draft, *, by: Person = KATO) -> Draft:
    """Submit and approve it."""
    await desk.submit(draft.author, draft.id, content=draft.content)
    return await desk.approve(by, draft.id, content=draft.content)


def publish_elsewhere(path: str, draft_id: str, content: str, at: float) -> str:
    """Publish in a process of its own, at this moment (epoch seconds); return why it was refused, or the number."""
    desk = new_desk(SqliteLasting(Path(path)))
    time.sleep(max(0.0, at - time.time()))
    try:
        return str(asyncio.run(desk.publish(YAMAMOTO, draft_id, content=content)).number)
    except ChangeRefused as error:
        return error.why


async def published(desk: Desk, text: str = "// changed\n") -> Publication:
    """Take a change through its whole life."""
    draft = await approved(desk, await changed(desk, text))
    return await desk.publish(YAMAMOTO, draft.id, content=draft.content)
