"""The sections `[break_glass]` and `[notices]`, and the rules that they have to keep."""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec

from gateway.config.leaves import ExistingFile, HostName, Identifier, MailAddress, Title, Url
from gateway.config.locate import KeyPath
from gateway.kernel.i18n import Language
from gateway.kernel.secret import Secret

Found = tuple[KeyPath, str, str]
"""Where, what, and what to do."""
MINIMUM_SECRET: Final = 32


class BreakGlassReason(msgspec.Struct, frozen=True, kw_only=True):
    """One of the reasons that people choose from."""

    id: Identifier
    title_ja: Title
    title_en: Title


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """Access beyond the usual rules in an emergency, where policies offer it (guideline 6.0/ops/11)."""

    minutes: Annotated[int, msgspec.Meta(ge=1, le=480)] = 60
    """How long one lasts at the longest."""
    reasons: Annotated[tuple[BreakGlassReason, ...], msgspec.Meta(max_length=20)] = ()
    """In place of those that the gateway brings along (`gateway.emergency.model.REASONS`)."""


class Notices(msgspec.Struct, frozen=True, kw_only=True):
    """How security officers are told at once what can't wait: by mail, by webhook, or both."""

    language: Language = "ja"
    patient_id: bool = False
    """Whether the patient's id may stand in a notice, which leaves the hospital's records."""
    smtp_host: HostName | None = None
    smtp_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 587
    smtp_tls: Literal["starttls", "tls", "plain"] = "starttls"
    """`plain` is for a mail server on this very machine."""
    smtp_user: Annotated[str, msgspec.Meta(max_length=256)] = ""
    smtp_password: Secret | None = None
    mail_from: MailAddress | None = None
    mail_to: Annotated[tuple[MailAddress, ...], msgspec.Meta(max_length=50)] = ()
    webhook_url: Url | None = None
    webhook_secret: Secret | None = None
    """Signs what is posted."""
    ca_file: ExistingFile | None = None
    """PEM of the CA that the mail server and the webhook are checked with, where it is not a public one."""


def find_in_break_glass(settings: BreakGlass, *, given: bool, database: bool) -> Iterator[Found]:
    """Yield what is wrong with [break_glass]. `given`: the section is there; `database`: its ledger can be kept."""
    if given and not database:
        yield (
            ("break_glass",),
            "there is a [break_glass] section, but no database that its ledger is kept in",
            'Add database = "FILE" to [policies], or remove the section.',
        )
    seen: set[str] = set()
    for index, reason in enumerate(settings.reasons):
        if reason.id in seen:
            yield ("break_glass", "reasons", index, "id"), f'the reason "{reason.id}" is there twice', "Choose another id."
        seen.add(reason.id)


def find_in_notices(settings: Notices, *, database: bool) -> Iterator[Found]:
    """Yield what is wrong with [notices]."""
    if not database:
        yield (
            ("notices",),
            "there is a [notices] section, but no database that notices wait in until they are sent",
            'Add database = "FILE" to [policies], or remove the section.',
        )
    if settings.smtp_host is None and settings.webhook_url is None:
        yield ("notices",), "[notices] tells nobody", "Add smtp_host, or webhook_url, or both."
    yield from _mail(settings)
    yield from _webhook(settings)


def _mail(settings: Notices) -> Iterator[Found]:
    if settings.smtp_host is None:
        for key, given in (("mail_to", settings.mail_to), ("mail_from", settings.mail_from), ("smtp_user", settings.smtp_user)):
            if given:
                yield ("notices", key), f"`{key}` is given, but no mail server", "Add smtp_host, or remove it."
        return
    if settings.mail_from is None or not settings.mail_to:
        yield ("notices", "smtp_host"), "mail needs a sender and somebody to send it to", "Add mail_from and mail_to."
    if bool(settings.smtp_user) != (settings.smtp_password is not None):
        yield (
            ("notices", "smtp_host"),
            "a user at the mail server needs a password, and a password a user",
            'Add smtp_user and smtp_password_file = "FILE", or neither.',
        )
    if settings.smtp_tls == "plain" and not is_loopback(settings.smtp_host):
        yield ("notices", "smtp_tls"), "names of people would cross the network in clear", 'Write "starttls" or "tls".'


def _webhook(settings: Notices) -> Iterator[Found]:
    if settings.webhook_url is None:
        if settings.webhook_secret is not None:
            yield ("notices",), "there is a secret for a webhook, but no webhook", "Add webhook_url, or remove the secret."
        return
    url = urlsplit(settings.webhook_url)
    if url.scheme != "https" and not is_loopback(url.hostname or ""):
        yield ("notices", "webhook_url"), "names of people would cross the network in clear", "Write an https URL."
    if settings.webhook_secret is None:
        yield (
            ("notices", "webhook_url"),
            "a webhook needs a secret by which the receiver knows that it is us",
            'Add webhook_secret_file = "FILE" or webhook_secret_env = "VARIABLE".',
        )
    elif len(settings.webhook_secret.reveal()) < MINIMUM_SECRET:
        yield (
            ("notices", "webhook_url"),
            f"the webhook's secret is shorter than {MINIMUM_SECRET} characters",
            "Make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
        )


def is_loopback(host: str) -> bool:
    """True for names and addresses that never leave this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
