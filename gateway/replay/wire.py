"""What a replay and the processes that do its work say to each other: frames of MessagePack on pipes."""

import os
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.audit.parts import PartFiles
from gateway.audit.verify import Overall
from gateway.audit.verify.parts import Held
from gateway.policy.remedy import Outcomes
from gateway.replay.tally import Tally

_LENGTH: Final = 8
_PIECE: Final = 1 << 16


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag="prepare"):
    """The first word to a process. It answers `Ready` or `Wrong`."""

    before: dict[str, bytes]
    after: dict[str, bytes]
    """Policy files of both bundles, without cases."""
    zone: str
    """Name of a time zone, or an offset as `+09:00`."""
    since: str
    outcomes: Outcomes
    nice: int


class DoPart(msgspec.Struct, frozen=True, kw_only=True, tag="part"):
    """Verify and count one part of the log. Answered with `PartDone` or `Wrong`."""

    files: PartFiles


class DoWhole(msgspec.Struct, frozen=True, kw_only=True, tag="whole"):
    """Verify and count the whole installation's log, one line after the other. Answered with `WholeDone` or `Wrong`."""

    folder: str
    anchor: str
    public_key: str


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """Both bundles are compiled."""

    before: str
    after: str
    """Versions."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far it is."""

    done: int
    """Bytes of this part's records."""


class PartDone(msgspec.Struct, frozen=True, kw_only=True, tag="part_done"):
    """A part. `held` is None when it does not hold, or nobody knows; then nothing that was counted counts."""

    held: Held | None
    tally: Tally


class WholeDone(msgspec.Struct, frozen=True, kw_only=True, tag="whole_done"):
    """The whole log. Nothing that was counted counts unless the log is whole."""

    overall: Overall
    tally: Tally


class Wrong(msgspec.Struct, frozen=True, kw_only=True, tag="wrong"):
    """It can't be done."""

    kind: str
    """`bundle` or `log`."""
    what: str
    where: str = ""
    todo: str = ""


Word = Prepare | DoPart | DoWhole
Answer = Ready | Progress | PartDone | WholeDone | Wrong

_encode: Final = msgspec.msgpack.Encoder().encode
words: Final = msgspec.msgpack.Decoder(Word)
answers: Final = msgspec.msgpack.Decoder(Answer)


def frame(message: Word | Answer) -> bytes:
    """Return a message for a pipe."""
    data = _encode(message)
    return len(data).to_bytes(_LENGTH, "big") + data


class Frames:
    """Puts together what comes out of a pipe in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield each message that is complete now."""
        self._data += piece
        while len(self._data) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._data[:_LENGTH], "big")
            if len(self._data) < end:
                return
            yield bytes(self._data[_LENGTH:end])
            del self._data[:end]


def write_all(fd: int, data: bytes) -> None:
    """Write all of it. Blocking; BrokenPipeError when nobody reads any more."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_frames(fd: int) -> Iterator[bytes]:
    """Yield message by message until the other side closes. Blocking."""
    frames = Frames()
    while piece := os.read(fd, _PIECE):
        yield from frames.feed(piece)
