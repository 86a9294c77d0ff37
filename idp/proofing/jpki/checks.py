"""The check list: what a signature with a My Number Card goes through before it means anything. Pure, but for the last number.

Each number stands above its code, in this package.

 1. the answer's fields are of their size and in base64's one spelling (`text`)
 2. one certificate in strict DER, no byte after it (`certificate`)
 3. version 3, a serial number that is positive and at most 20 bytes long (`certificate`)
 4. sha256WithRSAEncryption, inside and outside the same (`certificate`)
 5. an RSA key of 2048 bits whose exponent is odd and at least 65537 (`certificate`)
 6. the kind of certificate that was asked for
 7. its issuer is, byte for byte, the subject of a pinned root of the right CA
 8. it names that root's key (AKI = SKI): both generations of a CA have the same name
 9. that key signed it
10. it is no CA's
11. its KeyUsage is critical and exactly the profile's
12. its policy is exactly one of the profile's
13. it has no critical extension that is not understood, and is no OCSP responder's
14. it is in force now, and so is the root
15. the text that was signed is the one of this very beginning, not older than it may be (`backend`; the desk used it up already)
16. the signature is over that text and nothing else, with the certificate's key
17. the attributes are there as the profile has them (`attributes`)
18. it is not revoked (`crl`, `folder`, `ocsp`)

Revocation comes last: the CA is asked about no certificate whose holder was not there. Issuer and signature come before what the
certificate says of itself, so that "expired" is only said of genuine cards.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from idp.proofing.jpki import certificate as x509
from idp.proofing.jpki import der
from idp.proofing.jpki.attributes import parse_attributes
from idp.proofing.jpki.certificate import (
    Certificate,
    authority_key,
    is_ca,
    is_signed,
    key_usage,
    parse_certificate,
)
from idp.proofing.jpki.der import Fields, Malformed
from idp.proofing.jpki.roots import Root
from idp.proofing.jpki.settings import Profile
from idp.proofing.port import Broken, NotProofed, Verified

_UNDERSTOOD: Final = frozenset(
    {x509.BASIC_CONSTRAINTS, x509.KEY_USAGE, x509.POLICIES, x509.ALTERNATIVE_NAME, x509.AUTHORITY_KEY, x509.SUBJECT_KEY}
)


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """A genuine certificate of a card that was there. Whether it is revoked was not asked yet."""

    certificate: Certificate
    root: Root
    attributes: Verified | None


def judge(
    certificate_der: bytes, signature: bytes, text: bytes, *, profile: Profile, roots: Iterable[Root], now: float
) -> Judged | NotProofed | Broken:
    """Go through 2 to 14, 16 and 17. `text`: what had to be signed. Raises nothing, whatever the bytes are."""
    try:
        certificate = parse_certificate(certificate_der)
        root = issuer_of(certificate, roots)
        if root is None or not fits(certificate, profile):
            return NotProofed(reason="wrong_card")
        untimely = _untimely(certificate, root, now)
        if untimely is not None:
            return untimely
        # [16] over this text, these bytes and no others; with the library's verification
        if not is_signed(certificate.key(), signature, text):
            return NotProofed(reason="unusable_answer")
        # [17] the attributes, where the profile has any
        attributes = parse_attributes(certificate.extensions) if profile.attributes else None
    except Malformed:
        return NotProofed(reason="unusable_answer")
    return Judged(certificate=certificate, root=root, attributes=attributes)


def issuer_of(certificate: Certificate, roots: Iterable[Root]) -> Root | None:
    """Return the root that issued it; None when none of these did."""
    key_id = authority_key(certificate.extensions)
    for root in roots:
        # [7] the issuer's name is the root's subject, byte for byte
        if certificate.issuer != root.certificate.subject:
            continue
        # [8] the key that it names is the root's
        if not key_id or key_id != root.key_id:
            continue
        # [9] the root's key signed it
        if is_signed(root.key, certificate.signature, certificate.signed):
            return root
    return None


def fits(certificate: Certificate, profile: Profile) -> bool:
    """Whether it is a certificate of this profile."""
    extensions = certificate.extensions
    # [10] no CA's
    if is_ca(extensions):
        return False
    # [11] KeyUsage: critical, and exactly the profile's
    usage = extensions.get(x509.KEY_USAGE)
    if usage is None or not usage.critical or key_usage(extensions) != profile.key_usage:
        return False
    # [12] one policy, and one of the profile's
    if len(policies := _names(extensions, x509.POLICIES)) != 1 or not profile.policies.issuperset(policies):
        return False
    # [13] every critical extension is understood, and it is no OCSP responder's
    if any(extension.critical and name not in _UNDERSTOOD for name, extension in extensions.items()):
        return False
    return x509.OCSP_SIGNING not in _names(extensions, x509.EXTENDED_USAGE)


def _untimely(certificate: Certificate, root: Root, now: float) -> NotProofed | Broken | None:
    # [14] in force now, the root too
    if now < certificate.not_before:
        return NotProofed(reason="card_not_yet_valid")
    if now >= certificate.not_after:
        return NotProofed(reason="card_expired")
    return None if root.in_force(now) else Broken(detail="jpki: the pinned root of this card's CA is not in force")


def _names(extensions: dict[str, x509.Extension], name: str) -> list[str]:
    """Return the identifiers that certificatePolicies (each in a sequence) or extKeyUsage (bare) lists."""
    extension = extensions.get(name)
    if extension is None:
        return []
    found = []
    for element in der.elements(der.one(extension.value).value):
        if element.tag == der.OID:
            found.append(der.oid(element))
        elif element.tag == der.SEQUENCE:
            found.append(der.oid(Fields(element.value).take(der.OID)))
        else:
            raise Malformed("a list of identifiers with something else in it")
    return found


def responder_usages(certificate: Certificate) -> list[str]:
    """Return what extKeyUsage lists: an OCSP responder's must say so (`ocsp`)."""
    return _names(certificate.extensions, x509.EXTENDED_USAGE)
