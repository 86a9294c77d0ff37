"""Documents that people upload to a chart: streamed to disk, listed with their size, given back as downloads only."""

import asyncio
import os
import unicodedata
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.demo.ehr.cabinet import Cabinet
from gateway.kernel.ids import new_id
from gateway.kernel.web.site import PageError

_CHUNK: Final = 256 * 1024
_MAX_PARTS: Final = 8
_MAX_TITLE: Final = 120
_MALFORMED: Final = (ValueError, AssertionError, RuntimeError, HttpProcessingError)
"""What aiohttp's multipart reader raises on bad framing, charset and headers."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One uploaded file. The bytes are in `<id>.bin` beside the record."""

    id: str
    title: str
    """The file's name as the person's computer called it, cleaned."""
    size: int
    """Bytes."""
    author: str
    at: int
    """Epoch seconds."""


class DocumentStore:
    """The uploaded documents of all patients under `folder`."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        for leftover in folder.glob("*/*.part"):  # uploads that a stop interrupted
            leftover.unlink()
        self._folder = folder
        self._max_bytes = max_bytes
        self._records = Cabinet(folder, Document)

    def of(self, patient: str) -> list[Document]:
        """Return a patient's documents, newest first."""
        return self._records.of(patient)

    def find(self, patient: str, name: str) -> Document | None:
        """Return a document, or None."""
        return self._records.find(patient, name)

    def path(self, patient: str, document: Document) -> Path:
        """Where the bytes are."""
        return self._folder / patient / f"{document.id}.bin"

    async def save(self, patient: str, title: str, chunks: AsyncIterator[bytes], *, author: str, at: int) -> Document:
        """Stream `chunks` to disk and file the document. Nothing stays behind when that fails half-way.

        PageError 413 beyond the limit, 507 when the disk is full.
        """
        name = new_id("doc")
        part = self._folder / patient / f"{name}.part"
        size = 0
        try:
            part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = await asyncio.to_thread(part.open, "xb")
            with file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > self._max_bytes:
                        raise PageError(413, "document_too_large", limit=human_size(self._max_bytes))
                    await asyncio.to_thread(file.write, chunk)
                await asyncio.to_thread(_flush, file.fileno())
            document = Document(id=name, title=title, size=size, author=author, at=at)
            part.replace(self.path(patient, document))
        except ConnectionError:
            raise  # the sender left
        except OSError as error:
            raise PageError(507, "disk") from error
        finally:
            part.unlink(missing_ok=True)
        await self._records.file(patient, document)
        return document


async def uploaded_file(request: web.Request) -> tuple[str, AsyncIterator[bytes]]:
    """Return the cleaned name of the form's `file` part, and its bytes as they come. PageError 422 without one, 400 malformed.

    The bytes end well only if the part was the last one and the form's closing boundary followed: a body that was cut off is an
    error, not a short document.
    """
    if request.content_type != "multipart/form-data":
        raise PageError(400, "upload_malformed")
    try:
        reader = await request.multipart()
        for _ in range(_MAX_PARTS):
            part = await reader.next()
            if part is None:
                break
            if isinstance(part, BodyPartReader) and part.name == "file" and part.filename:
                return clean_title(part.filename), _chunks(reader, part)
    except _MALFORMED as error:
        raise PageError(400, "upload_malformed") from error
    raise PageError(422, "no_file")


async def _chunks(reader: MultipartReader, part: BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while not part.at_eof():
            if chunk := await part.read_chunk(_CHUNK):
                yield chunk
        following = await reader.next()
    except _MALFORMED as error:
        raise PageError(400, "upload_malformed") from error
    if following is not None:
        raise PageError(400, "upload_malformed")


def download(path: Path, document: Document) -> web.FileResponse:
    """Answer with a document as a download: never shown inside our origin, whatever it contains."""
    return web.FileResponse(
        path,
        headers={
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(document.title, safe='')}",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )


def clean_title(filename: str) -> str:
    """Return the last segment of a file name without control and format characters, at most 120 characters; never empty."""
    last = filename.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(char for char in last if not unicodedata.category(char).startswith("C")).strip(" .")
    return kept[:_MAX_TITLE] or "document"


def human_size(size: int) -> str:
    """Return a size for people, in powers of 1024: `1.4 MiB`."""
    value = float(size)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:  # noqa: PLR2004  bytes in a KiB
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"


def _flush(descriptor: int) -> None:
    os.fsync(descriptor)
