"""One question to the operator: what its statuses mean, and what is asked for once more.

Whatever goes wrong is a `Fault` with a short text for the log, which holds neither the token nor anything that was sent or read.
"""

from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.kernel.secret import Secret
from idp.proofing.wire import Answer, Wire, WireError

MOST_BYTES: Final = 65_536
_WHAT: Final = "the operator"
_AGAIN: Final = frozenset({502, 503, 504})
_REFUSED: Final = frozenset({401, 403})
_OK: Final = 200
_LIMITED: Final = 429
_DIGITS: Final = 6


class Fault(Exception):  # noqa: N818  it is a value here: the detail of Broken or Unknown
    """There is no answer. `again`: it may be asked for once more where that does no harm."""

    def __init__(self, detail: str, *, again: bool = False) -> None:
        super().__init__(detail)
        self.detail: Final = detail
        self.again: Final = again


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON answer of the operator. Not one word of it is checked."""

    status: int
    """200, or 400 to 499."""
    document: Any

    def __repr__(self) -> str:
        return f"Reply({self.status})"


class OperatorClient:
    """Asks one operator."""

    def __init__(self, origin: str, token: Secret, ca_file: str, timeout_seconds: float) -> None:
        """ConfigError: the file of certificates can't be read."""
        self._origin, self._token = origin, token
        self._wire = Wire(
            total_seconds=timeout_seconds, connect_seconds=timeout_seconds, max_bytes=MOST_BYTES,
            ca_file=Path(ca_file) if ca_file else None,
        )  # fmt: skip

    async def ask(
        self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None, *, idempotent: bool
    ) -> Reply:
        """Return the answer. Raises Fault. `path` is encoded already."""
        try:
            return await self._once(method, path, headers, body)
        except Fault as fault:
            if not (idempotent and fault.again):
                raise
        return await self._once(method, path, headers, body)

    async def close(self) -> None:
        """Close the connections."""
        await self._wire.close()

    async def _once(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any] | None) -> Reply:
        sent = {**headers, "Authorization": f"Bearer {self._token.reveal()}"}
        try:
            answer = await self._wire.ask(method, self._origin + path, _WHAT, json=body, headers=sent)
        except WireError as error:
            raise Fault(error.what, again=True) from error
        return _read(answer)


def _read(answer: Answer) -> Reply:
    status = answer.status
    if status in _REFUSED:
        raise Fault(f"the operator refuses us ({status}): check the token, its tenant and its expiry")
    if status == _LIMITED:
        raise Fault(f"the operator limits us (429{_after(answer.retry_after)})")
    if status != _OK and not 400 <= status <= 499:  # noqa: PLR2004
        raise Fault(f"the operator answered {status}", again=status in _AGAIN)
    if answer.kind != "application/json":
        raise Fault(f"the operator answered {status} with something else than JSON")
    try:
        return Reply(status=status, document=answer.object(f"the operator answered {status}"))
    except WireError as error:
        raise Fault(error.what) from error


def _after(seconds: str) -> str:
    """Return how long the operator asks to wait, where it said so in seconds."""
    return f", again after {seconds} s" if seconds.isascii() and seconds.isdecimal() and len(seconds) <= _DIGITS else ""
