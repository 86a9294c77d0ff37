"""Break-glass, and the notices to officers, as the configuration has them."""

import asyncio
import contextlib
import ssl

from gateway.app.following import keep_running
from gateway.app.rollbacks import tell_rollbacks
from gateway.changes.port import ChangeDesk
from gateway.config import Config
from gateway.config.emergency import Notices
from gateway.emergency.keeper import Keeper
from gateway.emergency.ledger import Ledger
from gateway.emergency.mail import Mail, Mailbox
from gateway.emergency.model import REASONS, Reason
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.outbox import Channel
from gateway.emergency.sending import Carrier, Sender
from gateway.emergency.service import Emergencies
from gateway.emergency.webhook import Webhook
from gateway.emergency.words import Manner
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.lasting.port import Lasting
from gateway.ports import AuditLog, SessionStore


def open_emergencies(
    config: Config,
    lasting: Lasting,
    desk: ChangeDesk | None,
    *,
    sessions: SessionStore,
    log: AuditLog,
    clock: Clock,
    failed: "asyncio.Future[None]",
    stack: contextlib.AsyncExitStack,
) -> Emergencies:
    """Return break-glass, looked after, with the notices to officers being sent.

    Raises ConfigError when a file can't be used, StoreUnavailable when the database can't.
    """
    ledger = Ledger(lasting)
    carriers = _carriers(config, clock)
    sender = Sender(ledger.outbox, carriers, log=log, clock=clock)
    settings = config.break_glass
    given = tuple(Reason(id=one.id, title_ja=one.title_ja, title_en=one.title_en) for one in settings.reasons)
    emergencies = Emergencies(
        ledger=ledger,
        sessions=sessions,
        log=log,
        clock=clock,
        seconds=settings.minutes * 60,
        reasons=given or REASONS,
        notices=OutboxNotices(ledger.outbox, tuple(carriers), clock=clock, wake=sender.wake),
        manner=_manner(config),
    )
    keep_running(Keeper(emergencies, sessions, clock).run(), failed, stack)
    keep_running(sender.run(), failed, stack)
    if desk is not None:
        keep_running(tell_rollbacks(desk, lasting, emergencies, clock), failed, stack)
    return emergencies


def _manner(config: Config) -> Manner:
    notices = config.notices or Notices()
    console = config.origin(config.console.host) if config.console is not None else ""
    return Manner(
        language=notices.language,
        zone=config.policies.timezone,
        hospital=config.portal.host,
        patient_id=notices.patient_id,
        console=console,
        link=lambda break_id: f"{console}/emergencies/{break_id}" if console else "",
        apps={app.id: (app.title_ja, app.title_en) for app in config.apps},
    )


def _carriers(config: Config, clock: Clock) -> dict[Channel, Carrier]:
    settings = config.notices
    carriers: dict[Channel, Carrier] = {}
    if settings is None:
        return carriers
    trusted = _trusted(config, settings)
    if settings.smtp_host is not None and settings.mail_from is not None:
        carriers["mail"] = Mail(
            Mailbox(
                host=settings.smtp_host,
                port=settings.smtp_port,
                transport=settings.smtp_tls,
                tls=trusted,
                user=settings.smtp_user,
                password=settings.smtp_password,
                sender=settings.mail_from,
                to=settings.mail_to,
                language=settings.language,
            )
        )
    if settings.webhook_url is not None and settings.webhook_secret is not None:
        tls = trusted if settings.webhook_url.startswith("https:") else None
        carriers["webhook"] = Webhook(settings.webhook_url, settings.webhook_secret, clock, tls)
    return carriers


def _trusted(config: Config, settings: Notices) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        where = config.where("notices", "ca_file")
        raise ConfigError("the CA of the notices can't be used", where=where, todo="Name a PEM file of certificates.") from error
