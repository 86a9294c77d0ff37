"""Secrets come from files that only the gateway can read, or from the environment; never from the configuration file itself."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret

MAX_SECRET_BYTES: Final = 65_536


def read_secret_file(path: Path) -> Secret:
    """Return the file's text without the newline at its end. Raises ConfigError when it is not a private regular file."""
    return Secret(_secret_text(read_private_file(path), f"the secret file {path}"))


def read_secret_env(name: str, environ: Mapping[str, str]) -> Secret:
    """Return the value of an environment variable. Raises ConfigError when it is not set or empty."""
    if name not in environ:
        raise ConfigError(f"the environment variable {name} is not set", todo="Set it for the gateway's process.")
    return Secret(_secret_text(environ[name].encode("utf-8", "surrogateescape"), f"the environment variable {name}"))


def read_private_file(path: Path) -> bytes:
    """Return the bytes of a file that nobody but its owner can read, the owner being this process's user or root.

    Checks the opened file itself, so that it can't be swapped in between. Does not check the folders above it.
    """
    try:
        # Non-blocking: a named pipe must not hold up the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(
            f"can't open {path}: {(error.strerror or str(error)).lower()}", todo="Create it, readable by the gateway's user only."
        ) from error
    try:
        _check_private(path, os.fstat(descriptor))
        content = os.read(descriptor, MAX_SECRET_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(content) > MAX_SECRET_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_SECRET_BYTES} bytes", todo="Name the right file.")
    return content


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(f"{path} is not a regular file", todo="Name the file itself.")
    if status.st_mode & 0o077:
        raise ConfigError(
            f"{path} is open to its group or to everybody (mode {stat.S_IMODE(status.st_mode):04o})",
            todo=f"Run: chmod 600 {path}",
        )
    if status.st_uid not in {0, os.geteuid()}:
        raise ConfigError(f"{path} belongs to another user", todo="Make the gateway's user (or root) its owner.")


def _secret_text(content: bytes, source: str) -> str:
    try:
        text = content.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source} is not UTF-8 text", todo="Write the secret as text.") from error
    if not text.strip():
        raise ConfigError(f"{source} is empty", todo="Write the secret into it.")
    if any(not char.isprintable() for char in text):
        raise ConfigError(f"{source} holds more than one line or control characters", todo="Write the secret alone, on one line.")
    return text
