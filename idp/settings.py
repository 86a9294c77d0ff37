"""Settings of the identity provider: frozen values, checked once, before anything listens."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret, hash_token, same
from idp.protocol.framework import TRUST_FRAMEWORK

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MINIMUM_SECRET: Final = 32
_FRAMEWORK: Final = re.compile(r"(urn:[a-z0-9][a-z0-9-]{1,31}:|https://)[!-~]{1,200}")
_REGISTERED: Final = ("https://openid.net/", "https://www.openid.net/")


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """A relying party: confidential, `client_secret_basic`, authorization code with PKCE."""

    id: str
    secret_hash: str
    """`hash_token` of the client secret; `Client.registered` makes it."""
    redirect_uris: tuple[str, ...]
    """Compared as text, byte for byte (RFC 9700 §2.1)."""
    post_logout_redirect_uris: tuple[str, ...] = ()

    @classmethod
    def registered(
        cls, client_id: str, secret: Secret, *, redirect_uris: tuple[str, ...], post_logout_redirect_uris: tuple[str, ...] = ()
    ) -> "Client":
        """Register a client with a secret of at least 32 characters from a random generator; only its hash is kept."""
        if len(secret.reveal()) < _MINIMUM_SECRET:
            raise ConfigError(
                f"the secret of client {client_id!r} is shorter than {_MINIMUM_SECRET} characters",
                todo="Generate one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
            )
        return cls(
            id=client_id, secret_hash=hash_token(secret.reveal()), redirect_uris=redirect_uris,
            post_logout_redirect_uris=post_logout_redirect_uris,
        )  # fmt: skip

    def knows_secret(self, secret: str) -> bool:
        """True when this is the client's secret. Takes the same time either way."""
        return same(hash_token(secret), self.secret_hash)


class ProofingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an installation keeps house with identity proofings."""

    recheck_hours: int = 0
    """How often the verifier is asked whether proofings still hold; 0: only when an officer wants it."""
    review_days: int = 14
    """How long a case waits for officers; then what they would compare is deleted."""
    expiring_days: int = 30
    """How long before its end a proofing counts as expiring soon."""
    valid_days: int = 0
    """How long a proofing counts at the longest, whatever its verifier says; 0: as long as the verifier says."""
    shared_cards: bool = False
    """Whether one person may be proofed on several active accounts."""


class IdpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the provider is told from outside."""

    issuer: str
    """Origin: scheme, host and, where not the default, port. No path, no trailing slash."""
    clients: tuple[Client, ...]
    data_dir: Path
    """Holds `idp.sqlite3` and `idp-keys.json`; made with mode 0700 when missing."""
    code_seconds: int = 60
    access_token_seconds: int = 300
    id_token_seconds: int = 300
    transaction_seconds: int = 1800
    """How long a sign-in may take, registering a key and identity proofing included."""
    session_idle_seconds: int = 900
    """Silent sign-in from this browser ends so long after the last one: keep it at or below the gateway's own idle limit."""
    session_seconds: int = 43_200
    """Absolute limit of a browser's session: a shift."""
    trust_framework: str = TRUST_FRAMEWORK
    """Names, in `verified_claims`, the rules by which people are proofed here: a URN or URL of the institution's own."""
    key_days: int = 90
    """Age at which the signing key is replaced; the previous one stays published for verification."""
    proofing: ProofingSettings = ProofingSettings()

    def check(self) -> None:
        """Raise ConfigError for the first thing that can't be used safely."""
        _check_origin(self.issuer)
        if not self.clients:
            raise ConfigError("no client is registered", where="idp.clients", todo="Register the gateway as a client.")
        if len({client.id for client in self.clients}) != len(self.clients):
            raise ConfigError("two clients have the same id", where="idp.clients", todo="Rename or remove one.")
        for client in self.clients:
            _check_client(client)
        for name in ("code_seconds", "access_token_seconds", "id_token_seconds", "transaction_seconds", "session_idle_seconds",
                     "session_seconds", "key_days"):  # fmt: skip
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive", where="idp", todo="Leave it out for the default.")
        if not _FRAMEWORK.fullmatch(self.trust_framework) or self.trust_framework.startswith(_REGISTERED):
            raise ConfigError(
                f"{self.trust_framework!a} is no identifier of your own", where="idp.trust_framework",
                todo="Write a URN, or an https URL under a name of yours; registered frameworks stand for laws.",
            )  # fmt: skip
        if self.code_seconds > 600:  # noqa: PLR2004  RFC 6749 §4.1.2
            raise ConfigError("code_seconds is more than 600", where="idp", todo="RFC 6749 §4.1.2 allows ten minutes at most.")

        if self.proofing.recheck_hours < 0 or self.proofing.review_days < 1 or self.proofing.expiring_days < 1:
            raise ConfigError(
                "recheck_hours must not be negative, review_days and expiring_days must be positive", where="idp",
                todo="Leave them out for the defaults.",
            )  # fmt: skip

    def client(self, client_id: str) -> Client | None:
        """Return a registered client."""
        return next((client for client in self.clients if client.id == client_id), None)


def _check_origin(issuer: str) -> None:
    parts = _split(issuer, "idp.issuer")
    if issuer != f"{parts.scheme}://{parts.netloc}" or issuer != issuer.lower():
        raise ConfigError(
            "the issuer is not a plain lower-case origin", where="idp.issuer", todo="Write https://host[:port] only."
        )


def _check_client(client: Client) -> None:
    where = f"idp.clients.{client.id}"
    if not _CLIENT_ID.fullmatch(client.id):
        raise ConfigError("a client id is ASCII letters, digits, - and _", where=where, todo="Choose another.")
    if not _HASH.fullmatch(client.secret_hash):
        raise ConfigError("secret_hash is not a SHA-256 in hex", where=where, todo="Use Client.registered(...).")
    if not client.redirect_uris:
        raise ConfigError("no redirect URI", where=where, todo="Give the exact callback URL of the client.")
    for uri in client.redirect_uris + client.post_logout_redirect_uris:
        _check_redirect(uri, where)


def _check_redirect(uri: str, where: str) -> None:
    parts = _split(uri, where)
    if parts.fragment or "#" in uri:
        raise ConfigError("a redirect URI has no fragment (RFC 6749 §3.1.2)", where=where, todo="Remove everything from #.")


def _split(url: str, where: str) -> SplitResult:
    parts = urlsplit(url)
    host = parts.hostname or ""
    loopback = host in {"localhost", "127.0.0.1", "::1"} or host.endswith(".localhost")
    if not url.isascii() or any(ord(char) <= 32 or char in '\\"' or ord(char) == 127 for char in url):  # noqa: PLR2004  ASCII
        raise ConfigError(
            "a URL has blanks, quotes, backslashes or non-ASCII characters", where=where, todo="Percent-encode them."
        )
    if not host or parts.username is not None or parts.password is not None:
        raise ConfigError(f"{url!r} is no absolute URL without user name", where=where, todo="Write https://host[:port]/path.")
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise ConfigError(f"{url!r} is neither https nor loopback", where=where, todo="Use https; plain http is for localhost.")
    return parts
