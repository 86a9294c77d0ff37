"""What the sample EHR sends by itself: vital signs over WebSocket, notices as server-sent events."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

import msgspec
from aiohttp import WSCloseCode, web

from gateway.demo.ehr.vitals import vitals_at
from gateway.demo.patients import PATIENTS, Patient, Text
from gateway.kernel.clock import Clock
from gateway.kernel.i18n import Language
from gateway.kernel.web.events import Event, EventStreams, Outbox
from gateway.kernel.web.site import STREAMING, language_of

HISTORY_SECONDS: Final = 120
_KEPT_NOTICES: Final = 20
_ROUTINE: Final = (
    Text("検査部：{name}様の血液検査の結果が届きました。", "Laboratory: results of {name} have arrived."),
    Text("薬剤部：{name}様の持参薬の鑑別が終わりました。", "Pharmacy: the check of medicines brought by {name} is done."),
    Text("放射線部：{name}様の撮影準備ができました。", "Radiology: ready for {name}."),
    Text("リハビリテーション科：{name}様の訓練は14時からです。", "Rehabilitation: {name} trains at 14:00."),
    Text("栄養部：{name}様の夕食の食種変更を受け付けました。", "Kitchen: the diet change of {name} applies from dinner."),
)


class VitalsMonitor:
    """Sends a patient's vital signs to whoever watches, once per `interval` seconds."""

    def __init__(self, app: web.Application, clock: Clock, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._open: set[web.WebSocketResponse] = set()
        app.on_shutdown.append(self._shut)

    async def watch(self, request: web.Request, patient: Patient) -> web.StreamResponse:
        """Serve one WebSocket: the last two minutes first, then each new second. The other side has nothing to say."""
        socket = web.WebSocketResponse(heartbeat=20, max_msg_size=1024)
        request[STREAMING] = True
        await socket.prepare(request)
        self._open.add(socket)
        sender = asyncio.create_task(self._send(socket, patient))
        try:
            async for _ in socket:  # ends when the other side leaves, or when it is cut
                await socket.close(code=WSCloseCode.UNSUPPORTED_DATA, message=b"this stream is read-only")
        finally:
            self._open.discard(socket)
            sender.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionResetError):
                await sender
        return socket

    async def _send(self, socket: web.WebSocketResponse, patient: Patient) -> None:
        shown = int(self._clock.now())
        history = [vitals_at(patient, second) for second in range(shown - HISTORY_SECONDS + 1, shown + 1)]
        await socket.send_bytes(msgspec.json.encode({"history": history}))
        while True:
            await asyncio.sleep(self._interval)
            now = int(self._clock.now())
            if now > shown:
                shown = now
                await socket.send_bytes(msgspec.json.encode({"vitals": vitals_at(patient, now)}))

    async def _shut(self, _app: web.Application) -> None:
        for socket in tuple(self._open):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the record system is stopping")


class NoticeBoard:
    """The ward's notices: the last few, and each new one to everybody who listens."""

    def __init__(self, app: web.Application, clock: Clock, interval: float) -> None:
        """Every `interval` seconds a department posts a synthetic routine notice."""
        self._clock = clock
        self._interval = interval
        self._kept: deque[tuple[int, int, Text]] = deque(maxlen=_KEPT_NOTICES)
        self._next = 1
        self._readers: dict[Outbox, Language] = {}
        self._streams = EventStreams(app)
        app.cleanup_ctx.append(self._routine)

    def post(self, text: Text) -> None:
        """Put up a notice."""
        notice = (self._next, int(self._clock.now()), text)
        self._next += 1
        self._kept.append(notice)
        for outbox, language in self._readers.items():
            outbox.put(_event(notice, language))

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """Serve one event stream: the kept notices that the reader has not seen (`Last-Event-ID`), then new ones."""
        seen = request.headers.get("Last-Event-ID", "")
        last = int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0  # noqa: PLR2004  digits of a safe integer
        if last >= self._next:  # from before a restart
            last = 0
        language = language_of(request)
        outbox = Outbox(limit=2 * _KEPT_NOTICES)
        for notice in self._kept:
            if notice[0] > last:
                outbox.put(_event(notice, language))
        self._readers[outbox] = language
        try:
            return await self._streams.serve(request, outbox)
        finally:
            del self._readers[outbox]

    async def _routine(self, _app: web.Application) -> AsyncIterator[None]:
        for turn in range(3):
            self._post_routine(turn)
        task = asyncio.create_task(self._post_forever())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _post_forever(self) -> None:
        turn = 3
        while True:
            await asyncio.sleep(self._interval)
            self._post_routine(turn)
            turn += 1

    def _post_routine(self, turn: int) -> None:
        text, name = _ROUTINE[turn % len(_ROUTINE)], PATIENTS[(turn * 5) % len(PATIENTS)].name
        self.post(Text(text.ja.format(name=name.ja), text.en.format(name=name.en)))


def _event(notice: tuple[int, int, Text], language: Language) -> Event:
    number, at, text = notice
    return Event(name="notice", id=str(number), data={"at": at, "text": text.say(language)})
