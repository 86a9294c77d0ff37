"""How a stand-in fails: modes by name, and what each does at an endpoint."""

import asyncio
from typing import Any, Final

from aiohttp import web

MODES_AT_AN_ENDPOINT: Final[dict[str, dict[str, Any]]] = {
    "slow": {"seconds": 60}, "down": {"status": 503}, "error": {"status": 500}, "forbidden": {"status": 403},
    "redirect": {"status": 302, "location": "http://127.0.0.1:9/elsewhere"}, "huge": {"bytes": 3_000_000},
    "broken_json": {"text": '{"access_token": "x"'}, "duplicate_names": {"text": '{"sub": "a", "sub": "b", "keys": []}'},
    "list": {"text": "[]"}, "not_utf8": {"text": '{"a": "\xff"}', "encoding": "latin-1"}, "hangs_up": {"hang_up": True},
}  # fmt: skip
"""What can be set for any endpoint: `{"at": {"token": {"status": 503}}}`, or by the preset `<mode>_<endpoint>`."""

ENDPOINTS: Final = ("token", "certs", "userinfo", "discovery", "auth")

PRESETS: Final[dict[str, dict[str, Any]]] = {
    "ok": {},
    **{f"{mode}_{place}": {"at": {place: fault}} for mode, fault in MODES_AT_AN_ENDPOINT.items() for place in ENDPOINTS},
    "expired_code": {"code_seconds": -1},
    "wrong_issuer": {"claims": {"iss": "https://auth-and-sign.example/api/realms/main"}},
    "wrong_audience": {"claims": {"aud": "RP99999999", "azp": "RP99999999"}},
    "other_clients_token": {"claims": {"aud": ["RP99999999", "RP00000001"], "azp": "RP99999999"}},
    "wrong_nonce": {"claims": {"nonce": "another"}},
    "no_nonce": {"drop": ["nonce"]},
    "no_subject": {"drop": ["sub"]},
    "wrong_at_hash": {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
    "weaker_acr": {"claims": {"acr": "aal2 crl"}},
    "no_acr": {"drop": ["acr"]},
    "remembered": {"claims": {"auth_time": 1_000_000_000}},
    "alg_none": {"sign": "none"},
    "hs256_pem": {"sign": "hs256_pem"},
    "hs256_der": {"sign": "hs256_der"},
    "hs256_jwk": {"sign": "hs256_jwk"},
    "hs256_empty": {"sign": "hs256_empty"},
    "rs256": {"sign": "rs256"},
    "other_key": {"sign": "other_key"},
    "unknown_kid": {"sign": "unknown_kid"},
    "bad_signature": {"sign": "bad_signature"},
    "crit": {"header": {"crit": ["bork"], "bork": 1}},
    "ahead": {"skew": 30},
    "far_ahead": {"skew": 3_600},
    "behind": {"skew": -30},
    "far_behind": {"skew": -3_600},
    "other_person": {"userinfo": {"sub": "somebody else"}},
    "no_name": {"userinfo_drop": ["name"]},
    "no_birthdate": {"userinfo_drop": ["birthdate"]},
    "not_a_day": {"userinfo": {"birthdate": "19840231"}},
    "number_in_userinfo": {"userinfo": {"individual_number": "123456789018"}},
    "number_in_id_token": {"claims": {"org": {"individualNumber": "123456789018"}}},
    "number_in_token": {"token_body": {"my_number": "123456789018"}},
    "other_discovery": {"discovery": {"token_endpoint": "https://elsewhere.example/token"}},
    "renewed": {"renewed": "new card"},
    "other_issuer_in_callback": {"callback": {"iss": "https://elsewhere.example"}},
}
"""Failures by name: `POST /_standin/mode {"mode": "wrong_nonce"}`. Any of their settings can be given besides."""


class Faults(dict[str, Any]):
    """The settings of the mode that is on."""


async def misbehave(request: web.Request, faults: Faults, endpoint: str) -> web.StreamResponse | None:
    """Do what is set for this endpoint; None to go on as usual."""
    fault = faults.get("at", {}).get(endpoint)
    if fault is None:
        return None
    if "seconds" in fault:
        await asyncio.sleep(fault["seconds"])
        return None
    if fault.get("hang_up"):
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    if "bytes" in fault:
        return web.Response(body=b'{"a": "' + b"x" * fault["bytes"] + b'"}', content_type="application/json")
    if "text" in fault:
        return web.Response(body=fault["text"].encode(fault.get("encoding", "utf-8")), content_type="application/json")
    headers = {"Location": fault["location"]} if "location" in fault else {}
    return web.json_response({"error": "as told"}, status=fault["status"], headers=headers)
