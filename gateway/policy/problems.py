"""Several things that are wrong with a bundle at once."""

from gateway.kernel.errors import BundleError


class BundleProblems(BundleError):  # noqa: N818  the plural of BundleError
    """Several reasons why a bundle can't be used. As an error it speaks of the first and counts the others."""

    def __init__(self, problems: tuple[BundleError, ...]) -> None:
        first, others = problems[0], len(problems) - 1
        more = f" (and {others} more {'problem' if others == 1 else 'problems'})" if others else ""
        super().__init__(first.what + more, where=first.where, todo=first.todo)
        self.problems = problems


def problems_of(error: BundleError) -> tuple[BundleError, ...]:
    """Return the single problems of an error, for those who print them line by line."""
    return error.problems if isinstance(error, BundleProblems) else (error,)


def raise_problems(problems: list[BundleError]) -> None:
    """Raise them, if there are any."""
    if problems:
        raise problems[0] if len(problems) == 1 else BundleProblems(tuple(problems))
