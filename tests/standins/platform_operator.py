"""A stand-in for a platform operator: PocketSign Verify v2 and Stamp v1 as their public documents describe them, with failures.

    python -m tests.standins.platform_operator --port 8771

It prints one line of JSON, `{"port": ...}`, and serves until it is ended. Its cards are made here: no real card would pass, and
it passes nowhere else. The control endpoints begin with `/_standin/`; README.md lists them. Nothing may be taken from it about
how the real service fares under load, nor about anything that its documents leave open.
"""

import argparse
import asyncio
import base64
import datetime as dt
import hashlib
import html
import json
import ssl
import time
import unicodedata
import uuid
from typing import Any, Final

from aiohttp import web
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

TOKEN: Final = "stand-in-token"
NAMED: Final = ("individualnumber", "mynumberdigits", "kojinbango", "個人番号")
SIGN: Final = "TYPE_JPKI_CARD_DIGITAL_SIGNATURE"
VERIFY: Final = "/pocketsign.verify.v2.VerificationService/Verify"
CHECK: Final = "/pocketsign.verify.v2.UserService/CheckUserStatus"
CREATE: Final = "/pocketsign.stamp.v1.SessionService/CreateSession"
FINALIZE: Final = "/pocketsign.stamp.v1.SessionService/FinalizeSession"
RESULTS: Final = {"REVOKED": "RESULT_CERTIFICATE_REVOKED", "EXPIRED": "RESULT_CERTIFICATE_EXPIRED"}


class RefusedError(Exception):
    """A Connect error: `code`, and the reason in its details."""

    def __init__(self, status: int, code: str, reason: str = "") -> None:
        super().__init__(code)
        self.status, self.code, self.reason = status, code, reason


class Card:
    """A certificate of a person who is not real, and its key."""

    def __init__(self, asked: dict[str, Any], now: float) -> None:
        self.id = str(uuid.uuid4())
        self.person: str = asked["person"]
        self.type: str = asked.get("type", SIGN)
        self.state: str = asked.get("state", "GOOD")
        self.name: str = asked.get("name", "")
        self.substitutes: str = asked.get("substitutes", "0" * len(self.name))
        self.birth_date: str = asked.get("birth_date", "")
        self.begins = dt.datetime.fromtimestamp(now - 86_400, dt.UTC).replace(microsecond=0)
        self.ends = self.begins + dt.timedelta(days=asked.get("days", 1826))
        self.key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.id)])
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
            .sign(self.key, SHA256())
            .public_bytes(Encoding.DER)
        )

    @property
    def user(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, self.person))

    def sign(self, digest: bytes) -> bytes:
        return self.key.sign(digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))

    def content(self) -> dict[str, Any]:
        validity = {"notBefore": _stamp(self.begins.timestamp()), "notAfter": _stamp(self.ends.timestamp())}
        if not self.type.endswith("DIGITAL_SIGNATURE"):
            return {"validity": validity}
        key = "jpkiMobileDigitalSignatureContent" if "MOBILE" in self.type else "jpkiCardDigitalSignatureContent"
        named = {
            "commonName": self.name, "substituteCharacterOfCommonName": self.substitutes, "gender": "2",
            "dateOfBirth": self.birth_date, "address": "東京都見本区一丁目1番1号", "substituteCharacterOfAddress": "0" * 14,
        }  # fmt: skip
        return {"validity": validity, key: named}


