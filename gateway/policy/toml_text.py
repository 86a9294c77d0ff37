"""TOML of a bundle: cases and links. Pure.

Bounded before it is parsed: Python's parser takes time by the square of the number of parts of a dotted key, minutes for 60 KB.
"""

import re
import tomllib
from typing import Any, Final

from gateway.kernel.errors import BundleError
from gateway.policy.source import printable

MAX_DOTS: Final = 64
"""On one line, outside of texts in quotes."""
_TEXTS: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'|#.*")


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """Return the document. Raises BundleError with `where`:line and what to do: not TOML, nested too deep, numbers too long."""
    for number, line in enumerate(text.split("\n"), 1):
        # Where a text of several lines ends, nobody can tell from this line alone what is inside of it.
        plain = line if '"""' in line or "'''" in line else _TEXTS.sub("", line)
        if line.count(".") > MAX_DOTS and plain.count(".") > MAX_DOTS:
            raise BundleError("tables or arrays nest too deep", where=f"{where}:{number}", todo="Write it flat")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        told = re.search(r"at line (\d+)", str(error))
        at = told[1] if told else str(text.count("\n") + 1)
        raise BundleError(
            printable(f"not TOML: {error}"), where=f"{where}:{at}", todo="Correct that line, or restore the file"
        ) from None
    except RecursionError:
        raise BundleError("tables or arrays nest too deep", where=where, todo="Write it flat") from None
    except ValueError:  # digits without end
        raise BundleError("a number is too long", where=where, todo="Write it plainly") from None
