"""Coroutines whose outcome is known before they are awaited.

`append` writes during the call itself and returns one of these. So a task that is cancelled (even twice, even before its first
step) can't lose a record that was handed in: there is no moment between handing in and writing at which it could be stopped.
"""

from gateway.kernel.errors import AuditError


async def value(index: int) -> int:
    """Give `index` when awaited."""
    return index


async def failure(error: AuditError) -> int:
    """Raise `error` when awaited."""
    raise error


def again(error: AuditError) -> AuditError:
    """Return a new error that says the same, so that no traceback grows from raise to raise."""
    return AuditError(error.what, where=error.where, todo=error.todo)
