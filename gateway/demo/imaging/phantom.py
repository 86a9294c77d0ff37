"""Synthetic grey-scale images, drawn from ellipses: test objects ("phantoms"), not pictures of anybody. Pure.

The head is a phantom of the kind that reconstruction software is tried on; chest and knee are free drawings in the same manner.
"""

import math
import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Final

import msgspec

SIZE: Final = 320
"""Pixels, both ways."""


class Ellipse(msgspec.Struct, frozen=True):
    """Adds `grey` inside. Centre and half-axes in a square from -1 to 1, y upwards; `degrees` counter-clockwise."""

    grey: float
    x: float
    y: float
    a: float
    b: float
    degrees: float = 0.0


def head(depth: float) -> list[Ellipse]:
    """A head at `depth` from -1 (skull base) to 1 (vertex): skull, brain, ventricles, and a small bright spot on one side."""
    outer = math.sqrt(max(0.04, 1 - 0.62 * depth**2))
    ventricle = max(0.0, 1 - 1.7 * (depth - 0.05) ** 2)
    shapes = [
        Ellipse(210, 0, 0, 0.70 * outer, 0.92 * outer),
        Ellipse(-118, 0, -0.015, 0.64 * outer, 0.86 * outer),
        Ellipse(14, 0, 0.34 * outer, 0.24 * outer, 0.26 * outer),
        Ellipse(-9, -0.33 * outer, -0.1, 0.16 * outer, 0.34 * outer, 12),
        Ellipse(-9, 0.33 * outer, -0.1, 0.16 * outer, 0.34 * outer, -12),
    ]
    if ventricle > 0:
        shapes += [
            Ellipse(-52, -0.11 * outer, 0.02, 0.07 * ventricle, 0.28 * ventricle, 16),
            Ellipse(-52, 0.11 * outer, 0.02, 0.07 * ventricle, 0.28 * ventricle, -16),
        ]
    spot = 0.10 - 0.29 * abs(depth - 0.2)
    if spot > 0:
        shapes.append(Ellipse(46, 0.34, 0.2, spot, 0.8 * spot, 30))
    return shapes


def chest() -> list[Ellipse]:
    """A chest seen from the front: trunk, lungs, heart, spine, ribs."""
    shapes = [
        Ellipse(120, 0, -0.1, 0.92, 1.1),
        Ellipse(-86, -0.42, 0.02, 0.30, 0.66, 6),
        Ellipse(-86, 0.42, 0.02, 0.30, 0.66, -6),
        Ellipse(70, 0.14, -0.28, 0.32, 0.34, 24),
        Ellipse(60, 0, 0.0, 0.085, 1.0),
        Ellipse(46, 0, -1.02, 1.0, 0.36),
    ]
    for level in range(7):
        y = 0.62 - 0.19 * level
        reach = 0.34 + 0.03 * level
        shapes += [Ellipse(26, side * 0.40, y, reach, 0.030, side * -14) for side in (-1, 1)]
    shapes += [Ellipse(58, side * 0.40, 0.76, 0.36, 0.035, side * 12) for side in (-1, 1)]
    return shapes


def knee(depth: float) -> list[Ellipse]:
    """A knee from the side at `depth` from -1 to 1: soft tissue, two bones, kneecap, cartilage."""
    width = math.sqrt(max(0.1, 1 - 0.5 * depth**2))
    return [
        Ellipse(70, 0.02, 0.0, 0.62 * width, 1.2),
        Ellipse(95, 0.05, 0.62, 0.30 * width, 0.62),
        Ellipse(95, 0.07, 0.17, 0.40 * width, 0.22),
        Ellipse(95, 0.08, -0.66, 0.27 * width, 0.60),
        Ellipse(95, 0.07, -0.24, 0.37 * width, 0.12),
        Ellipse(100, -0.44 * width, 0.24, 0.10, 0.18 * width, 8),
        Ellipse(-70, 0.06, -0.045, 0.38 * width, 0.045),
        Ellipse(40, -0.30, -0.02, 0.05, 0.16, 35),
    ]


def draw(shapes: Sequence[Ellipse], seed: int, noise: int = 7, size: int = SIZE) -> bytes:
    """Return the picture as an 8-bit grey PNG. The same arguments give the same bytes."""
    random = Random(seed)
    rows = bytearray()
    for row in range(size):
        y = 1 - (2 * row + 1) / size
        steps = [0.0] * (size + 1)
        for shape in shapes:
            _cross(shape, y, steps, size)
        grain = random.randbytes(size)
        rows.append(0)  # no PNG filter on this line
        rows += bytes(
            min(255, max(0, int(value + noise * (grain[column] - 128) / 128)))
            for column, value in enumerate(accumulate(steps[:size]))
        )
    header = struct.pack(">IIBBBBB", size, size, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(rows), 6)) + _chunk(b"IEND", b"")


def _cross(shape: Ellipse, y: float, steps: list[float], size: int) -> None:
    """Add what one line at `y` crosses of an ellipse: `steps` holds the change of grey at each column."""
    angle = math.radians(shape.degrees)
    cos, sin, dy = math.cos(angle), math.sin(angle), y - shape.y
    # (x cos + dy sin)^2 / a^2 + (dy cos - x sin)^2 / b^2 = 1, solved for x.
    square = (cos / shape.a) ** 2 + (sin / shape.b) ** 2
    linear = 2 * dy * sin * cos * (1 / shape.a**2 - 1 / shape.b**2)
    rest = (dy * sin / shape.a) ** 2 + (dy * cos / shape.b) ** 2 - 1
    inside = linear**2 - 4 * square * rest
    if inside <= 0:
        return
    root = math.sqrt(inside)
    for end, sign in ((-linear - root, 1), (-linear + root, -1)):
        x = shape.x + end / (2 * square)
        column = min(size, max(0, round((x + 1) / 2 * size)))
        steps[column] += sign * shape.grey


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
