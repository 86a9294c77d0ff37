"""Tokens that are not ours, or ours made strange, offered as `id_token_hint` (JOSE records in CVE-2024-33663, CVE-2024-37568,
CVE-2025-59420, CVE-2025-61920, CVE-2026-27962, CVE-2026-85394, CVE-2026-114616 and -120459).

Where a forgery needs a valid signature, it gets one from our own key: what refuses it then is not the signature.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey

from idp.keys import KeyFile
from tests.support.oidc import SIGNED_OUT, Browser, World

Claims = dict[str, Any]


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(header: object, claims: object, key: ECKey) -> str:
    """A compact JWS with a sound ES256 signature, whatever header and claims say."""
    private = key.private_key
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    text = f"{part(header)}.{part(claims)}"
    r, s = utils.decode_dss_signature(private.sign(text.encode(), ec.ECDSA(SHA256())))
    return f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def hmacked(header: object, claims: object, secret: bytes) -> str:
    text = f"{part(header)}.{part(claims)}"
    return f"{text}.{part(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


class Material:
    """What a forger has (a real token, the public key), and what they should not have (our key)."""

    def __init__(self, token: str, ours: ECKey) -> None:
        self.token = token
        self.ours = ours
        self.theirs = ECKey.generate_key("P-256")
        head, body, self.signature = token.split(".")
        self.header: dict[str, Any] = json.loads(base64.urlsafe_b64decode(head + "=="))
        self.claims: Claims = json.loads(base64.urlsafe_b64decode(body + "=="))
        public = ours.public_key
        self.pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.jwk = json.dumps(ours.as_dict(private=False)).encode()

    def header_with(self, **changes: object) -> dict[str, object]:
        return {name: value for name, value in {**self.header, **changes}.items() if value is not None}


def non_canonical(token: str) -> str:
    """The same bytes spelled differently: the last character of a 64-byte signature has four bits that mean nothing."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) + 1]


def doubled_name(material: Material) -> str:
    body = json.dumps(material.claims)[:-1] + ', "sid": "sid_other", "sid": ' + json.dumps(material.claims["sid"]) + "}"
    return signed(material.header, body.encode(), material.ours)


FORGERIES: dict[str, Callable[[Material], str]] = {
    "alg none, no signature": lambda m: f"{part(m.header_with(alg='none'))}.{part(m.claims)}.",
    "alg none, two parts": lambda m: f"{part(m.header_with(alg='none'))}.{part(m.claims)}",
    "alg None, old signature": lambda m: f"{part(m.header_with(alg='None'))}.{part(m.claims)}.{m.signature}",
    "alg NONE, blank signature": lambda m: f"{part(m.header_with(alg='NONE'))}.{part(m.claims)}. ",
    "no alg": lambda m: signed(m.header_with(alg=None), m.claims, m.ours),
    "HS256 with the public key as PEM": lambda m: hmacked(m.header_with(alg="HS256"), m.claims, m.pem),
    "HS256 with the public key as PEM, stripped": lambda m: hmacked(m.header_with(alg="HS256"), m.claims, m.pem.strip()),
    "HS256 with the public key as DER": lambda m: hmacked(m.header_with(alg="HS256"), m.claims, m.der),
    "HS256 with the public key as JWK": lambda m: hmacked(m.header_with(alg="HS256"), m.claims, m.jwk),
    "HS256 with an empty key": lambda m: hmacked(m.header_with(alg="HS256"), m.claims, b""),
    "HMAC called ES256": lambda m: hmacked(m.header, m.claims, m.pem),
    "another key, our kid": lambda m: signed(m.header, m.claims, m.theirs),
    "another key in jwk": lambda m: signed(m.header_with(jwk=m.theirs.as_dict(private=False)), m.claims, m.theirs),
    "another key in jwk, no kid": lambda m: signed(
        m.header_with(kid=None, jwk=m.theirs.as_dict(private=False)), m.claims, m.theirs
    ),
    "our key in jwk": lambda m: signed(m.header_with(jwk=m.ours.as_dict(private=False)), m.claims, m.ours),
    "jku": lambda m: signed(m.header_with(jku="http://evil.test/jwks"), m.claims, m.ours),
    "x5u": lambda m: signed(m.header_with(x5u="http://evil.test/c.pem"), m.claims, m.ours),
    "x5c": lambda m: signed(m.header_with(x5c=["MIIB"]), m.claims, m.ours),
    "no kid": lambda m: signed(m.header_with(kid=None), m.claims, m.ours),
    "kid as path": lambda m: signed(m.header_with(kid="../../../../dev/null"), m.claims, m.ours),
    "kid as SQL": lambda m: signed(m.header_with(kid="x' OR '1'='1"), m.claims, m.ours),
    "kid as list": lambda m: signed(m.header_with(kid=[m.header["kid"]]), m.claims, m.ours),
    "unknown crit": lambda m: signed(m.header_with(crit=["bork"], bork=True), m.claims, m.ours),
    "crit b64": lambda m: signed(m.header_with(crit=["b64"], b64=False), m.claims, m.ours),
    "zip": lambda m: signed(m.header_with(zip="DEF"), m.claims, m.ours),
    "another typ": lambda m: signed(m.header_with(typ="at+jwt"), m.claims, m.ours),
    "header twice": lambda m: signed(b'{"alg":"none","alg":"ES256","typ":"JWT","kid":"x"}', m.claims, m.ours),
    "claim twice": doubled_name,
    "claims changed": lambda m: f"{part(m.header)}.{part({**m.claims, 'sub': 'usr_other'})}.{m.signature}",
    "signature cut": lambda m: m.token[:-1],
    "signature empty": lambda m: m.token[: -len(m.signature)],
    "signature of zeros": lambda m: m.token[: -len(m.signature)] + part(bytes(64)),
    "signature not canonical": lambda m: non_canonical(m.token),
    "padding": lambda m: m.token + "==",
    "trailing part": lambda m: m.token + ".x",
    "trailing newline": lambda m: m.token + "\n",
    "nested": lambda m: signed(m.header_with(cty="JWT"), m.token.encode(), m.ours),
    "nested without cty": lambda m: signed(m.header, m.token.encode(), m.ours),
    "claims not an object": lambda m: signed(m.header, [m.claims], m.ours),
    "claims very deep": lambda m: signed(m.header, b"[" * 3000, m.ours),
    "another issuer": lambda m: signed(m.header, {**m.claims, "iss": "http://id.localhost:8080/"}, m.ours),
    "no issuer": lambda m: signed(m.header, {k: v for k, v in m.claims.items() if k != "iss"}, m.ours),
    "no sid": lambda m: signed(m.header, {k: v for k, v in m.claims.items() if k != "sid"}, m.ours),
    "aud as array": lambda m: signed(m.header, {**m.claims, "aud": ["gateway"]}, m.ours),
    "aud of another client": lambda m: signed(m.header, {**m.claims, "aud": "nobody"}, m.ours),
    "too long": lambda m: signed(m.header, {**m.claims, "x": "x" * 8192}, m.ours),
    "long header": lambda m: signed(m.header_with(x="x" * 40_000), m.claims, m.ours),
    "no token": lambda m: "not a token",
    "dots": lambda m: "." * 2000,
}


