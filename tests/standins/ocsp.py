"""A JPKI CA's OCSP responder, as a process of its own: `python -m tests.standins.ocsp --port 0 --keys FOLDER --kind sign`.

FOLDER holds what `Authority.save` wrote. Prints one JSON line with its port. `POST /_standin/mode {"mode": "...", "revoked":
["1a2b"]}` makes it fail: the modes are those of `MODES`. `GET /_standin/calls` says what it was asked.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from cryptography import x509
from cryptography.x509 import ocsp

from tests.support import asn1
from tests.support.jpki_ca import Authority, key
from tests.support.jpki_ocsp import NO_CHECK, OCSP_SIGNING, Response, delegate, error, usage

MODES: Final = (
    "ok", "unknown", "delegated", "delegate_of_nobody", "delegate_without_usage", "try_later", "slow", "down", "redirect",
    "html", "huge", "gzip", "garbage", "old", "over", "no_nonce", "other_nonce", "replay", "other_certificate", "other_ca",
    "unsigned", "hang_up",
)  # fmt: skip
_TYPE: Final = "application/ocsp-response"


class Responder:
    """Answers as its mode says."""

    def __init__(self, ca: Authority) -> None:
        self._ca = ca
        self._mode, self._revoked, self._asked = "ok", set[int](), list[dict[str, Any]]()
        self._kept: bytes | None = None

    async def mode(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        if wanted.get("mode", "ok") not in MODES:
            return web.json_response({"modes": MODES}, status=400)
        self._mode = wanted.get("mode", self._mode)
        self._revoked |= {int(serial, 16) for serial in wanted.get("revoked", ())}
        return web.json_response({"mode": self._mode})

    async def calls(self, request: web.Request) -> web.Response:
        return web.json_response(self._asked)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        question = ocsp.load_der_ocsp_request(await request.read())
        nonces = [found.value.nonce for found in question.extensions if isinstance(found.value, x509.OCSPNonce)]
        self._asked.append({"serial": f"{question.serial_number:x}", "nonce": bool(nonces), "headers": sorted(request.headers)})
        match self._mode:
            case "slow":
                await asyncio.sleep(60)
            case "down":
                return web.Response(status=503)
            case "redirect":
                return web.Response(status=302, headers={"Location": str(request.url.with_path("/elsewhere"))})
            case "html":
                return web.Response(text="<p>maintenance</p>", content_type="text/html")
            case "huge":
                return web.Response(body=b"0" * 5_000_000, content_type=_TYPE)
            case "gzip":
                return web.Response(body=b"\x1f\x8b", content_type=_TYPE, headers={"Content-Encoding": "gzip"})
            case "hang_up":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
        body = self._body(question.serial_number, nonces[0] if nonces else None)
        if self._mode == "replay":
            body = self._kept or body
        else:
            self._kept = body
        return web.Response(body=body, content_type=_TYPE)

    def _body(self, serial: int, nonce: bytes | None) -> bytes:
        now, fields, ca = int(time.time()), dict[str, object](), self._ca
        match self._mode:
            case "garbage":
                return b"\x30\x03\x0a\x01"
            case "try_later":
                return error(3)
            case "unknown":
                fields["status"] = "unknown"
            case "old":
                fields |= {"at": now - 86_400 * 3, "next_update": now + 3600}
            case "over":
                fields |= {"at": now - 120, "next_update": now - 60}
            case "no_nonce":
                fields["nonce"] = None
            case "other_nonce":
                fields["nonce"] = bytes(32)
            case "other_certificate":
                fields["serial"] = serial + 1
            case "other_ca":
                fields["issuer_name"] = asn1.name(("2.5.4.6", "JP"), ("2.5.4.10", "Another"))
            case "unsigned":
                fields |= {"signer": key("nobody"), "responder": ca.key}
            case "delegated" | "delegate_of_nobody" | "delegate_without_usage":
                private = key("responder")
                more = (usage(OCSP_SIGNING), NO_CHECK) if self._mode != "delegate_without_usage" else (NO_CHECK,)
                signer = key("nobody") if self._mode == "delegate_of_nobody" else None
                fields |= {"signer": private, "certificates": (delegate(ca, private, *more, signer=signer).certificate,)}
        if serial in self._revoked:
            fields.setdefault("status", "revoked")
        return replace(Response(ca=ca, serial=serial, at=now, nonce=nonce), **fields).encode()  # type: ignore[arg-type]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keys", type=Path, required=True)
    parser.add_argument("--kind", choices=("sign", "auth"), default="sign")
    parser.add_argument("--generation", type=int, default=2)
    arguments = parser.parse_args()
    responder = Responder(Authority.load(arguments.keys, arguments.kind, arguments.generation))
    app = web.Application()
    app.router.add_post("/", responder.answer)
    app.router.add_post("/elsewhere", responder.answer)
    app.router.add_post("/_standin/mode", responder.mode)
    app.router.add_get("/_standin/calls", responder.calls)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", arguments.port).start()
    sys.stdout.write(json.dumps({"port": runner.addresses[0][1]}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
