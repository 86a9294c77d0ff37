"""A device key made by a real browser: WebCrypto's JWK and signature are what `gateway.posture.enrol` takes."""

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import async_playwright

from gateway.posture.enrol import EnrolmentError, challenge_text, parse_public_jwk, verify_key_signature
from tests.support.chromium import find_chromium

CHALLENGE = "A" * 43
SCRIPT = """
async ([text, pick]) => {
  const pair = await crypto.subtle.generateKey({name: "ECDSA", namedCurve: "P-256"}, false, ["sign", "verify"]);
  let extractable = true;
  try { await crypto.subtle.exportKey("jwk", pair.privateKey); } catch { extractable = false; }
  const all = await crypto.subtle.exportKey("jwk", pair.publicKey);
  const jwk = pick ? {kty: all.kty, crv: all.crv, x: all.x, y: all.y} : all;
  const bytes = new TextEncoder().encode(text);
  const raw = new Uint8Array(await crypto.subtle.sign({name: "ECDSA", hash: "SHA-256"}, pair.privateKey, bytes));
  const signature = btoa(String.fromCharCode(...raw)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return {jwk: JSON.stringify(jwk), signature, extractable};
}
"""


async def test_a_browsers_key_and_signature_are_taken_and_for_nothing_else() -> None:
    async def blank(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>x</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", blank)
    async with TestServer(app, host="127.0.0.1") as server, async_playwright() as playwright:
        origin = str(server.make_url("")).rstrip("/")
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(f"{origin}/")
        text = challenge_text("enrol", origin, CHALLENGE).decode()
        made = [await page.evaluate(SCRIPT, [text, True]) for _ in range(20)]
        whole = await page.evaluate(SCRIPT, [text, False])
        await browser.close()
    for one in made:
        jwk = parse_public_jwk(one["jwk"])
        verify_key_signature(key_jwk=jwk, purpose="enrol", origin=origin, challenge=CHALLENGE, signature=one["signature"])
        with pytest.raises(EnrolmentError):
            verify_key_signature(key_jwk=jwk, purpose="prove", origin=origin, challenge=CHALLENGE, signature=one["signature"])
        assert one["extractable"] is False
    # `exportKey` adds `ext` and `key_ops`: the page has to send the four members only.
    assert set(json.loads(whole["jwk"])) == {"kty", "crv", "x", "y", "ext", "key_ops"}
    with pytest.raises(EnrolmentError, match="exactly the members"):
        parse_public_jwk(whole["jwk"])
