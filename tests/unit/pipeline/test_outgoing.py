"""Plain headers for apps: what a person or a group is called can't become another value, or a second header."""

from urllib.parse import unquote

import msgspec
import pytest

from gateway.domain.decision import Allow
from gateway.domain.route import App
from gateway.pipeline.outgoing import Outgoing, _Claims, header_text
from tests.support.world import World

FACTS = ("subject", "login", "name", "roles", "organization", "department")


async def headers(roles: tuple[str, ...], name: str = "佐藤 恵") -> dict[str, str]:
    world = World()
    world.good_device()
    _, token = await world.sign_in(roles=("physician",))
    allow = await world.pipeline.decide(world.request(cookie=token), "proxy")
    assert isinstance(allow, Allow)
    session = allow.handle.session
    identity = msgspec.structs.replace(session.identity, roles=roles, name=name)
    handle = msgspec.structs.replace(allow.handle, session=msgspec.structs.replace(session, identity=identity))
    app: App = msgspec.structs.replace(world.app, headers=tuple((f"X-{fact}", fact) for fact in FACTS))
    outgoing = Outgoing(issuer="http://portal.localhost", signer=world.signer, apps=[app])
    return dict(outgoing.headers(msgspec.structs.replace(allow, handle=handle), world.now))


@pytest.mark.parametrize("roles", [("nurse",), ("nurse,physician",), ("a%2Cb", "c"), ("看護師,主任", "nurse"), ("a, b", "100%")])
async def test_a_comma_in_a_role_does_not_make_two_of_it(roles: tuple[str, ...]) -> None:
    assert tuple(unquote(role) for role in (await headers(roles))["X-roles"].split(",")) == roles


@pytest.mark.parametrize("name", ["a\r\nX-Evil: 1", "a\x00b", "\x7f\x1b[2J", "\u2028", "é", "%0d%0a"])
async def test_a_name_stays_one_line_and_comes_back_whole(name: str) -> None:
    value = (await headers((), name))["X-name"]
    assert value.isascii()
    assert value.isprintable()
    assert unquote(value) == name == unquote(header_text(name))


def test_what_the_assertion_says_is_canonical_json() -> None:
    assert list(_Claims.__struct_fields__) == sorted(_Claims.__struct_fields__)
