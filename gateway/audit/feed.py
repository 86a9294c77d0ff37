"""The newest records, and those who want to hear of each: what live pages stand on."""

import logging
from collections import deque
from collections.abc import Callable, Iterable

from gateway.domain.record import Record

Listener = Callable[[int, Record], None]

_log = logging.getLogger(__name__)


class Feed:
    """Keeps the last records and tells listeners of each, in order, one after the other."""

    def __init__(self, *, keep: int = 1000, known: Iterable[tuple[int, Record]] = ()) -> None:
        self._recent: deque[tuple[int, Record]] = deque(known, maxlen=keep)
        self._listeners: list[Listener] = []
        self._pending: deque[tuple[int, Record]] = deque()
        self._telling = False

    def recent(self, count: int) -> list[tuple[int, Record]]:
        """Return the newest `count` records (fewer when fewer are kept), oldest first."""
        if count <= 0:
            return []
        return list(self._recent)[-count:]

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of every record from now on; the returned function ends that, and may be called again."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def publish(self, index: int, *records: Record) -> None:
        """Keep records, the first of them at `index`, and tell everybody.

        They are written by now: a listener that raises can't undo that, so it is logged and not called again. A listener that
        causes another record hears of it afterwards, so that everybody hears in the same order.
        """
        self._recent.extend(enumerate(records, index))
        if not self._listeners:
            return
        self._pending.extend(enumerate(records, index))
        if self._telling:
            return
        self._telling = True
        try:
            while self._pending:
                item = self._pending.popleft()
                for listener in tuple(self._listeners):
                    self._tell(listener, *item)
        finally:
            self._telling = False

    def _tell(self, listener: Listener, index: int, record: Record) -> None:
        try:
            listener(index, record)
        except Exception:  # noqa: BLE001  whatever a listener does, the record is written
            _log.exception("a listener of the log failed at record %d and is not called again", index)
            if listener in self._listeners:
                self._listeners.remove(listener)
