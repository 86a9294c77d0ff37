"""A platform operator's contract as data: what to ask, where in the answers things are, and what the words mean.

A profile is a TOML file. It is read once, at the start, and refused whole for anything that could not work or must not be: an
unknown key or placeholder, a pointer that is none, a word with two meanings, a state that nobody calls good, and whatever would
send or read the Individual Number (`forbidden`). It repeats an operator's documents; it is not checked against the operator.
"""

from pathlib import Path
from typing import Final

import msgspec

from gateway.kernel.errors import ConfigError
from idp.proofing.forbidden import forbidden_in
from idp.proofing.platform_operator.contract import Profile
from idp.proofing.platform_operator.soundness import NAME, problems

SHIPPED: Final = Path(__file__).parent / "profiles"
_MOST_BYTES: Final = 65_536


def load_profile(name: str) -> Profile:
    """Read a shipped profile by name, or one from a file (`name` with a slash). ConfigError: it can't be read or used."""
    path = Path(name) if "/" in name else SHIPPED / f"{name}.toml"
    if "/" not in name and (not NAME.fullmatch(name) or not path.is_file()):
        known = ", ".join(sorted(found.stem for found in SHIPPED.glob("*.toml")))
        raise ConfigError(
            f"there is no profile {name!r}", where="idp.platform_operator.profile",
            todo=f"Shipped: {known}. A file of your own is named by its path.",
        )  # fmt: skip
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the profile can't be read: {error.strerror}", where=str(path)) from error
    return parse_profile(content, str(path))


def parse_profile(content: bytes, where: str) -> Profile:
    """Return a profile in which everything is sound. ConfigError says what is not, and where."""
    if len(content) > _MOST_BYTES:
        raise ConfigError("the profile is larger than 64 KiB", where=where)
    try:
        profile = msgspec.toml.decode(content, type=Profile)
        raw = msgspec.toml.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the profile is not sound: {error}", where=where) from error
    found = forbidden_in(raw)
    if found:
        raise ConfigError(
            f"the profile names the Individual Number: {found[:60]!r}", where=where,
            todo="It is never asked for, sent or read here. Take it out of the mapping.",
        )  # fmt: skip
    for problem in problems(profile):
        raise ConfigError(problem, where=where, todo="docs/ekyc/platform-operator.md describes each key.")
    return profile
