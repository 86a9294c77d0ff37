"""What is said about a person, in the ID token and at userinfo."""

from collections.abc import Collection, Iterable

from idp.model import AuthEvent, ProofingRecord, User
from idp.protocol.binding import authenticator


def profile(user: User, scope: str, names: Collection[str] = ()) -> dict[str, object]:
    """Return the claims of the scope `profile`; without it those that were asked for by name."""
    claims: dict[str, object] = {
        "name": user.name,
        "preferred_username": user.login,
        "roles": list(user.roles),
        "organization": user.organization,
        "department": user.department,
    }
    return claims if "profile" in scope.split() else {name: claims[name] for name in claims if name in names}


def auth_events(events: Iterable[AuthEvent], bound: Collection[str] = ()) -> list[dict[str, object]]:
    """Return the claim `auth_events`: what was proved in this session, oldest first, and whether with an authenticator that the
    proofing in force is bound to (`bound`: what is bound to it, by name). Which one it was stays here.
    """
    return [
        {
            "kind": event.kind, "at": event.at, "phishing_resistant": event.phishing_resistant,
            "bound": authenticator(event) in bound,
        }
        for event in events
    ]  # fmt: skip


def proofing(record: ProofingRecord | None, now: int) -> dict[str, object] | None:
    """Return the claim `proofing`; None when there is none in force. The person digest stays here."""
    if record is None or not record.in_force(now):
        return None
    return {
        "level": record.level,
        "method": record.method,
        "verified_at": record.verified_at,
        "expires_at": record.expires_at,
        "verifier": record.verifier,
        "transaction": record.transaction,
    }
