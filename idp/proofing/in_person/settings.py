"""What an institution accepts at its counter, and what it counts for."""

from typing import Final, Literal, get_args

import msgspec

from gateway.kernel.errors import ConfigError

Document = Literal["ic_chip", "my_number_card", "driving_licence", "passport", "residence_card", "photo_document"]
"""What officers look at. `ic_chip`: the card's chip, read by a reader at the counter after the person has entered the PIN;
`my_number_card`: its front, with the photograph; `photo_document`: another official document with a photograph.
"""
DOCUMENTS: Final[tuple[Document, ...]] = get_args(Document)
_WHERE: Final = "idp.in_person"
_MOST_PLACE: Final = 300


def _levels() -> dict[Document, int]:
    return {"ic_chip": 3, "my_number_card": 2, "driving_licence": 2, "passport": 2, "residence_card": 2}


class InPersonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`[idp.in_person]`."""

    place_ja: str
    """Where to go, and when somebody is there; shown to the person in Japanese."""
    place_en: str
    """The same in English."""
    levels: dict[Document, int] = msgspec.field(default_factory=_levels)
    """What is accepted, and the identity assurance level of each. What is not listed is not accepted."""
    code_seconds: int = 600
    """How long the code that the person shows is good. The page that shows it lives ten minutes: begin near the counter."""
    valid_days: int = 1825
    """How long a result holds."""


def check(settings: InPersonSettings) -> None:
    """Raise ConfigError for settings that make no sense."""
    for name, place in (("place_ja", settings.place_ja), ("place_en", settings.place_en)):
        if not place.strip() or len(place) > _MOST_PLACE or not place.replace("\n", " ").isprintable():
            raise ConfigError("nobody would know where to go", where=f"{_WHERE}.{name}", todo="Up to 300 printable characters.")
    if not settings.levels or not all(1 <= level <= 3 for level in settings.levels.values()):  # noqa: PLR2004
        raise ConfigError(
            "no document has a level from 1 to 3", where=f"{_WHERE}.levels", todo=f"There are {', '.join(DOCUMENTS)}."
        )
    if not 60 <= settings.code_seconds <= 14_400 or settings.valid_days < 1:  # noqa: PLR2004
        raise ConfigError("a limit makes no sense", where=_WHERE, todo="code_seconds is 60 to 14400, valid_days at least 1.")
