"""What an institution agrees with the Digital Agency, as data."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.proofing.wire import checked_url

Algorithm = Literal["ES256", "RS256"]
Attribute = Literal["name", "birthdate"]

ISSUERS: Final[Mapping[str, str]] = {
    "production": "https://auth-and-sign.go.jp/api/realms/main",
    "sandbox": "https://sb-auth-and-sign.go.jp/api/realms/main",
}
"""The two that are published."""
RETURN_PATH: Final = "/login/proofing/return"
_WHERE: Final = "idp.digital_agency"
_CLIENT_ID: Final = re.compile(r"[0-9a-zA-Z]{1,255}")
_MAX_REDIRECT: Final = 255
_LEVELS: Final = (1, 2, 3)


class DigitalAgencySettings(msgspec.Struct, frozen=True, kw_only=True):
    """One registration at one environment of the service. `checked` must be called before use."""

    issuer: str = "sandbox"
    """`production`, `sandbox`, or the URL of a stand-in (then `stand_in` must be true)."""
    stand_in: bool = False
    """Whether `issuer` may be another than the two published: for tests and rehearsals. It proofs nobody."""
    client_id: str
    """Given by the agency: letters and digits."""
    redirect_uri: str
    """The identity provider's origin and `/login/proofing/return`, as registered, to the letter. At most 255 characters."""
    private_key: Secret
    """PEM of the key whose public half was submitted: P-256 for ES256, RSA of at least 2048 bits for RS256."""
    key_id: str = ""
    """`kid` of that key as registered; empty: its JWK thumbprint (RFC 7638)."""
    assertion_algorithm: Algorithm = "ES256"
    """With which we authenticate (`private_key_jwt`). Sources disagree on what the service takes; the registration says."""
    assertion_audience: str = ""
    """`aud` of that assertion; empty: the token endpoint."""
    id_token_algorithms: tuple[Algorithm, ...] = ("ES256",)
    """What an ID token may be signed with."""
    attributes: tuple[Attribute, ...] = ("name", "birthdate")
    """Which of the card's attributes are asked for, by scopes of these names. Matching needs both. Never address, gender."""
    kana_claim: str = ""
    """Name of a userinfo claim with the name in kana; empty: none. No such claim is documented."""
    acr_values: str = "aal3 crl"
    """Level, and how revocation is looked up: the documented example. Other words are not known. Empty: not sent."""
    acr_accepted: tuple[str, ...] = ()
    """Values of the ID token's `acr` to accept as they are, where it is not made of the words of `acr_values`. The connection
    test shows them."""
    acr_required: bool = False
    """Whether an ID token without `acr` is refused. Set it once the connection test has shown that it is sent."""
    level: int = 3
    """Identity assurance level that a result counts as."""
    valid_days: int = 365
    """When a result ends by itself. The service tells neither the certificate's end nor, later, its revocation: keep it short."""
    skew_seconds: int = 60
    """How far the service's clock may be from ours."""
    total_seconds: float = 8.0
    """For one exchange with the service; the desk allows 30 for all three."""
    connect_seconds: float = 4.0
    """For its connection."""
    check_discovery: bool = False
    """Whether the endpoints, which follow from the issuer, are compared once with the service's discovery document."""
    ca_file: Path | None = None
    """PEM of the authorities that certify the service; None: the system's."""

    @property
    def issuer_url(self) -> str:
        """The issuer, as it stands in tokens."""
        return ISSUERS.get(self.issuer, self.issuer)

    def endpoint(self, name: Literal["auth", "token", "userinfo", "certs"]) -> str:
        """Return an endpoint's URL: they follow from the issuer."""
        return f"{self.issuer_url}/protocol/openid-connect/{name}"

    @property
    def scope(self) -> str:
        """What is asked for."""
        return " ".join(("openid", *self.attributes))

    def checked(self) -> "DigitalAgencySettings":
        """Return these settings, or raise ConfigError. The private key is looked at by `assertion`."""
        issuer = self.issuer_url
        checked_url(issuer, f"{_WHERE}.issuer")
        _must(not issuer.endswith("/"), "issuer", "it ends in a slash", "Write it as it stands in the service's tokens.")
        _must(
            issuer in ISSUERS.values() or self.stand_in, "issuer", "it is none of the service's published issuers",
            'Write "production" or "sandbox"; for a stand-in set stand_in = true.',
        )  # fmt: skip
        _must(_CLIENT_ID.fullmatch(self.client_id) is not None, "client_id", "it is not 1 to 255 letters and digits", "Copy it.")
        redirect = checked_url(self.redirect_uri, f"{_WHERE}.redirect_uri")
        _must(
            urlsplit(redirect).path == RETURN_PATH and len(redirect) <= _MAX_REDIRECT, "redirect_uri",
            f"its path is not {RETURN_PATH}, or it is longer than {_MAX_REDIRECT} characters", "Register it like that.",
        )  # fmt: skip
        if self.assertion_audience:
            checked_url(self.assertion_audience, f"{_WHERE}.assertion_audience")
        _must(bool(self.id_token_algorithms), "id_token_algorithms", "there is none", 'Write ["ES256"].')
        _must(
            len(set(self.attributes)) == len(self.attributes) and (not self.attributes or "name" in self.attributes),
            "attributes", "an attribute stands there twice, or the birth date without the name", 'Write ["name", "birthdate"].',
        )  # fmt: skip
        _must(self.level in _LEVELS, "level", "it is not 1, 2 or 3", "Write 3.")
        _must(self.valid_days >= 1, "valid_days", "it is not positive", "Write 365.")
        _must(0 <= self.skew_seconds <= 300, "skew_seconds", "it is not 0 to 300", "Set the clock instead.")  # noqa: PLR2004
        _must(
            0 < self.connect_seconds <= self.total_seconds, "total_seconds", "time-outs are not positive, or crossed", "Write 8."
        )
        return self


def _must(holds: bool, key: str, what: str, todo: str) -> None:
    if not holds:
        raise ConfigError(what, where=f"{_WHERE}.{key}", todo=todo)
