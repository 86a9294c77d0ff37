"""Fixtures for tests of the provider's pages: a site with Dr. Sato and nurse Suzuki, and browsers for them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.support.idp_site import Browser, IdpSite, idp_site

OpenBrowser = Callable[..., Awaitable[Browser]]


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[IdpSite]:
    async with idp_site(tmp_path) as running:
        await running.person()
        await running.person("nurse.suzuki", "鈴木 翔", roles=("nurse",), email="suzuki@hospital.example")
        yield running


@pytest.fixture
async def open_browser(site: IdpSite) -> AsyncIterator[OpenBrowser]:
    """Return an opener of separate browsers: each has its own cookies."""
    async with AsyncExitStack() as stack:

        async def opened(address: str = "192.0.2.1", language: str = "ja") -> Browser:
            return await stack.enter_async_context(Browser(site, address=address, language=language))

        yield opened


@pytest.fixture
async def browser(open_browser: OpenBrowser) -> Browser:
    return await open_browser()
