"""The relying party's client before a provider that misbehaves: each time one clear error, nothing believed, nothing hung."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ProtocolError
from gateway.kernel.secret import Secret
from gateway.rp import client as module
from gateway.rp.client import KEYS_SECONDS, MAX_DOCUMENT, REFETCH_SECONDS, OidcClient

SECRET = "s%c r:t" * 6
Answer = Callable[[web.Request], Any]


class Provider:
    """Answers well, until told otherwise."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.keys = {"one": ECKey.generate_key("P-256", private=True)}
        self.signs_with = "one"
        self.metadata: dict[str, Any] = {}
        self.answers: dict[str, Answer] = {}
        self.seen: list[str] = []
        self.basic = ""
        self.form: dict[str, str] = {}
        self.base = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request.path)
        if request.path in self.answers:
            answer = self.answers[request.path](request)
            return await answer if asyncio.iscoroutine(answer) else answer  # type: ignore[no-any-return]
        if request.path == "/.well-known/openid-configuration":
            return web.json_response({name: value for name, value in self.metadata.items() if value is not ...})
        if request.path == "/jwks":
            return web.json_response({"keys": [{**key.as_dict(private=False), "kid": kid} for kid, key in self.keys.items()]})
        self.basic = request.headers.get("Authorization", "")
        self.form = {name: str(value) for name, value in (await request.post()).items()}
        return web.json_response({"id_token": self.token(), "access_token": "never-used"})

    def token(self, **changes: Any) -> str:
        now = int(self.clock.now())
        claims = {"iss": self.base, "aud": "gateway", "sub": "usr_1", "nonce": "nonce", "iat": now, "exp": now + 300, **changes}
        header = {"alg": "ES256", "kid": self.signs_with}
        return jws.serialize_compact(header, json.dumps(claims).encode(), self.keys[self.signs_with], algorithms=["ES256"])

    def count(self, path: str) -> int:
        return self.seen.count(path)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", provider.handle)
    async with TestServer(app) as server:
        provider.base = base = str(server.make_url("")).rstrip("/")
        provider.metadata = {
            "issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
            "jwks_uri": f"{base}/jwks", "end_session_endpoint": f"{base}/end",
        }  # fmt: skip
        yield provider


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@pytest.fixture
def make(provider: Provider, http: aiohttp.ClientSession) -> Callable[..., OidcClient]:
    def made(*, allow_http: bool = True, issuer: str = "") -> OidcClient:
        return OidcClient(
            http=http, issuer=issuer or provider.base, client_id="gateway", client_secret=Secret(SECRET),
            redirect_uri="http://portal.localhost/.gateway/callback", clock=provider.clock, allow_http=allow_http,
        )  # fmt: skip

    return made


@pytest.fixture
def client(make: Callable[..., OidcClient]) -> OidcClient:
    return make()


async def exchange(client: OidcClient) -> dict[str, Any]:
    _, claims = await client.exchange(code="c&o=de", verifier="v" * 43, nonce="nonce")
    return claims


async def refused(client: OidcClient) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        await exchange(client)
    assert SECRET not in str(caught.value)
    assert "c&o=de" not in str(caught.value)
    return caught.value


async def test_a_code_is_exchanged_with_the_secret_in_the_form_that_basic_wants(provider: Provider, client: OidcClient) -> None:
    assert (await exchange(client))["sub"] == "usr_1"
    name, _, secret = base64.b64decode(provider.basic.removeprefix("Basic ")).decode().partition(":")
    assert (unquote(name), unquote(secret)) == ("gateway", SECRET)
    assert provider.form == {
        "grant_type": "authorization_code", "code": "c&o=de", "code_verifier": "v" * 43,
        "redirect_uri": "http://portal.localhost/.gateway/callback",
    }  # fmt: skip
    await exchange(client)
    assert (provider.count("/.well-known/openid-configuration"), provider.count("/jwks")) == (1, 1)


async def test_the_authorization_request_is_complete_and_escaped(provider: Provider, client: OidcClient) -> None:
    extra = {"acr_values": "phr", "id_token_hint": "a.b&c=d"}
    url = await client.authorization_url(state="st&ate", nonce="no nce", verifier="v" * 43, extra=extra)
    asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
    assert (asked["state"], asked["nonce"], asked["id_token_hint"], asked["acr_values"]) == ("st&ate", "no nce", "a.b&c=d", "phr")
    assert (asked["code_challenge_method"], asked["response_type"], asked["scope"]) == ("S256", "code", "openid profile")
    assert "v" * 43 not in url
    assert "client_secret" not in asked


