import re
from pathlib import Path

import pytest

import gateway.demo.ehr
from gateway.demo.patients import PATIENTS
from gateway.kernel.assertion import ASSERTION_HEADER
from gateway.kernel.clock import ManualClock
from gateway.kernel.i18n import Catalogue
from tests.support.assertions import TestSigner, segment
from tests.unit.demo.conftest import Client

EVERY_ROUTE = [
    ("GET", "/"),
    ("GET", "/patients"),
    ("GET", "/patients/P1001"),
    ("GET", "/patients/P1001/vitals/stream"),
    ("GET", "/notices/stream"),
    ("POST", "/patients/P1001/documents"),
    ("GET", "/patients/P1001/documents/doc_1"),
    ("GET", "/patients/P1001/prescriptions/new"),
    ("POST", "/patients/P1001/prescriptions"),
    ("GET", "/static/ehr.css"),
    ("GET", "/no/such/page"),
]


@pytest.mark.parametrize(("method", "path"), EVERY_ROUTE)
async def test_nothing_is_shown_without_an_assertion(stranger: Client, method: str, path: str) -> None:
    reply = await stranger.request(method, path)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == "Gateway"
    assert "見本 花子" not in await reply.text()


async def test_forged_assertions_are_refused(stranger: Client, signer: TestSigner, clock: ManualClock) -> None:
    now = clock.now()
    forger = TestSigner(kid=signer.kid)
    none = f"{segment({'alg': 'none', 'kid': signer.kid})}.{segment(signer.claims(now))}."
    bad = {
        "forged": forger.sign(forger.claims(now)),
        "wrong audience": signer.sign(signer.claims(now, aud="imaging")),
        "wrong issuer": signer.sign(signer.claims(now, iss="http://evil.example")),
        "expired": signer.sign(signer.claims(now, iat=now - 120, exp=now - 60)),
        "none": none,
        "hs256": signer.sign(signer.claims(now), {"alg": "HS256", "kid": signer.kid}),
    }
    for what, token in bad.items():
        reply = await stranger.get("/patients", headers={ASSERTION_HEADER: token})
        assert reply.status == 401, what
    good = signer.sign(signer.claims(now))
    twice = await stranger.get("/patients", headers=[(ASSERTION_HEADER, bad["forged"]), (ASSERTION_HEADER, good)])
    assert twice.status == 401
    assert (await stranger.get("/patients", headers={ASSERTION_HEADER: good})).status == 200


async def test_other_identity_headers_mean_nothing(stranger: Client) -> None:
    reply = await stranger.get("/patients", headers={"X-Remote-User": "dr.sato", "X-Forwarded-User": "dr.sato"})
    assert reply.status == 401


@pytest.mark.parametrize("path", ["/", "/patients", "/patients/P1001", "/patients/P1001/prescriptions/new", "/patients/P0"])
@pytest.mark.parametrize(("language", "synthetic"), [("ja", "合成データ"), ("en", "Synthetic data")])
async def test_every_page_is_locked_down_and_says_that_it_is_synthetic(
    ehr: Client, path: str, language: str, synthetic: str
) -> None:
    reply = await ehr.get(path, headers={"Accept-Language": language})
    body = await reply.text()
    assert f'<html lang="{language}">' in body
    assert synthetic in body
    assert "佐藤 恵" in body
    assert 'method="post" action="/.gateway/sign-out"' in body
    assert 'href="http://portal.localhost:8080/"' in body
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", body)
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "form-action 'self' http://portal.localhost:8080 http://id.localhost:8080" in policy
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_language_link_sticks(ehr: Client) -> None:
    reply = await ehr.get("/patients?ward=1&lang=en")
    assert "Ward 3 East" in await reply.text()
    cookie = reply.cookies["gw-lang"]
    assert (cookie.value, cookie["httponly"], cookie["samesite"], cookie["path"]) == ("en", True, "Lax", "/")
    links = re.findall(r'href="(\?[^"]+)"', await reply.text())
    assert links == ["?ward=1&amp;lang=ja"]
    assert "Patients" in await (await ehr.get("/patients", headers={"Cookie": "gw-lang=en"})).text()
    assert "gw-lang" not in (await ehr.get("/patients?lang=fr")).cookies


async def test_the_list_shows_every_patient_and_filters_by_ward(ehr: Client) -> None:
    body = await (await ehr.get("/patients")).text()
    assert all(patient.name.ja in body and f"/patients/{patient.id}" in body for patient in PATIENTS)
    hcu = await (await ehr.get("/patients?ward=3")).text()
    assert "例示 健一" in hcu
    assert "見本 花子" not in hcu
    for ward in ("0", "9", "x", "１", "-1", "3 "):
        assert "見本 花子" in await (await ehr.get("/patients", params={"ward": ward})).text()


@pytest.mark.parametrize("patient", [patient.id for patient in PATIENTS])
@pytest.mark.parametrize("language", ["ja", "en"])
async def test_every_chart_opens(ehr: Client, patient: str, language: str) -> None:
    reply = await ehr.get(f"/patients/{patient}", headers={"Accept-Language": language})
    assert reply.status == 200
    assert f'data-path="/patients/{patient}/vitals/stream"' in await reply.text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/patients/P9999", 404),
        ("GET", "/patients/p1001", 404),
        ("GET", "/patients/P9999/prescriptions/new", 404),
        ("POST", "/patients/P9999/prescriptions", 404),
        ("GET", "/patients/P1001/documents/doc_1", 404),
        ("GET", "/patients/P1001/documents/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/static/..%2fapp.py", 404),
        ("GET", "/static/app.py", 404),
        ("GET", "/nothing", 404),
        ("POST", "/patients", 405),
        ("GET", "/patients/P1001/vitals/stream", 426),
    ],
)
async def test_what_is_not_there(ehr: Client, method: str, path: str, status: int) -> None:
    reply = await ehr.request(method, path)
    assert reply.status == status
    assert "<h1>" in await reply.text()


async def test_static_files_carry_their_type_and_no_sniffing(ehr: Client) -> None:
    for name, kind in (("ehr.css", "text/css"), ("vitals.js", "text/javascript"), ("base.css", "text/css")):
        reply = await ehr.get(f"/static/{name}")
        assert (reply.status, reply.content_type) == (200, kind)
        assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_name_with_markup_or_bidi_is_shown_as_text(ehr: Client, signer: TestSigner, clock: ManualClock) -> None:
    name = "<script>alert(1)</script>\"' \u202eevil\u2066\u0000"
    headers = signer.headers(clock.now(), name=name, roles=["<b>role</b>", "physician"], department="<img src=x>\u200f")
    body = await (await ehr.get("/patients", headers=headers)).text()
    assert "<script>alert" not in body
    assert "<b>role" not in body
    assert "<img" not in body
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in body
    assert "\\u{202e}evil\\u{2066}\\u{0}" in body
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200f\0]", body)


def test_no_text_is_unused_or_missing() -> None:
    folder = Path(gateway.demo.ehr.__file__).parent
    source = "".join(path.read_text("utf-8") for path in [*folder.glob("*.py"), *folder.glob("templates/*.html")])
    keys = Catalogue.load(folder / "text").keys()
    used = set(re.findall(r'\bt\("([\w.]+\w)"[,)]', source))
    assert used <= keys
    computed = ("error.", "sex.", "lang.", "vitals.", "labs.", "prescribe.wrong.")
    assert {key for key in keys - used if not key.startswith(computed)} == set()
