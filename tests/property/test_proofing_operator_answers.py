"""Any JSON that a platform operator may answer ends a proofing somehow, and only a card called good proofs anybody."""

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from idp.proofing.platform_operator.answers import Limits, challenge_values, outcome, references, standing, transaction_of
from idp.proofing.platform_operator.client import Reply
from idp.proofing.platform_operator.pointers import MISSING, look
from idp.proofing.platform_operator.profile import load_profile
from idp.proofing.port import Broken, NotProofed, Proofed, Revoked, Unknown, Valid

NOW = 1_800_000_000
LIMITS = Limits(begun_at=NOW - 60, now=NOW, skew_seconds=300, valid_seconds=86_400)
VALUES = {"digest": "ZGlnZXN0", "nonce": "nonce"}
VERIFIED: dict[str, Any] = {
    "verification": {"id": "v-1", "result": "RESULT_OK", "digest": "ZGlnZXN0", "createdAt": "2027-01-15T07:59:30.123456789Z"},
    "certificate": {"id": "c-1", "type": "TYPE_JPKI_CARD_DIGITAL_SIGNATURE"},
    "certificateStatus": {"status": "STATUS_GOOD"},
    "certificateContent": {
        "validity": {"notAfter": "2030-01-01T00:00:00Z"},
        "jpkiCardDigitalSignatureContent": {
            "commonName": "佐藤　恵", "substituteCharacterOfCommonName": "0100", "dateOfBirth": "319840512",
        },
    },
    "user": {"id": "u-1"},
}  # fmt: skip
SESSION = {"metadata": {"nonce": "nonce"}, "results": [{"digitalSignature": {"result": VERIFIED}}]}
SOUND = {"pocketsign-verify-v2": VERIFIED, "pocketsign-stamp-v1": SESSION}
PROFILES = {name: load_profile(name) for name in SOUND}

WORDS = st.sampled_from([
    "RESULT_OK", "RESULT_SIGNATURE_MISMATCH", "STATUS_GOOD", "STATUS_REVOKED", "STATUS_EXPIRED", "STATUS_UNKNOWN", "STATE_GOOD",
    "TYPE_JPKI_CARD_DIGITAL_SIGNATURE", "ZGlnZXN0", "nonce", "v-1", "a/b", "invalid_argument", "2027-01-15T08:00:00Z",
    "9999-99-99",
])  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | WORDS
ANY = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4), max_leaves=20
)
STATUS = st.sampled_from([200, 400, 404, 409, 422])


def paths(document: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document."""
    found = [here] if here else []
    items = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    for name, part in items:
        found += paths(part, (*here, name))
    return found


def put(document: Any, place: tuple[str | int, ...], value: Any) -> Any:
    """Return a copy with another value there."""
    changed = copy.deepcopy(document)
    part = changed
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    return changed


def state_in(name: str, document: Any) -> Any:
    prefix = "" if name == "pocketsign-verify-v2" else "/results/0/digitalSignature/result"
    return look(document, (f"{prefix}/certificateStatus/status",))


@pytest.mark.parametrize("name", sorted(SOUND))
def test_a_sound_answer_proofs(name: str) -> None:
    result = outcome(PROFILES[name], Reply(status=200, document=SOUND[name]), VALUES, LIMITS)
    assert isinstance(result, Proofed)
    assert result.transaction == "v-1/u-1"
    assert result.expires_at == NOW + 86_400
    assert result.attributes is not None
    assert result.attributes.substitutes == (2,)
    assert "佐藤" not in repr(result)


@pytest.mark.parametrize("name", sorted(SOUND))
@given(status=STATUS, document=ANY)
def test_any_json_is_an_outcome(name: str, status: int, document: Any) -> None:
    result = outcome(PROFILES[name], Reply(status=status, document=document), VALUES, LIMITS)
    assert isinstance(result, NotProofed | Broken)


@pytest.mark.parametrize("name", sorted(SOUND))
@settings(suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_sound_answer_with_one_thing_changed(name: str, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from(paths(SOUND[name])))
    document = put(SOUND[name], place, data.draw(ANY))
    result = outcome(PROFILES[name], Reply(status=data.draw(STATUS), document=document), VALUES, LIMITS)
    assert isinstance(result, Proofed | NotProofed | Broken)
    if isinstance(result, Broken):
        assert len(result.detail) <= 200
        assert result.detail.isprintable()
    if isinstance(result, Proofed):
        assert state_in(name, document) == "STATUS_GOOD"
        assert result.level == 3
        assert result.expires_at is not None
        assert NOW < result.expires_at <= NOW + 86_400
        assert references(result.transaction) is not None
        assert result.transaction.endswith(f"/{result.person.reveal()}")


@pytest.mark.parametrize("name", sorted(SOUND))
@given(state=st.text(max_size=30) | WORDS)
def test_no_other_word_than_good_proofs(name: str, state: str) -> None:
    place = ("certificateStatus", "status")
    where = place if name == "pocketsign-verify-v2" else ("results", 0, "digitalSignature", "result", *place)
    result = outcome(PROFILES[name], Reply(status=200, document=put(SOUND[name], where, state)), VALUES, LIMITS)
    assert isinstance(result, Proofed) == (state == "STATUS_GOOD")


@given(status=STATUS, document=ANY)
def test_any_json_is_a_standing(status: int, document: Any) -> None:
    recheck = PROFILES["pocketsign-verify-v2"].recheck
    assert recheck is not None
    result = standing(recheck.state, Reply(status=status, document=document))
    assert isinstance(result, Unknown)


@given(word=st.text(max_size=20) | st.sampled_from(["STATE_GOOD", "STATE_REVOKED", "STATE_EXPIRED", "STATE_UNKNOWN"]))
def test_only_good_holds_and_only_revoked_ends(word: str) -> None:
    recheck = PROFILES["pocketsign-verify-v2"].recheck
    assert recheck is not None
    result = standing(recheck.state, Reply(status=200, document={"certificateState": word}))
    assert isinstance(result, Valid) == (word in {"STATE_GOOD", "STATUS_GOOD"})
    assert isinstance(result, Revoked) == (word in {"STATE_REVOKED", "STATUS_REVOKED"})


@given(status=STATUS, document=ANY)
def test_any_json_is_a_challenge_or_none(status: int, document: Any) -> None:
    assert isinstance(challenge_values(PROFILES["pocketsign-stamp-v1"], Reply(status=status, document=document)), Broken)


@given(text=st.text(max_size=60))
def test_a_kept_reference_is_two_names_or_none(text: str) -> None:
    found = references(text)
    assert found is None or transaction_of(*found) == text


def test_the_places_of_a_document_are_all_looked_at() -> None:
    assert all(look(VERIFIED, ("/" + "/".join(map(str, place)),)) is not MISSING for place in paths(VERIFIED))
