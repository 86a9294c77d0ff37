"""The Digital Agency's service as a verifier: a relying party against a server process of its own, and whoever sits before it."""

import datetime as dt
import ipaddress
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jose import jwt

from gateway.kernel.clock import ManualClock, SystemClock
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.proofing.digital_agency.assertion import load_key
from idp.proofing.digital_agency.backend import DigitalAgencyBackend
from idp.proofing.digital_agency.settings import ISSUERS, Algorithm, DigitalAgencySettings
from idp.proofing.port import Broken, Expired, NotProofed, Proofed, Recorded, Started, Unknown
from tests.support.digital_agency import CLIENT, KEYS, REDIRECT, SATO, Agency, agency, private_pem


@pytest.fixture
async def service() -> AsyncIterator[Agency]:
    async with agency() as running:
        yield running


@pytest.fixture
async def backend(service: Agency) -> AsyncIterator[DigitalAgencyBackend]:
    made = service.backend(SystemClock())
    yield made
    await made.close()


def recorded(outcome: Proofed) -> Recorded:
    return Recorded(
        verifier=outcome.verifier,
        transaction=outcome.transaction,
        verified_at=outcome.verified_at,
        expires_at=outcome.expires_at,
        is_person=lambda other: other == outcome.person,
    )


# ---------------------------------------------------------------- happy paths


async def test_a_card_is_read_and_names_its_person(service: Agency, backend: DigitalAgencyBackend) -> None:
    outcome = await service.run(backend)
    assert isinstance(outcome, Proofed)
    assert (outcome.level, outcome.method, outcome.evidence) == (3, "jpki_auth_oidc", "electronic_record")
    assert outcome.verifier == service.issuer
    assert outcome.transaction.startswith("jti:")
    assert outcome.attributes is not None
    assert (outcome.attributes.name, outcome.attributes.birth_date) == ("佐藤　恵", "1984-05-12")
    assert (outcome.attributes.kana, outcome.attributes.licences, outcome.vouched) == ("", (), False)
    assert outcome.expires_at == outcome.verified_at + 365 * 86_400


async def test_what_is_asked_for_is_what_is_published_and_not_a_word_more(service: Agency, backend: DigitalAgencyBackend) -> None:
    assert isinstance(await service.run(backend), Proofed)
    seen = await service.seen()
    assert [item["endpoint"] for item in seen] == ["auth", "token", "certs", "userinfo"]
    assert not any("refused" in item for item in seen)
    query = seen[0]["query"]
    assert set(query) == {
        "response_type", "scope", "client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method",
        "acr_values",
    }  # fmt: skip
    assert (query["scope"], query["acr_values"]) == ("openid name birthdate", "aal3 crl")
    assert len({query["state"], query["nonce"], query["code_challenge"]}) == 3
    everything = json.dumps(seen, ensure_ascii=False)
    for personal in (SATO.name, SATO.user_id, str(SATO.birth_date), str(SATO.kana), "address", "gender"):
        assert personal not in everything


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
async def test_our_assertion_holds_for_somebody_elses_library(service: Agency, algorithm: Algorithm) -> None:
    await service.register(algorithm)
    backend = service.backend(SystemClock(), assertion_algorithm=algorithm)
    try:
        assert isinstance(await service.run(backend), Proofed)
        assert isinstance(await service.run(backend), Proofed)
    finally:
        await backend.close()
    forms = [item["form"] for item in await service.seen("token")]
    endpoint = f"{service.issuer}/protocol/openid-connect/token"
    public = load_key(KEYS[algorithm], algorithm).public_jwk()
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(public)
    ids = set()
    for form in forms:
        assertion = form["client_assertion"]
        claims = jwt.decode(assertion, public, algorithms=[algorithm], audience=endpoint, issuer=CLIENT, subject=CLIENT)
        assert 0 < claims["exp"] - claims["iat"] <= 60
        assert jwt.get_unverified_header(assertion)["kid"] == public["kid"]
        ids.add(claims["jti"])
    assert len(ids) == 2


