"""One demo for the stories that can share it, one browser per module, and people at it."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.demo import Demo, running_demo
from tests.support.visitor import Arrive, Visitor, launch


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo that modules share. Whose first day is told somewhere is nobody's visitor elsewhere before it."""
    with running_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium. Synchronous Playwright keeps an event loop running, so it must not outlive the module."""
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def arrive(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Arrive]:
    """Makes visitors."""
    made: list[Visitor] = []

    def arriving(login: str, at: Demo | None = None, **options: Any) -> Visitor:
        visitor = Visitor(browser, at or request.getfixturevalue("demo"), login, **options)
        made.append(visitor)
        return visitor

    yield arriving
    for visitor in made:
        visitor.close()
