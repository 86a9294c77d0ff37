"""The platform operator's backend against its stand-in, a process of its own: the way through, and every failure on it."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.kernel.clock import ManualClock, SystemClock
from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.proofing.platform_operator import platform_operator_backend
from idp.proofing.port import (
    Broken,
    Expired,
    NotProofed,
    NotProofedReason,
    Outcome,
    Person,
    Proofed,
    Recorded,
    Revoked,
    Started,
    Unknown,
    Valid,
)
from tests.standins.platform_operator import CHECK, TOKEN, VERIFY
from tests.support.platform_operator import NOW, Operator, operator, settings
from tests.support.served import write_certificates
from tests.support.standin import standin

SATO = Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12", kana="サトウ メグミ")
SUZUKI = Person(user_id="usr_suzuki", name="鈴木 翔", birth_date="1990-01-02")
BOTH = ("pocketsign-verify-v2", "pocketsign-stamp-v1")


@pytest.fixture
async def verify() -> AsyncIterator[Operator]:
    async with operator(ManualClock(NOW)) as made:
        yield made


@pytest.fixture(params=BOTH)
async def either(request: pytest.FixtureRequest) -> AsyncIterator[Operator]:
    async with operator(ManualClock(NOW), profile=request.param) as made:
        yield made


async def begun(at: Operator, person: Person = SATO) -> Started:
    started = await at.backend.begin(person, "sign_in")
    assert isinstance(started, Started), started
    return started


async def through(at: Operator, person: Person = SATO, card: str = "") -> Outcome:
    started = await begun(at, person)
    return await at.backend.complete(started.state, await at.answer(started, card or await at.own(person)))


async def proofed(at: Operator, person: Person = SATO, card: str = "") -> Proofed:
    outcome = await through(at, person, card)
    assert isinstance(outcome, Proofed), outcome
    return outcome


def recorded(outcome: Proofed, **changed: Any) -> Recorded:
    usual = {
        "verifier": outcome.verifier,
        "transaction": outcome.transaction,
        "verified_at": outcome.verified_at,
        "expires_at": outcome.expires_at,
        "is_person": lambda other: other == outcome.person,
    }
    return Recorded(**{**usual, **changed})


# ---------------------------------------------------------------------- the way through


async def test_a_card_in_force_proofs_the_person_whom_it_names(either: Operator) -> None:
    outcome = await proofed(either)
    assert outcome.level == 3
    assert outcome.evidence == "electronic_signature"
    assert outcome.method == "platform_operator"
    assert outcome.verifier in BOTH
    assert outcome.attributes is not None
    assert outcome.attributes.name == "佐藤\u3000恵"
    assert outcome.attributes.birth_date == "319840512"
    assert outcome.attributes.kana == ""
    assert outcome.attributes.substitutes == ()
    assert not outcome.vouched


async def test_substitute_characters_are_told(verify: Operator) -> None:
    outcome = await proofed(verify, card=await verify.card(SATO, name="斉藤\u3000恵", substitutes="1000"))
    assert outcome.attributes is not None
    assert outcome.attributes.substitutes == (1,)


async def test_what_the_card_signs_is_our_text_and_it_is_shown(verify: Operator) -> None:
    started = await begun(verify)
    text = started.show.values["text"]
    assert "見本病院" in text
    assert "2027-01-15T08:00:00Z" in text
    nonce = text.strip().splitlines()[-1]
    assert len(nonce) >= 43
    assert nonce not in (await begun(verify)).show.values["text"]


async def test_the_operator_gets_what_it_needs_and_no_more(verify: Operator) -> None:
    await proofed(verify)
    (asked,) = await verify.sent()
    assert set(asked) == {"certificate", "digest", "signature", "hashAlgorithm", "checkMethod", "identifyUser"}
    (call,) = await verify.service.calls()
    assert call["authorised"]
    everything = json.dumps([asked, call["headers"], call["path"]], ensure_ascii=False)
    for personal in (SATO.user_id, SATO.name, str(SATO.birth_date), str(SATO.kana), TOKEN):
        assert personal not in everything


async def test_the_result_ends_with_the_certificate_where_that_is_sooner(verify: Operator) -> None:
    soon = await proofed(verify, card=await verify.card(SATO, days=100))
    assert soon.expires_at == NOW + 99 * 86_400
    assert (await proofed(verify, SUZUKI)).expires_at == NOW + 1825 * 86_400


async def test_a_new_card_is_the_same_person(verify: Operator) -> None:
    first = await proofed(verify)
    second = await proofed(verify, card=await verify.card(SATO))
    assert first.person == second.person
    assert first.transaction != second.transaction


async def test_a_page_of_the_hospitals_own_reads_the_card() -> None:
    link = "https://reader.hospital.example/read?d={digest}&back={return}"
    async with operator(ManualClock(NOW), app_link=link) as at:
        started = await begun(at)
        assert started.handle is not None
        assert started.show.link.startswith("https://reader.hospital.example/read?d=")
        assert f"%3Fstate%3D{started.handle.reveal()}" in started.show.link
        assert started.handle.reveal().encode() not in started.state
        answer = await at.service.control("sign", card=await at.own(SATO), digest=started.show.values["digest"])
        assert isinstance(await at.backend.complete(started.state, answer), Proofed)


async def test_the_operators_pages_send_the_browser_back_with_our_handle() -> None:
    async with operator(ManualClock(NOW), profile="pocketsign-stamp-v1") as at:
        started = await begun(at)
        assert started.handle is not None
        (asked,) = await at.sent()
        assert asked["callbackUrl"].endswith(f"/login/proofing/return?state={started.handle.reveal()}")
        cancelled = await at.choose(started.show.link, "")
        assert await at.backend.complete(started.state, cancelled) == NotProofed(reason="cancelled")


# ---------------------------------------------------------------------- the operator says no


@pytest.mark.parametrize(("state", "reason"), [("REVOKED", "card_revoked"), ("EXPIRED", "card_expired")])
async def test_a_card_that_is_not_in_force(either: Operator, state: str, reason: NotProofedReason) -> None:
    assert await through(either, card=await either.card(SATO, state=state)) == NotProofed(reason=reason)


async def test_a_state_alone_is_enough_to_refuse(verify: Operator) -> None:
    for state, reason in (("STATUS_REVOKED", "card_revoked"), ("STATUS_EXPIRED", "card_expired")):
        await verify.service.mode("set", pointer="/certificateStatus/status", value=state)
        assert await through(verify) == NotProofed(reason=reason)  # type: ignore[arg-type]


async def test_a_state_that_the_operator_does_not_know_is_no_answer(either: Operator) -> None:
    outcome = await through(either, card=await either.card(SATO, state="UNKNOWN"))
    assert isinstance(outcome, Broken)
    assert "does not know" in outcome.detail


@pytest.mark.parametrize(
    "kind", ["TYPE_JPKI_CARD_USER_AUTHENTICATION", "TYPE_JPKI_MOBILE_USER_AUTHENTICATION", "TYPE_UNSPECIFIED"]
)
async def test_another_kind_of_certificate_is_the_wrong_card(either: Operator, kind: str) -> None:
    assert await through(either, card=await either.card(SATO, type=kind)) == NotProofed(reason="wrong_card")


async def test_a_phones_certificate_for_signing_will_do(either: Operator) -> None:
    outcome = await proofed(either, card=await either.card(SATO, type="TYPE_JPKI_MOBILE_DIGITAL_SIGNATURE"))
    assert outcome.attributes is not None
    assert outcome.attributes.name == "佐藤\u3000恵"


async def test_an_expired_challenge() -> None:
    async with operator(ManualClock(NOW), profile="pocketsign-stamp-v1") as at:
        started = await begun(at)
        answer = await at.answer(started, await at.own(SATO))
        await at.service.mode("expired_challenge")
        assert await at.backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")


# ---------------------------------------------------------------------- attacks


async def test_a_replayed_response_fits_no_other_beginning(either: Operator) -> None:
    first = await begun(either)
    answer = await either.answer(first, await either.own(SATO))
    assert isinstance(await either.backend.complete(first.state, answer), Proofed)
    again = await begun(either)
    assert await either.backend.complete(again.state, answer) == NotProofed(reason="unusable_answer")


async def test_the_same_answer_to_the_same_beginning_has_a_reference_of_its_own_or_none(either: Operator) -> None:
    """The desk takes each state once; what the operator says to a second question must not look like a first."""
    started = await begun(either)
    answer = await either.answer(started, await either.own(SATO))
    first = await either.backend.complete(started.state, answer)
    second = await either.backend.complete(started.state, answer)
    assert isinstance(first, Proofed)
    assert not isinstance(second, Proofed) or second.transaction != first.transaction


async def test_an_answer_from_another_session_proofs_nobody(either: Operator) -> None:
    victim, attacker = await begun(either, SATO), await begun(either, SUZUKI)
    answer = await either.answer(attacker, await either.own(SUZUKI))
    assert await either.backend.complete(victim.state, answer) == NotProofed(reason="unusable_answer")


async def test_another_persons_card_names_the_other_person(either: Operator) -> None:
    """Whether it is this account's person is the desk's to compare: the answer must not hide it."""
    outcome = await proofed(either, SATO, card=await either.own(SUZUKI))
    assert outcome.attributes is not None
    assert outcome.attributes.name == "鈴木\u3000翔"
    assert outcome.person == (await proofed(either, SUZUKI)).person


async def test_an_answer_about_another_digest_is_no_answer(verify: Operator) -> None:
    await verify.service.mode("set", pointer="/verification/digest", value="MV9b23bQeMQ7isAGTkoBZGErH853yGk0W/yUx1iU7dM=")
    outcome = await through(verify)
    assert isinstance(outcome, Broken)
    assert "something else" in outcome.detail


async def test_an_answer_about_another_session_is_no_answer() -> None:
    async with operator(ManualClock(NOW), profile="pocketsign-stamp-v1") as at:
        started = await begun(at)
        answer = await at.answer(started, await at.own(SATO))
        await at.service.mode("set", pointer="/metadata/nonce", value="another")
        assert isinstance(await at.backend.complete(started.state, answer), Broken)


async def test_an_old_beginning_is_worth_nothing(either: Operator) -> None:
    started = await begun(either)
    answer = await either.answer(started, await either.own(SATO))
    either.clock.advance(901)
    assert await either.backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")


@pytest.mark.parametrize("state", [b"", b"{}", b"\xff", b'{"profile":"simulated","begun_at":1,"values":{}}', b"[" * 5000])
async def test_a_state_of_something_else_is_no_answer(verify: Operator, state: bytes) -> None:
    assert isinstance(await verify.backend.complete(state, {"certificate": "AA==", "signature": "AA=="}), Broken)


@pytest.mark.parametrize(
    "changed",
    [
        {"certificate": ""},
        {"signature": ""},
        {"signature": "A" * 1401},
        {"certificate": "A" * 6001},
        {"signature": "ＡＡＡＡ"},
        {"signature": "AA\r\nAA"},
        {"signature": "AA\u202eAA"},
        {"certificate": "AAAA"},
        {"certificate": "not base64!"},
        {"signature": "AAAA"},
        {"signature": "{answer.certificate}"},
    ],
)
async def test_fields_that_make_no_sense(verify: Operator, changed: dict[str, str]) -> None:
    started = await begun(verify)
    answer = {**await verify.answer(started, await verify.own(SATO)), **changed}
    assert await verify.backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")


# ---------------------------------------------------------------------- the operator does not work

FAULTS: dict[str, tuple[Mapping[str, Any], str]] = {
    "500": ({"mode": "status", "status": 500}, "500"),
    "503": ({"mode": "status", "status": 503}, "503"),
    "401": ({"mode": "status", "status": 401, "code": "unauthenticated"}, "check the token"),
    "403": ({"mode": "status", "status": 403, "code": "permission_denied"}, "check the token"),
    "429": ({"mode": "status", "status": 429, "retry_after": 17}, "again after 17 s"),
    "429 with words": ({"mode": "status", "status": 429, "retry_after": "Mon, 1 Jan 2029 00:00:00 GMT"}, "429"),
    "404": ({"mode": "status", "status": 404, "code": "not_found"}, "404 not_found"),
    "400 unknown": ({"mode": "status", "status": 400, "code": "failed_precondition"}, "400 failed_precondition"),
    "204": ({"mode": "status", "status": 204}, "204"),
    "201": ({"mode": "status", "status": 201}, "201"),
    "page": ({"mode": "body", "body": "<p>Maintenance</p>", "type": "text/html"}, "something else than JSON"),
    "json as text": ({"mode": "body", "body": "{}", "type": "text/plain"}, "something else than JSON"),
    "cut": ({"mode": "body", "body": '{"verification": {"res'}, "not JSON"),
    "deep": ({"mode": "body", "body": "[" * 20_000}, "not JSON"),
    "list": ({"mode": "body", "body": "[]"}, "not a JSON object"),
    "null": ({"mode": "body", "body": "null"}, "not a JSON object"),
    "twice": ({"mode": "body", "body": '{"a": 1, "a": 2}'}, "stands there twice"),
    "individual number": ({"mode": "body", "body": '{"user": {"individualNumber": 1}}'}, "MUST NOT BE SENT"),
    "empty": ({"mode": "body", "body": ""}, "not JSON"),
    "huge": ({"mode": "huge"}, "too long"),
    "redirect": ({"mode": "redirect", "to": "http://127.0.0.1:9/"}, "307"),
    "close": ({"mode": "close"}, "no answer ("),
    "ahead": ({"mode": "skew", "seconds": 301}, "clocks"),
    "behind": ({"mode": "skew", "seconds": -301}, "clocks"),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_a_fault_is_never_a_no(verify: Operator, fault: str) -> None:
    mode, said = FAULTS[fault]
    started = await begun(verify)
    answer = await verify.answer(started, await verify.own(SATO))
    await verify.service.control("mode", **mode)
    outcome = await verify.backend.complete(started.state, answer)
    assert isinstance(outcome, Broken)
    assert said in outcome.detail
    assert TOKEN not in outcome.detail
    assert len(outcome.detail) <= 200


@pytest.mark.parametrize("mode", ["slow", "endless"])
async def test_an_operator_that_takes_its_time(mode: str) -> None:
    async with operator(ManualClock(NOW), timeout_seconds=0.3) as at:
        started = await begun(at)
        answer = await at.answer(started, await at.own(SATO))
        await at.service.mode(mode)
        outcome = await at.backend.complete(started.state, answer)
        assert outcome == Broken(detail="the operator: no answer in time")


@pytest.mark.parametrize(
    "pointer",
    [
        "/verification",
        "/verification/id",
        "/verification/result",
        "/verification/digest",
        "/verification/createdAt",
        "/certificate/type",
        "/certificateStatus",
        "/certificateStatus/status",
        "/certificateContent",
        "/certificateContent/validity/notAfter",
        "/certificateContent/jpkiCardDigitalSignatureContent/commonName",
        "/certificateContent/jpkiCardDigitalSignatureContent/dateOfBirth",
        "/user",
        "/user/id",
    ],
)
async def test_whatever_is_missing_or_strange_proofs_nobody(verify: Operator, pointer: str) -> None:
    started = await begun(verify)
    answer = await verify.answer(started, await verify.own(SATO))
    await verify.service.mode("missing", pointer=pointer)
    assert isinstance(await verify.backend.complete(started.state, answer), Broken)
    strange: tuple[Any, ...] = (None, "", 1, True, [], {}, "\u202e\x00", "x" * 3000)
    for value in strange:
        await verify.service.mode("set", pointer=pointer, value=value)
        outcome = await verify.backend.complete(started.state, answer)
        if pointer.endswith("commonName") and value == "\u202e\x00":
            assert isinstance(outcome, Proofed)  # as it came: the desk compares, and shows what is in it
        elif pointer.endswith("type") and value == "\u202e\x00":
            assert outcome == NotProofed(reason="wrong_card")
        else:
            assert isinstance(outcome, Broken), (value, outcome)


async def test_nobody_is_there(verify: Operator) -> None:
    backend = platform_operator_backend(settings("http://127.0.0.1:9", profile="pocketsign-stamp-v1"), verify.clock)
    outcome = await backend.begin(SATO, "sign_in")
    await backend.close()
    assert isinstance(outcome, Broken)
    assert "no answer (" in outcome.detail


async def test_a_challenge_that_the_operator_does_not_give() -> None:
    async with operator(ManualClock(NOW), profile="pocketsign-stamp-v1") as at:
        for mode in (
            {"mode": "status", "status": 503},
            {"mode": "missing", "pointer": "/id"},
            {"mode": "missing", "pointer": "/redirectUrl"},
            {"mode": "set", "pointer": "/redirectUrl", "value": "javascript:alert(1)"},
            {"mode": "set", "pointer": "/redirectUrl", "value": "http://operator.example/stamp"},
            {"mode": "set", "pointer": "/redirectUrl", "value": "https://user@operator.example/"},
            {"mode": "set", "pointer": "/id", "value": "x" * 3000},
        ):
            await at.service.control("mode", **mode)
            assert isinstance(await at.backend.begin(SATO, "sign_in"), Broken), mode


async def test_validating_is_not_tried_twice(verify: Operator) -> None:
    started = await begun(verify)
    answer = await verify.answer(started, await verify.own(SATO))
    await verify.service.mode("status", status=503, times=1)
    assert isinstance(await verify.backend.complete(started.state, answer), Broken)
    assert [call["path"] for call in await verify.service.calls()] == [VERIFY]


# ---------------------------------------------------------------------- TLS and the token


async def test_only_a_certificate_of_the_operators_authority_is_trusted(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder, host in ((ours, "operator.localhost"), (theirs, "other.localhost")):
        folder.mkdir()
        write_certificates(folder, host)
    tls = ("--cert", str(ours / "server.pem"), "--key", str(ours / "server.key"))
    async with standin("platform_operator", *tls, scheme="https", host="127.0.0.1") as service:
        port = service.origin.rpartition(":")[2]

        async def begins(host: str, ca: Path | None) -> Started | Broken:
            made = settings(
                f"https://{host}:{port}", profile="pocketsign-stamp-v1", ca_file=str(ca / "ca.pem") if ca is not None else ""
            )
            backend = platform_operator_backend(made, SystemClock())
            try:
                return await backend.begin(SATO, "sign_in")
            finally:
                await backend.close()

        assert isinstance(await begins("operator.localhost", ours), Started)
        for host, ca in (("operator.localhost", theirs), ("operator.localhost", None), ("other.localhost", ours)):
            outcome = await begins(host, ca)
            assert outcome == Broken(detail="the operator: no answer (ClientConnectorCertificateError)")


async def test_a_wrong_token(verify: Operator) -> None:
    backend = platform_operator_backend(settings(verify.service.origin, token=Secret("another-token")), verify.clock)
    started = await backend.begin(SATO, "sign_in")
    assert isinstance(started, Started)
    outcome = await backend.complete(started.state, await verify.answer(started, await verify.own(SATO)))
    await backend.close()
    assert isinstance(outcome, Broken)
    assert "check the token" in outcome.detail
    assert "another-token" not in repr(outcome) + repr(backend.__dict__)


# ---------------------------------------------------------------------- asked again


async def test_asked_again(either: Operator) -> None:
    outcome, card = await proofed(either), await either.own(SATO)
    expected = {"GOOD": Valid, "REVOKED": Revoked, "EXPIRED": Expired, "UNKNOWN": Unknown}
    for state, standing in expected.items():
        await either.service.control("card", card=card, state=state)
        assert isinstance(await either.backend.recheck(recorded(outcome)), standing)


async def test_asked_again_a_lost_answer_is_asked_for_once_more(verify: Operator) -> None:
    outcome = await proofed(verify)
    await verify.service.mode("status", status=503, times=1)
    assert await verify.backend.recheck(recorded(outcome)) == Valid()
    await verify.service.mode("close", times=2)
    assert isinstance(await verify.backend.recheck(recorded(outcome)), Unknown)
    assert [call["path"] for call in await verify.service.calls()][1:] == [CHECK] * 4


@pytest.mark.parametrize("status", [401, 403, 429, 404, 400])
async def test_asked_again_what_would_not_be_better_the_second_time_is_not_repeated(verify: Operator, status: int) -> None:
    outcome = await proofed(verify)
    await verify.service.mode("status", status=status)
    assert isinstance(await verify.backend.recheck(recorded(outcome)), Unknown)
    assert len(await verify.service.calls()) == 2


@pytest.mark.parametrize("transaction", ["", "x", "a/b", "/", "a//b", "a/b\n", "usr/../x", "a" * 90 + "/b"])
async def test_asked_again_with_a_reference_that_is_not_this_persons_asks_nobody(verify: Operator, transaction: str) -> None:
    outcome = await proofed(verify)
    assert isinstance(await verify.backend.recheck(recorded(outcome, transaction=transaction)), Unknown)
    other = await proofed(verify, SUZUKI)
    crossed = recorded(outcome, transaction=other.transaction)
    assert isinstance(await verify.backend.recheck(crossed), Unknown)
    assert len(await verify.service.calls()) == 2


async def test_an_operator_is_not_asked_about_whom_another_one_verified(verify: Operator) -> None:
    outcome = await proofed(verify)
    other = recorded(outcome, verifier="another-operator-v1")
    assert await verify.backend.recheck(other) == Unknown(detail="another operator verified")
    assert len(await verify.service.calls()) == 1


async def test_asked_again_somebody_whom_the_operator_does_not_know(verify: Operator) -> None:
    outcome = await proofed(verify)
    gone = recorded(outcome, transaction="verification/nobody", is_person=lambda other: other == Secret("nobody"))
    assert await verify.backend.recheck(gone) == Unknown(detail="the operator answered 404 not_found")


# ---------------------------------------------------------------------- the Individual Number


async def test_the_stand_in_refuses_whoever_names_the_individual_number(verify: Operator) -> None:
    for path, body in ((VERIFY, {"individual_number": True}), (CHECK, {"userId": "x", "fields": ["個人番号"]})):
        async with verify.service.http.post(
            verify.service.origin + path, json=body, headers={"Authorization": f"Bearer {TOKEN}"}
        ) as response:
            assert response.status == 400
            assert "NEVER" in await response.text()


def test_a_backend_does_not_start_with_what_cannot_work() -> None:
    faults: tuple[tuple[dict[str, Any], str], ...] = (
        ({"host": "http://operator.example"}, "https origin"),
        ({"host": "https://operator.example/v2"}, "https origin"),
        ({"host": "https://user@operator.example"}, "https origin"),
        ({"host": "nowhere"}, "mock, test, production"),
        ({"token": Secret("")}, "token"),
        ({"token": Secret("two words")}, "token"),
        ({"profile": "nobody-v9"}, "there is no profile"),
        ({"profile": "../pocketsign-verify-v2"}, "can't be read"),
        ({"settings": {}}, "organization"),
        ({"settings": {"organization": "x", "region": "y"}}, "no setting 'region'"),
        ({"settings": {"organization": "個人番号の病院"}}, "Individual Number"),
        ({"settings": {"organization": "line\nline"}}, "control characters"),
        ({"ca_file": "/nonexistent.pem"}, "CA can't be read"),
        ({"timeout_seconds": 0}, "limit"),
        ({"valid_days": 0}, "limit"),
        ({"app_link": "http://reader.example/"}, "not https"),
        ({"app_link": "https://reader.example/{name}"}, "filled in"),
        ({"app_link": "https://reader.example/{return}", "return_url": ""}, "come back"),
        ({"profile": "pocketsign-stamp-v1", "return_url": ""}, "come back"),
        ({"profile": "pocketsign-stamp-v1", "app_link": "https://reader.example/"}, "own pages"),
    )
    for changed, said in faults:
        with pytest.raises(ConfigError, match=said):
            platform_operator_backend(
                settings("production", **changed) if "host" not in changed else settings(**{"origin": "", **changed}),
                ManualClock(),
            )