async def test_an_endpoints_own_query_stays(provider: Provider, client: OidcClient) -> None:
    provider.metadata["authorization_endpoint"] += "?tenant=a%20b"
    provider.metadata["end_session_endpoint"] += "?tenant=a"
    url = await client.authorization_url(state="s", nonce="n", verifier="v" * 43, extra={})
    assert url.startswith(f"{provider.base}/authorize?tenant=a%20b&response_type=code&")
    assert (await client.logout_url(id_token="t", back="http://b/")).startswith(f"{provider.base}/end?tenant=a&id_token_hint=t&")


# ------------------------------------------------------------------ discovery


@pytest.mark.parametrize("issuer", [..., "", "https://evil.example", None, 7])
async def test_a_provider_that_calls_itself_otherwise_is_not_ours(provider: Provider, client: OidcClient, issuer: object) -> None:
    provider.metadata["issuer"] = issuer
    assert (await refused(client)).where == "discovery"
    assert provider.count("/token") == 0


async def test_the_issuer_is_compared_to_the_letter(provider: Provider, client: OidcClient) -> None:
    provider.metadata["issuer"] += "/"
    assert (await refused(client)).where == "discovery"


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"])
@pytest.mark.parametrize(
    "value",
    [..., "", None, ["https://a/"], "ftp://a/", "javascript:alert(1)", "//a/", "https://a/\r\nSet-Cookie: x=y", "https://a/ b",
     "https://a/#x", "https://a\\b/", "https://ä/", "HTTPS://a/"],
)  # fmt: skip
async def test_an_endpoint_that_is_no_address_is_refused(
    provider: Provider, client: OidcClient, name: str, value: object
) -> None:
    provider.metadata[name] = value
    if (name, value) == ("end_session_endpoint", ...):
        # A provider need not have one: then signing out ends here.
        assert (
            await client.logout_url(id_token="x", back="https://portal/.gateway/signed-out")
            == "https://portal/.gateway/signed-out"
        )
        return
    error = await refused(client)
    assert name in str(error)
    assert provider.count("/token") == 0


async def test_an_answer_without_issuer_is_refused_where_the_provider_promises_one(
    provider: Provider, client: OidcClient
) -> None:
    promise = "authorization_response_iss_parameter_supported"
    provider.metadata[promise] = True
    assert not await client.answers_as(None, given=False)
    assert not await client.answers_as("https://evil.example", given=True)
    assert not await client.answers_as(None, given=True)  # given twice: nobody's
    assert await client.answers_as(client.issuer, given=True)