class Operator:
    """The service: cards, sessions, the failure that is switched on, and what was asked."""

    def __init__(self, token: str, now: float | None) -> None:
        self.token = token
        self.offset = 0.0 if now is None else now - time.time()
        self.cards: dict[str, Card] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.mode: dict[str, Any] = {"mode": "ok"}
        self.calls: list[dict[str, Any]] = []

    def now(self) -> float:
        return time.time() + self.offset + (self.mode.get("seconds", 0) if self.mode["mode"] == "skew" else 0)

    # ---------------------------------------------------------------- the contract

    def verify(self, asked: dict[str, Any]) -> dict[str, Any]:
        certificate, signature, digest = (_bytes(asked.get(name)) for name in ("certificate", "signature", "digest"))
        try:
            x509.load_der_x509_certificate(certificate)
        except ValueError as error:
            raise RefusedError(400, "invalid_argument", "ERROR_REASON_INVALID_CERTIFICATE") from error
        card = next((card for card in self.cards.values() if card.certificate == certificate), None)
        if card is None or asked.get("hashAlgorithm") != "HASH_ALGORITHM_SHA256" or len(digest) != SHA256.digest_size:
            raise RefusedError(400, "invalid_argument", "ERROR_REASON_UNSUPPORTED_CERTIFICATE" if card is None else "")
        result = "RESULT_OK"
        try:
            card.key.public_key().verify(signature, digest, padding.PKCS1v15(), utils.Prehashed(SHA256()))
        except InvalidSignature:
            result = "RESULT_SIGNATURE_MISMATCH"
        return self._verified(card, digest, result if result != "RESULT_OK" else RESULTS.get(card.state, result), asked)

    def _verified(self, card: Card, digest: bytes, result: str, asked: dict[str, Any]) -> dict[str, Any]:
        method = asked.get("checkMethod", asked.get("statusCheckMethod", "CHECK_METHOD_CRL"))
        answer: dict[str, Any] = {
            "verification": {
                "id": str(uuid.uuid4()), "result": result, "hashAlgorithm": "HASH_ALGORITHM_SHA256",
                "digest": base64.b64encode(digest).decode(), "createdAt": _stamp(self.now()),
            },
            "certificate": {"id": card.id, "type": card.type, "createdAt": _stamp(card.begins.timestamp())},
            "certificateStatus": {"id": str(uuid.uuid4()), "status": f"STATUS_{card.state}", "checkMethod": method},
            "certificateContent": card.content(),
        }  # fmt: skip
        if asked.get("identifyUser"):
            answer |= {"user": {"id": card.user}, "isNewUser": False}
        return answer

    def check(self, asked: dict[str, Any]) -> dict[str, Any]:
        found = [card for card in self.cards.values() if card.user == asked.get("userId")]
        if not found:
            raise RefusedError(404, "not_found")
        return {"certificateState": f"STATE_{found[-1].state}"}

    def create(self, asked: dict[str, Any], base: str) -> dict[str, Any]:
        session = str(uuid.uuid4())
        self.sessions[session] = {"asked": asked, "state": "open", "until": self.now() + 600}
        return {"id": session, "redirectUrl": f"{base}/stamp/{session}"}

    def finalize(self, asked: dict[str, Any]) -> dict[str, Any]:
        session = self.sessions.get(str(asked.get("id")))
        if session is None:
            raise RefusedError(400, "failed_precondition", "ERROR_REASON_NO_SUCH_SESSION")
        if self.mode["mode"] == "expired_challenge" or session["until"] < self.now():
            raise RefusedError(400, "failed_precondition", "ERROR_REASON_SESSION_EXPIRED")
        problem = {
            "open": "SESSION_NOT_COMPLETED", "cancelled": "SESSION_CANCELED", "finished": "SESSION_ALREADY_COMPLETED"
        }.get(session["state"])  # fmt: skip
        if problem is not None:
            raise RefusedError(400, "failed_precondition", f"ERROR_REASON_{problem}")
        session["state"] = "finished"
        return {
            "metadata": session["asked"].get("metadata", {}),
            "results": [{"digitalSignature": {"result": session["result"]}}],
        }

    def read(self, session: dict[str, Any], card: Card) -> None:
        """The person holds a card to the phone on the operator's page."""
        wanted = session["asked"]["requests"][0]["digitalSignature"]
        digest = hashlib.sha256(_bytes(wanted["content"])).digest()
        session["result"] = self._verified(card, digest, RESULTS.get(card.state, "RESULT_OK"), wanted)
        session["state"] = "completed"

    # ---------------------------------------------------------------- HTTP

    async def api(self, request: web.Request) -> web.StreamResponse:
        """One call of the contract, or the failure that is switched on."""
        raw = await request.text()
        authorised = request.headers.get("Authorization") == f"Bearer {self.token}"
        self.calls.append({
            "path": request.path, "query": request.query_string, "body": raw, "authorised": authorised,
            "headers": {name: value for name, value in request.headers.items() if name != "Authorization"},
        })  # fmt: skip
        mode = self._mode()
        failure = await self._fail(request, mode)
        if failure is not None:
            return failure
        try:
            if not authorised:
                raise RefusedError(401, "unauthenticated")  # noqa: TRY301
            answer = self._answer(request, raw)
        except RefusedError as refused:
            return _error(refused.status, refused.code, refused.reason)
        if mode["mode"] in {"missing", "set"}:
            _put(answer, mode["pointer"], mode.get("value"), remove=mode["mode"] == "missing")
        return web.json_response(answer)

    def _answer(self, request: web.Request, raw: str) -> dict[str, Any]:
        try:
            asked = json.loads(raw)
        except ValueError as error:
            raise RefusedError(400, "invalid_argument") from error
        said = unicodedata.normalize("NFKC", json.dumps(asked, ensure_ascii=False) + request.path_qs).casefold()
        if any(name in "".join(filter(str.isalnum, said)) for name in NAMED):
            raise RefusedError(400, "invalid_argument", "THE_INDIVIDUAL_NUMBER_IS_NEVER_ASKED_FOR")
        if request.path == CREATE:
            return self.create(asked, f"{request.scheme}://{request.host}")
        return {VERIFY: self.verify, CHECK: self.check, FINALIZE: self.finalize}[request.path](asked)

    def _mode(self) -> dict[str, Any]:
        mode = self.mode
        if "times" in mode:
            mode["times"] -= 1
            if mode["times"] <= 0:
                self.mode = {"mode": "ok"}
        return mode

    async def _fail(self, request: web.Request, mode: dict[str, Any]) -> web.StreamResponse | None:
        match mode["mode"]:
            case "slow":
                await asyncio.sleep(mode.get("seconds", 30))
            case "status":
                headers = {"Retry-After": str(mode["retry_after"])} if "retry_after" in mode else {}
                return _error(mode["status"], mode.get("code", "unavailable"), "", headers)
            case "body":  # any bytes, with any type
                return web.Response(body=mode["body"].encode(), headers={"Content-Type": mode.get("type", "application/json")})
            case "huge":
                return web.json_response({"x": "y" * 1_000_000})
            case "redirect":
                return web.Response(status=307, headers={"Location": mode["to"]})
            case "close":
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            case "endless":
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                await response.prepare(request)
                while True:
                    await response.write(b" ")
                    await asyncio.sleep(0.05)
        return None

    async def page(self, request: web.Request) -> web.Response:
        """The operator's own page: choose the card that is held to the phone."""
        session = self.sessions.get(request.match_info["session"])
        if session is None:
            raise web.HTTPNotFound
        if request.method == "POST":
            form = await request.post()
            if form.get("card") == "":
                session["state"] = "cancelled"
            else:
                self.read(session, self.cards[str(form["card"])])
            back = session["asked"]["callbackUrl"]
            query = f"session_id={request.match_info['session']}" if session["asked"].get("callbackWithSessionId") else ""
            raise web.HTTPSeeOther(f"{back}{'&' if '?' in back else '?'}{query}")
        text = html.escape(session["asked"]["requests"][0]["digitalSignature"]["printableContent"])
        buttons = "".join(
            f'<button name="card" value="{card.id}">{html.escape(card.name or card.type)}</button>'
            for card in self.cards.values()
        )
        page = f"<!doctype html><meta charset=utf-8><title>Stand-in</title><h1>Stand-in operator</h1><pre>{text}</pre>"
        return web.Response(
            text=f'{page}<form method="post">{buttons}<button name="card" value="">cancel</button></form>',
            content_type="text/html", headers={"Referrer-Policy": "no-referrer"},
        )  # fmt: skip

    # ---------------------------------------------------------------- control

    async def control(self, request: web.Request) -> web.Response:
        """`/_standin/...`: what a test, or a person at the keyboard, changes and looks at."""
        what = request.match_info["what"]
        asked = await request.json() if request.method == "POST" else {}
        if what == "mode":
            self.mode = asked
            return web.json_response(self.mode)
        if what == "calls":
            return web.json_response(self.calls)
        if what == "clock":
            self.offset = asked["now"] - time.time()
            return web.json_response({"now": self.now()})
        if what == "card":
            card = self.cards.get(asked.get("card", ""))
            if card is None:
                card = Card(asked, self.now())
                self.cards[card.id] = card
            card.state = asked.get("state", card.state)
            return web.json_response({"card": card.id, "user": card.user})
        if what == "sign":
            card = self.cards[asked["card"]]
            signed = card.sign(base64.b64decode(asked["digest"]))
            pair = {"certificate": base64.b64encode(card.certificate).decode(), "signature": base64.b64encode(signed).decode()}
            return web.json_response(pair)
        raise web.HTTPNotFound

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1_000_000)
        for path in (VERIFY, CHECK, CREATE, FINALIZE):
            app.router.add_post(path, self.api)
        app.router.add_route("*", "/_standin/{what}", self.control)
        app.router.add_route("*", "/stamp/{session}", self.page)
        return app