async def test_another_audience_and_key_name_as_registered(service: Agency) -> None:
    jwk = {**load_key(KEYS["ES256"], "ES256").public_jwk(), "kid": "hospital-2026"}
    issuer = service.issuer
    await service.register(jwk=jwk, audience=issuer)
    backend = service.backend(SystemClock(), key_id="hospital-2026", assertion_audience=issuer)
    try:
        assert isinstance(await service.run(backend), Proofed)
    finally:
        await backend.close()
    plain = service.backend(SystemClock())
    try:
        outcome = await service.run(plain)
        assert isinstance(outcome, Broken)
        assert "401" in outcome.detail
    finally:
        await plain.close()


async def test_two_people_are_two_and_one_is_one(service: Agency, backend: DigitalAgencyBackend) -> None:
    results = [await service.run(backend, choice) for choice in ("sato", "sato", "suzuki")]
    first, again, other = (outcome for outcome in results if isinstance(outcome, Proofed))
    assert first.person == again.person != other.person
    assert len({first.transaction, again.transaction, other.transaction}) == 3


async def test_a_renewed_card_may_have_another_subject(service: Agency, backend: DigitalAgencyBackend) -> None:
    before, after = await service.run(backend), await service.run(backend, mode="renewed")
    assert isinstance(before, Proofed)
    assert isinstance(after, Proofed)
    assert before.person != after.person
    assert before.attributes == after.attributes


async def test_without_attributes_nothing_is_read_of_the_person(service: Agency) -> None:
    backend = service.backend(SystemClock(), attributes=())
    try:
        outcome = await service.run(backend)
    finally:
        await backend.close()
    assert isinstance(outcome, Proofed)
    assert outcome.attributes is None
    assert await service.seen("userinfo") == []


@pytest.mark.parametrize(("sent", "read"), [("19840512", "1984-05-12"), ("1984-05-12", "1984-05-12"), ("319840512", "319840512")])
async def test_a_birth_date_in_any_of_three_spellings(
    service: Agency, backend: DigitalAgencyBackend, sent: str, read: str
) -> None:
    outcome = await service.run(backend, userinfo={"birthdate": sent})
    assert isinstance(outcome, Proofed)
    assert outcome.attributes is not None
    assert outcome.attributes.birth_date == read


async def test_kana_where_a_claim_for_it_was_agreed(service: Agency) -> None:
    backend = service.backend(SystemClock(), kana_claim="name_kana")
    try:
        outcome = await service.run(backend, userinfo={"name_kana": "サトウ　メグミ"})
    finally:
        await backend.close()
    assert isinstance(outcome, Proofed)
    assert outcome.attributes is not None
    assert outcome.attributes.kana == "サトウ　メグミ"


async def test_references_by_what_the_token_has(service: Agency, backend: DigitalAgencyBackend) -> None:
    by_session = await service.run(backend, drop=["jti"])
    by_nonce = await service.run(backend, drop=["jti", "sid"])
    assert isinstance(by_session, Proofed)
    assert isinstance(by_nonce, Proofed)
    assert by_session.transaction.startswith("sid:session-")
    assert by_nonce.transaction.startswith("nonce:")


# ---------------------------------------------------------------- keys


async def test_keys_rotated_between_two_readings(service: Agency) -> None:
    clock = ManualClock(1_800_000_000)
    await service.control("clock", now=1_800_000_000)
    backend = service.backend(clock)
    try:
        assert isinstance(await service.run(backend), Proofed)
        await service.control("rotate", keep=True)
        assert isinstance(await service.run(backend), Proofed)
        assert len(await service.seen("certs")) == 2
        # An unknown key makes us look again, but not every unknown key.
        await service.control("rotate", keep=False)
        refused = await service.run(backend)
        assert refused == Broken(detail="the ID token is refused at step 3: it was signed with an unknown key")
        assert await service.seen("certs") == []
        clock.advance(11)
        await service.control("clock", now=1_800_000_011)
        assert isinstance(await service.run(backend), Proofed)
        assert len(await service.seen("certs")) == 1
    finally:
        await backend.close()


