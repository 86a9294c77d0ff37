"""The sections of identity proofing, one for each verifier. `[idp] proofing` says which is in use; the others may stay."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from gateway.config.leaves import ExistingFile, ExistingFolder, PrivateFile, Url
from gateway.kernel.secret import Secret

Backend = Literal["none", "digital-agency", "platform-operator", "jpki", "in-person", "simulated"]
Days = Annotated[int, msgspec.Meta(ge=1, le=3_650)]
Skew = Annotated[int, msgspec.Meta(ge=0, le=300)]
Algorithm = Literal["ES256", "RS256"]
Document = Literal["ic_chip", "my_number_card", "driving_licence", "passport", "residence_card", "photo_document"]
Level = Annotated[int, msgspec.Meta(ge=1, le=3)]


class DigitalAgency(msgspec.Struct, frozen=True, kw_only=True):
    """The Digital Agency's auth-and-sign service (OpenID Connect)."""

    environment: Literal["production", "sandbox", "stand-in"] = "production"
    stand_in_url: Url | None = None
    """The realm of a stand-in, for rehearsals; nobody is really checked there."""
    client_id: str
    key_file: PrivateFile
    """PEM of the key whose public half was submitted to the agency."""
    key_id: str = ""
    """`kid` of that key as registered; its thumbprint when not given."""
    assertion_algorithm: Algorithm = "ES256"
    """With which we prove who we are (`private_key_jwt`), as the registration says."""
    assertion_audience: str = ""
    """`aud` of that proof; the token endpoint when not given."""
    id_token_algorithms: tuple[Algorithm, ...] = ("ES256",)
    acr_values: str = "aal3 crl"
    acr_accepted: tuple[str, ...] = ()
    acr_required: bool = False
    kana_claim: str = ""
    ca_file: ExistingFile | None = None
    """PEM of the CA that the service's certificate is checked with, where it is not a public one: for a stand-in."""
    valid_days: Days = 365
    skew_seconds: Skew = 60


class PlatformOperator(msgspec.Struct, frozen=True, kw_only=True):
    """A certified operator, asked over HTTPS."""

    profile: str = "pocketsign-verify-v2"
    """A shipped contract, or the path of a file of your own (with a slash)."""
    host: str
    """`mock`, `test` or `production` as the profile names them, or an https origin."""
    token: Secret
    settings: Mapping[str, str] = MappingProxyType({})
    """The profile's own settings."""
    app_link: str = ""
    ca_file: ExistingFile | None = None
    """PEM of the CA that the operator's certificate is checked with, where it is not a public one."""
    valid_days: Days = 1825
    skew_seconds: Skew = 300


class JpkiRoot(msgspec.Struct, frozen=True, kw_only=True):
    """One generation of the CA."""

    file: ExistingFile
    sha256: str
    """The fingerprint that J-LIS prints."""


class Jpki(msgspec.Struct, frozen=True, kw_only=True):
    """The institution verifies certificates itself."""

    verifier: str
    """Who verifies, as it is recorded and as the signed text says."""
    institution: str
    """For whom the person signs, as the signed text says."""
    certificate: Literal["sign", "auth"] = "sign"
    environment: Literal["production", "test"] = "production"
    roots: tuple[JpkiRoot, ...]
    more_policies: tuple[str, ...] = ()
    crl_folder: ExistingFolder | None = None
    """Either this or `ocsp_url`."""
    crl_hours: Annotated[int, msgspec.Meta(ge=1, le=168)] = 36
    ocsp_url: Url | None = None
    ocsp_minutes: Annotated[int, msgspec.Meta(ge=1, le=1_440)] = 60
    ocsp_nonce: bool = True
    ocsp_no_check: bool = True
    ocsp_seconds: Annotated[int, msgspec.Meta(ge=1, le=25)] = 5
    valid_days: Days = 1826


def _levels() -> Mapping[Document, Level]:
    return {"ic_chip": 3, "my_number_card": 2, "driving_licence": 2, "passport": 2, "residence_card": 2}


class InPerson(msgspec.Struct, frozen=True, kw_only=True):
    """Two officers at a counter."""

    place_ja: str
    """Where to go, and when somebody is there; shown to the person."""
    place_en: str
    levels: Mapping[Document, Level] = msgspec.field(default_factory=_levels)
    """What is accepted, and the identity assurance level of each; nothing else is accepted."""
    code_seconds: Annotated[int, msgspec.Meta(ge=60, le=14_400)] = 600
    """How long the code that the person shows is good."""
    valid_days: Days = 1825
