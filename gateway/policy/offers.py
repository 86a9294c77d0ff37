"""Where the policies in force come from: a folder, or what was published last (`gateway.changes.published`)."""

from pathlib import Path
from typing import Protocol

import msgspec

from gateway.policy.folder import Snapshot, read_folder


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What should be in force now, and what should be tried out beside it."""

    snapshot: Snapshot
    number: int = 0
    """Of the publication; 0: from a folder."""
    detail: dict[str, str] = {}
    """Who, why, who approved: for the log."""
    trial: Snapshot | None = None
    """A report-only bundle."""


class Offers(Protocol):
    """Belongs to one holder."""

    def newest(self) -> Offer | None:
        """Return what should be in force; None when nothing can have changed since it was asked last. Blocking.

        Raises BundleError when it can't be read, StoreUnavailable when the place where it is kept does not answer.
        """
        ...


class FolderOffers:
    """The content of a folder, whenever it is asked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest(self) -> Offer:
        """Read the folder."""
        return Offer(snapshot=read_folder(self._folder))
