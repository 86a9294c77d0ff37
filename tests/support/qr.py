"""A phone's camera: reads a QR code (ISO/IEC 18004) off an SVG of our pages. Nothing there is dirty: it corrects no errors."""

import re
from collections.abc import Callable
from typing import Any, Final

from segno import consts

QUIET: Final = 4
_BLOCKS: Final[Any] = consts.ECC
_LEVELS: Final[dict[int, Any]] = {
    0b01: consts.ERROR_LEVEL_L,
    0b00: consts.ERROR_LEVEL_M,
    0b11: consts.ERROR_LEVEL_Q,
    0b10: consts.ERROR_LEVEL_H,
}
_MASKS: Final[tuple[Callable[[int, int], int], ...]] = (
    lambda i, j: (i + j) % 2, lambda i, j: i % 2, lambda i, j: j % 3, lambda i, j: (i + j) % 3,
    lambda i, j: (i // 2 + j // 3) % 2, lambda i, j: i * j % 2 + i * j % 3, lambda i, j: (i * j % 2 + i * j % 3) % 2,
    lambda i, j: ((i + j) % 2 + i * j % 3) % 2,
)  # fmt: skip


def read_svg(svg: str) -> str:
    """Return the text of a code in byte mode."""
    dark, size = _modules(svg)
    version = (size - 17) // 4
    information = [(8, at) in dark for at in range(5)]
    bits = int("".join("01"[bit] for bit in information), 2) ^ 0b10101
    level, mask = _LEVELS[bits >> 3], _MASKS[bits & 7]
    own = _function_modules(version, size)
    stream = [((i, j) in dark) ^ (mask(i, j) == 0) for i, j in _path(size) if (i, j) not in own]
    words = [int("".join("01"[bit] for bit in stream[at : at + 8]), 2) for at in range(0, len(stream) - 7, 8)]
    data = "".join(f"{word:08b}" for word in _in_order(words, _BLOCKS[version][level]))
    assert data[:4] == "0100", "not in byte mode"
    length_bits = 8 if version < 10 else 16
    length = int(data[4 : 4 + length_bits], 2)
    body = data[4 + length_bits :]
    return bytes(int(body[8 * at : 8 * at + 8], 2) for at in range(length)).decode("utf-8")


def _modules(svg: str) -> tuple[set[tuple[int, int]], int]:
    """Return the dark modules as (row, column), and how many make a side."""

    (path,) = re.findall(r' d="(M[^"]+)"', svg.rsplit("stroke", maxsplit=1)[-1])

    found: set[tuple[int, int]] = set()
    x = y = 0.0
    for command, numbers in re.findall(r"([MmhH])([^MmhH]*)", path):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        if command == "h":
            row = int(y) - QUIET
            found |= {(row, int(x + step) - QUIET) for step in range(int(values[0]))}
            x += values[0]
        elif command == "M":
            x, y = values
        else:
            x, y = x + values[0], y + values[1]
    side = max(max(pair) for pair in found) + 1
    return found, side


def _function_modules(version: int, size: int) -> set[tuple[int, int]]:
    """Return where no data is: finders, timing, alignment, format and version."""
    own = {(i, 6) for i in range(size)} | {(6, i) for i in range(size)}
    for rows, columns in ((range(9), range(9)), (range(9), range(size - 8, size)), (range(size - 8, size), range(9))):
        own |= {(i, j) for i in rows for j in columns}
    centres = consts.ALIGNMENT_POS[version - 2] if version > 1 else ()
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    for centre in ((i, j) for i in centres for j in centres if (i, j) not in corners):
        own |= {(centre[0] + i, centre[1] + j) for i in range(-2, 3) for j in range(-2, 3)}
    if version >= 7:
        own |= {(i, size - 11 + j) for i in range(6) for j in range(3)} | {(size - 11 + j, i) for i in range(6) for j in range(3)}
    return own


def _path(size: int) -> list[tuple[int, int]]:
    """Return every module in the order in which data is laid."""
    found = []
    columns = [
        right for right in range(size - 1, 0, -1) if (right > 6 and (size - 1 - right) % 2 == 0) or (right < 6 and right % 2)
    ]
    for turn, right in enumerate(columns):
        rows = range(size - 1, -1, -1) if turn % 2 == 0 else range(size)
        found += [(i, j) for i in rows for j in (right, right - 1)]
    return found


def _in_order(words: list[int], blocks: Any) -> list[int]:
    """Return the data words, block after block."""
    lengths = [info.num_data for info in blocks for _ in range(info.num_blocks)]
    rest = iter(words)
    made: list[list[int]] = [[] for _ in lengths]
    for at in range(max(lengths)):
        for block, length in zip(made, lengths, strict=True):
            if at < length:
                block.append(next(rest))
    return [word for block in made for word in block]
