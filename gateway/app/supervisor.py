"""The service: it holds the sockets, and has processes (workers) serve on them.

- It ends in order at SIGTERM and SIGINT. At SIGHUP it puts new workers in the place of the old ones without losing a request: the
  new configuration is checked, new workers start on the same sockets, and only when all of them serve are the old ones told to
  leave. Whatever goes wrong before that leaves the old ones where they are.
- A worker that ends unasked is replaced, at once the first time, then after longer and longer pauses; when one after the other
  ends as soon as it has begun, the service ends too.
- Workers never share a log: each has a slot of its own (`gateway.audit.slots`).
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from gateway.app.child import Child, EndedError, first_of
from gateway.app.notify import Notifier
from gateway.app.sockets import Sockets
from gateway.audit.slots import MAX_SLOTS, prepare_slot, slot_folder
from gateway.config import Config
from gateway.kernel.clock import SystemClock
from gateway.kernel.errors import GatewayError

logger = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 1.0
"""For an address that processes hold which were killed a moment ago."""
FIRST_PAUSE_SECONDS: Final = 0.1
LONGEST_PAUSE_SECONDS: Final = 10.0
YOUNG_SECONDS: Final = 10.0
"""A worker that ends before this age has failed at its start."""
MOST_FAILURES: Final = 5
"""In a row; the next one ends the service."""
LATE_SECONDS: Final = 30.0
"""After the drain, for the log and the stores; a worker that is not gone by then is killed."""


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that was checked, and its text."""

    config: Config
    text: str


class Generation:
    """Workers on one configuration."""

    def __init__(self, number: int, loaded: Loaded, sockets: Sockets) -> None:
        self.number: Final = number
        self.config: Final = loaded.config
        self.sockets: Final = sockets
        self._text: Final = loaded.text
        self.children: Final[list[Child]] = []
        self.slots: list[int] = []
        """Its log slots: nobody else's until it is retired, also while one awaits the successor of a worker that died."""
        self.retired = False

    async def launch(self, slot: int) -> Child:
        """Start a worker. OSError when the system can't."""
        child = await Child.spawn(file=str(self.config.file), text=self._text, slot=slot, sockets=self.sockets)
        self.children.append(child)
        return child

    async def start(self) -> None:
        """Start a worker for each slot, and return when they serve: the first alone, so that what is wrong is said once, and
        files are made once.

        EndedError when one ended instead; OSError when the system can't.
        """
        first, *others = self.slots
        await (await self.launch(first)).ready()
        for child in [await self.launch(slot) for slot in others]:
            await child.ready()

    async def gone(self) -> int:
        """Return when all have ended: 0, or the status of one that failed."""
        statuses = [await child.ended() for child in self.children]
        return next((status for status in statuses if status), 0)


