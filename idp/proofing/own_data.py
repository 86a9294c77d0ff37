"""What a person may see and take away of what is kept about their identity proofing: all of it, as JSON values.

It names what is kept as the database has it; the keyed digest is given, too, though it says nothing without the key. Of a card
that waits for officers it says which fields are held and where they differ, not what they say: it may be another person's.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone

import msgspec

from idp.model import ProofingCase, ProofingRecord, User
from idp.proofing.cases import Held
from idp.proofing.letters import letter
from idp.proofing.port import Verified
from idp.store.kept import InvitationLine, Kept

_JAPAN = timezone(timedelta(hours=9))
NOT_KEPT = ("certificate", "card_image", "address", "individual_number", "attributes_of_the_card_once_compared")
"""Named in the export, so that its reader knows that they are not missing."""


def own_data(user: User, kept: Kept, held: Mapping[str, Held], now: int) -> dict[str, object]:
    """Return everything that is kept, dates as RFC 3339 in UTC. `held`: what waits with open cases, by their ids."""
    return {
        "at": _time(now),
        "account": {
            "id": user.id, "login": user.login, "name": user.name, "kana": user.kana, "birth_date": user.birth_date,
            "former_names": list(user.former_names), "licences": list(user.licences),
        },
        "proofings": [_proofing(record, kept, now) for record in kept.records],
        "reviews": [_case(case, kept, held.get(case.id)) for case in kept.cases],
        "invitations": [_invitation(line) for line in kept.invitations],
        "never_kept": list(NOT_KEPT),
    }  # fmt: skip


def _proofing(record: ProofingRecord, kept: Kept, now: int) -> dict[str, object]:
    return {
        "level": record.level, "method": record.method, "evidence": record.evidence, "verified_at": _time(record.verified_at),
        "expires_at": _time(record.expires_at), "verifier": record.verifier, "transaction": record.transaction,
        "person_digest": record.person_digest, "digest_key": record.digest_key, "in_force": record.in_force(now),
        "ended_at": _time(record.ended_at), "ended_why": record.ended_why,
        "checked_at": _time(record.checked_at or None),
        "letter_when_verified": _letter(record.method, record.verified_at), "letter_today": _letter(record.method, now),
        "authenticators": [
            {"authenticator": one.authenticator, "bound_at": _time(one.bound_at)}
            for one in kept.bindings if one.proofing == record.number
        ],
        "confirmed": [one.claim for one in kept.stated if one.proofing == record.number],
    }  # fmt: skip


def _letter(method: str, at: int) -> dict[str, str | None]:
    """How the law on criminal proceeds lettered the method on that day, in Japan; for information only."""
    day: date = datetime.fromtimestamp(at, _JAPAN).date()
    return {"day": day.isoformat(), "letter": letter(method, day)}


def _case(case: ProofingCase, kept: Kept, held: Held | None) -> dict[str, object]:
    return {
        "case": case.id, "kind": case.kind, "state": case.state, "opened_at": _time(case.opened_at),
        "expires_at": _time(case.expires_at), "first_by": case.first_by, "first_at": _time(case.first_at),
        "decided_by": case.decided_by, "decided_at": _time(case.decided_at), "note": case.note,
        "authenticators_waiting": [one.authenticator for one in kept.waiting if one.case == case.id],
        "held": None if held is None else {
            "card_fields": _fields(held.verified), "differences": list(held.differences), "method": held.record.method,
            "level": held.record.level, "verifier": held.record.verifier, "transaction": held.record.transaction,
            "verified_at": _time(held.record.verified_at),
        },
    }  # fmt: skip


def _fields(verified: Verified | None) -> list[str]:
    return [name for name, value in msgspec.structs.asdict(verified).items() if value] if verified is not None else []


def _invitation(line: InvitationLine) -> dict[str, object]:
    return {
        "batch": line.batch, "invited_by": line.invited_by, "invited_at": _time(line.invited_at), "due_at": _time(line.due_at),
    }  # fmt: skip


def _time(at: int | None) -> str | None:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at is not None else None
