"""Notices by e-mail (RFC 5321, 5322): one message to all officers, over TLS, or in clear to this very machine."""

import asyncio
import smtplib
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Final, Literal

import msgspec

from gateway.emergency.outbox import Message
from gateway.emergency.sending import NotSent
from gateway.emergency.words import one_line
from gateway.kernel.i18n import Language
from gateway.kernel.secret import Secret

SECONDS: Final = 20.0
"""For each step of the conversation."""
_SUBJECT: Final = 180
Transport = Literal["starttls", "tls", "plain"]


class Mailbox(msgspec.Struct, frozen=True, kw_only=True):
    """Where mail is handed in, and from whom to whom."""

    host: str
    port: int
    transport: Transport
    tls: ssl.SSLContext | None
    """What the server's certificate is checked with; None with `plain` only."""
    user: str
    password: Secret | None
    sender: str
    to: tuple[str, ...]
    language: Language


def compose(message: Message, mailbox: Mailbox) -> EmailMessage:
    """Return the mail. Subject and text are data: no part of them can become a field (RFC 5322 §2.2)."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = _address(mailbox.sender)
    mail["To"] = [_address(one) for one in mailbox.to]
    mail["Subject"] = one_line(message.subject, _SUBJECT)
    mail["Date"] = format_datetime(datetime.fromisoformat(message.at).astimezone(UTC))
    # The same in every attempt: a mail that comes twice is shown once.
    mail["Message-ID"] = f"<{message.id}@{_domain(mailbox.sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = mailbox.language
    mail["X-Priority"] = "1"
    mail.set_content(message.text, charset="utf-8", cte="base64")
    return mail


class Mail:
    """Sends by SMTP, in a thread."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox: Final = mailbox

    async def send(self, message: Message) -> None:
        """Hand a mail in. NotSent when the server did not take it for every recipient."""
        await asyncio.to_thread(self._send, compose(message, self._mailbox))

    async def close(self) -> None:
        """Nothing stays open."""

    def _send(self, mail: EmailMessage) -> None:
        box = self._mailbox
        try:
            with self._connected() as server:
                if box.password is not None:
                    server.login(box.user, box.password.reveal())
                refused = server.send_message(mail)
        except smtplib.SMTPResponseException as error:
            # The server's own words may repeat what it was told: its number says enough.
            raise NotSent(f"the mail server answered {error.smtp_code} ({type(error).__name__})") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise NotSent(f"the mail could not be handed in ({type(error).__name__})") from None
        if refused:
            raise NotSent(f"the mail server refused {len(refused)} of {len(box.to)} recipients")

    def _connected(self) -> smtplib.SMTP:
        box = self._mailbox
        if box.transport == "tls":
            return smtplib.SMTP_SSL(box.host, box.port, timeout=SECONDS, context=box.tls)
        server = smtplib.SMTP(box.host, box.port, timeout=SECONDS)
        if box.transport == "starttls":
            try:
                server.starttls(context=box.tls)
            except BaseException:
                with suppress(OSError):
                    server.close()
                raise
        return server


def _address(text: str) -> Address:
    name, spec = parseaddr(text)
    return Address(display_name=name, addr_spec=spec)


def _domain(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2] or "localhost"
