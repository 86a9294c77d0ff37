"""One way to turn a value into bytes, so that hashes and signatures agree everywhere."""

from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical_json(value: Any) -> bytes:
    """Return UTF-8 JSON without whitespace; keys of mappings sorted, fields of structs in their declared order.

    Takes builtins and msgspec structs. Floats are not for signed material: encode times as integers or text.
    """
    return _encoder.encode(value)
