"""Values with a form of their own: host names, origins, address ranges, paths, time zones, route paths.

Each refuses what it does not fully understand; none repairs. A parser gets the text, and the folder that relative paths count
from.
"""

import ipaddress
import os
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

from gateway.config.reader import InvalidValueError, Leaf
from gateway.config.secrets import read_private_file
from gateway.kernel.errors import ConfigError
from gateway.pipeline.calendar import Shift, parse_shift

MAX_HOST: Final = 253
MAX_TITLE: Final = 80
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_ROUTE_ID: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}(?:\.[a-z0-9_-]{1,64})+")
_CLAIM: Final = re.compile(r"[A-Za-z0-9_:/.-]{1,128}")
_METHOD: Final = re.compile(r"[A-Z]{1,20}|\*")
_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_PATIENT: Final = re.compile(r"[a-z][a-z0-9_]*|query:[A-Za-z0-9_.-]+")
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")
_ORIGIN: Final = re.compile(r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(?P<port>[1-9][0-9]{0,4}))?")
_URL: Final = re.compile(r"(?P<origin>https?://[^/]+)(?:/[A-Za-z0-9._~/-]*)?")
_MAIL: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_UNSAFE_IN_SEGMENT: Final = re.compile(r"[%;?#\\{}*\s\x00-\x1f\x7f]")


def _host_name(text: str, folder: Path) -> str:
    labels = text.split(".")
    if text != text.lower():
        raise InvalidValueError(f'should be in lower case, not "{text}"', f'Write "{text.lower()}".')
    if len(text) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise InvalidValueError(
            f'should be a host name, not "{text}"', 'Write it like "ehr.hospital.example": no scheme, port, path or address.'
        )
    return text


def _listen_address(text: str, folder: Path) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if text == "localhost":
            return text
        raise InvalidValueError(
            f'should be an address of this machine, not "{text}"', 'Write "127.0.0.1", "::1", or "0.0.0.0" for every interface.'
        ) from None


def _origin(text: str, folder: Path) -> str:
    found = _ORIGIN.fullmatch(text)
    if not found or int(found["port"] or 1) > 65_535:  # noqa: PLR2004  the highest port
        raise InvalidValueError(
            f'should be scheme, host and port alone, not "{text}"', 'Write it like "https://ehr.internal:8443", without a path.'
        )
    host = found["host"]
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise InvalidValueError(f'has no IPv6 address in "{text}"', "Correct it.") from None
    elif host.replace(".", "").isdigit():
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise InvalidValueError(f'has no IPv4 address in "{text}"', "Correct it.") from None
    elif not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise InvalidValueError(f'has no host name in "{text}"', "Correct it.")
    return text


def _url(text: str, folder: Path) -> str:
    found = _URL.fullmatch(text)
    if not found:
        raise InvalidValueError(f'should be a URL without query, not "{text}"', 'Write it like "https://id.hospital.example".')
    _origin(found["origin"], folder)
    return text


def _range(text: str, folder: Path) -> str:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        try:
            wider = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise InvalidValueError(f'should be an address range, not "{text}"', 'Write it like "10.20.0.0/16".') from None
        raise InvalidValueError(f'"{text}" has address bits beyond its prefix', f'Write "{wider}" if you mean it.') from None
    return str(network)


def _existing_file(text: str, folder: Path) -> Path:
    path = _state_path(text, folder)
    if not path.is_file():
        raise InvalidValueError(f"names no file: {path}", "Create it, or correct the path (relative to this file).")
    if not os.access(path, os.R_OK):
        raise InvalidValueError(f"names a file that can't be read: {path}", "Let the gateway's user read it.")
    return path


def _private_file(text: str, folder: Path) -> Path:
    path = _state_path(text, folder)
    try:
        read_private_file(path)
    except ConfigError as error:
        raise InvalidValueError(f"can't be used: {error.what}", error.todo) from error
    return path


def _key_file(text: str, folder: Path) -> Path:
    path = _state_path(text, folder)
    return _private_file(text, folder) if path.exists() else path


def _existing_folder(text: str, folder: Path) -> Path:
    path = _state_path(text, folder)
    if not path.is_dir():
        raise InvalidValueError(f"names no folder: {path}", "Create it, or correct the path (relative to this file).")
    return path


def _state_path(text: str, folder: Path) -> Path:
    if not text or "\0" in text:
        raise InvalidValueError("should be a path, not an empty text", "Write one; relative paths count from this file's folder.")
    return Path(os.path.normpath(folder / text))


