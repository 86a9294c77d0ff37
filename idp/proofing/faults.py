"""What is said of a backend that raised: where it failed, and nothing of what its error says, which may be personal data."""

import logging
import traceback

log = logging.getLogger(__name__)


def told(error: Exception) -> str:
    """Log where a backend failed; return a word on it that may be recorded."""
    log.error("the proofing backend failed (%s):\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
    return f"the backend failed ({type(error).__name__})"