async def signed_in(oidc: World) -> tuple[Browser, Material]:
    browser = oidc.browser()
    tokens = await oidc.tokens(browser, await oidc.person())
    keys = KeyFile.open(oidc.parts.settings.data_dir / "idp-keys.json", now=oidc.now).keyset()
    return browser, Material(tokens["id_token"], keys.signing)


@pytest.mark.parametrize("name", FORGERIES)
async def test_sign_out_believes_no_forged_hint(oidc: World, name: str) -> None:
    browser, material = await signed_in(oidc)
    form = [("id_token_hint", FORGERIES[name](material)), ("post_logout_redirect_uri", SIGNED_OUT)]
    reply = await browser.send("POST", "/end-session", form=form)
    assert (reply.status, reply.location, reply.body) == (400, "", "problem=sign_out_malformed")
    assert len(await oidc.parts.store.sessions.list(oidc.now)) == 1


@pytest.mark.parametrize("name", FORGERIES)
async def test_authorize_believes_no_forged_hint(oidc: World, name: str) -> None:
    browser, material = await signed_in(oidc)
    forged = FORGERIES[name](material)
    reply = await browser.send("POST", "/authorize", form=oidc.ask(id_token_hint=forged).pairs)
    if len(forged) > 8192:
        assert (reply.status, reply.location) == (400, "")
    else:
        assert reply.answer["error"] == "invalid_request"


async def test_the_genuine_token_is_believed_by_both(oidc: World) -> None:
    browser, material = await signed_in(oidc)
    again = signed(material.header, material.claims, material.ours)
    assert "code" in (await browser.send("POST", "/authorize", form=oidc.ask(id_token_hint=again).pairs)).answer
    reply = await browser.send("POST", "/end-session", form=[("id_token_hint", again), ("post_logout_redirect_uri", SIGNED_OUT)])
    assert (reply.status, reply.location) == (303, SIGNED_OUT)


async def test_a_hint_for_another_client_is_refused(oidc: World) -> None:
    browser, material = await signed_in(oidc)
    theirs = signed(material.header, {**material.claims, "aud": "other"}, material.ours)
    reply = await browser.get("/authorize", oidc.ask(id_token_hint=theirs).pairs)
    assert reply.answer["error"] == "invalid_request"
    out = await browser.get("/end-session", [("id_token_hint", material.token), ("client_id", "other")])
    assert out.status == 400
