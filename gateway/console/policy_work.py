"""The slow work behind the pages about policies: compiling, comparing, explaining. In one thread of its own.

The process that serves these pages decides requests, too. One piece of work at a time leaves it its cores, and the threads of the
event loop stay free for those who look after grants and what is declared: looking at drafts, however often, holds nobody up.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from aiohttp import web

from gateway.kernel.errors import BundleError
from gateway.policy.case_files import parse_cases
from gateway.policy.cases import Case
from gateway.policy.compile import compile_bundle, version_of
from gateway.policy.difference import Difference, difference
from gateway.policy.evaluate import Bundle

CASES: Final = "cases/"
KEPT: Final = 8
"""Bundles, and comparisons, that are kept: those looked at last."""

Files = Mapping[str, bytes]
P = ParamSpec("P")
T = TypeVar("T")


class PolicyWork:
    """Belongs to one event loop. What is kept is touched by its one thread only."""

    def __init__(self) -> None:
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="policies")
        self._bundles: Final[OrderedDict[Hashable, Bundle | BundleError]] = OrderedDict()
        self._words: Final[OrderedDict[Hashable, Difference | None]] = OrderedDict()

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` does, when it is its turn. Who gives up before that costs nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*args, **kwargs))

    async def bundle(self, files: Files) -> Bundle:
        """Return the bundle of a draft's or a publication's files, compiled once for the same content. Raises BundleError."""
        found = await self.run(self._bundle, files)
        if isinstance(found, BundleError):
            raise found.with_traceback(None)
        return found

    async def words(self, old: Files, new: Files) -> Difference | None:
        """Return what differs in plain words, worked out once for the same two; None where a side can't be compiled."""
        return await self.run(self._in_words, old, new)

    async def close(self, _app: web.Application) -> None:
        """Take no more work; what has not begun is not done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _bundle(self, files: Files) -> Bundle | BundleError:
        policies = {name: data for name, data in files.items() if not name.startswith(CASES)}

        def compiled() -> Bundle | BundleError:
            try:
                return compile_bundle(policies, "policies")
            except BundleError as error:
                return error

        return _kept(self._bundles, version_of(policies), compiled)

    def _in_words(self, old: Files, new: Files) -> Difference | None:
        def compared() -> Difference | None:
            before, after = self._bundle(old), self._bundle(new)
            if isinstance(before, BundleError) or isinstance(after, BundleError):
                return None
            try:
                return difference(before, after, (_cases(old), _cases(new)))
            except BundleError:
                return None

        return _kept(self._words, (version_of(old), version_of(new)), compared)


def _cases(files: Files) -> tuple[Case, ...]:
    return parse_cases({name.removeprefix(CASES): data for name, data in files.items() if name.startswith(CASES)}, "policies")


def _kept(known: OrderedDict[Hashable, T], key: Hashable, make: Callable[[], T]) -> T:
    if key in known:
        known.move_to_end(key)
        return known[key]
    made = known[key] = make()
    while len(known) > KEPT:
        known.popitem(last=False)
    return made
