"""State-changing requests that another site's page sends with the person's cookies."""

import pytest

from tests.support.gate import HOST, Gate, assert_refused

EVIL = [
    "https://evil.example",
    "null",
    f"http://{HOST}.evil.example",
    f"https://{HOST}",
    f"http://x.{HOST}",
    f"http://{HOST}",
    "",
]


@pytest.mark.parametrize("origin", EVIL)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_another_origin(gate: Gate, method: str, origin: str) -> None:
    await assert_refused(gate, gate.head("/x", f"Origin: {origin}", method=method), reason="cross_site", status=403)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "CROSS-SITE", "", "same-origin, cross-site"])
async def test_another_site_says_the_browser(gate: Gate, site: str) -> None:
    origin = f"http://{HOST}:{gate.port}"
    data = gate.head("/x", f"Sec-Fetch-Site: {site}", f"Origin: {origin}", method="POST")
    await assert_refused(gate, data, reason="cross_site", status=403)


async def test_a_connection_field_does_not_hide_the_origin(gate: Gate) -> None:
    data = gate.head("/x", "Origin: https://evil.example", "Connection: origin, sec-fetch-site", method="POST")
    await assert_refused(gate, data, reason="cross_site", status=403)


async def test_the_portals_pages_are_guarded_too(gate: Gate) -> None:
    data = gate.head("/.gateway/sign-out", "Origin: https://evil.example", method="POST")
    await assert_refused(gate, data, reason="cross_site", status=403)
    assert gate.portal.requests == []


@pytest.mark.parametrize(
    "lines", [(), ("Sec-Fetch-Site: same-origin",), ("Sec-Fetch-Site: none",), ("Sec-Fetch-Site: same-origin", "Origin: null")]
)
async def test_our_own_pages_and_tools_may(gate: Gate, lines: tuple[str, ...]) -> None:
    assert (await gate.get("/x", *lines, method="POST")).status == 200


async def test_the_same_origin_may(gate: Gate) -> None:
    assert (await gate.get("/x", f"Origin: http://{HOST}:{gate.port}", method="POST")).status == 200


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_links_from_elsewhere_work(gate: Gate, method: str) -> None:
    answer = await gate.get("/x", "Sec-Fetch-Site: cross-site", "Origin: https://elsewhere.example", method=method)
    assert answer.status == 200
