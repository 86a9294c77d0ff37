"""FIDO2 passkeys and security keys (WebAuthn Level 3): discoverable credentials, user verification always required.

One factor that is two: possession of the key, and the PIN or biometric that it asks for. Attestation is not asked for and not
judged: any key will do. The signatures are python-fido2's work; around it are the checks that it leaves to its caller, and one
error instead of the many that it raises. Bytes are base64url text without padding, as in WebAuthn's JSON.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fido2.cose import ES256, RS256, CoseKey, EdDSA
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorData,
    CollectedClientData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from gateway.kernel.errors import ProtocolError
from idp.model import Fido2Credential, User

Read = TypeVar("Read")

ALGORITHMS: Final = (ES256.ALGORITHM, EdDSA.ALGORITHM, RS256.ALGORITHM)
"""COSE numbers -7, -8, -257, in the order of preference."""
CHALLENGE_BYTES: Final = 32
MAXIMUM_RESPONSE_BYTES: Final = 32_768
TIMEOUT_MS: Final = 120_000
_MAXIMUM_ID_BYTES: Final = 1023  # WebAuthn §7.1 step 25
_MINIMUM_RSA_BITS: Final = 2048
_CRV_P256: Final = 1  # RFC 9053 §7.1
_CRV_ED25519: Final = 6

Flaw = Literal[
    "malformed", "algorithm", "origin", "cross_origin", "challenge", "rp_id", "user_verification", "ceremony",
    "credential_unknown", "credential_of_other", "signature", "counter", "backup",
]  # fmt: skip


class CeremonyRefused(ProtocolError):  # noqa: N818  it names what happened to the ceremony, as the rest of the domain does
    """A registration or assertion does not count. `flaw` is for the log; the person only learns that it did not work."""

    def __init__(self, flaw: Flaw, detail: str) -> None:
        super().__init__(f"WebAuthn ceremony refused ({flaw}): {detail}")
        self.flaw: Final[Flaw] = flaw


class RelyingParty(msgspec.Struct, frozen=True, kw_only=True):
    """Whom keys are registered for. `origin` is compared exactly, port included; `id` is its host name."""

    id: str
    origin: str
    name: str


class Ceremony(msgspec.Struct, frozen=True, kw_only=True):
    """What the server remembers between begin and complete. Once, for one browser, for some minutes: that is the caller's."""

    kind: Literal["create", "get"]
    challenge: str
    user_id: str = ""
    """Whose it must be; empty when anybody may answer (sign-in with a discoverable credential). The user handle (WebAuthn §5.4.3)
    is this id in UTF-8: opaque, and no personal data."""


class Assertion(msgspec.Struct, frozen=True, kw_only=True):
    """A verified touch with PIN or biometric."""

    credential_id: str
    user_id: str
    sign_count: int
    """To store: it is what the next assertion's counter is compared with."""


Options = dict[str, Any]
"""JSON for the browser: the argument of parseCreationOptionsFromJSON / parseRequestOptionsFromJSON."""


def begin_registration(
    party: RelyingParty, user: User, existing: Sequence[Fido2Credential], challenge: bytes
) -> tuple[Options, Ceremony]:
    """Start registering a key for one person. `challenge` is 32 fresh random bytes.

    `existing` keys are excluded, so that the same authenticator is not registered twice.
    """
    options, _ = _server(party).register_begin(
        PublicKeyCredentialUserEntity(id=user.id.encode(), name=user.login, display_name=user.name),
        _descriptors(existing) or None,
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        user_verification=UserVerificationRequirement.REQUIRED,
        challenge=_fresh(challenge),
    )
    return dict(options.public_key), Ceremony(kind="create", challenge=websafe_encode(challenge), user_id=user.id)