class Supervisor:
    """Runs until it is told to end: see `run`."""

    def __init__(self, load: Callable[[], Loaded], *, ready: Callable[[Config], None], notifier: Notifier) -> None:
        """`load` reads and checks the configuration, and may block for seconds; `ready` is called once everything serves."""
        self._load = load
        self._ready = ready
        self._notifier = notifier
        self._stopped = asyncio.Event()
        self._reload = asyncio.Event()
        self._failed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._generation: Generation
        self._coming: Generation | None = None
        self._retired: list[Generation] = []
        self._launching = asyncio.Lock()
        """Held by a reload, and where a worker is put in another's place: no generation gets workers while the next one comes."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, loaded: Loaded) -> int:
        """Serve, and return the exit status. GatewayError when it can't begin, said by nobody yet."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopped.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        sockets = Sockets.bind(loaded.config, patience=PATIENCE_SECONDS)
        self._generation = Generation(1, loaded, sockets)
        try:
            return await self._run()
        finally:
            await self._end_all()
            self._generation.sockets.close()

    async def _run(self) -> int:
        stopped = asyncio.get_running_loop().create_task(self._stopped.wait())
        beginning = asyncio.get_running_loop().create_task(self._begin(self._generation))
        await first_of(stopped, beginning)
        if not beginning.done():
            beginning.cancel()
            await asyncio.wait({beginning})
            return 0
        try:
            beginning.result()
        except EndedError as error:
            return error.status or 1
        self._ready(self._generation.config)
        self._notifier.ready(self._status())
        self._keep(self._follow_reloads())
        await first_of(stopped, self._failed)
        self._notifier.stopping()
        if self._failed.done():
            stopped.cancel()
            return self._failed.result()
        return await self._end_all()

    async def _begin(self, generation: Generation) -> None:
        generation.slots = self._free_slots(generation.config.server.workers)
        await self._prepare(generation.config, generation.slots)
        await generation.start()
        for child in generation.children:
            self._keep(self._watch(generation, child))

    def _status(self) -> str:
        pids = " ".join(str(child.pid) for child in self._generation.children if child.alive)
        return f"generation {self._generation.number}, workers {pids}"

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run beside; what it raises ends the service."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def done(task: "asyncio.Task[None]") -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.critical("the supervisor failed", exc_info=error)
                self._fail(1)

        task.add_done_callback(done)

    def _fail(self, status: int) -> None:
        if not self._failed.done():
            self._failed.set_result(status)

    # ---- log slots

    def _alive(self) -> list[Child]:
        generations = [*self._retired, self._generation, *([self._coming] if self._coming is not None else [])]
        return [child for generation in generations for child in generation.children if child.alive]

    def _free_slots(self, count: int) -> list[int]:
        """Return the lowest slots that nobody has. GatewayError when there are not enough."""
        taken = {*self._generation.slots, *(child.slot for child in self._alive())}
        free = [slot for slot in range(1, MAX_SLOTS + 1) if slot not in taken][:count]
        if len(free) < count:
            raise GatewayError(
                f"{len(taken)} logs are still being written, and there can be {MAX_SLOTS} at most", todo="Try again soon"
            )
        return free

    async def _prepare(self, config: Config, slots: list[int]) -> None:
        """Begin the logs of these slots, and let whoever writes one already name them."""
        audit, clock = config.audit, SystemClock()
        # The first is that of the folder itself: without it the others would not be found.
        new = [slot for slot in sorted({1, *slots}) if not (slot_folder(audit.dir, slot) / "log.json").exists()]
        for slot in new:
            await asyncio.to_thread(prepare_slot, audit.dir, slot, key_file=audit.key_file, anchor=audit.anchor, clock=clock)
        if new:
            await asyncio.gather(*(child.name_slots() for child in self._alive()))

    # ---- workers that end unasked

    async def _watch(self, generation: Generation, child: Child) -> None:
        """Wait for a worker's end, and see to it that another takes its place."""
        failures = 0
        while True:
            served = await self._life(child, replacement=failures > 0)
            status = await child.ended()
            if child.told or generation.retired or self._stopped.is_set():
                return
            failures = 1 if served >= YOUNG_SECONDS else failures + 1
            generation.children.remove(child)
            if failures > MOST_FAILURES:
                await self._give_up(generation, status)
                return
            logger.error("worker %d (log slot %d) ended with status %d, and is replaced", child.pid, child.slot, status)
            await asyncio.sleep(min(FIRST_PAUSE_SECONDS * 2 ** (failures - 1), LONGEST_PAUSE_SECONDS))
            successor = await self._successor(generation, child.slot)
            if successor is None:
                return
            child = successor

    async def _life(self, child: Child, *, replacement: bool) -> float:
        """Return how many seconds a worker served, when it has ended."""
        try:
            await child.ready()
        except EndedError:
            return 0.0
        if replacement:
            logger.info("worker %d (log slot %d) serves", child.pid, child.slot)
            self._notifier.ready(self._status())
        began = asyncio.get_running_loop().time()
        await child.ended()
        return asyncio.get_running_loop().time() - began

    async def _give_up(self, generation: Generation, status: int) -> None:
        """End the service, unless a reload that is under way mends it."""
        async with self._launching:
            if not generation.retired:
                logger.critical("workers end as soon as they have begun; the service ends")
                self._fail(status or 1)

    async def _successor(self, generation: Generation, slot: int) -> Child | None:
        """Launch another worker, after a reload that is under way; None when nobody wants it any more."""
        while True:
            try:
                async with self._launching:
                    if generation.retired or self._stopped.is_set():
                        return None
                    return await generation.launch(slot)
            except OSError as error:
                logger.error("no worker can be started now: %s", error)  # noqa: TRY400  the reason is all there is to say
                await asyncio.sleep(LONGEST_PAUSE_SECONDS)

    # ---- reload

    async def _follow_reloads(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            self._notifier.reloading()
            try:
                async with self._launching:
                    await self._renew()
            except (GatewayError, EndedError, OSError) as error:
                for line in str(error).splitlines():
                    logger.error("reload refused: %s", line)  # noqa: TRY400  a person can mend it; no trace is needed
                logger.error("the workers of before go on (generation %d)", self._generation.number)  # noqa: TRY400  as above
            self._notifier.ready(self._status())

    async def _renew(self) -> None:
        """Put a new generation in the place of the present one. Raises what prevents it; then everything is as before."""
        old = self._generation
        loaded = await asyncio.to_thread(self._load)
        sockets = Sockets.bind(loaded.config, known=old.sockets)
        new = Generation(old.number + 1, loaded, sockets)
        try:
            self._coming = new
            await self._begin(new)
        except BaseException:
            new.retired = True
            self._coming = None
            self._retired.append(new)
            for child in new.children:
                child.end()
            self._keep(self._see_off(new))
            sockets.close(but=old.sockets)
            raise
        self._coming, self._generation = None, new
        logger.info("generation %d serves: %s", new.number, self._status())
        self._retire(old)
        old.sockets.close(but=sockets)

    def _retire(self, generation: Generation) -> None:
        generation.retired = True
        self._retired.append(generation)
        for child in generation.children:
            child.leave()
        self._keep(self._see_off(generation))

    async def _see_off(self, generation: Generation) -> None:
        """Wait until a generation has gone; kill what does not go."""
        gone = asyncio.get_running_loop().create_task(generation.gone())
        _, late = await asyncio.wait({gone}, timeout=generation.config.server.drain_seconds + LATE_SECONDS)
        if late:
            self._kill(generation)
        status = await gone
        self._retired.remove(generation)
        logger.info("generation %d has gone (status %d)", generation.number, status)

    # ---- end

    async def _end_all(self) -> int:
        """Let every worker end, and return 0, or the status of one that failed."""
        for task in list(self._tasks):
            task.cancel()
        generations = [*self._retired, self._generation, *([self._coming] if self._coming is not None else [])]
        for generation in generations:
            generation.retired = True
            for child in generation.children:
                child.end()
        ending = asyncio.gather(*(generation.gone() for generation in generations))
        patience = max(generation.config.server.drain_seconds for generation in generations) + LATE_SECONDS
        try:
            return max(await asyncio.wait_for(asyncio.shield(ending), patience))
        except TimeoutError:
            for generation in generations:
                self._kill(generation)
            return max(await ending)

    @staticmethod
    def _kill(generation: Generation) -> None:
        for child in generation.children:
            if child.alive:
                logger.error("worker %d does not end, and is killed", child.pid)
                child.kill()
