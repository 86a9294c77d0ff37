"""A ward terminal in the morning: eight forms are open, the session is over, and all of them want to come back at once."""

import re
from typing import Final

from playwright.sync_api import Page

from tests.support.visitor import Arrive, Visitor

TABS: Final = 8


def test_eight_tabs_come_back_after_one_sign_in(arrive: Arrive) -> None:
    sato = arrive("dr.sato", folder="tabs")
    sato.reach("ehr", "/patients/P1001")
    others = [sato.context.new_page() for _ in range(TABS - 1)]
    tabs = [*others[:3], sato.page, *others[3:]]
    # Not eight charts: each holds an event stream, and a browser opens six connections to a host over HTTP/1.1.
    addresses = [f"{sato.demo.urls['ehr']}/patients/P1001/prescriptions/new?tab={number}" for number in range(TABS)]
    for tab, address in zip(tabs, addresses, strict=True):
        tab.goto(address)
    sato.sign_out()
    sato.page.evaluate("address => { location.href = address; }", addresses[3])
    for tab in others:
        tab.evaluate("() => { setTimeout(() => location.reload(), 50); }")
    for tab in tabs:
        tab.wait_for_url(re.compile(r"//id\."), wait_until="load")
        tab.locator("input[name=login]").wait_for()

    before = _asked(sato)
    sato.page.bring_to_front()
    sato.sign_in()
    for tab, address in zip(tabs, addresses, strict=True):
        _comes_to(tab, address)
    assert len(sato.context.cookies(sato.demo.urls["ehr"])) <= 5
    assert _asked(sato) == before + 1


def _asked(visitor: Visitor) -> int:
    """How often the provider has asked somebody."""
    told = [row for row in visitor.demo.log() if row.get("event") == "signin.succeeded"]
    return len([row for row in told if row["source"].get("door") == "idp" and row["detail"]["how"] != "session"])


def _comes_to(tab: Page, address: str) -> None:
    tab.bring_to_front()
    tab.wait_for_url(address, wait_until="load")
    assert tab.locator("#drug").count() == 1
