"""What goes on beside the requests: policies that change, and the log of the gateway's own life."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from gateway.audit.writer import DiskAuditLog
from gateway.domain.record import Actor, EventName, EventRecord
from gateway.kernel.clock import Clock
from gateway.kernel.errors import BundleError
from gateway.kernel.ids import new_id
from gateway.pipeline import Pipeline
from gateway.pipeline.records import timestamp
from gateway.policy.holder import Loaded, PolicyHolder
from gateway.ports import AuditLog

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
LAST_WORDS_SECONDS: Final = 15


class Takeover:
    """When the policies in force were taken over: epoch seconds, 0 for those of the start."""

    at = 0.0

    def __init__(self) -> None:
        self.listeners: Final[list[Callable[[], None]]] = []
        """Called after each takeover."""


async def follow_policies(
    holder: PolicyHolder, log: AuditLog, clock: Clock, pipeline: Pipeline, takeover: Takeover | None = None
) -> None:
    """Take over changed policies while the gateway runs, with an event for each change and each refusal."""

    async def loaded(outcome: Loaded) -> None:
        if takeover is not None:
            takeover.at = clock.now()
            for listener in takeover.listeners:
                listener()
        # First what is open already: it is the new policies' affair also when the log fails.
        pipeline.streams.look_again()
        await policy_event(log, clock, "policy.loaded", outcome.bundle.version, replaced=outcome.replaced, **outcome.detail)

    async def rejected(error: BundleError) -> None:
        logger.error("the changed policies are not taken over: %s", error)
        await policy_event(log, clock, "policy.rejected", holder.current.version, why=str(error))

    await holder.watch(loaded, rejected, every=LOOK_SECONDS)


async def end_with_the_log(log: DiskAuditLog) -> None:
    """Return never, but raise AuditError some seconds after the log has failed.

    It can't be mended while the process lives, and nothing is let through without it. Until the end people get the page that
    says so; then whoever supervises the process starts it again, and it goes on as soon as the log can be opened.
    """
    while log.broken is None:  # noqa: ASYNC110  the log has no event for it: it is sick once in its life
        await asyncio.sleep(LOOK_SECONDS)
    logger.critical("the audit log failed; the gateway ends in %d s: %s", LAST_WORDS_SECONDS, log.broken)
    await asyncio.sleep(LAST_WORDS_SECONDS)
    raise log.broken


def keep_running(work: Coroutine[Any, Any, None], failed: "asyncio.Future[None]", stack: contextlib.AsyncExitStack) -> None:
    """Run `work`, which has no end of its own, until the gateway stops; its end before that ends the process."""
    task = asyncio.get_running_loop().create_task(work)

    def ended(done: "asyncio.Task[None]") -> None:
        if done.cancelled() or failed.done():
            return
        failed.set_exception(done.exception() or RuntimeError("a part that must go on has ended"))

    async def stop() -> None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    task.add_done_callback(ended)
    stack.push_async_callback(stop)


async def policy_event(log: AuditLog, clock: Clock, event: EventName, version: str, **detail: str) -> None:
    """Record what happened to the policies; `version` is the one in force afterwards."""
    await log.append(
        EventRecord(
            id=new_id("evt"),
            at=timestamp(clock.now()),
            event=event,
            outcome="failure" if event == "policy.rejected" else "success",
            actor=Actor(),
            target=version,
            detail={key: value[:512] for key, value in detail.items()},
        )
    )


async def lifecycle(log: AuditLog, clock: Clock, event: EventName, detail: dict[str, str]) -> None:
    """Record that the gateway started or stopped, and wait for the disk."""
    record = EventRecord(
        id=new_id("evt"), at=timestamp(clock.now()), event=event, outcome="success", actor=Actor(), detail=detail
    )
    await log.synced(await log.append(record))
