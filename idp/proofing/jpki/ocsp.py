"""Asks with OCSP (RFC 6960) and judges what comes back. Pure: `idp.proofing.jpki.responder` does the talking."""

import hashlib
from datetime import datetime
from typing import Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import CRLEntryExtensionOID, OCSPExtensionOID, SignatureAlgorithmOID

from gateway.kernel.secret import same
from idp.proofing.jpki import certificate as own
from idp.proofing.jpki.certificate import Certificate, authority_key, is_ca, is_signed, key_usage, parse_certificate
from idp.proofing.jpki.checks import responder_usages
from idp.proofing.jpki.roots import Root
from idp.proofing.jpki.settings import DIGITAL_SIGNATURE
from idp.proofing.jpki.standing import Good, NoAnswer, RevokedThere, Standing

NONCE_BYTES: Final = 32
_AHEAD: Final = 300
"""How far the responder's clock may be ahead of ours, in seconds."""
_NAMES_BY: Final = SHA1()  # noqa: S303  how every responder names a certificate (RFC 5019 §2.1.1); nothing is signed with it
_UNREADABLE: Final = (
    ValueError, x509.DuplicateExtension, x509.InvalidVersion, x509.UnsupportedGeneralNameType, UnsupportedAlgorithm,
)  # fmt: skip
"""What pyca raises for bytes that are no answer; our own Malformed is a ValueError."""
_KNOWN: Final = frozenset({OCSPExtensionOID.NONCE})
_KNOWN_OF_ONE: Final = frozenset({CRLEntryExtensionOID.CRL_REASON})
_RESPONDER_UNDERSTOOD: Final = frozenset(
    {own.BASIC_CONSTRAINTS, own.KEY_USAGE, own.POLICIES, own.ALTERNATIVE_NAME, own.EXTENDED_USAGE}
)


class Demands(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer must be to count."""

    age: int
    """Seconds."""
    nonce: bool
    no_check: bool


def ask(certificate: Certificate, root: Root, nonce: bytes) -> bytes:
    """Return the request's DER. `nonce` empty: the responder can't repeat one."""
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        _hash(root.certificate.subject), root.certificate.key_hash, certificate.serial, _NAMES_BY
    )
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def judge(data: bytes, certificate: Certificate, root: Root, nonce: bytes, *, demands: Demands, now: float) -> Standing:
    """Return what the answer says of the certificate. Raises nothing, whatever the bytes are."""
    try:
        return _judge(data, certificate, root, nonce, demands, now)
    except _UNREADABLE:
        return _none("is malformed")


def _judge(data: bytes, certificate: Certificate, root: Root, nonce: bytes, demands: Demands, now: float) -> Standing:
    response = ocsp.load_der_ocsp_response(data)
    if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        return _none(f"is the error {response.response_status.name}")
    # Who signed it, before anything in it counts.
    if response.signature_algorithm_oid != SignatureAlgorithmOID.RSA_WITH_SHA256:
        return _none("is not signed with sha256WithRSAEncryption")
    signer = _signer(response, root, demands, now)
    if signer is None or not is_signed(signer.key(), response.signature, response.tbs_response_bytes):
        return _none("is signed by nobody who may")
    if any(extension.critical and extension.oid not in _KNOWN for extension in response.extensions):
        return _none("has a critical extension that is not understood")
    if demands.nonce and not _repeats(response, nonce):
        return _none("does not repeat our nonce: it is not for this question")
    return _of_one(response, certificate, root, demands, now)


def _of_one(response: ocsp.OCSPResponse, certificate: Certificate, root: Root, demands: Demands, now: float) -> Standing:
    answers = list(response.responses)
    if len(answers) != 1 or not _is_about(answers[0], certificate, root):
        return _none("is about another certificate")
    answer = answers[0]
    if any(extension.critical and extension.oid not in _KNOWN_OF_ONE for extension in response.single_extensions):
        return _none("has a critical extension that is not understood")
    this, following = _seconds(answer.this_update_utc), answer.next_update_utc
    if this - _AHEAD > now or now - this >= demands.age or _seconds(response.produced_at_utc) - _AHEAD > now:
        return _none("is too old, or from the future")
    if following is not None and _seconds(following) <= now:
        return _none("is over")
    match answer.certificate_status:
        case ocsp.OCSPCertStatus.GOOD:
            return Good()
        case ocsp.OCSPCertStatus.REVOKED:
            return RevokedThere()
        case _:
            return _none("does not know the certificate")


def _signer(response: ocsp.OCSPResponse, root: Root, demands: Demands, now: float) -> Certificate | None:
    """Return the CA's certificate, or that of a responder to whom the CA delegated (RFC 6960 §4.2.2.2)."""
    delegates = response.certificates
    for signer in (root.certificate, *(parse_certificate(found.public_bytes(Encoding.DER)) for found in delegates[:3])):
        name, key_hash = response.responder_name, response.responder_key_hash
        if name is not None and name.public_bytes() != signer.subject:
            continue
        if key_hash is not None and key_hash != signer.key_hash:
            continue
        if signer is root.certificate or _delegated(signer, root, demands, now):
            return signer
    return None


def _delegated(signer: Certificate, root: Root, demands: Demands, now: float) -> bool:
    extensions = signer.extensions
    return (
        signer.issuer == root.certificate.subject
        and authority_key(extensions) in {b"", root.key_id}
        and is_signed(root.key, signer.signature, signer.signed)
        and signer.not_before <= now < signer.not_after
        and responder_usages(signer) == [own.OCSP_SIGNING]
        and key_usage(extensions) & DIGITAL_SIGNATURE == DIGITAL_SIGNATURE
        and not is_ca(extensions)
        and not any(extension.critical and name not in _RESPONDER_UNDERSTOOD for name, extension in extensions.items())
        and (not demands.no_check or own.OCSP_NO_CHECK in extensions)
    )


def _repeats(response: ocsp.OCSPResponse, nonce: bytes) -> bool:
    found = [extension.value for extension in response.extensions if extension.oid == OCSPExtensionOID.NONCE]
    return len(found) == 1 and isinstance(found[0], x509.OCSPNonce) and bool(nonce) and same(found[0].nonce.hex(), nonce.hex())


def _is_about(answer: ocsp.OCSPSingleResponse, certificate: Certificate, root: Root) -> bool:
    if isinstance(answer.hash_algorithm, SHA1):
        name, key = _hash(root.certificate.subject), root.certificate.key_hash
    else:  # we named it by SHA-1: a responder that answers with another name answers another question
        return False
    return (answer.serial_number, answer.issuer_name_hash, answer.issuer_key_hash) == (certificate.serial, name, key)


def _hash(content: bytes) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()


def _seconds(moment: datetime) -> float:
    return moment.timestamp()


def _none(what: str) -> NoAnswer:
    return NoAnswer(detail=f"jpki: the OCSP answer {what}")
