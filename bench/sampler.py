"""Where the time of a request goes: the running process is looked at every few milliseconds of its own CPU time.

Each look is put down to the innermost frame that belongs to a step of the flow. C code (Cedar, hashing, signing, system calls)
has no frames of its own and counts for the step that called it. Threads other than the event loop's are not seen.
"""

import signal
import types
from collections import Counter
from typing import Any, Final

INTERVAL: Final = 0.001
STEPS: Final = (
    ("gateway/audit/", "log: encode, chain, write"),
    ("gateway/pipeline/records", "log: encode, chain, write"),
    ("gateway/sessions/", "session"),
    ("redis/", "session"),
    ("gateway/kernel/secret", "session"),
    ("gateway/posture/", "device"),
    ("gateway/policy/", "policy"),
    ("gateway/pipeline/gather", "policy"),
    ("cedarpy", "policy"),
    ("gateway/pipeline/outgoing", "assertion and headers to the app"),
    ("gateway/rp/", "assertion and headers to the app"),
    ("gateway/kernel/assertion", "assertion and headers to the app"),
    ("joserfc", "assertion and headers to the app"),
    ("gateway/domain/route", "route"),
    ("gateway/domain/", "canonical or refused"),
    ("gateway/pipeline/", "pipeline, around the steps"),
    ("gateway/doors/proxy/upstream", "upstream: send, read"),
    ("gateway/doors/proxy/response", "upstream: send, read"),
    ("gateway/doors/proxy/", "exchange: copy both ways"),
    ("gateway/doors/", "listener and reply"),
    ("aiohttp/", "listener and reply"),
    ("asyncio/streams", "upstream: send, read"),
    ("asyncio/", "event loop and sockets"),
    ("selectors", "event loop and sockets"),
)
"""Parts of file names, and the step that they are: the first that fits."""
OTHER: Final = "other"


def step_of(file: str) -> str | None:
    """Return the step that a source file belongs to; None for what is part of no step by itself."""
    return next((step for part, step in STEPS if part in file), None)


class Sampler:
    """Counts looks by step, and by function."""

    def __init__(self) -> None:
        self._steps: Counter[str] = Counter()
        self._functions: Counter[str] = Counter()

    def start(self) -> None:
        """Begin anew."""
        self._steps.clear()
        self._functions.clear()
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)

    def stop(self) -> dict[str, Any]:
        """End; return `steps` as shares of 1, and the twenty `functions` that were seen innermost most often."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        total = max(1, sum(self._steps.values()))
        return {
            "looks": total,
            "steps": {step: count / total for step, count in self._steps.most_common()},
            "functions": {name: count / total for name, count in self._functions.most_common(20)},
        }

    def _look(self, _: int, frame: types.FrameType | None) -> None:
        if frame is not None:
            code = frame.f_code
            self._functions[f"{'/'.join(code.co_filename.rsplit('/', 2)[-2:])}:{code.co_name}"] += 1
        while frame is not None:
            step = step_of(frame.f_code.co_filename)
            if step is not None:
                self._steps[step] += 1
                return
            frame = frame.f_back
        self._steps[OTHER] += 1
