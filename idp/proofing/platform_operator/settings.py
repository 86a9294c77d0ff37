"""What an institution says of its operator: which contract, which host, which token."""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

import msgspec

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.proofing.forbidden import forbidden_in, names_individual_number
from idp.proofing.platform_operator.contract import Profile
from idp.proofing.platform_operator.places import fill, places, stray_brace

_WHERE: Final = "idp.platform_operator"
_LINK_PLACES: Final = frozenset({"digest", "digest_hex", "text_base64", "return"})
_TOKEN: Final = re.compile(r"[!-~]{8,4096}")


class PlatformOperatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[idp.platform_operator]`."""

    profile: str = "pocketsign-verify-v2"
    """A shipped contract, or the path of a file of your own (with a slash)."""
    host: str
    """`mock`, `test` or `production` as the profile names them, or an https origin."""
    token: Secret
    """The operator's bearer token."""
    settings: dict[str, str] = {}
    """The profile's own settings, `organization` for one."""
    app_link: str = ""
    """https address of the page or application that reads the card, where the contract has none of its own; `{digest}`,
    `{digest_hex}`, `{text_base64}` and `{return}` are filled in. Empty: the person's reader fills in a form."""
    return_url: str = ""
    """Where the browser comes back to: the provider's `/login/proofing/return`. The composition root knows it."""
    ca_file: str = ""
    """PEM file of the authorities that the operator's TLS certificate may come from. Empty: the system's."""
    timeout_seconds: float = 10.0
    """For one question and its answer."""
    valid_days: int = 1825
    """How long a result holds at most; it ends with the certificate where that is sooner."""
    skew_seconds: int = 300
    """How far the operator's clock may be from ours."""


def origin_of(settings: PlatformOperatorSettings, profile: Profile) -> str:
    """Return the operator's origin. ConfigError unless it is https (http on loopback: a stand-in)."""
    address = profile.hosts.get(settings.host, settings.host)
    try:
        parts = urlsplit(address)
        plain = parts.scheme == "http" and _loopback(parts.hostname or "")
        good = (parts.scheme == "https" or plain) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or f"{parts.scheme}://{parts.netloc}" != address or "@" in address:
        raise ConfigError(
            f"{settings.host!r} is neither a host of the profile ({', '.join(profile.hosts)}) nor an https origin",
            where=f"{_WHERE}.host", todo="Write https://HOST without a path; http only for a stand-in on this machine.",
        )  # fmt: skip
    return address


def values_of(settings: PlatformOperatorSettings, profile: Profile) -> dict[str, str]:
    """Return the placeholders `setting.NAME` and their values. ConfigError: unknown, left out, or not to be sent."""
    for name, value in settings.settings.items():
        if name not in profile.settings:
            raise ConfigError(
                f"the profile {profile.name} has no setting {name!r}", where=f"{_WHERE}.settings",
                todo=f"It has {', '.join(profile.settings) or 'none'}.",
            )  # fmt: skip
        if forbidden_in(value) or not value.isprintable() or len(value) > 200:  # noqa: PLR2004
            raise ConfigError(
                "the setting is longer than 200 characters, has control characters, or names the Individual Number",
                where=f"{_WHERE}.settings.{name}",
            )  # fmt: skip
    merged = {**profile.settings, **settings.settings}
    for name, value in merged.items():
        if not value:
            raise ConfigError("the profile needs this setting", where=f"{_WHERE}.settings.{name}", todo="Give it a value.")
    return {f"setting.{name}": value for name, value in merged.items()}


def check(settings: PlatformOperatorSettings, profile: Profile) -> None:
    """Raise ConfigError for a token, limit or link that can't be used with the profile."""
    if not _TOKEN.fullmatch(settings.token.reveal()):
        raise ConfigError("the token is shorter than 8 characters or not printable ASCII", where=f"{_WHERE}.token")
    if not 0 < settings.timeout_seconds <= 25 or settings.valid_days < 1 or not 0 <= settings.skew_seconds <= 3600:  # noqa: PLR2004
        raise ConfigError(
            "a limit makes no sense", where=_WHERE,
            todo="timeout_seconds is over 0 and up to 25, valid_days at least 1, skew_seconds 0 to 3600.",
        )  # fmt: skip
    link = settings.app_link
    if link and profile.challenge.link:
        raise ConfigError("the contract has its own pages", where=f"{_WHERE}.app_link", todo="Leave it empty.")
    if link and (stray_brace(link) or set(places(link)) - _LINK_PLACES or names_individual_number(link)):
        raise ConfigError(
            "the address has something that can't be filled in", where=f"{_WHERE}.app_link",
            todo=f"There are {', '.join(sorted(_LINK_PLACES))}.",
        )  # fmt: skip
    if link and not usable_link(fill(link, dict.fromkeys(_LINK_PLACES, "x"))):
        raise ConfigError("the address is not https", where=f"{_WHERE}.app_link")
    if (link or profile.challenge.link) and not usable_link(settings.return_url):
        raise ConfigError("nobody would come back: no https address to return to", where=f"{_WHERE}.return_url")


def usable_link(address: str) -> bool:
    """True for an address that a browser may be sent to: https (http on loopback), absolute, printable ASCII, no user name."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not address.isascii() or not address.isprintable() or " " in address or "\\" in address or "@" in parts.netloc or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _loopback(host))


def _loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
