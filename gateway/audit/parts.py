"""The parts in which a log can be verified side by side (`gateway.audit.verify.parts`): their files, and going over one."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.audit.reader import LogFolder, lines_of
from gateway.audit.verify.findings import Book
from gateway.audit.verify.lines import raw_key
from gateway.audit.verify.parts import Head, Held, Joint, Part, beginning, claimed_end
from gateway.audit.verify.walk import identify

_TAIL: Final = 65_536
"""Bytes read from the end of a checkpoint file: many lines."""

H = TypeVar("H", bound=Head)


class PartFiles(msgspec.Struct, frozen=True, kw_only=True):
    """One part: where it is, how long it was at that moment, and what it begins with."""

    records: str
    records_length: int
    checkpoints: str
    checkpoints_length: int
    start: Joint
    """Claimed; it counts when the part before ends with it."""
    last: bool
    log: str
    key: bytes
    """The raw public key to verify with."""
    anchor: bytes | None


def parts_of(folder: LogFolder) -> tuple[PartFiles, ...]:
    """Return the parts of a log; none when it can't be taken apart: then it is for `LogFolder.verify` to say what it is."""
    evidence, segments = folder.evidence, folder.segments
    log, key = identify(evidence, Book(writer_running=evidence.writer_running))
    if evidence.manifest is None or key is None or not segments:
        return ()
    parts: list[PartFiles] = []
    start: Joint | None = beginning(evidence.manifest)
    for segment in segments:
        if start is None or segment.records_length is None or segment.checkpoints_length is None:
            return ()
        parts.append(
            PartFiles(
                records=str(segment.records),
                records_length=segment.records_length,
                checkpoints=str(segment.checkpoints),
                checkpoints_length=segment.checkpoints_length,
                start=start,
                last=segment is segments[-1],
                log=log,
                key=bytes.fromhex(raw_key(key)),
                anchor=evidence.anchor,
            )
        )
        start = claimed_end(_last_line(segment.checkpoints, segment.checkpoints_length))
    return tuple(parts)


def hold(
    files: PartFiles, *, read: Callable[[bytes], H], on_record: Callable[[int, H], None], progress: Callable[[int], None]
) -> Held:
    """Go over one part: see `gateway.audit.verify.parts.Part`. Raises NotHeld, and OSError."""
    part = Part(
        files.start,
        log=files.log,
        key=Ed25519PublicKey.from_public_bytes(files.key),
        last=files.last,
        anchor=files.anchor,
        read=read,
        on_record=on_record,
    )
    return part.walk(
        lines_of(Path(files.records), files.records_length),
        lines_of(Path(files.checkpoints), files.checkpoints_length),
        progress,
    )


def _last_line(path: Path, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, length - _TAIL))
        tail = file.read(min(length, _TAIL))
    return tail.removesuffix(b"\n").rpartition(b"\n")[2]
