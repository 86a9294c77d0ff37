"""Sends what is in the outbox: one message at a time, by whichever process takes it, again and again until it is sent.

Nobody waits for it: a person's request puts a message in and goes on. Each attempt leaves an event, which says of a failure what
kind it was and nothing of what was said or with which secret.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final, Protocol

from gateway.domain.record import Actor, EventRecord, Source
from gateway.emergency.outbox import Channel, Message, Outbox, Taken
from gateway.emergency.times import rfc3339
from gateway.kernel.clock import Clock
from gateway.kernel.errors import AuditError, StoreUnavailable
from gateway.kernel.ids import new_id
from gateway.ports import AuditLog

logger = logging.getLogger(__name__)

ATTEMPT_SECONDS: Final = 90.0
LOOK_SECONDS: Final = 2.0
"""How often it is looked for messages that another process put in, or that are due again."""


class NotSent(Exception):  # noqa: N818  it names an answer; the message is for the log and holds no secret
    """An attempt failed; the message says how, without what the other side said."""


class Carrier(Protocol):
    """One channel."""

    async def send(self, message: Message) -> None:
        """Deliver a message. Raises NotSent."""
        ...


class _Nobody:
    """In place of a channel that was configured when the message was put in, and is not any more."""

    async def send(self, message: Message) -> None:
        raise NotSent("this channel is not configured any more")


class Sender:
    """The task that sends. Several processes may run one on the same outbox."""

    def __init__(
        self,
        outbox: Outbox,
        carriers: Mapping[Channel, Carrier],
        *,
        log: AuditLog,
        clock: Clock,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._outbox: Final = outbox
        self._carriers: Final = dict(carriers)
        self._log: Final = log
        self._clock: Final = clock
        self._look: Final = look_seconds
        self._wake: Final = asyncio.Event()

    def wake(self) -> None:
        """Look now: something was put in."""
        self._wake.set()

    async def run(self) -> None:
        """Send for ever. Raises nothing that sending, the store or the log may raise."""
        while True:
            try:
                while (taken := await self._outbox.take(int(self._clock.now()))) is not None:
                    await self._attempt(taken)
            except StoreUnavailable as error:
                logger.warning("notices wait: %s", error)
            except AuditError as error:
                logger.debug("a notice without its record: %s", error)
            self._wake.clear()
            try:
                async with asyncio.timeout(self._look):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _attempt(self, taken: Taken) -> None:
        message = taken.message
        carrier = self._carriers.get(message.channel, _Nobody())
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await carrier.send(message)
        except (NotSent, TimeoutError) as error:
            problem = str(error) if isinstance(error, NotSent) else "it took too long"
            again = await self._outbox.failed(taken, problem, int(self._clock.now()))
            logger.warning("notice %s by %s not sent: %s", message.id, message.channel, problem)
            await self._event(taken, {"why": problem, "again_at": str(again) if again is not None else "never"})
            return
        await self._outbox.sent(message.id)
        await self._event(taken)

    async def _event(self, taken: Taken, failure: Mapping[str, str] | None = None) -> None:
        message = taken.message
        detail = {"kind": message.kind, "channel": message.channel, "about": taken.about, "attempt": str(taken.attempt)}
        await self._log.append(
            EventRecord(
                id=new_id("evt"),
                at=rfc3339(self._clock.now()),
                event="notice.sent" if failure is None else "notice.failed",
                outcome="success" if failure is None else "failure",
                actor=Actor(),
                source=Source(door="notices"),
                target=message.id,
                detail={**detail, **(failure or {})},
            )
        )
