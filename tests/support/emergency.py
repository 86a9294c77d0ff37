"""Break-glass for tests: one of the ledger, a real mail server, a real receiver of webhooks."""

import asyncio
import contextlib
import email
import email.policy
import socket
import threading
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from ssl import SSLContext
from typing import Any, Self
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from gateway.emergency.model import BreakGlass
from gateway.emergency.words import Manner
from gateway.kernel.ids import new_id
from tests.support.ports import free_port

NOW = 1_800_000_000


def a_break_glass(**changes: Any) -> BreakGlass:
    values: dict[str, Any] = {
        "id": new_id("brk"), "subject": "usr_sato", "login": "dr.sato", "name": "佐藤 恵", "roles": ("physician",),
        "department": "救急科", "session": "ses_1", "device": "", "address": "192.0.2.10", "reason": "critical",
        "reason_ja": "急変", "reason_en": "Critical", "text": "意識なし、既往歴の確認", "patient": "P1001", "app": "ehr",
        "route": "ehr.chart", "method": "GET", "path": "/patients/P1001", "state": "beginning", "began_at": NOW,
        "until": NOW + 3600,
    }  # fmt: skip
    return BreakGlass(**(values | changes))


def manner(**changes: Any) -> Manner:
    usual = Manner(
        language="ja", zone=ZoneInfo("Asia/Tokyo"), hospital="portal.hospital.example", patient_id=False,
        link=lambda break_id: f"https://console.hospital.example/emergencies/{break_id}", apps={"ehr": ("電子カルテ", "Records")},
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


class MailServer:
    """A mail server on loopback, in a thread of its own; keeps what it was given."""

    def __init__(
        self, *, tls: SSLContext | None = None, password: str = "", implicit: bool = False, status: str = "250 OK"
    ) -> None:
        """`tls`: offered by STARTTLS, or from the first byte (`implicit`); then it is required. `status`: its answer to mails."""
        self.mails: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.raw: list[bytes] = []
        self.status = status
        self.arrived = threading.Event()
        self._password = password
        self.port = free_port()
        upgraded = tls is not None and not implicit
        options: dict[str, Any] = {"require_starttls": upgraded, "auth_require_tls": upgraded}
        if password:
            options |= {"authenticator": self._authenticate, "auth_required": upgraded}
        if upgraded:
            options["tls_context"] = tls
        self._controller = Controller(
            self, hostname="127.0.0.1", port=self.port, ssl_context=tls if implicit else None, **options
        )

    def _authenticate(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        good = isinstance(data, LoginPassword) and data.password == self._password.encode()
        return AuthResult(success=good, handled=False)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        if self.status.startswith("250"):
            assert isinstance(envelope.content, bytes)
            self.raw.append(envelope.content)
            mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.recipients.append(list(envelope.rcpt_tos))
            self.arrived.set()
        return self.status

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._controller.stop()


class Hook:
    """A receiver of webhooks; keeps what was posted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 204
        self.location = ""
        self.posts: list[tuple[dict[str, str], bytes]] = []

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(body) for _, body in self.posts]


@contextlib.asynccontextmanager
async def open_hook() -> AsyncIterator[Hook]:
    hook = Hook("")

    async def take(request: web.Request) -> web.Response:
        hook.posts.append((dict(request.headers), await request.read()))
        headers = {"Location": hook.location} if hook.location else {}
        return web.Response(status=hook.status, headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    hook.url = f"http://127.0.0.1:{listening.getsockname()[1]}/officers"
    try:
        yield hook
    finally:
        await runner.cleanup()


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  what is waited for happens in other processes, too
            await asyncio.sleep(0.02)
