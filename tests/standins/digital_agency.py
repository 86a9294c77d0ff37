"""Stands in for the Digital Agency's auth-and-sign service: an OpenID Provider in its own process, written from the published
contract, that reads no card. Whoever is before its page chooses whose card was read, or what went wrong.

    python -m tests.standins.digital_agency --port 9400 --client-id RP00000001 \\
        --redirect-uri http://id.localhost:8080/login/proofing/return --jwk client.jwk.json

It prints one JSON line (`port`, `issuer`). It is strict where a client can go wrong (unknown or repeated parameters, redirect
URI, PKCE, client assertion, scopes) and refuses, loudly, whoever asks for the Individual Number. tests/standins/README.md has
its failures.
"""

import argparse
import asyncio
import contextlib
import hashlib
import html
import json
import ssl
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web
from jose import jwt
from jose.exceptions import JOSEError

from tests.standins.digital_agency_tokens import Signer, b64
from tests.standins.faults import PRESETS, Faults, misbehave

REALM: Final = "/api/realms/main"
OIDC: Final = f"{REALM}/protocol/openid-connect"
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SCOPES: Final = frozenset({"openid", "name", "address", "birthdate", "gender", "sign"})
REQUIRED: Final = (
    "response_type", "scope", "client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method",
)  # fmt: skip
OPTIONAL: Final = ("acr_values", "sign_transaction_id")
FORBIDDEN: Final = ("individual", "mynumber", "my_number", "個人番号")
CARDS: Final[dict[str, dict[str, str]]] = {
    "sato": {"name": "佐藤　恵", "birthdate": "19840512", "address": "東京都千代田区一丁目1番1号", "gender": "2"},
    "suzuki": {"name": "鈴木　翔", "birthdate": "19900102", "address": "大阪府大阪市北区二丁目2番2号", "gender": "1"},
}
ENDS: Final = {
    "cancelled": "access_denied", "expired": "access_denied", "locked": "access_denied", "down": "temporarily_unavailable",
    "error": "server_error",
}  # fmt: skip


class Service:
    """What it knows."""

    def __init__(self, issuer: str) -> None:
        self.issuer = issuer
        self.clients: dict[str, dict[str, Any]] = {}
        self.cards = {name: dict(card) for name, card in CARDS.items()}
        self.signer = Signer()
        self.faults = Faults()
        self.asked: dict[str, dict[str, str]] = {}
        self.codes: dict[str, dict[str, Any]] = {}
        self.access: dict[str, dict[str, Any]] = {}
        self.assertion_ids: set[str] = set()
        self.seen: list[dict[str, Any]] = []
        """Every request to an endpoint: for tests to look at."""
        self.now: int | None = None
        self.made = 0

    def time(self) -> int:
        return self.now if self.now is not None else int(time.time())

    def unique(self, kind: str) -> str:
        self.made += 1
        return f"{kind}-{self.made}-{b64(hashlib.sha256(f'{kind}{self.made}{time.time_ns()}'.encode()).digest()[:12])}"

    def subject(self, client: str, card: str) -> str:
        """Pairwise: another at each client (OpenID Connect Core 1.0 §8.1)."""
        renewed = self.faults.get("renewed", "")
        return hashlib.sha256(f"{client}|{card}|{renewed}".encode()).hexdigest()[:36]


def refuse(service: Service, endpoint: str, why: str, status: int = 400) -> web.Response:
    service.seen.append({"endpoint": endpoint, "refused": why})
    return web.json_response({"error": "invalid_request", "error_description": why}, status=status)


def names_the_number(pairs: list[tuple[str, str]]) -> bool:
    """Whether somebody asks for what may not be asked for."""
    text = " ".join(
        f"{name} {value}" for name, value in pairs if name not in {"state", "nonce", "code_challenge", "code"}
    ).casefold()
    return any(word in text.replace("-", "_") for word in FORBIDDEN)


SERVICE: Final = web.AppKey("service", Service)


