"""The provider's directory: which files are in it, and making it."""

from pathlib import Path
from typing import Final

from gateway.kernel.errors import ConfigError
from idp.keys import KeyFile

DATABASE: Final = "idp.sqlite3"
KEYS: Final = "idp-keys.json"
TELLING: Final = "telling.lock"
"""Held by the process that tells what was done to accounts."""
RECHECKING: Final = "rechecking.lock"
"""Held by the process that asks the verifier about proofings again."""


def open_keys(data_dir: Path, *, now: int) -> KeyFile:
    """Open the keys in `data_dir`, making it (mode 0700) and them when missing. ConfigError when that is not possible."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the directory can't be made: {error.strerror}", where=str(data_dir), todo="Check its parent's owner and mode."
        ) from error
    return KeyFile.open(data_dir / KEYS, now=now)
