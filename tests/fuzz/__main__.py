"""`make fuzz SECONDS=60`: fuzz each target for some seconds, with atheris where it is installed, else with our own mutations.

An input that breaks something is kept in `test-artefacts/fuzz/`; put it into `tests/fuzz/corpus/TARGET/` together with the fix.
"""

import argparse
import hashlib
import random
import sys
import time
import traceback
from pathlib import Path

from tests.fuzz.mutate import MAX, mutated
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path("test-artefacts/fuzz")


def corpus_of(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


def by_mutation(name: str, seconds: float, seed: int) -> int:
    """Return the exit status."""
    chance, corpus, target = random.Random(seed), corpus_of(name), TARGETS[name]  # noqa: S311  inputs need no secret randomness
    deadline, count = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        data = mutated(chance, corpus)
        count += 1
        try:
            target(data)
        except Exception:  # noqa: BLE001  whatever it is, it was found
            traceback.print_exc()
            path = FOUND / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            sys.stderr.write(f"{name}: {data!r} breaks it; kept in {path}\n")
            return 1
    sys.stdout.write(f"{name}: {count} inputs, seed {seed}, nothing found\n")
    return 0


def by_atheris(name: str, seconds: float) -> None:
    """Fuzz guided by coverage. atheris ends the process itself."""
    import atheris  # type: ignore[import-untyped]  # optional, and ships no types

    FOUND.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={int(seconds)}", f"-max_len={MAX}", f"-artifact_prefix={FOUND}/{name}-", str(CORPUS / name)]
    new = FOUND / f"corpus-{name}"
    new.mkdir(exist_ok=True)
    atheris.Setup([sys.argv[0], str(new), *options], atheris.instrument_func(TARGETS[name]))
    atheris.Fuzz()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=None, help="of our own mutations")
    parser.add_argument("--target", choices=list(TARGETS), help="only this one")
    parser.add_argument("--atheris", action="store_true", help="use atheris, which must be installed; one --target")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else time.time_ns() % 1_000_000
    if arguments.atheris:
        by_atheris(arguments.target or "canonical", arguments.seconds)
    return max(by_mutation(name, arguments.seconds, seed) for name in ([arguments.target] if arguments.target else TARGETS))


if __name__ == "__main__":
    sys.exit(main())