# ---------------------------------------------------------------- authorize


async def authorize(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    pairs = list(request.query.items())
    query = dict(pairs)
    if names_the_number(pairs):
        return refuse(service, "auth", "individual_number")
    if len(query) != len(pairs):
        return refuse(service, "auth", "repeated parameter")
    if unknown := set(query) - {*REQUIRED, *OPTIONAL}:
        return refuse(service, "auth", f"unknown parameter {sorted(unknown)}")
    client = service.clients.get(query.get("client_id", ""))
    if client is None or query.get("redirect_uri") not in client["redirect_uris"]:
        return refuse(service, "auth", "client_id or redirect_uri")
    missing = [name for name in REQUIRED if not 0 < len(query.get(name, "")) <= 255]
    if (
        missing
        or query["response_type"] != "code"
        or query["code_challenge_method"] != "S256"
        or len(query["code_challenge"]) != 43
    ):
        return refuse(service, "auth", f"parameters {missing}")
    scopes = query["scope"].split(" ")
    if "openid" not in scopes or not set(scopes) <= SCOPES:
        service.seen.append({"endpoint": "auth", "refused": "scope", "query": query})
        return back(query, {"error": "invalid_scope"})
    service.seen.append({"endpoint": "auth", "query": query})
    if fault := await misbehave(request, service.faults, "auth"):
        return fault
    name = service.unique("ask")
    service.asked[name] = query
    return web.Response(text=page(service, name, query), content_type="text/html")


def page(service: Service, name: str, query: dict[str, str]) -> str:
    choices = [(card, f"Card of {values['name']}") for card, values in service.cards.items()] + [
        ("cancelled", "Leave"), ("expired", "The card has expired"), ("locked", "The card's PIN is locked"),
        ("down", "The service is overloaded"), ("error", "The service has an error"),
    ]  # fmt: skip
    buttons = "".join(
        f'<p><button name="choice" value="{html.escape(value)}">{html.escape(text)}</button></p>' for value, text in choices
    )
    return (
        '<!doctype html><meta charset="utf-8"><title>Stand-in: no card is read</title>'
        "<h1>Stand-in of the Digital Agency's service</h1><p>No card is read here. Choose how it ends.</p>"
        f"<p>{html.escape(query['client_id'])} asks for: <code>{html.escape(query['scope'])}</code></p>"
        f'<form method="post" action="{OIDC}/card"><input type="hidden" name="ask" value="{html.escape(name)}">{buttons}</form>'
    )


async def card(request: web.Request) -> web.StreamResponse:
    """The page's form: what the phone and the card would have done."""
    service = request.app[SERVICE]
    form = await request.post()
    query = service.asked.pop(str(form.get("ask", "")), None)
    choice = str(form.get("choice", ""))
    if query is None or (choice not in service.cards and choice not in ENDS):
        return refuse(service, "card", "no such request or choice")
    if choice in ENDS:
        return back(query, {"error": ENDS[choice], "error_description": choice})
    code = service.unique("code")
    service.codes[code] = {"query": query, "card": choice, "at": service.time(), "session": service.unique("session")}
    extra = service.faults.get("callback", {})
    return back(query, {"code": code, "session_state": service.codes[code]["session"], **extra})


def back(query: dict[str, str], answer: dict[str, str]) -> web.Response:
    pairs = urlencode({"state": query["state"], **answer})
    return web.Response(status=302, headers={"Location": f"{query['redirect_uri']}?{pairs}", "Cache-Control": "no-store"})


# ---------------------------------------------------------------- token, userinfo


def oauth_error(service: Service, error: str, why: str, status: int = 400) -> web.Response:
    service.seen.append({"endpoint": "token", "refused": why})
    return web.json_response({"error": error, "error_description": why}, status=status)


async def token(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    posted = await request.post()
    pairs = [(name, str(value)) for name, value in posted.items()]
    form = dict(pairs)
    if names_the_number(pairs):
        return refuse(service, "token", "individual_number")
    if len(form) != len(pairs) or request.query_string:
        return oauth_error(service, "invalid_request", "repeated parameter, or a query")
    service.seen.append({"endpoint": "token", "form": form})
    if fault := await misbehave(request, service.faults, "token"):
        return fault
    why = authenticated(service, form)
    if why:
        return oauth_error(service, "invalid_client", why, 401)
    if form.get("grant_type") != "authorization_code":
        return oauth_error(service, "unsupported_grant_type", "grant_type")
    found = service.codes.pop(form.get("code", ""), None)
    if found is None or service.time() - found["at"] > service.faults.get("code_seconds", 60):
        return oauth_error(service, "invalid_grant", "code unknown, used or expired")
    query = found["query"]
    challenge = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
    if (form.get("client_id"), form.get("redirect_uri"), challenge) != (
        query["client_id"], query["redirect_uri"], query["code_challenge"],
    ):  # fmt: skip
        return oauth_error(service, "invalid_grant", "client, redirect_uri or code_verifier")
    access_token = service.unique("access")
    service.access[access_token] = {**found, "subject": service.subject(query["client_id"], found["card"])}
    claims = id_claims(service, found, access_token)
    body = {
        "access_token": access_token, "token_type": "Bearer", "expires_in": 300, "scope": query["scope"], "session_state": "x",
        "id_token": service.signer.sign(claims, service.faults), **service.faults.get("token_body", {}),
    }  # fmt: skip
    return web.json_response(body, headers={"Cache-Control": "no-store"})


def authenticated(service: Service, form: dict[str, str]) -> str:
    """Check `private_key_jwt` with a library that the client does not use; return what is wrong."""
    client = service.clients.get(form.get("client_id", ""))
    if client is None or form.get("client_assertion_type") != ASSERTION_TYPE or "client_secret" in form:
        return "client"
    try:
        claims = jwt.decode(
            form.get("client_assertion", ""), client["jwk"], algorithms=[client["algorithm"]],
            audience=client.get("audience") or f"{service.issuer}{OIDC.removeprefix(REALM)}/token",
            issuer=form["client_id"], subject=form["client_id"],
            options={"require_jti": True, "require_exp": True, "require_iat": True, "verify_exp": False, "verify_iat": False},
        )  # fmt: skip
    except JOSEError as error:
        return f"assertion: {error}"
    now = service.time()
    if jwt.get_unverified_header(form["client_assertion"]).get("kid") != client["jwk"].get("kid"):
        return "assertion: kid"
    if not now < claims["exp"] <= now + 65 or claims["iat"] > now + 5:
        return "assertion: time"
    if claims["jti"] in service.assertion_ids:
        return "assertion: used before"
    service.assertion_ids.add(claims["jti"])
    return ""


def id_claims(service: Service, found: dict[str, Any], access_token: str) -> dict[str, Any]:
    query, now = found["query"], service.time() + int(service.faults.get("skew", 0))
    claims = {
        "iss": service.issuer, "sub": service.subject(query["client_id"], found["card"]), "aud": query["client_id"], "typ": "ID",
        "azp": query["client_id"], "iat": now, "exp": now + 300, "auth_time": now, "nonce": query["nonce"],
        "jti": service.unique("jti"), "sid": found["session"], "acr": query.get("acr_values", "aal3"),
        "at_hash": b64(hashlib.sha256(access_token.encode()).digest()[:16]),
    }  # fmt: skip
    claims |= service.faults.get("claims", {})
    return {name: value for name, value in claims.items() if name not in service.faults.get("drop", [])}


async def userinfo(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.seen.append({"endpoint": "userinfo"})
    if fault := await misbehave(request, service.faults, "userinfo"):
        return fault
    kind, _, value = request.headers.get("Authorization", "").partition(" ")
    found = service.access.get(value)
    if kind != "Bearer" or found is None:
        return web.json_response({"error": "invalid_token"}, status=401, headers={"WWW-Authenticate": "Bearer"})
    scopes = found["query"]["scope"].split(" ")
    body: dict[str, Any] = {"sub": found["subject"]}
    body |= {name: value for name, value in service.cards[found["card"]].items() if name in scopes}
    body |= service.faults.get("userinfo", {})
    return web.json_response({name: value for name, value in body.items() if name not in service.faults.get("userinfo_drop", [])})


async def certs(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.seen.append({"endpoint": "certs"})
    return await misbehave(request, service.faults, "certs") or web.json_response(service.signer.jwks(service.faults))


async def discovery(request: web.Request) -> web.StreamResponse:
    service = request.app[SERVICE]
    service.seen.append({"endpoint": "discovery"})
    base = f"{service.issuer}/protocol/openid-connect"
    document = {
        "issuer": service.issuer, "authorization_endpoint": f"{base}/auth", "token_endpoint": f"{base}/token",
        "userinfo_endpoint": f"{base}/userinfo", "jwks_uri": f"{base}/certs", "response_types_supported": ["code"],
        "subject_types_supported": ["pairwise"], "id_token_signing_alg_values_supported": ["ES256"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"], "code_challenge_methods_supported": ["S256"],
        **service.faults.get("discovery", {}),
    }  # fmt: skip
    return await misbehave(request, service.faults, "discovery") or web.json_response(document)


# ---------------------------------------------------------------- control


async def control(request: web.Request) -> web.StreamResponse:
    """`POST /_standin/<what>`: never part of the real service."""
    service, what = request.app[SERVICE], request.match_info["what"]
    body: dict[str, Any] = await request.json()
    match what:
        case "mode":
            name = body.pop("mode", "ok")
            if name not in PRESETS:
                return web.json_response({"error": "no such mode", "modes": sorted(PRESETS)}, status=400)
            service.faults = Faults({**PRESETS[name], **body})
        case "client":
            service.clients[body["client_id"]] = {"algorithm": "ES256", **body}
        case "card":
            service.cards[body.pop("id")] = body
        case "clock":
            service.now = body["now"]
        case "rotate":
            service.signer.rotate(keep=bool(body.get("keep", False)))
        case "seen":
            seen, service.seen = service.seen, []
            return web.json_response({"seen": seen})
        case _:
            return web.json_response({"error": "no such control"}, status=404)
    return web.json_response({"ok": True})


def application(service: Service) -> web.Application:
    app = web.Application(client_max_size=65_536)
    app[SERVICE] = service
    app.router.add_get(f"{OIDC}/auth", authorize)
    app.router.add_post(f"{OIDC}/card", card)
    app.router.add_post(f"{OIDC}/token", token)
    app.router.add_get(f"{OIDC}/userinfo", userinfo)
    app.router.add_get(f"{OIDC}/certs", certs)
    app.router.add_get(f"{REALM}/.well-known/openid-configuration", discovery)
    app.router.add_post("/_standin/{what}", control)
    return app


async def main(arguments: argparse.Namespace) -> None:
    service = Service("")
    tls = None
    if arguments.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(arguments.tls_cert, arguments.tls_key)
    runner = web.AppRunner(application(service), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, arguments.host, arguments.port, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    service.issuer = f"{'https' if tls else 'http'}://{arguments.host}:{port}{REALM}"
    if arguments.client_id:
        jwk = json.loads(arguments.jwk.read_text("utf-8"))
        service.clients[arguments.client_id] = {
            "redirect_uris": arguments.redirect_uri, "jwk": jwk, "algorithm": jwk.get("alg", "ES256"),
        }  # fmt: skip
    sys.stdout.write(json.dumps({"port": port, "issuer": service.issuer}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stand-in of the Digital Agency's auth-and-sign service. Reads no card.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9400)
    parser.add_argument("--client-id", default="")
    parser.add_argument("--redirect-uri", action="append", default=[])
    parser.add_argument("--jwk", type=Path, help="the client's public key, as a JWK")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))