async def test_a_withdrawn_key_is_believed_for_an_hour_at_most(service: Agency) -> None:
    clock = ManualClock(1_800_000_000)
    await service.control("clock", now=1_800_000_000)
    backend = service.backend(clock)
    try:
        assert isinstance(await service.run(backend), Proofed)
        clock.advance(3600)
        await service.control("clock", now=1_800_003_600)
        assert isinstance(await service.run(backend, mode="ok", jwks={"keys": []}), Broken)
    finally:
        await backend.close()


# ---------------------------------------------------------------- what a person does


@pytest.mark.parametrize("choice", ["cancelled", "expired", "locked"])
async def test_whoever_leaves_the_service_has_cancelled(service: Agency, backend: DigitalAgencyBackend, choice: str) -> None:
    assert await service.run(backend, choice) == NotProofed(reason="cancelled")
    assert await service.seen("token") == []


async def test_our_own_pages_button_cancels(service: Agency, backend: DigitalAgencyBackend) -> None:
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    assert await backend.complete(started.state, {"cancel": "1"}) == NotProofed(reason="cancelled")


async def test_a_duplicate_callback_is_no_second_proof(service: Agency, backend: DigitalAgencyBackend) -> None:
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    answer = await service.choose(started.show.link, "sato")
    assert isinstance(await backend.complete(started.state, answer), Proofed)
    assert await backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")


async def test_an_old_code(service: Agency, backend: DigitalAgencyBackend) -> None:
    assert await service.run(backend, mode="expired_code") == NotProofed(reason="unusable_answer")


# ---------------------------------------------------------------- what the service does


@pytest.mark.parametrize("choice", ["down", "error"])
async def test_the_service_says_that_it_is_down(service: Agency, backend: DigitalAgencyBackend, choice: str) -> None:
    assert isinstance(await service.run(backend, choice), Broken)


FAULTS = [
    "slow",
    "down",
    "error",
    "forbidden",
    "redirect",
    "huge",
    "broken_json",
    "duplicate_names",
    "list",
    "not_utf8",
    "hangs_up",
]


