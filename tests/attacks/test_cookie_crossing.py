"""The gateway's cookies are not the application's, neither to read nor to write."""

import pytest
from aiohttp import web

from tests.support.gate import Gate


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ("a=1; {own}; b=2", ["a=1; b=2"]),
        ("{own}", []),
        ("{own}; a=1", ["a=1"]),
        ("a=1;{own};b=2", ["a=1;b=2"]),
        ("a=1; __host-gw-session=x; {own}", ["a=1"]),
        ("=__Host-gw-device=x; {own}; a=1", ["a=1"]),
        ("{own}; a=__Host-gw-session", ["a=__Host-gw-session"]),
        ('{own}; weird="a b,c"; =x; ;;', ['weird="a b,c"; =x; ;;']),
    ],
)
async def test_the_application_never_sees_ours(gate: Gate, sent: str, seen: list[str]) -> None:
    answer = await gate.get("/x", cookie=sent.format(own=gate.cookie))
    assert answer.status == 200
    [hit] = gate.upstream.hits
    assert hit.values("Cookie") == seen


@pytest.mark.parametrize(
    "planted",
    [
        "__Host-gw-session=evil; Path=/; Secure",
        "__host-gw-session=evil",
        "=__Host-gw-session=evil; Secure; Path=/",
        " __Host-gw-bind=x",
        "__Host-gw-device=x; Max-Age=0",
        "= __Host-gw-session=evil",
        "__HOST-GW-SESSION=",
    ],
)
async def test_the_application_can_not_plant_ours(gate: Gate, planted: str) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        response = web.Response(text="ok")
        response.headers.add("Set-Cookie", "mine=1")
        response.headers.add("Set-Cookie", planted)
        response.headers.add("set-cookie", "other=__Host-gw-session")
        return response

    gate.upstream.answer = answer
    answered = await gate.get("/x")
    assert answered.values("Set-Cookie") == ["mine=1", "other=__Host-gw-session"]


async def test_the_application_can_not_speak_in_our_name(gate: Gate) -> None:
    async def answer(http: web.BaseRequest) -> web.StreamResponse:
        names = [
            "X-Gateway-Decision",
            "x_gateway_x",
            "Alt-Svc",
            "Connection",
            "Keep-Alive",
            "Proxy-Authenticate",
            "X-Listed",
            "Trailer",
            "X-Kept",
        ]
        response = web.Response(text="ok", headers=dict.fromkeys(names, "value"))
        response.headers["Connection"] = "X-Listed"
        return response

    gate.upstream.answer = answer
    answered = await gate.get("/x")
    kept = {name for name, _ in answered.headers}
    assert (
        kept & {"X-Gateway-Decision", "x_gateway_x", "Alt-Svc", "Keep-Alive", "Proxy-Authenticate", "X-Listed", "Trailer"}
        == set()
    )
    assert answered.values("X-Kept") == ["value"]
