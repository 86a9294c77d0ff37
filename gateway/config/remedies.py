"""The sections `[grants]` and `[remedies]`, and the rules that they have to keep."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from gateway.config.locate import KeyPath

Found = tuple[KeyPath, str, str]
"""Where, what, and what to do."""
Contact = Annotated[str, msgspec.Meta(max_length=200)]


class Grants(msgspec.Struct, frozen=True, kw_only=True):
    """Access for a limited time that people ask for and a security officer approves (guideline 10)."""

    longest_hours: Annotated[int, msgspec.Meta(ge=1, le=8_784)] = 720
    """How long one may last."""


class Remedies(msgspec.Struct, frozen=True, kw_only=True):
    """Who learns what would let them in. For everybody else the page says only to ask the help desk; the log still holds it."""

    help_desk_roles: tuple[str, ...] = ()
    """Whoever has one of these roles is told to ask the help desk."""
    help_desk_other_organizations: bool = False
    """So is whoever belongs to another organisation than `organization`, or to none."""
    organization: str = ""
    """The hospital's own, as the identity provider spells it."""
    help_desk_ja: Contact = ""
    """How to reach the help desk: a telephone number, opening hours."""
    help_desk_en: Contact = ""


def find_in_grants(*, given: bool, database: bool) -> Iterator[Found]:
    """Yield what is wrong with [grants]. `given`: the section is there; `database`: its ledger can be kept."""
    if given and not database:
        yield (
            ("grants",),
            "there is a [grants] section, but no database that its ledger is kept in",
            'Add database = "FILE" to [policies], or remove the section.',
        )


def find_in_remedies(settings: Remedies) -> Iterator[Found]:
    """Yield what is wrong with [remedies]."""
    if settings.help_desk_other_organizations and not settings.organization:
        yield (
            ("remedies", "help_desk_other_organizations"),
            "it is not said which organisation is the hospital's own",
            'Add organization = "..." as the identity provider spells it.',
        )
    if settings.organization and not settings.help_desk_other_organizations:
        yield (
            ("remedies", "organization"),
            "the hospital's own organisation is named, and makes no difference",
            "Add help_desk_other_organizations = true, or remove it.",
        )
    for index, role in enumerate(settings.help_desk_roles):
        if not role.strip() or not role.isprintable():
            yield ("remedies", "help_desk_roles", index), "it is not the name of a role", "Write it as policies do, or remove it."
    for key, text in (("help_desk_ja", settings.help_desk_ja), ("help_desk_en", settings.help_desk_en)):
        if not text.isprintable():
            yield ("remedies", key), "it holds characters that are not printed", "Write one line of text."