async def test_an_answer_without_issuer_may_come_from_a_provider_that_never_sends_one(
    provider: Provider, client: OidcClient
) -> None:
    provider.metadata.pop("authorization_response_iss_parameter_supported", None)
    assert await client.answers_as(None, given=False)
    assert not await client.answers_as("https://evil.example", given=True)


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri", "end_session_endpoint"])
async def test_http_is_for_the_demo_only(
    provider: Provider, make: Callable[..., OidcClient], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = {
        **dict.fromkeys(provider.metadata, "https://id.example/x"),
        "issuer": "https://id.example",
        name: "http://id.example/",
    }

    async def told(*_: object, **__: object) -> dict[str, Any]:
        return document

    strict = make(allow_http=False, issuer="https://id.example")
    monkeypatch.setattr(strict, "_json", told)
    error = await refused(strict)
    assert name in str(error)


async def test_an_http_issuer_is_not_even_asked_where_https_is_due(provider: Provider, make: Callable[..., OidcClient]) -> None:
    assert (await refused(make(allow_http=False))).where == "discovery"
    assert provider.seen == []


async def test_a_failed_discovery_is_tried_again(provider: Provider, client: OidcClient) -> None:
    provider.answers["/.well-known/openid-configuration"] = lambda _: web.Response(status=503)
    await refused(client)
    provider.answers.clear()
    assert await exchange(client)


# ------------------------------------------------------------------ what may come back from any endpoint

BAD: dict[str, Answer] = {
    "server error": lambda _: web.Response(status=500),
    "error with a good body": lambda _: web.json_response({"id_token": "x"}, status=400),
    "created": lambda _: web.json_response({}, status=201),
    "redirect": lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}),
    "permanent redirect": lambda _: web.Response(status=308, headers={"Location": "/elsewhere"}),
    "no JSON": lambda _: web.Response(text="<html>"),
    "a list": lambda _: web.json_response([1]),
    "empty": lambda _: web.Response(),
    "not UTF-8": lambda _: web.Response(body=b'{"a": "\xff"}'),
    "deep": lambda _: web.Response(body=b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "huge": lambda _: web.Response(body=b'{"a": "' + b"x" * MAX_DOCUMENT + b'"}'),
    "huge once unpacked": lambda _: web.Response(
        body=gzip.compress(b'{"a": "' + b"x" * 50_000_000 + b'"}'), headers={"Content-Encoding": "gzip"}
    ),
    "packed and broken": lambda _: web.Response(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
}


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
async def test_a_bad_answer_is_one_clear_error(provider: Provider, client: OidcClient, path: str, answer: Answer) -> None:
    provider.answers[path] = answer
    error = await refused(client)
    assert path in error.where
    assert provider.count("/elsewhere") == 0


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/token"])
async def test_a_provider_that_trickles_is_given_up(
    provider: Provider, client: OidcClient, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", aiohttp.ClientTimeout(total=0.3))

    async def trickle(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse()
        await reply.prepare(request)
        for _ in range(100):
            await reply.write(b" ")
            await asyncio.sleep(0.05)
        return reply

    provider.answers[path] = trickle
    async with asyncio.timeout(2):
        error = await refused(client)
    assert "does not answer" in str(error)


async def test_a_provider_that_breaks_off_or_is_not_there(
    provider: Provider, client: OidcClient, make: Callable[..., OidcClient]
) -> None:
    def broken(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    provider.answers["/token"] = broken
    assert "does not answer" in str(await refused(client))
    assert "does not answer" in str(await refused(make(issuer="http://127.0.0.1:9")))


@pytest.mark.parametrize("answer", [{}, {"id_token": None}, {"id_token": 7}, {"id_token": ["x"]}, {"access_token": "a.b.c"}])
async def test_no_id_token_no_sign_in(provider: Provider, client: OidcClient, answer: dict[str, Any]) -> None:
    provider.answers["/token"] = lambda _: web.json_response(answer)
    assert "no ID token" in str(await refused(client))


# ------------------------------------------------------------------ keys


@pytest.mark.parametrize("keys", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}, {"keys": [7]}, {"keys": [{"kty": "EC"}]}])
async def test_keys_that_cannot_be_read(provider: Provider, client: OidcClient, keys: dict[str, Any]) -> None:
    provider.answers["/jwks"] = lambda _: web.json_response(keys)
    await refused(client)


async def test_a_rotated_key_is_found_and_an_unknown_one_asks_only_once_in_a_while(
    provider: Provider, client: OidcClient
) -> None:
    await exchange(client)
    provider.keys["two"] = ECKey.generate_key("P-256", private=True)
    provider.signs_with = "two"
    assert (await refused(client)).where == "step 2"  # asked a moment ago
    assert provider.count("/jwks") == 1
    provider.clock.advance(REFETCH_SECONDS)
    assert await exchange(client)
    assert provider.count("/jwks") == 2
    hidden, provider.signs_with = ECKey.generate_key("P-256", private=True), "three"
    provider.keys["three"] = hidden
    provider.answers["/jwks"] = lambda _: web.json_response(
        {"keys": [{**provider.keys["two"].as_dict(private=False), "kid": "two"}]}
    )
    provider.clock.advance(REFETCH_SECONDS)
    for _ in range(3):
        assert (await refused(client)).where == "step 2"
    assert provider.count("/jwks") == 3


async def test_a_withdrawn_key_is_not_believed_for_ever(provider: Provider, client: OidcClient) -> None:
    await exchange(client)
    provider.answers["/jwks"] = lambda _: web.json_response(
        {"keys": [{**ECKey.generate_key("P-256", private=True).as_dict(private=False), "kid": "new"}]}
    )
    provider.clock.advance(KEYS_SECONDS - 1)
    assert await exchange(client)
    provider.clock.advance(1)
    assert (await refused(client)).where == "step 2"


async def test_two_keys_of_one_name_are_none(provider: Provider, client: OidcClient) -> None:
    twice = [{**ECKey.generate_key("P-256", private=True).as_dict(private=False), "kid": "one"} for _ in range(2)]
    provider.answers["/jwks"] = lambda _: web.json_response({"keys": twice})
    assert (await refused(client)).where == "step 2"
