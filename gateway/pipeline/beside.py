"""What policies that are not enforced would have answered, beside a decision and without touching it."""

import logging
import time
from typing import Final

import msgspec

from gateway.domain.record import Beside
from gateway.policy.cache import AnswerCache
from gateway.policy.evaluate import Answer, Bundle
from gateway.policy.facts import Facts

logger = logging.getLogger(__name__)

BUDGET_SECONDS: Final = 0.05
"""Of each second, for the trial in this process: what comes after is decided without it, and recorded without it."""
_MAX_ERRORS: Final = 8


def marked(answer: Answer) -> Beside | msgspec.UnsetType:
    """What the report-only policies of the bundle in force would have changed; nothing where the outcome would be the same."""
    report = answer.report_only
    if report is None or report.allowed is answer.allowed:
        return msgspec.UNSET
    return Beside(allowed=report.allowed, policies=report.policies, errors=report.errors[:_MAX_ERRORS])


class Trial:
    """Asks the bundle on trial. Belongs to one thread."""

    def __init__(self) -> None:
        self._answers: AnswerCache | None = None
        self._second = 0
        self._spent = 0.0

    def ask(self, bundle: Bundle, facts: Facts, encoded: msgspec.Raw | None) -> Beside | msgspec.UnsetType:
        """Return what `bundle` would answer. Never raises; left out when the trial has had its time of this second."""
        began = time.perf_counter()
        if int(began) != self._second:
            self._second, self._spent = int(began), 0.0
        if self._spent >= BUDGET_SECONDS:
            return msgspec.UNSET
        try:
            if self._answers is None or self._answers.bundle is not bundle:
                self._answers = AnswerCache(bundle)
            answer = self._answers.evaluate(facts, encoded)
        except Exception as error:  # whatever it is, the decision goes on without it
            logger.exception("the bundle on trial could not be asked")
            return Beside(allowed=False, errors=(f"trial: {type(error).__name__}",), bundle=bundle.version)
        finally:
            self._spent += time.perf_counter() - began
        return Beside(allowed=answer.allowed, policies=answer.policies, errors=answer.errors[:_MAX_ERRORS], bundle=bundle.version)
