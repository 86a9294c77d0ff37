"""Fixtures that more than one part of the suite uses; each lives in `tests/support`."""

pytest_plugins = (
    "tests.support.ports", "tests.support.templates",  # first: others import them
    "tests.support.redis", "tests.support.oidc", "tests.support.gate", "tests.support.idp_fixtures", "tests.support.fronts",
    "tests.support.chromium",
    "tests.support.postgres",
)  # fmt: skip