def _stamp(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _bytes(value: Any) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise RefusedError(400, "invalid_argument") from error


def _error(status: int, code: str, reason: str, headers: dict[str, str] | None = None) -> web.Response:
    body: dict[str, Any] = {"code": code, "message": "The request cannot proceed."}
    if reason:
        body["details"] = [{"type": "google.rpc.ErrorInfo", "value": "", "debug": {"reason": reason}}]
    return web.json_response(body, status=status, headers=headers)


def _put(document: Any, pointer: str, value: Any, *, remove: bool) -> None:
    *way, last = pointer.split("/")[1:]
    for name in way:
        document = document[int(name)] if isinstance(document, list) else document[name]
    if remove:
        del document[last]
    else:
        document[last] = value


async def main() -> None:
    parser = argparse.ArgumentParser(description="A platform operator's stand-in.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default=TOKEN)
    parser.add_argument("--now", type=float, help="epoch seconds that its clock begins with")
    parser.add_argument("--cert", help="PEM, for TLS")
    parser.add_argument("--key", help="PEM, for TLS")
    options = parser.parse_args()
    tls = None
    if options.cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.cert, options.key)
    operator = Operator(options.token, options.now)
    runner = web.AppRunner(operator.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", options.port, ssl_context=tls)
    await site.start()
    print(json.dumps({"port": runner.addresses[0][1]}), flush=True)  # noqa: T201  that is how it says where it is
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
