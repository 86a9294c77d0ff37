"""What is kept of a break-glass: who, why, for whom, until when, how it ended, and what the review found. Pure.

Guideline 6.0/ops/11①: use in an emergency must be detectable, managed and looked at afterwards. Times are epoch seconds.
"""

from typing import Final, Literal

import msgspec

State = Literal["beginning", "running", "ended", "void"]
"""`beginning`: in the ledger, not in force yet; `void`: it never came into force, so there is nothing to review."""
EndedHow = Literal["time", "person", "officer", "sign_out", "session"]
"""By itself at its time; by the person; by an officer; with the sign-out; with the session."""
FindingWord = Literal["justified", "not_justified", "unclear"]
FINDINGS: Final[tuple[FindingWord, ...]] = ("justified", "not_justified", "unclear")

MAX_TEXT: Final = 500
MIN_TEXT: Final = 4
MAX_PATIENT: Final = 64
MAX_FINDING: Final = 2000


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One of the reasons that people choose from."""

    id: str
    title_ja: str
    title_en: str


REASONS: Final = (
    Reason(id="critical", title_ja="患者の急変・意識不明などの緊急診療", title_en="Patient unconscious or in critical condition"),
    Reason(id="disaster", title_ja="災害・多数傷病者の受け入れ", title_en="Disaster, many casualties"),
    Reason(
        id="system_fault",
        title_ja="端末・認証・本人確認の仕組みの障害",
        title_en="Fault of a device, of sign-in or of identity checks",
    ),
    Reason(id="covering", title_ja="担当者不在のための代行(当直・応援)", title_en="Covering for a colleague who is not there"),
    Reason(id="other", title_ja="その他(状況の説明に具体的に記入)", title_en="Another reason (say which below)"),
)
"""What hospitals have most; `[[break_glass.reasons]]` takes their place."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a second person found."""

    word: FindingWord
    text: str
    by: str
    """Subject of the officer."""
    login: str
    name: str
    at: int


class BreakGlass(msgspec.Struct, frozen=True, kw_only=True):
    """One break-glass: one person, one session, a limited time."""

    id: str
    """`brk_...`: in every record under it."""
    subject: str
    login: str
    name: str
    roles: tuple[str, ...]
    department: str
    session: str
    device: str
    address: str
    reason: str
    """One of the configured words; its titles of then stand beside it, so that a changed list changes no record."""
    reason_ja: str
    reason_en: str
    text: str
    """In the person's own words. For those who review: it leaves the gateway in no notice."""
    patient: str
    """As the person said it."""
    app: str
    route: str
    method: str
    path: str
    """Of the request that was refused: without its query."""
    state: State
    began_at: int
    until: int
    ended_at: int | None = None
    ended_how: EndedHow | None = None
    ended_by: str = ""
    """Login of who ended it, where somebody did."""
    finding: Finding | None = None
    problem: str = ""
    """What went wrong when it began; empty when nothing did."""

    def in_force(self, now: float) -> bool:
        """Whether it may lift anything at `now`."""
        return self.state in {"beginning", "running"} and now < self.until

    @property
    def to_review(self) -> bool:
        """Whether its review is still open: from its beginning until a second person closes it."""
        return self.state != "void" and self.finding is None


class NotPossible(Exception):  # noqa: N818  it names an answer, not a fault
    """What was asked of the ledger can't be, and nothing has changed."""

    def __init__(self, why: Literal["running", "unknown", "own", "in_force", "reviewed", "text"]) -> None:
        super().__init__(why)
        self.why: Final = why


def plain_text(text: str, *, least: int = 0, most: int = MAX_TEXT) -> str | None:
    """Return what a person typed, without blanks around it; None when it is too short or long, holds no letter or digit, or a
    character that is not printed (line breaks and tabs count as blanks).
    """
    tidy = " ".join(text.split())
    if not least <= len(tidy) <= most or not tidy.isprintable():
        return None
    return tidy if not least or any(char.isalnum() for char in tidy) else None


def unseen_in(text: str) -> str:
    """Name the first character of what a person typed that is not printed, `U+202E`; empty when there is none."""
    return next((f"U+{ord(char):04X}" for char in " ".join(text.split()) if not char.isprintable()), "")


def without_unseen(text: str) -> str:
    """Return the text without them; line breaks stay."""
    return "".join(char for char in text if char.isprintable() or char in "\r\n\t")
