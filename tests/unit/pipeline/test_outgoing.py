"""Plain headers for apps: what a person or a group is called can't become another value, or a second header."""

import asyncio
import base64
from urllib.parse import unquote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.decision import Allow
from gateway.domain.identity import AuthEvent
from gateway.domain.posture import Posture
from gateway.domain.route import App
from gateway.pipeline.outgoing import Outgoing, _Claims, header_text
from tests.support.world import World

WORLD = World()
SIGNER = WORLD.signer
NOW = WORLD.now


def allowed() -> Allow:
    async def decide() -> Allow:
        WORLD.good_device()
        _, token = await WORLD.sign_in()
        allow = await WORLD.pipeline.decide(WORLD.request(cookie=token), "proxy")
        assert isinstance(allow, Allow)
        return allow

    return asyncio.run(decide())


ALLOW = allowed()
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


def claims(outgoing: Outgoing, allow: Allow, now: float) -> dict[str, object]:
    payload = dict(outgoing.headers(allow, now))["X-Gateway-Assertion"].split(".")[1]
    return msgspec.json.decode(base64.urlsafe_b64decode(payload + "=="), type=dict[str, object])


@given(st.text(), st.text(), st.lists(st.text(), max_size=3).map(tuple))
def test_each_request_has_its_own_id_and_the_same_person_whatever_they_are_called(
    name: str, other: str, roles: tuple[str, ...]
) -> None:
    allow = ALLOW
    session = allow.handle.session
    identity = msgspec.structs.replace(session.identity, name=name, login=other, roles=roles)
    handle = msgspec.structs.replace(allow.handle, session=msgspec.structs.replace(session, identity=identity))
    outgoing = Outgoing(issuer="http://portal.localhost", signer=SIGNER, apps=[])
    for number in ("1", "2", '","x":"'):
        said = claims(outgoing, msgspec.structs.replace(allow, handle=handle, id=f"dec_{number}"), NOW + 0.5)
        assert said["jti"] == f"dec_{number}"
        assert (said["name"], said["login"], said["roles"]) == (name, other, list(roles))
        assert (said["iat"], said["nbf"], said["exp"]) == (NOW, NOW, NOW + 60)
        assert list(said) == sorted(said)


def test_what_is_said_follows_the_second_the_session_the_device_and_the_app() -> None:
    outgoing = Outgoing(issuer="http://portal.localhost", signer=SIGNER, apps=[])
    replace = msgspec.structs.replace
    session = ALLOW.handle.session
    touched = replace(session, events=(*session.events, AuthEvent(kind="fido2", at=NOW, phishing_resistant=True, generation=2)))
    renamed = replace(session, identity=replace(session.identity, name="x"))
    cases: list[tuple[Allow, float, dict[str, object]]] = [
        (ALLOW, NOW, {"iat": NOW, "aud": "ehr", "name": "佐藤 恵", "device": "dev_1", "acr": "urn:zt-gateway:acr:mfa"}),
        (ALLOW, NOW + 1, {"iat": NOW + 1}),
        (replace(ALLOW, route=replace(ALLOW.route, app="imaging")), NOW, {"aud": "imaging"}),
        (replace(ALLOW, posture=Posture()), NOW, {"device": ""}),
        (replace(ALLOW, handle=replace(ALLOW.handle, session=renamed)), NOW, {"name": "x"}),
        (replace(ALLOW, handle=replace(ALLOW.handle, session=touched)), NOW, {"acr": "urn:zt-gateway:acr:mfa"}),
        (replace(ALLOW, handle=replace(ALLOW.handle, session=touched, generation=2)), NOW, {"acr": "phr", "auth_time": NOW}),
    ]
    for allow, now, expected in cases + cases[::-1]:
        assert claims(outgoing, allow, now).items() >= expected.items()
