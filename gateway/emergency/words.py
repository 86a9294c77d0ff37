"""What officers are told of a break-glass. Pure.

Not told: the patient's name (the gateway knows none), and what the person wrote in their own words, which may hold one; the
patient's id only where the hospital says so. Names come from outside: each is one line of printable characters here, so none can
add a line, or a field of a mail.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Final

import msgspec

from gateway.emergency.model import BreakGlass
from gateway.kernel.i18n import Catalogue, Language
from gateway.kernel.web.show import visible

_texts: Final = Catalogue.load(Path(__file__).parent / "text")
_LONGEST: Final = 120


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How it is told here."""

    language: Language
    zone: tzinfo
    hospital: str
    """How the place calls itself: the portal's host."""
    patient_id: bool
    """Whether the patient's id may leave the gateway in a notice."""
    link: Callable[[str], str]
    """The console's address of a break-glass by its id; empty where there is no console."""
    console: str = ""
    """The console's origin; empty where there is none."""
    apps: Mapping[str, tuple[str, str]]
    """Titles of the apps (Japanese, English), by id."""


def one_line(text: str, limit: int = _LONGEST) -> str:
    """Text from outside as one line of printable characters; the rest is shown as escapes."""
    return visible(text, limit)


def began(one: BreakGlass, manner: Manner) -> tuple[str, str]:
    """Return subject and text of the notice that a break-glass has begun."""
    language = manner.language
    titles = manner.apps.get(one.app)
    title = titles[language != "ja"] if titles is not None else _say(language, "began.unknown_app")
    values = {
        "name": one_line(one.name, 60),
        "login": one_line(one.login, 60),
        "department": one_line(one.department) or _say(language, "began.no_department"),
        "reason": one_line(one.reason_ja if language == "ja" else one.reason_en),
        "app": one_line(title),
        "began": _moment(one.began_at, manner.zone),
        "until": _moment(one.until, manner.zone),
        "address": one_line(one.address, 60),
        "id": one.id,
        "hospital": manner.hospital,
        "patient": _say(language, "began.patient", patient=one_line(one.patient, 64)) if manner.patient_id else "",
        "link": _say(language, "began.link", link=link) if (link := manner.link(one.id)) else "",
    }
    return _say(language, "began.subject", **values), _say(language, "began.text", **values).strip() + "\n"


def rolled_back(manner: Manner, *, number: int, to: int, name: str, login: str, why: str, at: int) -> tuple[str, str]:
    """Return subject and text of the notice that policies were rolled back. `why` is an officer's own words."""
    values = {
        "number": number,
        "to": to,
        "name": one_line(name, 60),
        "login": one_line(login, 60),
        "why": one_line(why, 500),
        "at": _moment(at, manner.zone),
        "hospital": manner.hospital,
        "link": _say(manner.language, "rolled_back.link", link=f"{manner.console}/policies/history") if manner.console else "",
    }
    return _say(manner.language, "rolled_back.subject", **values), _say(
        manner.language, "rolled_back.text", **values
    ).strip() + "\n"


def detail(one: BreakGlass, manner: Manner) -> dict[str, str]:
    """Return the same for programs."""
    found = {
        "break_glass": one.id,
        "subject": one_line(one.subject),
        "login": one_line(one.login, 60),
        "name": one_line(one.name, 60),
        "department": one_line(one.department),
        "reason": one.reason,
        "app": one.app,
        "route": one.route,
        "address": one_line(one.address, 60),
        "began_at": str(one.began_at),
        "until": str(one.until),
        "link": manner.link(one.id),
    }
    return found | ({"patient": one_line(one.patient, 64)} if manner.patient_id else {})


def _say(language: Language, key: str, **values: object) -> str:
    return _texts.text(language, key, **values)


def _moment(at: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M")
