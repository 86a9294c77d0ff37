"""The staff list: which people are wanted, how many there are of each kind, and the list as a file. Pure."""

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, get_args

import msgspec

from gateway.audit.formats.table import cell
from gateway.console.proofing_port import Standing

Kind = Literal["all", "none", "in_force", "expiring", "over", "waiting", "inactive"]
"""`in_force` has `expiring`, too; `over`: expired or ended before its time; `waiting`: officers have to look at something.
Deactivated people are in `inactive` only.
"""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PAGE: Final = 100
_MOST_DAYS: Final = 3_660
_LONGEST: Final = 100
_BOM: Final = b"\xef\xbb\xbf"
COLUMNS: Final = (
    "login", "name", "department", "active", "state", "level", "method", "evidence", "verifier", "verified_at", "expires_at",
    "checked_at", "ended_at", "ended_why", "letter_then", "letter_now", "waiting", "invited_until", "invitation",
)  # fmt: skip


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    kind: Kind = "all"
    days: int
    """What counts as soon."""
    text: str = ""
    """Part of a name or login."""
    page: int = 1


def wanted_of(query: Mapping[str, str], days: int) -> Wanted:
    """Read a query; what makes no sense counts as not given. `days`: where none are asked for."""
    kind: Kind = next((one for one in KINDS if one == query.get("kind")), "all")
    text = "".join(char for char in query.get("q", "") if char.isprintable())
    return Wanted(
        kind=kind, days=_number(query.get("days", ""), _MOST_DAYS) or days, text=text.strip()[:_LONGEST],
        page=_number(query.get("page", ""), 100_000) or 1,
    )  # fmt: skip


def of_kind(one: Standing, kind: Kind) -> bool:
    """Whether somebody is one of these."""
    if not one.person.active:
        return kind == "inactive"
    match kind:
        case "all":
            return True
        case "none" | "expiring":
            return one.state == kind
        case "in_force":
            return one.state in {"in_force", "expiring"}
        case "over":
            return one.state in {"expired", "ended"}
        case "waiting":
            return bool(one.open_case)
        case "inactive":
            return False


def lacks(one: Standing) -> bool:
    """Whether an active person has no proofing in force."""
    return one.person.active and one.state not in {"in_force", "expiring"}


def counts(standings: Sequence[Standing]) -> dict[Kind, int]:
    """Return how many there are of each kind."""
    return {kind: sum(of_kind(one, kind) for one in standings) for kind in KINDS}


def select(standings: Iterable[Standing], wanted: Wanted) -> list[Standing]:
    """Return who is wanted; those whose proofing is over soon in the order in which that comes, others by login."""
    text = _plain(wanted.text)
    found = [
        one
        for one in standings
        if of_kind(one, wanted.kind) and (not text or text in _plain(one.person.name) or text in _plain(one.person.login))
    ]
    if wanted.kind == "expiring":
        found.sort(key=lambda one: (one.proof.expires_at or 0 if one.proof is not None else 0, one.person.login))
    return found


def departments(standings: Iterable[Standing]) -> list[tuple[str, int]]:
    """Return the departments with active people who lack a proofing in force, and how many of them there are."""
    found: dict[str, int] = {}
    for one in standings:
        if one.person.department and lacks(one):
            found[one.person.department] = found.get(one.person.department, 0) + 1
    return sorted(found.items())


def to_csv(standings: Iterable[Standing], text: Callable[[str], str], moment: Callable[[int], str]) -> bytes:
    """Return a file that opens in spreadsheets: byte order mark, headings in words, no cell that runs as a formula.

    `text` returns the words of a key, `moment` writes epoch seconds in the hospital's zone.
    """
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([text(f"proofing.column.{name}") for name in COLUMNS])
    for one in standings:
        values = _values(one, text, moment)
        writer.writerow([cell(values.get(name, "")) for name in COLUMNS])
    return _BOM + buffer.getvalue().encode("utf-8", "backslashreplace")


def _values(one: Standing, text: Callable[[str], str], moment: Callable[[int], str]) -> dict[str, str]:
    yes = {True: text("proofing.yes"), False: text("proofing.no")}
    values = {
        "login": one.person.login, "name": one.person.name, "department": one.person.department,
        "active": yes[one.person.active], "state": text(f"proofing.state.{one.state}"), "waiting": yes[bool(one.open_case)],
    }  # fmt: skip
    if one.invited is not None:
        values |= {"invited_until": moment(one.invited.due_at - 1), "invitation": text(f"proofing.invited.{one.invited.state}")}
    proof = one.proof
    if proof is None:
        return values
    times = {name: getattr(proof, name) for name in ("verified_at", "expires_at", "checked_at", "ended_at")}
    return (
        values
        | {"level": str(proof.level), "method": proof.method, "evidence": proof.evidence, "verifier": proof.verifier}
        | {name: moment(at) for name, at in times.items() if at is not None}
        | {"ended_why": text(f"proofing.why.{proof.ended_why}") if proof.ended_why else ""}
        | {"letter_then": proof.letter_then or "", "letter_now": proof.letter_now or ""}
    )


def _plain(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _number(text: str, most: int) -> int:
    """Return a small number, 0 for anything else."""
    return min(int(text), most) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0  # noqa: PLR2004  digits
