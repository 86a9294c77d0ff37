"""What commands print, and who runs them."""

import os
import pwd
from collections.abc import Sequence


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns that fit their widest cells, the first row's names among them."""
    widths = [max(_width(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip())


def operator() -> str:
    """Who runs this, for the log: the user of the operating system, and through whom by sudo. It is what root says that it is."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"#{os.getuid()}"
    through = os.environ.get("SUDO_USER", "")
    return f"os:{through} as {name}" if through and through != name else f"os:{name}"


def _width(text: str) -> int:
    """How many columns a terminal gives a text: kanji and kana take two."""
    from unicodedata import east_asian_width

    return sum(2 if east_asian_width(char) in "WF" else 1 for char in text)
