"""`/.well-known/openid-configuration` (OpenID Connect Discovery 1.0) and `/.well-known/oauth-authorization-server` (RFC 8414)."""

from typing import Final

from idp.model import ACR_VALUES
from idp.protocol.keyset import ALGORITHM
from idp.protocol.verified import CLAIMS as VERIFIED_CLAIMS
from idp.protocol.verified import EVIDENCE

AUTHORIZE: Final = "/authorize"
TOKEN: Final = "/token"  # noqa: S105  a path
USERINFO: Final = "/userinfo"
JWKS: Final = "/jwks.json"
END_SESSION: Final = "/end-session"
CONFIRM_END_SESSION: Final = "/end-session/confirm"
LOGIN: Final = "/login"

SCOPES: Final = ("openid", "profile")
PROMPTS: Final = ("none", "login")
CLAIMS: Final = (
    "iss", "sub", "aud", "nonce", "iat", "exp", "auth_time", "acr", "amr", "sid", "at_hash", "name", "preferred_username",
    "roles", "organization", "department", "auth_events", "proofing", "bound_kinds", "verified_claims",
)  # fmt: skip


def document(issuer: str, trust_framework: str) -> dict[str, object]:
    """Return the metadata, the same for both addresses. What is not offered is not in it."""
    return {
        "issuer": issuer,
        "authorization_endpoint": issuer + AUTHORIZE,
        "token_endpoint": issuer + TOKEN,
        "userinfo_endpoint": issuer + USERINFO,
        "jwks_uri": issuer + JWKS,
        "end_session_endpoint": issuer + END_SESSION,
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": list(ACR_VALUES),
        "prompt_values_supported": list(PROMPTS),
        "claims_supported": list(CLAIMS),
        "ui_locales_supported": ["ja", "en"],
        "claims_parameter_supported": True,
        "verified_claims_supported": True,
        "trust_frameworks_supported": [trust_framework],
        "claims_in_verified_claims_supported": list(VERIFIED_CLAIMS),
        "evidence_supported": list(EVIDENCE),
        "documents_supported": ["jp_individual_number_card"],
        "documents_check_methods_supported": [EVIDENCE["document"]],
        "electronic_records_supported": ["jp_individual_number_card"],
        "request_parameter_supported": False,
        "request_uri_parameter_supported": False,
        "authorization_response_iss_parameter_supported": True,
    }
