"""attacks.md section 6, WebAuthn: each input that must not count, by the flaw that it would be."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from fido2 import cbor
from hypothesis import given, settings
from hypothesis import strategies as st

from idp.factors import fido2
from idp.factors.fido2 import Ceremony, CeremonyRefused, RelyingParty
from idp.model import Fido2Credential, User
from tests.support.authenticator import BE, BS, UP, UV, SoftKey, b64, unb64

ORIGIN = "https://id.hospital.example"
PARTY = RelyingParty(id="id.hospital.example", origin=ORIGIN, name="Access Gateway")
SATO = User(id="usr_sato", login="dr.sato", name="佐藤 恵", roles=("physician",))
CHALLENGE = bytes(range(32))

ORIGINS = [
    "https://id.hospital.example.evil.test",
    "https://evil.test",
    "https://sub.id.hospital.example",
    "https://hospital.example",
    "http://id.hospital.example",
    "https://id.hospital.example:8443",
    "https://ID.hospital.example",
    "https://id.hospital.example/",
    "https://id.hospital.example ",
    "null",
    "",
    "android:apk-key-hash:x",
]


def register(key: SoftKey, **wrong: Any) -> Fido2Credential:
    options, ceremony = fido2.begin_registration(PARTY, SATO, [], CHALLENGE)
    answer = key.create(options, wrong.pop("origin", ORIGIN), **wrong)
    return fido2.complete_registration(PARTY, ceremony, answer.encode(), "key", 0)


def sign_in(key: SoftKey, credential: Fido2Credential | None, *, named: str = "", **wrong: Any) -> fido2.Assertion:
    allowed = [credential] if named and credential is not None else []
    options, ceremony = fido2.begin_assertion(PARTY, named if allowed else "", allowed, CHALLENGE)
    answer = key.get(options, wrong.pop("origin", ORIGIN), **wrong)
    return fido2.complete_assertion(PARTY, ceremony, credential, answer.encode())


def flaw_of(act: Callable[[], object]) -> str:
    with pytest.raises(CeremonyRefused) as refused:
        act()
    return refused.value.flaw


@pytest.fixture
def key() -> SoftKey:
    return SoftKey()


@pytest.fixture
def credential(key: SoftKey) -> Fido2Credential:
    return register(key)


@pytest.mark.parametrize("origin", ORIGINS)
def test_wrong_origin(key: SoftKey, credential: Fido2Credential, origin: str) -> None:
    assert flaw_of(lambda: sign_in(key, credential, origin=origin)) == "origin"
    assert flaw_of(lambda: register(SoftKey(), origin=origin)) == "origin"


@pytest.mark.parametrize("rp_id", ["hospital.example", "id.hospital.example.evil.test", "evil.test", "", "ID.hospital.example"])
def test_wrong_rp_id_hash(key: SoftKey, credential: Fido2Credential, rp_id: str) -> None:
    assert flaw_of(lambda: sign_in(key, credential, rp_id=rp_id)) == "rp_id"
    assert flaw_of(lambda: register(SoftKey(), rp_id=rp_id)) == "rp_id"


@pytest.mark.parametrize("value", [True, "true", 1, "false", None])
def test_cross_origin_frame(key: SoftKey, credential: Fido2Credential, value: object) -> None:
    assert flaw_of(lambda: sign_in(key, credential, cross_origin=value)) == "cross_origin"
    assert flaw_of(lambda: register(SoftKey(), cross_origin=value)) == "cross_origin"


@pytest.mark.parametrize("flags", [0, UP, UV])
def test_without_user_verification_or_presence(key: SoftKey, credential: Fido2Credential, flags: int) -> None:
    assert flaw_of(lambda: sign_in(key, credential, flags=flags)) == "user_verification"
    assert flaw_of(lambda: register(SoftKey(), flags=flags)) == "user_verification"


@pytest.mark.parametrize("challenge", [b64(bytes(32)), b64(CHALLENGE[:31]), b64(CHALLENGE + b"\0"), ""])
def test_another_challenge(key: SoftKey, credential: Fido2Credential, challenge: str) -> None:
    assert flaw_of(lambda: sign_in(key, credential, challenge=challenge)) == "challenge"
    assert flaw_of(lambda: register(SoftKey(), challenge=challenge)) == "challenge"


def test_counter_regression(key: SoftKey, credential: Fido2Credential) -> None:
    later = msgspec.structs.replace(credential, sign_count=7)
    for counter in (0, 1, 6, 7):
        assert flaw_of(lambda counter=counter: sign_in(key, later, counter=counter)) == "counter"  # type: ignore[misc]  # a default binds the loop's value
    assert sign_in(key, later, counter=8).sign_count == 8


def test_credential_of_another_user(key: SoftKey, credential: Fido2Credential) -> None:
    of_suzuki = msgspec.structs.replace(register(SoftKey(b"suzukis-key")), user_id="usr_suzuki")
    options, ceremony = fido2.begin_assertion(PARTY, "usr_suzuki", [of_suzuki], CHALLENGE)
    answer = key.get(options, ORIGIN).encode()
    assert flaw_of(lambda: fido2.complete_assertion(PARTY, ceremony, credential, answer)) == "credential_of_other"


def test_user_handle_of_another_user(key: SoftKey, credential: Fido2Credential) -> None:
    assert flaw_of(lambda: sign_in(key, credential, user_handle=b"usr_suzuki")) == "credential_of_other"
    assert flaw_of(lambda: sign_in(key, credential, named="usr_sato", user_handle=b"usr_suzuki")) == "credential_of_other"
    assert flaw_of(lambda: sign_in(key, credential, user_handle=b"")) == "credential_of_other"


def test_no_user_handle_when_nobody_was_named(key: SoftKey, credential: Fido2Credential) -> None:
    key.user_handle = None
    assert flaw_of(lambda: sign_in(key, credential)) == "credential_of_other"


def test_unknown_credential(key: SoftKey, credential: Fido2Credential) -> None:
    assert flaw_of(lambda: sign_in(key, None)) == "credential_unknown"
    assert flaw_of(lambda: sign_in(key, credential, raw_id=b"another")) == "credential_unknown"


def test_signature_of_another_key(key: SoftKey, credential: Fido2Credential) -> None:
    thief = SoftKey(key.credential_id)
    thief.user_handle = key.user_handle
    assert flaw_of(lambda: sign_in(thief, credential)) == "signature"
    assert flaw_of(lambda: sign_in(key, credential, signature=b"")) == "signature"
    assert flaw_of(lambda: sign_in(key, credential, signature=bytes(70))) == "signature"


@pytest.mark.parametrize("algorithm", [-35, -36, -37, -47, -65535, -9, 0, 5])
def test_algorithm_not_in_the_list(algorithm: int) -> None:
    assert flaw_of(lambda: register(SoftKey(algorithm=algorithm))) in {"algorithm", "malformed"}


def test_stored_key_with_an_algorithm_that_is_no_longer_allowed(key: SoftKey, credential: Fido2Credential) -> None:
    head = credential.public_data[: -len(cbor.encode(key._cose()))]
    weak = msgspec.structs.replace(credential, public_data=head + cbor.encode({**key._cose(), 3: -9}))
    assert flaw_of(lambda: sign_in(key, weak)) == "algorithm"


@pytest.mark.parametrize(
    "cose",
    [
        {1: 2, 3: -7, -1: 1, -2: bytes(32), -3: bytes(32)},  # not on the curve
        {1: 2, 3: -7, -1: 2, -2: bytes(32), -3: bytes(32)},  # P-384 said to be ES256
        {1: 1, 3: -8, -1: 7, -2: bytes(57)},  # Ed448
        {1: 1, 3: -8, -1: 6, -2: bytes(31)},
        {1: 3, 3: -257, -1: (1 << 1023 | 1).to_bytes(128), -2: b"\x01\x00\x01"},  # 1024 bits
        {1: 3, 3: -257, -1: (1 << 2047 | 1).to_bytes(256), -2: b"\x02"},  # an even exponent
        {1: 2, 3: -7},
        {},
        {3: "ES256"},
    ],
)
def test_key_that_is_weak_or_none(cose: dict[int, Any]) -> None:
    assert flaw_of(lambda: register(SoftKey(), cose=cbor.encode(cose))) in {"algorithm", "malformed"}


def test_backup_flags_that_contradict(key: SoftKey, credential: Fido2Credential) -> None:
    assert flaw_of(lambda: sign_in(key, credential, flags=UP | UV | BE)) == "backup"  # it was no passkey
    assert flaw_of(lambda: sign_in(key, credential, flags=UP | UV | BS)) == "backup"
    assert flaw_of(lambda: register(SoftKey(), flags=UP | UV | BS)) == "backup"
    passkey = SoftKey(flags=UP | UV | BE)
    registered = register(passkey)
    assert flaw_of(lambda: sign_in(passkey, registered, flags=UP | UV)) == "backup"


def test_a_registration_passed_off_as_an_assertion(key: SoftKey, credential: Fido2Credential) -> None:
    assert flaw_of(lambda: sign_in(key, credential, type="webauthn.create")) == "ceremony"
    assert flaw_of(lambda: register(SoftKey(), type="webauthn.get")) == "ceremony"
    options, get = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    created, create = fido2.begin_registration(PARTY, SATO, [], CHALLENGE)
    answer, made = key.get(options, ORIGIN).encode(), key.create(created, ORIGIN).encode()
    assert flaw_of(lambda: fido2.complete_assertion(PARTY, create, credential, answer)) == "ceremony"
    assert flaw_of(lambda: fido2.complete_registration(PARTY, get, made, "key", 0)) == "ceremony"
    assert (
        flaw_of(lambda: fido2.complete_registration(PARTY, Ceremony(kind="create", challenge=""), made, "key", 0)) == "ceremony"
    )


def test_credential_id_that_is_not_the_attested_one_or_too_long() -> None:
    assert flaw_of(lambda: register(SoftKey(), raw_id=b"another")) == "malformed"
    assert flaw_of(lambda: register(SoftKey(b"x" * 1024))) == "malformed"
    assert flaw_of(lambda: register(SoftKey(b""))) == "malformed"


def test_an_unsaid_model_is_accepted_since_nobody_asks_for_attestation() -> None:
    assert register(SoftKey(), aaguid=bytes(16)).id


def test_endless_answer() -> None:
    _, ceremony = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    assert flaw_of(lambda: fido2.unverified_credential_id(b'{"id":"' + b"A" * 40_000 + b'"}')) == "malformed"
    assert flaw_of(lambda: fido2.complete_assertion(PARTY, ceremony, None, b"[" * 30_000)) == "malformed"


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=5),
            max_leaves=12,
        ).map(msgspec.json.encode),
    )
)
def test_garbage_is_refused_with_the_one_error(data: bytes) -> None:
    _, get = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    _, create = fido2.begin_registration(PARTY, SATO, [], CHALLENGE)
    for act in (
        lambda: fido2.unverified_credential_id(data),
        lambda: fido2.complete_assertion(PARTY, get, None, data),
        lambda: fido2.complete_registration(PARTY, create, data, "key", 0),
    ):
        with pytest.raises(CeremonyRefused):
            act()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_flipped_bit_anywhere_is_refused(data: st.DataObject) -> None:
    key = SoftKey(algorithm=-8)  # whose signatures are all of one length
    credential = register(key)
    options, ceremony = fido2.begin_assertion(PARTY, "", [], CHALLENGE)
    answer = msgspec.json.decode(key.get(options, ORIGIN))
    field = data.draw(st.sampled_from(["clientDataJSON", "authenticatorData", "signature", "userHandle"]))
    raw = bytearray(unb64(answer["response"][field]))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    answer["response"][field] = b64(bytes(raw))
    with pytest.raises(CeremonyRefused):
        fido2.complete_assertion(PARTY, ceremony, credential, msgspec.json.encode(answer))
