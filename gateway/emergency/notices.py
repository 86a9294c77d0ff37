"""Telling officers something: kept in the outbox before `notify` returns, sent afterwards (`gateway.emergency.sending`)."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from gateway.emergency.outbox import Channel, Message, Outbox
from gateway.emergency.times import rfc3339
from gateway.kernel.clock import Clock
from gateway.kernel.ids import new_id


class OutboxNotices:
    """`Notices` (gateway/ports.py) over the outbox."""

    def __init__(self, outbox: Outbox, channels: tuple[Channel, ...], *, clock: Clock, wake: Callable[[], None]) -> None:
        """`channels`: those that are configured; with none, nobody is told. `wake`: called when something is to be sent."""
        self._outbox: Final = outbox
        self._channels: Final = channels
        self.tells: Final = bool(channels)
        self._clock: Final = clock
        self.wake: Final = wake

    async def notify(
        self, kind: str, subject: str, text: str, detail: Mapping[str, str] | None = None, *, once: str = ""
    ) -> None:
        """Keep a message for each channel; one only of those that have the same `once`, whoever puts them in."""
        about = (detail or {}).get("about", kind)
        messages = self.compose(kind, subject, text, detail)
        if once:
            messages = [msgspec.structs.replace(one, id=f"ntc_{one.channel}_{once}") for one in messages]
        if messages:
            await self._outbox.put(messages, about=about, now=int(self._clock.now()))
            self.wake()

    def compose(self, kind: str, subject: str, text: str, detail: Mapping[str, str] | None = None) -> list[Message]:
        """Return the messages, for those who keep them together with something else."""
        at = rfc3339(self._clock.now())
        return [
            Message(id=new_id("ntc"), channel=channel, kind=kind, subject=subject, text=text, at=at, detail=dict(detail or {}))
            for channel in self._channels
        ]
