"""What was published last, for the holder of the policies in force (`gateway.policy.offers.Offers`)."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.changes import store
from gateway.changes.bundle_files import content_of, snapshot_of
from gateway.changes.model import ChangeRefused, Draft, Files, NodeState, Publication
from gateway.kernel.errors import BundleError
from gateway.lasting.port import Cursor, Lasting
from gateway.policy.folder import Snapshot
from gateway.policy.offers import Offer


class Published:
    """The newest publication, and the bundle on trial. Asks the database for one number while nothing changes."""

    def __init__(self, lasting: Lasting) -> None:
        self._lasting: Final = lasting
        self._stamp: int | None = None

    def newest(self) -> Offer | None:
        """What should be in force; None while nothing was touched."""
        # Before what it counts: a change in between is seen the next time.
        stamp = self._lasting.stamp(store.TOPIC)
        if stamp == self._stamp:
            return None

        def work(cursor: Cursor) -> tuple[Publication, Files, Draft | None]:
            found = store.in_force(cursor)
            return found, store.bundle_by_content(cursor, found.content), store.on_trial(cursor)

        try:
            found, files, draft = self._lasting.read_now(work)
        except ChangeRefused as error:
            raise BundleError(error.what, where="the database of policies", todo=error.todo) from error
        if content_of(files) != found.content:
            raise BundleError(
                f"what is kept as publication {found.number} is not what was published",
                where="the database of policies",
                todo="Restore a backup of the database, or publish the policies again",
            )
        self._stamp = stamp
        return Offer(
            snapshot=_named(files, f"publication {found.number}"),
            number=found.number,
            detail=detail_of(found),
            trial=_named(draft.files, f"trial {draft.id}") if draft is not None else None,
        )


def detail_of(publication: Publication) -> dict[str, str]:
    """Return a publication for the log."""
    said = {
        "publication": str(publication.number),
        "kind": publication.kind,
        "title": publication.title,
        "author": publication.author.login or publication.author.subject,
        "approved_by": publication.approved_by.login or publication.approved_by.subject if publication.approved_by else "",
        "why": publication.why,
        "returns_to": str(publication.returns_to) if publication.returns_to else "",
    }
    return {name: value for name, value in said.items() if value}


def _named(files: Mapping[str, bytes], name: str) -> Snapshot:
    """The files with a name that errors show in place of a folder."""
    return msgspec.structs.replace(snapshot_of(files), folder=name)


def report(lasting: Lasting, state: NodeState) -> None:
    """Keep what a process says of itself. Blocking."""
    lasting.write_now(lambda cursor: store.report(cursor, state))


def leave(lasting: Lasting, node: str) -> None:
    """Forget a process that ends. Blocking."""
    lasting.write_now(lambda cursor: store.leave(cursor, node))