def _title(text: str, folder: Path) -> str:
    if not text.strip() or len(text) > MAX_TITLE or not text.isprintable():
        raise InvalidValueError(f"should be one line of 1 to {MAX_TITLE} characters", "Write it as people are to read it.")
    return text


def _zone(text: str, folder: Path) -> ZoneInfo:
    try:
        return ZoneInfo(text)
    except (ValueError, OSError, KeyError):  # ZoneInfoNotFoundError is a KeyError; a folder's name raises an OSError
        raise InvalidValueError(
            f'"{text}" is no time zone of this machine', 'Write one like "Asia/Tokyo"; the package tzdata must be installed.'
        ) from None


def _day(text: str, folder: Path) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise InvalidValueError(f'should be a day, not "{text}"', 'Write it like "2026-12-29".')
    return day


def _shift(text: str, folder: Path) -> Shift:
    try:
        return parse_shift(text)
    except ValueError as error:
        todo = 'Write it like "08:30-17:15"; "16:30-09:00" goes over midnight, "00:00-24:00" is a whole day.'
        raise InvalidValueError(f'{error}: "{text}"', todo) from None


def _route_path(text: str, folder: Path) -> tuple[str, ...]:
    if not text.startswith("/"):
        raise InvalidValueError(f'should begin with "/", not "{text}"', f'Write "/{text}".')
    segments = tuple(text[1:].split("/"))
    if segments == ("",):
        return segments
    places = [found[1] for segment in segments if (found := _PLACE.fullmatch(segment))]
    if len(set(places)) < len(places):
        raise InvalidValueError(f'names a place twice in "{text}"', "Give each place its own name.")
    for index, segment in enumerate(segments):
        rest = segment == "**" and index == len(segments) - 1
        # A "/" at the end is a path of its own, as servers see it; an empty segment before the end never is.
        end = segment == "" and index == len(segments) - 1
        if rest or end or _PLACE.fullmatch(segment):
            continue
        if segment in {"", ".", ".."} or _UNSAFE_IN_SEGMENT.search(segment):
            raise InvalidValueError(
                f'has a segment "{segment}" that is not possible in "{text}"',
                "A segment is plain text, {name} for any one segment, or ** at the end for any rest; write it decoded.",
            )
    return segments


def _of_form(form: re.Pattern[str], wanted: str, example: str) -> Leaf:
    def parse(text: str, folder: Path) -> str:
        if not form.fullmatch(text):
            raise InvalidValueError(f'should be {wanted}, not "{text}"', f'Write it like "{example}".')
        return text

    return Leaf(parse)


HostName = Annotated[str, Leaf(_host_name)]
"""A host name in lower case, without port."""
ListenAddress = Annotated[str, Leaf(_listen_address)]
Origin = Annotated[str, Leaf(_origin)]
"""`scheme://host[:port]`."""
Url = Annotated[str, Leaf(_url)]
"""`scheme://host[:port][/path]`."""
Range = Annotated[str, Leaf(_range)]
"""An address range in CIDR form."""
"""An address range that is trusted for something: never "everybody"."""
ExistingFile = Annotated[Path, Leaf(_existing_file)]
PrivateFile = Annotated[Path, Leaf(_private_file)]
"""A key file that only its owner can read."""
KeyFile = Annotated[Path, Leaf(_key_file)]
"""A private file that the gateway makes itself when it is missing."""
ExistingFolder = Annotated[Path, Leaf(_existing_folder)]
StatePath = Annotated[Path, Leaf(_state_path)]
"""A file or folder that the gateway makes itself."""
Day = Annotated[date, Leaf(_day)]
Span = Annotated[Shift, Leaf(_shift)]
"""From when until when of a day, by the wall clock."""
TimeZone = Annotated[ZoneInfo, Leaf(_zone)]
RoutePath = Annotated[tuple[str, ...], Leaf(_route_path)]
Identifier = Annotated[str, _of_form(_ID, "a short name in lower case", "ehr")]
RouteId = Annotated[str, _of_form(_ROUTE_ID, "the app's id, a dot and a name", "ehr.chart")]
Claim = Annotated[str, _of_form(_CLAIM, "the name of a claim", "roles")]
Method = Annotated[str, _of_form(_METHOD, "a method in upper case or *", "GET")]
PatientPlace = Annotated[str, _of_form(_PATIENT, "the name of a place in the path, or query:NAME", "patient")]
Title = Annotated[str, Leaf(_title)]
"""One line that people read."""
MailAddress = Annotated[str, _of_form(_MAIL, "an e-mail address", "officers@hospital.example")]
HeaderName = Annotated[str, _of_form(_HEADER, "a header name of letters, digits and hyphens", "X-Remote-User")]
