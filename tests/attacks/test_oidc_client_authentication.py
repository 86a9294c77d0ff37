"""Ways to be taken for a client without knowing its secret, and headers that broke readers of `Authorization`."""

import base64
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.oidc import CALLBACK, SECRET, World, basic

FORM = [
    ("grant_type", "authorization_code"), ("code", "c" * 43), ("redirect_uri", CALLBACK), ("code_verifier", "v" * 43),
]  # fmt: skip


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


@pytest.mark.parametrize(
    "authorization",
    [
        "", "Basic", "Basic ", "Basic %", "Basic " + encoded(b"gateway"), "Basic " + encoded(b"gateway:"),
        "Basic " + encoded(b":"),
        "Basic " + encoded(b"\xff\xfe:\xff"), "Basic " + encoded("gateway:ｓ".encode()), "Bearer " + SECRET.reveal(),
        "Basic " + encoded(b"gateway:" + b"s" * 42), "Basic " + encoded(b"gateway:" + b"s" * 44),
        "Basic " + encoded(b"Gateway:" + b"s" * 43), "Basic !!" + encoded(b"gateway:" + b"s" * 43), "Digest username=gateway",
        "Basic " + encoded(b"gateway:" + b"s" * 43) + " x", "Basic " + encoded(b"none:" + b"s" * 43),
    ],
)  # fmt: skip
async def test_anything_but_the_secret_is_refused(oidc: World, authorization: str) -> None:
    reply = await oidc.browser().send("POST", "/token", form=FORM, headers={"Authorization": authorization})
    assert (reply.status, reply.json()["error"]) == (401, "invalid_client")


async def test_the_secret_itself_gets_to_the_code(oidc: World) -> None:
    reply = await oidc.browser().send("POST", "/token", form=FORM, headers=basic("gateway", SECRET))
    assert (reply.status, reply.json()["error"]) == (400, "invalid_grant")


@pytest.mark.parametrize(
    "extra",
    [[("client_id", "gateway"), ("client_secret", SECRET.reveal())], [("client_secret", SECRET.reveal())],
     [("client_assertion", "a.b.c"), ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")]],
    ids=["post", "both", "assertion"],
)  # fmt: skip
async def test_no_second_way_to_authenticate(oidc: World, extra: list[tuple[str, str]]) -> None:
    for headers in ({}, basic("gateway", SECRET)):
        reply = await oidc.browser().send("POST", "/token", form=FORM + extra, headers=headers)
        assert (reply.status, reply.json()["error"]) == (400, "invalid_request")


async def test_a_public_client_does_not_exist(oidc: World) -> None:
    reply = await oidc.browser().send("POST", "/token", form=[*FORM, ("client_id", "gateway")])
    assert (reply.status, reply.json()["error"]) == (401, "invalid_client")


async def test_client_id_in_the_form_must_be_the_one_that_authenticated(oidc: World) -> None:
    reply = await oidc.browser().send("POST", "/token", form=[*FORM, ("client_id", "other")], headers=basic("gateway", SECRET))
    assert reply.json()["error"] == "invalid_request"


async def test_two_authorization_headers_are_refused(oidc: World) -> None:
    header = basic("gateway", SECRET)["Authorization"]
    async with oidc.http.post(
        oidc.base + "/token", data=dict(FORM), headers=[("Authorization", "Basic eDp5"), ("Authorization", header)]
    ) as reply:
        assert (reply.status, (await reply.json())["error"]) == (400, "invalid_request")


@pytest.mark.parametrize(
    "grant_type", ["", "password", "client_credentials", "refresh_token", "implicit", "AUTHORIZATION_CODE", '"\\']
)
async def test_no_other_grant_exists(oidc: World, grant_type: str) -> None:
    form = [("grant_type", grant_type), *FORM[1:], ("username", "dr.sato"), ("password", "x"), ("refresh_token", "r")]
    reply = await oidc.browser().send("POST", "/token", form=form, headers=basic("gateway", SECRET))
    assert reply.json()["error"] == "unsupported_grant_type"


async def test_bodies_that_are_no_form_are_refused(oidc: World) -> None:
    form_type = "application/x-www-form-urlencoded"
    for body, content_type in (
        (b'{"grant_type":"authorization_code"}', "application/json"),
        (b"a=1", "text/plain"),
        (b"a=1", "multipart/form-data; boundary=x"),
        (b"\xff\xfe=1", form_type),
        (b"a=%ff", form_type),
        (b"a", form_type),
        (b"a=1&&b=2", form_type),
        (b"a=" + b"x" * 70_000, form_type),
        (b"&".join(b"p%d=1" % number for number in range(100)), form_type),
    ):
        headers = {**basic("gateway", SECRET), "Content-Type": content_type}
        async with oidc.http.post(oidc.base + "/token", data=body, headers=headers) as reply:
            assert (reply.status, (await reply.json())["error"]) == (400, "invalid_request"), body[:40]


async def test_a_body_without_end_is_cut_off(oidc: World) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 64 * 1024 * 1024:
            sent += 65_536
            yield b"a=" + b"x" * 65_534

    headers = {**basic("gateway", SECRET), "Content-Type": "application/x-www-form-urlencoded"}
    try:
        async with oidc.http.post(oidc.base + "/token", data=endless(), headers=headers) as reply:
            assert reply.status == 400
    except aiohttp.ClientConnectionError:
        pass  # the connection was cut while we were still sending: as good an answer
    assert sent < 32 * 1024 * 1024
