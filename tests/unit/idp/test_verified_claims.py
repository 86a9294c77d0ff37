"""The claims parameter, and verified_claims as they go out, validated by a schema written from the specification's words."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.kernel.errors import ConfigError, ProtocolError
from gateway.kernel.secret import Secret
from idp.model import ProofingRecord, User
from idp.protocol.framework import TRUST_FRAMEWORK
from idp.protocol.requested import LONGEST, parse_claims
from idp.protocol.verified import EVIDENCE, ISSUER, NOT_KEPT, verified_claims
from idp.settings import Client, IdpSettings

NOW = 1_800_000_000
SCHEMA = json.loads((Path(__file__).parents[2] / "support" / "verified_claims.json").read_text("utf-8"))
VALID = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())
SATO = User(id="usr_sato", login="dr.sato", name="佐藤 恵", roles=(), birth_date="1980-05-17")
RECORD = ProofingRecord(
    user_id=SATO.id, level=3, method="jpki_sign", verified_at=NOW - 86_400, expires_at=NOW + 86_400, verifier="jpki.example",
    transaction="txn-1", person_digest="d" * 64, evidence="electronic_signature", number=7,
)  # fmt: skip
EVERYTHING = {
    "verification": {
        "trust_framework": None, "assurance_level": None, "time": None, "verification_process": None,
        "evidence": [{
            "type": None, "signature_type": None, "issuer": None, "serial_number": None, "created_at": None,
            "check_details": [{"check_method": None, "organization": None, "check_id": None, "time": None}],
        }],
    },
    "claims": {"name": None, "birthdate": None, "address": None},
}  # fmt: skip


def ask(verified: Any, place: str = "id_token", **more: Any) -> str:
    return json.dumps({place: {"verified_claims": verified, **more}})


def answer(
    verified: Any, *, record: ProofingRecord | None = RECORD, confirmed: frozenset[str] = frozenset({"name", "birthdate"}),
    user: User = SATO, now: int = NOW,
) -> Any:  # fmt: skip
    wishes = parse_claims(ask(verified)).id_token
    said = verified_claims(wishes, user, record, confirmed, framework=TRUST_FRAMEWORK, now=now)
    if said is not None:
        VALID.validate(said)
    return said


def wanted(verification: dict[str, Any] | None = None, claims: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"verification": {"trust_framework": None, **(verification or {})}, "claims": claims or {"name": None}}


def test_everything_that_there_is_to_say() -> None:
    assert answer(EVERYTHING) == {
        "verification": {
            "trust_framework": TRUST_FRAMEWORK, "assurance_level": "ial3", "time": "2027-01-14T08:00:00Z",
            "verification_process": "txn-1",
            "evidence": [{
                "type": "electronic_signature", "signature_type": "jpki_sign", "issuer": ISSUER,
                "serial_number": NOT_KEPT, "created_at": "2027-01-14T08:00:00Z",
                "check_details": [{
                    "check_method": "vcrypt", "organization": "jpki.example", "check_id": "txn-1", "time": "2027-01-14T08:00:00Z",
                }],
            }],
        },
        "claims": {"name": "佐藤 恵", "birthdate": "1980-05-17"},
    }  # fmt: skip


def test_what_was_not_asked_for_is_not_told() -> None:
    assert answer(wanted()) == {"verification": {"trust_framework": TRUST_FRAMEWORK}, "claims": {"name": "佐藤 恵"}}
    assert answer(wanted({"evidence": [{"type": None}]}))["verification"]["evidence"] == [
        {"type": "electronic_signature", "signature_type": "jpki_sign", "issuer": ISSUER, "serial_number": NOT_KEPT}
    ]
    token = parse_claims(ask(wanted())).userinfo
    assert verified_claims(token, SATO, RECORD, {"name"}, framework=TRUST_FRAMEWORK, now=NOW) is None, (
        "asked of the ID token only"
    )


def test_an_array_is_answered_as_one_and_each_entry_stands_for_itself() -> None:
    mismatch = wanted({"trust_framework": {"value": "jp_aml"}})
    assert answer([wanted()]) == [answer(wanted())]
    assert answer([mismatch, wanted(), wanted(claims={"birthdate": None})]) == [
        answer(wanted()), answer(wanted(claims={"birthdate": None})),
    ]  # fmt: skip
    assert answer([mismatch]) is None


@pytest.mark.parametrize(
    ("verification", "claims", "expected"),
    [
        ({"trust_framework": {"value": TRUST_FRAMEWORK}}, None, True),
        ({"trust_framework": {"values": ["jp_aml", TRUST_FRAMEWORK]}}, None, True),
        ({"trust_framework": {"value": "jp_aml"}}, None, False),
        ({"trust_framework": {"values": [7, None]}}, None, False),
        ({"assurance_level": {"value": "ial3"}}, None, True),
        ({"assurance_level": {"value": "ial2"}}, None, False),
        ({"time": {"max_age": 86_400}}, None, True),
        ({"time": {"max_age": 86_399}}, None, False),
        ({"time": {"value": "2027-01-14T08:00:00Z"}}, None, True),
        ({"assurance_level": {"max_age": 5}}, None, False),
        ({"evidence": [{"type": {"value": "electronic_signature"}}]}, None, True),
        ({"evidence": [{"type": {"value": "document"}}]}, None, False),
        ({"evidence": [{"type": {"value": "document"}}, {"type": {"values": ["vouch", "electronic_signature"]}}]}, None, True),
        ({"evidence": [{"type": None, "check_details": [{"check_method": {"value": "vcrypt"}}]}]}, None, True),
        ({"evidence": [{"type": None, "check_details": [{"check_method": {"value": "vpip"}}]}]}, None, False),
        (
            {"evidence": [{"type": None, "check_details": [{"check_method": {"value": "vpip"}}, {"time": None}]}]}, None, True,
        ),
        (None, {"name": {"value": "佐藤 恵"}}, True),
        (None, {"name": {"value": "鈴木 翔"}}, False),
        (None, {"name": {"value": "鈴木 翔"}, "birthdate": None}, True),
        (None, {"name": {"value": "鈴木 翔", "essential": True}, "birthdate": None}, True),
        (None, {"name": {"essential": True}}, True),
        (None, {"address": {"essential": True}, "name": None}, True),
        (None, {"address": None}, False),
        (None, {"individual_number": None}, False),
    ],
)  # fmt: skip
def test_a_condition_that_is_not_met_leaves_all_of_it_out(
    verification: dict[str, Any] | None,
    claims: dict[str, Any] | None,
    expected: bool,
) -> None:
    assert (answer(wanted(verification, claims)) is not None) is expected


@pytest.mark.parametrize(
    "record",
    [
        None,
        msgspec.structs.replace(RECORD, evidence="none", method="simulated"),
        msgspec.structs.replace(RECORD, expires_at=NOW),
        msgspec.structs.replace(RECORD, ended_at=NOW - 1, ended_why="revoked"),
    ],
    ids=["none", "simulated", "expired", "ended"],
)
def test_without_a_real_proofing_in_force_nothing_is_stated(record: ProofingRecord | None) -> None:
    assert answer(EVERYTHING, record=record) is None


def test_only_what_the_verifier_confirmed_is_stated() -> None:
    assert answer(EVERYTHING, confirmed=frozenset()) is None
    assert answer(EVERYTHING, confirmed=frozenset({"birthdate"}))["claims"] == {"birthdate": "1980-05-17"}
    unknown = msgspec.structs.replace(SATO, birth_date=None)
    assert answer(EVERYTHING, user=unknown)["claims"] == {"name": "佐藤 恵"}
    assert answer(wanted(claims={"birthdate": None}), user=unknown) is None


@pytest.mark.parametrize("evidence", sorted(EVIDENCE))
def test_every_kind_of_evidence_is_stated_as_the_schema_wants_it(evidence: str) -> None:
    said = answer(EVERYTHING, record=msgspec.structs.replace(RECORD, evidence=evidence))
    if evidence == "vouch":  # nobody checked anything by a method that has a name: who wants one gets nothing
        assert said is None
        said = answer(wanted({"evidence": [{"type": None}]}), record=msgspec.structs.replace(RECORD, evidence=evidence))
    assert said["verification"]["evidence"][0]["type"] == evidence


def test_the_schema_is_not_one_that_takes_anything() -> None:
    good = answer(EVERYTHING)
    for path, value in (
        (("verification", "trust_framework"), 5), (("verification", "time"), "yesterday"), (("claims",), {}),
        (("claims", "address"), "x"), (("verification", "evidence"), []),
        (("verification", "evidence", 0, "serial_number"), "17"),
        (("verification", "evidence", 0, "type"), "selfie"), (("verification", "assurance_level"), "high"),
    ):  # fmt: skip
        wrong = json.loads(json.dumps(good))
        place = wrong
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            VALID.validate(wrong)


def test_nothing_that_is_not_kept_for_it_goes_out() -> None:
    text = json.dumps(answer(EVERYTHING), ensure_ascii=False)
    for secret in (RECORD.person_digest, "usr_sato", "dr.sato"):
        assert secret not in text


# ---------------------------------------------------------------- the request


@pytest.mark.parametrize(
    "text",
    [
        "null", "[]", '"x"', "1", "{", '{"id_token": []}', '{"id_token": 1}', '{"id_token": {}, "id_token": {}}',
        '{"userinfo": {"name": "x"}}', '{"userinfo": {"name": []}}', '{"userinfo": {"name": {"essential": "yes"}}}',
        '{"userinfo": {"name": {"value": "a", "values": ["b"]}}}', '{"userinfo": {"name": {"values": []}}}',
        '{"userinfo": {"name": {"values": "a"}}}', '{"userinfo": {"auth_time": {"max_age": -1}}}',
        '{"userinfo": {"auth_time": {"max_age": true}}}', '{"userinfo": {"auth_time": {"max_age": NaN}}}',
        ask([]), ask("x"), ask(None), ask({}), ask({"verification": {"trust_framework": None}}),
        ask({"verification": {"trust_framework": None}, "claims": {}}),
        ask({"verification": {"trust_framework": None}, "claims": None}),
        ask({"verification": {}, "claims": {"name": None}}), ask({"verification": None, "claims": {"name": None}}),
        ask({"verification": {"trust_framework": "x"}, "claims": {"name": None}}), ask(wanted({"evidence": None})),
        ask(wanted({"evidence": []})), ask(wanted({"evidence": [{}]})), ask(wanted({"evidence": {"type": None}})),
        ask(wanted({"evidence": [{"type": "document"}]})), ask(wanted({"evidence": [{"type": None, "check_details": []}]})),
        ask([wanted()] * 21), ask(wanted(claims={f"c{number}": None for number in range(21)})),
        '{"id_token": {"sub": {"values": ["a", "b"]}}}', "[" * 2000 + "]" * 2000, '{"a":' * 13 + "1" + "}" * 13,
        '{"x": "' + "y" * LONGEST + '"}', '{"id_token": {"name": "\\ud800"}}',
    ],
    ids=lambda text: text[:48],
)  # fmt: skip
def test_a_request_that_is_none_is_refused_in_words_that_an_error_may_hold(text: str) -> None:
    with pytest.raises(ProtocolError) as refused:
        parse_claims(text)
    assert all(" " <= char <= "~" and char not in '"\\' for char in refused.value.what), refused.value.what


def test_what_is_not_known_is_passed_over() -> None:
    asked = parse_claims(json.dumps({
        "id_token": {"name": None, "phone_number": {"value": 7, "purpose": "calls"},
                     "acr": {"essential": True, "values": ["phr"]},
                     "sub": {"value": "usr_sato"}, "verified_claims": wanted({"assurance_process": {"policy": None}})},
        "vp_token": 5,
    }))  # fmt: skip
    assert asked.id_token.claims == ("name",)
    assert asked.acr is not None
    assert (asked.acr.values, asked.acr.essential, asked.subject) == (("phr",), True, "usr_sato")
    assert list(asked.id_token.verified[0].verification) == ["trust_framework"]
    assert parse_claims("") == parse_claims("{}") == parse_claims('{"id_token": null}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["id_token", "userinfo", "verified_claims", "verification", "claims", "trust_framework", "evidence",
                         "type", "check_details", "value", "values", "essential", "max_age", "time", "name", "sub", "acr"]),
        inner, max_size=4,
    ),
    max_leaves=25,
)  # fmt: skip


@given(json_values)
def test_whatever_comes_is_refused_or_answered_by_the_schema(value: Any) -> None:
    for text in (json.dumps(value), json.dumps({"id_token": {"verified_claims": value}})):
        try:
            wishes = parse_claims(text).id_token
        except ProtocolError:
            continue
        said = verified_claims(wishes, SATO, RECORD, {"name"}, framework=TRUST_FRAMEWORK, now=NOW)
        if said is not None:
            VALID.validate(said)


@pytest.mark.parametrize(
    "framework", ["jp_aml", "jp_mpiupa", "", "https://openid.net/trust_framework/jp_aml", "urn:x:y z", "http://a.example/x"]
)
def test_a_registered_or_unusable_framework_is_refused(framework: str, tmp_path: Path) -> None:
    settings = IdpSettings(
        issuer="https://id.example", data_dir=tmp_path,
        clients=(Client.registered("gateway", Secret("s" * 43), redirect_uris=("https://p.example/cb",)),),
    )  # fmt: skip
    settings.check()
    msgspec.structs.replace(settings, trust_framework="https://hospital.example/trust/staff:1").check()
    with pytest.raises(ConfigError, match="trust_framework"):
        msgspec.structs.replace(settings, trust_framework=framework).check()
