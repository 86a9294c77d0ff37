"""Small records on disk, one JSON file each: a file is whole or absent, never half written."""

import asyncio
import os
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import msgspec


class Filed(Protocol):
    """What can be filed."""

    @property
    def id(self) -> str:
        """Unique per patient, letters, digits and underscores."""
        ...

    @property
    def at(self) -> int:
        """Epoch seconds, for the order."""
        ...


T = TypeVar("T", bound=Filed)


class Cabinet(Generic[T]):
    """Records of one kind, by patient, in `<folder>/<patient>/<id>.json`. Reads everything at start; files from then on."""

    def __init__(self, folder: Path, kind: type[T]) -> None:
        """Raises OSError or msgspec.DecodeError when what is there can't be read: then the data directory needs a look."""
        self._folder = folder
        self._lock = asyncio.Lock()
        self._records: dict[str, dict[str, T]] = {}
        for path in folder.glob("*/*.json"):
            record = msgspec.json.decode(path.read_bytes(), type=kind)
            self._records.setdefault(path.parent.name, {})[record.id] = record

    def of(self, patient: str) -> list[T]:
        """Return a patient's records, newest first."""
        return sorted(self._records.get(patient, {}).values(), key=lambda record: (record.at, record.id), reverse=True)

    def find(self, patient: str, record_id: str) -> T | None:
        """Return one record, or None."""
        return self._records.get(patient, {}).get(record_id)

    async def file(self, patient: str, record: T) -> bool:
        """File a record, on disk when this returns. False when that id is filed already: the first one stays."""
        async with self._lock:
            records = self._records.setdefault(patient, {})
            if record.id in records:
                return False
            await asyncio.to_thread(write_whole, self._folder / patient / f"{record.id}.json", msgspec.json.encode(record))
            records[record.id] = record
            return True


def write_whole(path: Path, body: bytes) -> None:
    """Write `path` so that a reader, and a crash, finds all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
