from typing import Any

import msgspec
import pytest
from fido2 import cbor

from idp.factors import fido2
from idp.factors.fido2 import CeremonyRefused, RelyingParty
from idp.model import Fido2Credential, User
from tests.support.authenticator import BE, BS, UP, UV, SoftKey, b64, unb64

ORIGIN = "http://id.localhost:8080"
PARTY = RelyingParty(id="id.localhost", origin=ORIGIN, name="Access Gateway")
SATO = User(id="usr_sato", login="dr.sato", name="佐藤 恵", roles=("physician",))
CHALLENGE = bytes(range(32))


def registered(key: SoftKey, user: User = SATO, **wrong: object) -> Fido2Credential:
    options, ceremony = fido2.begin_registration(PARTY, user, [], CHALLENGE)
    return fido2.complete_registration(
        PARTY, ceremony, key.create(options, ORIGIN, **wrong).encode(), "名札のキー", 1_800_000_000
    )


@pytest.mark.parametrize("algorithm", [-7, -8, -257])
def test_a_key_is_registered_and_signs_in(algorithm: int) -> None:
    key = SoftKey(algorithm=algorithm)
    credential = registered(key)
    assert credential.user_id == "usr_sato"
    assert credential.label == "名札のキー"
    assert credential.id == b64(key.credential_id)
    options, ceremony = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    answer = key.get(options, ORIGIN).encode()
    assert fido2.unverified_credential_id(answer) == credential.id
    assertion = fido2.complete_assertion(PARTY, ceremony, credential, answer)
    assert (assertion.user_id, assertion.credential_id, assertion.sign_count) == ("usr_sato", credential.id, 1)


def test_the_browser_is_asked_for_what_we_rely_on() -> None:
    key = SoftKey()
    credential = registered(key)
    options, ceremony = fido2.begin_registration(PARTY, SATO, [credential], CHALLENGE)
    assert options["rp"] == {"id": "id.localhost", "name": "Access Gateway"}
    assert unb64(options["user"]["id"]) == b"usr_sato"
    assert (options["user"]["name"], options["user"]["displayName"]) == ("dr.sato", "佐藤 恵")
    assert unb64(options["challenge"]) == CHALLENGE
    assert [parameter["alg"] for parameter in options["pubKeyCredParams"]] == [-7, -8, -257]
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert [item["id"] for item in options["excludeCredentials"]] == [credential.id]
    assert ceremony.user_id == "usr_sato"
    msgspec.json.encode(options)  # it is JSON
    options, ceremony = fido2.begin_assertion(PARTY, "usr_sato", [credential], CHALLENGE)
    assert options["userVerification"] == "required"
    assert options["rpId"] == "id.localhost"
    assert [item["id"] for item in options["allowCredentials"]] == [credential.id]
    assert msgspec.json.decode(msgspec.json.encode(ceremony), type=fido2.Ceremony) == ceremony


def test_asking_nobody_in_particular_names_no_key() -> None:
    options, ceremony = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    assert "allowCredentials" not in options
    assert ceremony.user_id == ""


def test_a_named_person_without_keys_is_never_asked_for_anybodys() -> None:
    with pytest.raises(ValueError, match="at least one key"):
        fido2.begin_assertion(PARTY, "usr_sato", [], CHALLENGE)
    with pytest.raises(ValueError, match="named person's"):
        fido2.begin_assertion(PARTY, "usr_suzuki", [registered(SoftKey())], CHALLENGE)
    with pytest.raises(ValueError, match="32 random bytes"):
        fido2.begin_assertion(PARTY, "", [], b"short")


def test_a_passkey_that_is_synchronised_is_accepted_and_known_as_such() -> None:
    key = SoftKey(flags=UP | UV | BE | BS)
    credential = registered(key)
    assert credential.backup_eligible
    key.flags = UP | UV | BE  # no longer backed up: allowed to change
    options, ceremony = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    assert fido2.complete_assertion(PARTY, ceremony, credential, key.get(options, ORIGIN).encode()).sign_count == 1


def test_a_key_that_does_not_count_stays_at_zero() -> None:
    key = SoftKey()
    credential = registered(key)
    options, ceremony = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    assert fido2.complete_assertion(PARTY, ceremony, credential, key.get(options, ORIGIN, counter=0).encode()).sign_count == 0


def test_an_attestation_that_nobody_asked_for_is_not_judged() -> None:
    statement = {"alg": -7, "sig": b"not checked", "x5c": [b"not a certificate"]}
    assert registered(SoftKey(), fmt="packed", statement=statement).sign_count == 0


def test_a_hint_of_the_person_makes_the_user_handle_unnecessary() -> None:
    key = SoftKey()
    credential = registered(key)
    options, ceremony = fido2.begin_assertion(PARTY, "usr_sato", [credential], CHALLENGE)
    key.user_handle = None
    assert fido2.complete_assertion(PARTY, ceremony, credential, key.get(options, ORIGIN).encode()).user_id == "usr_sato"


def test_a_registration_without_a_key_in_it_is_refused() -> None:
    options, ceremony = fido2.begin_registration(PARTY, SATO, [], CHALLENGE)
    answer = msgspec.json.decode(SoftKey().create(options, ORIGIN))
    parsed: Any = cbor.decode(unb64(answer["response"]["attestationObject"]))
    bare = parsed["authData"][:32] + bytes([UP | UV]) + parsed["authData"][33:37]
    answer["response"]["attestationObject"] = b64(cbor.encode({**parsed, "authData": bare}))
    with pytest.raises(CeremonyRefused) as refused:
        fido2.complete_registration(PARTY, ceremony, msgspec.json.encode(answer), "x", 0)
    assert refused.value.flaw == "malformed"