@pytest.mark.parametrize("endpoint", ["token", "certs", "userinfo"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_never_a_no_and_never_a_yes(service: Agency, fault: str, endpoint: str) -> None:
    backend = service.backend(SystemClock(), total_seconds=1.0, connect_seconds=1.0)
    try:
        outcome = await service.run(backend, mode=f"{fault}_{endpoint}")
        assert isinstance(outcome, Broken)
        assert len(outcome.detail) < 150
        assert "佐藤" not in outcome.detail
        assert isinstance(await service.run(backend), Proofed)
    finally:
        await backend.close()


async def test_it_is_gone(service: Agency) -> None:
    backend = service.backend(SystemClock())
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    away = service.backend(SystemClock(), issuer="http://127.0.0.1:9/api/realms/main")
    begun = await away.begin(SATO, "sign_in")
    assert isinstance(begun, Started)
    try:
        query = parse_qs(urlsplit(begun.show.link).query)
        outcome = await away.complete(begun.state, {"state": query["state"][0], "code": "x"})
        assert isinstance(outcome, Broken)
        # What was begun at one service ends at no other.
        answer = await service.choose(started.show.link, "sato")
        assert await away.complete(started.state, answer) == NotProofed(reason="unusable_answer")
    finally:
        await backend.close()
        await away.close()


async def test_discovery_is_compared_where_that_is_wanted(service: Agency) -> None:
    backend = service.backend(SystemClock(), check_discovery=True)
    try:
        for mode in ("other_discovery", "down_discovery", "broken_json_discovery"):
            await service.mode(mode)
            assert isinstance(await backend.begin(SATO, "sign_in"), Broken)
        await service.mode("ok")
        await service.seen()
        assert isinstance(await backend.begin(SATO, "sign_in"), Started)
        assert isinstance(await backend.begin(SATO, "sign_in"), Started)
        assert len(await service.seen("discovery")) == 1
    finally:
        await backend.close()


async def test_asking_again_is_not_possible_but_time_is(service: Agency) -> None:
    clock = ManualClock(1_800_000_000)
    await service.control("clock", now=1_800_000_000)
    backend = service.backend(clock, valid_days=30)
    try:
        outcome = await service.run(backend)
        assert isinstance(outcome, Proofed)
        assert isinstance(await backend.recheck(recorded(outcome)), Unknown)
        clock.advance(30 * 86_400)
        assert isinstance(await backend.recheck(recorded(outcome)), Expired)
    finally:
        await backend.close()


# ---------------------------------------------------------------- TLS


def certificate(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "stand-in")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder / "cert.pem"


async def test_a_certificate_that_does_not_verify_ends_it(tmp_path: Path) -> None:
    ca = certificate(tmp_path)
    async with agency("--tls-cert", str(ca), "--tls-key", str(tmp_path / "key.pem"), scheme="https", ca=ca) as service:
        good, bad = service.backend(SystemClock()), service.backend(SystemClock(), ca_file=None)
        try:
            assert isinstance(await service.run(good), Proofed)
            outcome = await service.run(bad)
            assert isinstance(outcome, Broken)
            assert "Certificate" in outcome.detail
        finally:
            await good.close()
            await bad.close()


# ---------------------------------------------------------------- settings


def settings(**changes: Any) -> DigitalAgencySettings:
    good: dict[str, Any] = {
        "client_id": CLIENT, "redirect_uri": "https://id.hospital.example/login/proofing/return", "private_key": KEYS["ES256"],
    }  # fmt: skip
    return DigitalAgencySettings(**{**good, **changes})


def test_the_published_issuers_and_what_follows_from_them() -> None:
    sandbox, production = settings().checked(), settings(issuer="production").checked()
    assert sandbox.endpoint("auth") == "https://sb-auth-and-sign.go.jp/api/realms/main/protocol/openid-connect/auth"
    assert production.endpoint("certs") == "https://auth-and-sign.go.jp/api/realms/main/protocol/openid-connect/certs"
    assert settings(issuer=ISSUERS["production"]).checked().issuer_url == production.issuer_url


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("issuer", "https://auth-and-sign.example/api/realms/main"),
        ("issuer", "http://auth-and-sign.go.jp/api/realms/main"),
        ("issuer", "https://auth-and-sign.go.jp/api/realms/main/"),
        ("issuer", ""),
        ("client_id", ""),
        ("client_id", "RP-1"),
        ("client_id", "R" * 256),
        ("redirect_uri", "http://id.hospital.example/login/proofing/return"),
        ("redirect_uri", "https://id.hospital.example/login/proofing/return?x=1"),
        ("redirect_uri", "https://id.hospital.example/elsewhere"),
        ("redirect_uri", "https://user@id.hospital.example/login/proofing/return"),
        ("assertion_audience", "token"),
        ("id_token_algorithms", ()),
        ("attributes", ("birthdate",)),
        ("attributes", ("name", "name")),
        ("level", 4),
        ("valid_days", 0),
        ("skew_seconds", 3600),
        ("total_seconds", 0.0),
        ("connect_seconds", 60.0),
    ],
)
def test_settings_that_can_not_be_used_say_which_and_what_to_do(key: str, value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**{key: value}).checked()
    assert caught.value.where.startswith("idp.digital_agency.")
    assert caught.value.todo


@pytest.mark.parametrize(
    ("pem", "algorithm"),
    [
        (Secret(""), "ES256"),
        (Secret("no key"), "RS256"),
        (KEYS["ES256"], "RS256"),
        (KEYS["RS256"], "ES256"),
        (Secret('{"kty":"oct","k":"AAAA"}'), "ES256"),
    ],
)
def test_a_key_that_does_not_fit(pem: Secret, algorithm: Algorithm) -> None:
    with pytest.raises(ConfigError, match="this is not a private") as caught:
        load_key(pem, algorithm)
    assert pem.reveal() not in str(caught.value) or not pem.reveal()


def test_neither_settings_nor_key_can_be_printed_with_the_secret() -> None:
    made = settings()
    key = load_key(private_pem("ES256"), "ES256")
    assert "PRIVATE" not in repr(made) + repr(key)
    assert '"d"' not in json.dumps(key.public_jwk())
    assert made.redirect_uri != REDIRECT