def complete_registration(party: RelyingParty, ceremony: Ceremony, response: bytes, label: str, now: int) -> Fido2Credential:
    """Verify the browser's answer (WebAuthn §7.1) and return the key to store. CeremonyRefused when it does not count.

    Not checked here: that the ceremony is unused and this browser's, and that the credential id is new to the store.
    """
    if ceremony.kind != "create" or not ceremony.user_id:
        raise CeremonyRefused("ceremony", "an assertion was begun, not a registration")
    data = _parsed(response)
    registration: RegistrationResponse = _reading(RegistrationResponse.from_dict, data)
    client, attestation = registration.response.client_data, registration.response.attestation_object
    _check_client(party, ceremony, client, "webauthn.create")
    _check_authenticator(party, attestation.auth_data)
    credential = attestation.auth_data.credential_data
    if credential is None:
        raise CeremonyRefused("malformed", "no credential in the attestation object")
    if credential.credential_id != registration.raw_id or not 0 < len(credential.credential_id) <= _MAXIMUM_ID_BYTES:
        raise CeremonyRefused("malformed", "the credential id is empty, too long or not the one attested")
    _reading(_check_key, credential.public_key)
    _reading(lambda answer: _server(party).register_complete(_state(ceremony), answer), data)
    return Fido2Credential(
        id=websafe_encode(credential.credential_id), user_id=ceremony.user_id, label=label, public_data=bytes(credential),
        sign_count=attestation.auth_data.counter, created_at=now, backup_eligible=attestation.auth_data.is_backup_eligible(),
    )  # fmt: skip


def begin_assertion(
    party: RelyingParty, user_id: str, allowed: Sequence[Fido2Credential], challenge: bytes
) -> tuple[Options, Ceremony]:
    """Ask for a touch with user verification. `user_id` empty and no `allowed` keys: of whoever holds a discoverable one.

    A named person without keys can't be asked: ValueError, because an empty list would let the browser offer anybody's.
    """
    if user_id and not allowed:
        raise ValueError("a named person needs at least one key to be asked for it")
    if any(credential.user_id != user_id for credential in allowed):
        raise ValueError("every allowed key must be the named person's")
    options, _ = _server(party).authenticate_begin(
        _descriptors(allowed) or None, user_verification=UserVerificationRequirement.REQUIRED, challenge=_fresh(challenge)
    )
    return dict(options.public_key), Ceremony(kind="get", challenge=websafe_encode(challenge), user_id=user_id)


def unverified_credential_id(response: bytes) -> str:
    """Return which credential an assertion claims to be of, to look it up. Nothing is proved. CeremonyRefused: unreadable."""
    return websafe_encode(_reading(AuthenticationResponse.from_dict, _parsed(response)).raw_id)


def complete_assertion(party: RelyingParty, ceremony: Ceremony, credential: Fido2Credential | None, response: bytes) -> Assertion:
    """Verify an assertion (WebAuthn §7.2) against the stored key that it claims to be of, None when the store knows none.

    CeremonyRefused when it does not count. That includes: the ceremony names somebody else; nobody was named, and the user
    handle is missing or another's; the signature counter did not rise (a copy of the key exists, §6.1.1); the backup flags
    contradict what was registered (§6.1.3).
    Not checked here: that the ceremony is unused and this browser's, and that the counter is still the stored one when it is
    written (`CredentialStore.use_fido2` is for that).
    """
    if ceremony.kind != "get":
        raise CeremonyRefused("ceremony", "a registration was begun, not an assertion")
    data = _parsed(response)
    answer: AuthenticationResponse = _reading(AuthenticationResponse.from_dict, data)
    if credential is None or websafe_encode(answer.raw_id) != credential.id:
        raise CeremonyRefused("credential_unknown", "no such credential is registered")
    if ceremony.user_id and ceremony.user_id != credential.user_id:
        raise CeremonyRefused("credential_of_other", "the credential is not the named person's")
    handle = answer.response.user_handle
    if handle is None and not ceremony.user_id:
        raise CeremonyRefused("credential_of_other", "nobody was named and the answer names nobody")
    if handle is not None and handle != credential.user_id.encode():
        raise CeremonyRefused("credential_of_other", "the user handle is not the credential's")
    authenticator = answer.response.authenticator_data
    _check_client(party, ceremony, answer.response.client_data, "webauthn.get")
    _check_authenticator(party, authenticator)
    attested = AttestedCredentialData(credential.public_data)
    if attested.public_key.ALGORITHM not in ALGORITHMS:
        raise CeremonyRefused("algorithm", f"COSE algorithm {attested.public_key.ALGORITHM} is not allowed")
    _reading(lambda read: _server(party).authenticate_complete(_state(ceremony), [attested], read), data, "signature")
    # After the signature: only the real key's word about itself counts.
    if authenticator.is_backup_eligible() != credential.backup_eligible:
        raise CeremonyRefused("backup", "the backup eligibility flag changed since registration")
    if (authenticator.counter or credential.sign_count) and authenticator.counter <= credential.sign_count:
        raise CeremonyRefused(
            "counter", f"counter {authenticator.counter} after {credential.sign_count}: a copy of the key may exist"
        )
    return Assertion(credential_id=credential.id, user_id=credential.user_id, sign_count=authenticator.counter)


