"""What an institution says of its own verification: the settings of `[idp.jpki]`, and the certificate profiles."""

from pathlib import Path
from typing import Final, Literal

import msgspec

from gateway.kernel.errors import ConfigError

Kind = Literal["sign", "auth"]
"""Which of the card's two certificates: the signing certificate (署名用) or the user-authentication one (利用者証明用)."""

AUTH_POLICY: Final = "1.2.392.200149.8.5.1.3.30"
SIGN_POLICY: Final = "1.2.392.200149.8.5.1.1.20"
TEST_POLICY: Final = "1.2.392.200149.8.5.1.0.20"
"""J-LIS's test environment."""

DIGITAL_SIGNATURE: Final = 1 << 0
NON_REPUDIATION: Final = 1 << 1


class RootFile(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate of one of the two CAs, and what it must be."""

    file: Path
    """PEM or DER."""
    sha256: str
    """The fingerprint that J-LIS prints, of the DER: 64 hex digits. Colons and blanks do not matter."""


class JpkiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[idp.jpki]`. The factory checks it as a whole and raises ConfigError."""

    verifier: str
    """Who verifies, as it is recorded and as the signed text names them: the institution, or the certified verifier it is a
    client of."""
    institution: str
    """For whom the person signs, as the signed text names them."""
    certificate: Kind = "sign"
    """The certificate that is asked for. `auth` names nobody: the desk recognises only cards that were used before."""
    environment: Literal["production", "test"] = "production"
    """`test`: certificates of J-LIS's test environment count, and no others. Pages say that nobody is really checked."""
    roots: tuple[RootFile, ...] = ()
    """The CA of the certificate that is asked for (and never the other one's), in every generation of which cards are alive."""
    more_policies: tuple[str, ...] = ()
    """Further certificate policies to accept, as those of phones: only what your contract with J-LIS names."""
    crl_folder: Path | None = None
    """Folder with the CA's revocation lists (`*.crl`, DER), delivered by renaming. Either this or `ocsp_url`."""
    crl_hours: int = 36
    """A list that is older does not count, whatever it says itself."""
    ocsp_url: str = ""
    """The CA's OCSP responder for verifiers."""
    ocsp_minutes: int = 60
    """An OCSP answer that is older does not count."""
    ocsp_nonce: bool = True
    """The responder repeats our nonce. False only for one that can't: then an old answer counts for `ocsp_minutes`."""
    ocsp_no_check: bool = True
    """A delegated responder's certificate must say that it needs no check itself (id-pkix-ocsp-nocheck)."""
    ocsp_seconds: int = 5
    """How long the responder may take."""
    valid_days: int = 1826
    """A proofing ends after this many days, or with the certificate."""


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """What a certificate must be to count."""

    policies: frozenset[str]
    key_usage: int
    """Exactly these bits."""
    attributes: bool
    """It names its holder."""


def profile_of(settings: JpkiSettings) -> Profile:
    """Return the profile of the certificate that is asked for."""
    if settings.certificate == "auth":  # of this one no policy of the test environment is known
        policies = {AUTH_POLICY} if settings.environment == "production" or not settings.more_policies else set[str]()
        usage = DIGITAL_SIGNATURE
    else:
        policies = {SIGN_POLICY if settings.environment == "production" else TEST_POLICY}
        usage = DIGITAL_SIGNATURE | NON_REPUDIATION
    return Profile(
        policies=frozenset(policies | set(settings.more_policies)), key_usage=usage, attributes=settings.certificate == "sign"
    )


def refuse_unusable(settings: JpkiSettings) -> None:
    """Raise ConfigError where the settings contradict themselves."""
    for value, name in ((settings.verifier, "verifier"), (settings.institution, "institution")):
        if not value.strip() or not value.isprintable():
            raise ConfigError("is empty, or has characters that can't be seen", where=f"idp.jpki.{name}", todo="Name them.")
    if not settings.roots:
        raise ConfigError(
            "there is no root certificate", where="idp.jpki.roots",
            todo=f"List the {settings.certificate} CA's certificates of every living generation, each with its fingerprint.",
        )  # fmt: skip
    if (settings.crl_folder is None) == (not settings.ocsp_url):
        raise ConfigError(
            "revocation is asked in exactly one way", where="idp.jpki",
            todo="Set crl_folder (the verifier's revocation lists) or ocsp_url (its responder), and not both.",
        )  # fmt: skip
    if settings.environment == "production" and TEST_POLICY in settings.more_policies:
        raise ConfigError(
            "certificates of the test environment prove nothing about anybody", where="idp.jpki.more_policies",
            todo='Remove the test policy, or say environment = "test".',
        )  # fmt: skip
    if settings.ocsp_url and not settings.ocsp_url.startswith(("http://", "https://")):
        raise ConfigError("is no http or https address", where="idp.jpki.ocsp_url", todo="Use the one in your contract.")
    for number, name in (
        (settings.crl_hours, "crl_hours"), (settings.ocsp_minutes, "ocsp_minutes"), (settings.ocsp_seconds, "ocsp_seconds"),
        (settings.valid_days, "valid_days"),
    ):  # fmt: skip
        if number < 1:
            raise ConfigError("must be at least 1", where=f"idp.jpki.{name}", todo="Nothing is fresh for no time at all.")
