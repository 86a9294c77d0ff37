"""Who may do what with a change, and which state leads where. Pure: each function returns the changed draft, or raises
`ChangeRefused`.

    open -> waiting -> approved -> published         any edit: open again; a declined one: open again; given up: withdrawn
"""

from typing import Final

import msgspec

from gateway.changes.model import Approval, ChangeRefused, Draft, DraftState, Person, Publication
from gateway.domain.identity import same_login

_ALIVE: Final[tuple[DraftState, ...]] = ("open", "waiting", "approved")


def same_person(one: Person, other: Person) -> bool:
    """Whether two may be one and the same: by the provider's word, or by login (a second account, the command line)."""
    return one.subject == other.subject or same_login(one.login, other.login)


def edited(draft: Draft, who: Person, now: int, *, revision: int, files: dict[str, bytes], content: str) -> Draft:
    """Another content: open again, one more revision, `who` among the editors, no trial of what it was before."""
    _alive(draft, "change")
    if revision != draft.revision:
        raise ChangeRefused(
            "changed", "somebody else has saved this change meanwhile", "Look at it again, and make yours on top of that"
        )
    editors = draft.editors if any(one == who for one in draft.editors) else (*draft.editors, who)
    return msgspec.structs.replace(
        draft,
        files=files,
        content=content,
        revision=draft.revision + 1,
        editors=editors,
        state="open",
        changed_at=now,
        trial=draft.trial and content == draft.content,
    )


def submitted(draft: Draft, content: str, in_force: Publication, now: int) -> Draft:
    """Waiting for a second person."""
    _state(draft, ("open",), "submit")
    _seen(draft, content)
    _newest(draft, in_force)
    return msgspec.structs.replace(draft, state="waiting", changed_at=now)


def approved(draft: Draft, who: Person, content: str, revision: int, note: str, now: int) -> Draft:
    """Approved by a second person. `revision` 0 is not compared."""
    _state(draft, ("waiting",), "approve")
    _not_own(draft, who)
    _seen(draft, content, revision)
    given = Approval(by=who, at=now, content=content, verdict="approved", note=note)
    return msgspec.structs.replace(draft, state="approved", approvals=(*draft.approvals, given), changed_at=now)


def declined(draft: Draft, who: Person, content: str, note: str, now: int) -> Draft:
    """Sent back; an approval may be taken back so, too."""
    _state(draft, ("waiting", "approved"), "decline")
    _not_own(draft, who)
    _seen(draft, content)
    given = Approval(by=who, at=now, content=content, verdict="declined", note=note)
    return msgspec.structs.replace(draft, state="open", approvals=(*draft.approvals, given), changed_at=now)


def withdrawn(draft: Draft, now: int) -> Draft:
    """Given up."""
    _alive(draft, "withdraw")
    return msgspec.structs.replace(draft, state="withdrawn", trial=False, changed_at=now)


def published(draft: Draft, content: str, in_force: Publication, now: int) -> tuple[Draft, Person]:
    """In force; also whose approval counts."""
    _state(draft, ("approved",), "publish")
    _seen(draft, content)
    approval = draft.approvals[-1] if draft.approvals else None
    if approval is None or approval.verdict != "approved" or approval.content != content:
        raise ChangeRefused("changed", "what was approved is not what this change is now", "Ask the second person again")
    _not_own(draft, approval.by)
    _newest(draft, in_force)
    return msgspec.structs.replace(draft, state="published", trial=False, changed_at=now), approval.by


def tried(draft: Draft, content: str, now: int) -> Draft:
    """On trial."""
    _alive(draft, "try out")
    _seen(draft, content)
    return msgspec.structs.replace(draft, trial=True, changed_at=now)


def returnable(target: Publication, in_force: Publication, expected: int) -> None:
    """Check that one can go back from what is in force to `target`."""
    if in_force.number != expected:
        raise ChangeRefused(
            "overtaken", f"publication {in_force.number} is in force meanwhile, not {expected}", "Look at it, then decide again"
        )
    if target.content == in_force.content:
        raise ChangeRefused("same", f"publication {target.number} is what is in force", "Nothing has to be done")


def _alive(draft: Draft, verb: str) -> None:
    _state(draft, _ALIVE, verb)


def _state(draft: Draft, states: tuple[DraftState, ...], verb: str) -> None:
    if draft.state not in states:
        what = f"one can't {verb} a change that is {draft.state}"
        todo = "Begin a new one" if draft.state in {"published", "withdrawn"} else "Look at its present state"
        raise ChangeRefused("state", what, todo)


def _seen(draft: Draft, content: str, revision: int = 0) -> None:
    if draft.content != content or revision not in {0, draft.revision}:
        raise ChangeRefused("changed", "this change is not what you looked at any more", "Look at it again")


def _newest(draft: Draft, in_force: Publication) -> None:
    if draft.base != in_force.number:
        what = f"publication {in_force.number} came into force since this change began (from {draft.base})"
        raise ChangeRefused("overtaken", what, "Bring it up to date, and have it approved again")
    if draft.content == in_force.content:
        raise ChangeRefused("same", "it is what is in force: nothing would change", "Change something, or withdraw it")


def _not_own(draft: Draft, who: Person) -> None:
    if any(same_person(who, editor) for editor in (draft.author, *draft.editors)):
        raise ChangeRefused("own", "who made or edited a change can't approve it", "Ask another security officer")