def _server(party: RelyingParty) -> Fido2Server:
    server = Fido2Server(
        PublicKeyCredentialRpEntity(id=party.id, name=party.name),
        attestation=AttestationConveyancePreference.NONE,
        verify_origin=lambda origin: origin == party.origin,
    )
    server.timeout = TIMEOUT_MS  # type: ignore[assignment]  # the library declares it by its default, None
    server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=number) for number in ALGORITHMS
    ]
    return server


def _state(ceremony: Ceremony) -> dict[str, Any]:
    return {"challenge": ceremony.challenge, "user_verification": UserVerificationRequirement.REQUIRED}


def _fresh(challenge: bytes) -> bytes:
    if len(challenge) != CHALLENGE_BYTES:
        raise ValueError(f"a challenge is {CHALLENGE_BYTES} random bytes, not {len(challenge)}")
    return challenge


def _descriptors(keys: Sequence[Fido2Credential]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=websafe_decode(key.id)) for key in keys]


def _parsed(response: bytes) -> Mapping[str, Any]:
    if len(response) > MAXIMUM_RESPONSE_BYTES:
        raise CeremonyRefused("malformed", f"longer than {MAXIMUM_RESPONSE_BYTES} bytes")
    try:
        return msgspec.json.decode(response, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as problem:
        raise CeremonyRefused("malformed", "not a JSON object") from problem


def _reading(read: Callable[[Any], Read | None], data: object, flaw: Flaw = "malformed") -> Read:
    """Run one of the library's readers. It raises ValueError, and whatever hostile bytes provoke in the layers below."""
    try:
        value = read(data)
    except CeremonyRefused:
        raise
    except Exception as problem:  # whatever it is, the answer does not count, and the cause stays attached for the log
        raise CeremonyRefused(flaw, f"{type(problem).__name__}: {problem}") from problem
    if value is None:
        raise CeremonyRefused(flaw, "nothing to read")
    return value


def _check_client(party: RelyingParty, ceremony: Ceremony, client: CollectedClientData, wanted: str) -> None:
    if client.type != wanted:
        raise CeremonyRefused("ceremony", "the browser signed another kind of ceremony")
    if client.origin != party.origin:
        raise CeremonyRefused("origin", "the browser was at another origin")
    if client.cross_origin is not False:
        raise CeremonyRefused("cross_origin", "the page was embedded in another site's")
    if not hmac.compare_digest(client.challenge, websafe_decode(ceremony.challenge)):
        raise CeremonyRefused("challenge", "another challenge was signed")


def _check_authenticator(party: RelyingParty, data: AuthenticatorData) -> None:
    if data.rp_id_hash != PublicKeyCredentialRpEntity(id=party.id, name=party.name).id_hash:
        raise CeremonyRefused("rp_id", "the authenticator answered for another relying party")
    if not data.is_user_present() or not data.is_user_verified():
        raise CeremonyRefused("user_verification", "no PIN or biometric was given")
    if data.is_backed_up() and not data.is_backup_eligible():
        raise CeremonyRefused("backup", "backed up but not eligible for backup")


def _check_key(key: CoseKey) -> CoseKey:
    """Refuse what could never verify or is too weak, now rather than at the first sign-in."""
    if key.ALGORITHM not in ALGORITHMS:
        raise CeremonyRefused("algorithm", f"COSE algorithm {key.get(3)} is not allowed")
    if isinstance(key, RS256):
        exponent, modulus = int.from_bytes(key[-2]), int.from_bytes(key[-1])
        rsa.RSAPublicNumbers(exponent, modulus).public_key()
        if modulus.bit_length() < _MINIMUM_RSA_BITS:
            raise CeremonyRefused("algorithm", f"RSA key of {modulus.bit_length()} bits")
    elif isinstance(key, EdDSA):
        if key[-1] != _CRV_ED25519:
            raise UnsupportedAlgorithm("not Ed25519")
        ed25519.Ed25519PublicKey.from_public_bytes(key[-2])
    else:
        if key[-1] != _CRV_P256:
            raise UnsupportedAlgorithm("not P-256")
        ec.EllipticCurvePublicNumbers(int.from_bytes(key[-2]), int.from_bytes(key[-3]), ec.SECP256R1()).public_key()
    return key
