"""Templates are compiled once for each of the suite's processes: every site compiles all of its own, as a real start does.

Jinja's own cache of compiled templates does it, which knows one by its file and what that holds.
"""

import functools
from types import CodeType
from typing import Any, Final

import jinja2
from jinja2.bccache import Bucket


class _Kept(jinja2.BytecodeCache):
    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key, bucket.checksum] = bucket.code


_make: Final = jinja2.Environment.__init__
_kept: Final = _Kept()


@functools.wraps(_make)
def _make_with_cache(self: jinja2.Environment, *arguments: Any, **options: Any) -> None:
    _make(self, *arguments, **{"bytecode_cache": _kept, **options})


jinja2.Environment.__init__ = _make_with_cache  # type: ignore[method-assign]
