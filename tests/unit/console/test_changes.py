import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.posture import Attribute, Device
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import StoreUnavailable
from gateway.posture.registry import SqliteDevices
from gateway.sessions.memory import MemorySessions
from tests.support.console import OFFICER, World
from tests.unit.console.conftest import Client, Visit


async def device_of(world: World, device_id: str) -> Device:
    found = await world.devices.get(device_id)
    assert found is not None
    return found


# ------------------------------------------------------------------ sessions


async def test_a_session_is_ended_recorded_and_said(officer: Client, world: World) -> None:
    session = await world.session()
    other = await world.session(identity={"subject": "usr_suzuki", "login": "nurse.suzuki", "name": "鈴木 翔"})
    reply = await officer.post(f"/sessions/{session.id}/revoke", allow_redirects=False)
    assert (reply.status, reply.headers["Location"]) == (303, "/sessions?done=revoked")
    now = world.clock.now()
    assert await world.sessions.get(session.id, now) is None
    assert await world.sessions.get(other.id, now) is not None
    [event] = world.events("session.revoked")
    assert (event.target, event.outcome, event.actor.login) == (session.id, "success", "sec.yamamoto")
    assert event.detail == {"subject": "usr_sato", "login": "dr.sato", "decision": "dec_1"}
    page = await (await officer.get(reply.headers["Location"])).text()
    assert "セッションを終了しました" in page
    assert "鈴木 翔" in page
    assert "佐藤 恵" not in page


async def test_the_record_is_there_before_the_session_ends(visit: Visit, world: World) -> None:
    recorded = []

    class Watched(MemorySessions):
        async def revoke(self, session_id: str) -> bool:
            recorded.append([event.event for event in world.events()])
            return await super().revoke(session_id)

    world.sessions = Watched(clock=world.clock)
    client = await visit(OFFICER)
    session = await world.session()
    assert (await client.post(f"/sessions/{session.id}/revoke", allow_redirects=False)).status == 303
    assert recorded == [["session.revoked"]]


@pytest.mark.parametrize("session_id", ["ses_unknown", "x" * 3000, "<script>"])
async def test_a_session_that_is_gone(officer: Client, world: World, session_id: str) -> None:
    reply = await officer.post(f"/sessions/{session_id}/revoke", allow_redirects=False)
    assert (reply.status, reply.headers["Location"]) == (303, "/sessions?done=gone")
    assert world.events() == []
    assert "すでに終了しています" in await (await officer.get("/sessions?done=gone")).text()


async def test_a_session_that_ends_meanwhile(visit: Visit, world: World) -> None:
    class Racing(MemorySessions):
        async def revoke(self, session_id: str) -> bool:
            await super().revoke(session_id)
            return await super().revoke(session_id)

    world.sessions = Racing(clock=world.clock)
    client = await visit(OFFICER)
    session = await world.session()
    reply = await client.post(f"/sessions/{session.id}/revoke", allow_redirects=False)
    assert reply.headers["Location"] == "/sessions?done=gone"
    assert [(event.outcome, event.detail.get("why")) for event in world.events()] == [
        ("success", None),
        ("failure", "ended meanwhile"),
    ]


async def test_a_store_that_does_not_answer(visit: Visit, world: World) -> None:
    class Broken(MemorySessions):
        async def revoke(self, session_id: str) -> bool:
            raise StoreUnavailable("no answer")

    world.sessions = Broken(clock=world.clock)
    client = await visit(OFFICER)
    session = await world.session()
    reply = await client.post(f"/sessions/{session.id}/revoke")
    assert reply.status == 503
    assert "保管先が応答しません" in await reply.text()
    assert [event.outcome for event in world.events("session.revoked")] == ["success", "failure"]
    await world.sessions.close()
    for path in ("/", "/sessions", "/devices"):
        assert (await client.get(path)).status == 503


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egpj.exe\u2066\u200b\x00\n"


async def test_markup_and_bidi_in_a_session_stay_text(officer: Client, world: World) -> None:
    await world.session(
        identity={"name": NASTY, "login": NASTY, "roles": (NASTY, "nurse")},
        user_agent=NASTY * 50,
        address=NASTY,
        device_id="<b>dev",
    )
    page = await (await officer.get("/sessions")).text()
    assert_harmless(page)
    assert "看護師" in page
    assert "&lt;b&gt;dev" in page


def assert_harmless(page: str) -> None:
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\\u{202e}" in page
    assert not set(page) & set("\u202e\u2066\u200b\x00")


# ------------------------------------------------------------------ devices


async def test_an_officer_says_what_they_saw_of_a_device(officer: Client, auditor: Client, world: World) -> None:
    older = Attribute(name="antivirus", value=False, at=int(world.clock.now()) - 86_400 * 3, source="inventory:mdm")
    device = await world.device(attributes=(older,))
    form = {"disk_encrypted": "true", "screen_lock": "false", "antivirus": "", "os_supported": ""}
    reply = await officer.post(f"/devices/{device.id}/posture", data=form, allow_redirects=False)
    assert (reply.status, reply.headers["Location"]) == (303, "/devices?done=posture")
    now = await device_of(world, device.id)
    seen: dict[str, Any] = {"at": int(world.clock.now()), "source": "officer:sec.yamamoto"}
    assert now.attributes == (
        older, Attribute(name="disk_encrypted", value=True, **seen), Attribute(name="screen_lock", value=False, **seen),
    )  # fmt: skip
    assert now.compliance == device.compliance
    [record] = world.events("device.posture")
    assert record.detail["disk_encrypted"].startswith("true at 2027-01-15T08:00:00")
    assert record.detail["screen_lock"].startswith("false at ")
    assert (record.target, record.detail["source"], record.actor.login) == (device.id, "officer:sec.yamamoto", "sec.yamamoto")
    page = await (await officer.get("/devices")).text()
    assert "ディスク暗号化あり" in page
    assert "3日前" in page
    assert page.count("24時間以内") == 2
    looked_at = await (await auditor.get("/devices")).text()
    assert "マルウェア対策なし" in looked_at
    assert "<select" not in looked_at


@pytest.mark.parametrize(
    "form",
    [{}, {"antivirus": ""}, {"antivirus": "yes"}, {"antivirus": "true", "firewall": "true"}, {"antivirus": "true", "at": "1"}],
)
async def test_a_form_that_says_nothing_known_changes_nothing(officer: Client, world: World, form: dict[str, str]) -> None:
    device = await world.device()
    assert (await officer.post(f"/devices/{device.id}/posture", data=form)).status == 400
    assert await device_of(world, device.id) == device
    assert world.events("device.posture") == []


@pytest.mark.parametrize(
    ("path", "form", "before", "after", "event"),
    [
        (
            "approve",
            {},
            {"status": "pending", "compliance": "unknown"},
            {"status": "active", "compliance": "compliant"},
            "device.approved",
        ),
        ("block", {}, {"status": "active"}, {"status": "blocked"}, "device.blocked"),
        ("block", {}, {"status": "pending"}, {"status": "blocked"}, "device.blocked"),
        ("unblock", {}, {"status": "blocked"}, {"status": "pending", "compliance": "unknown"}, "device.unblocked"),
        ("compliance", {"state": "non_compliant"}, {}, {"compliance": "non_compliant"}, "device.compliance"),
        ("compliance", {"state": "compliant"}, {"compliance": "non_compliant"}, {"compliance": "compliant"}, "device.compliance"),
    ],
)
async def test_a_device_changes(
    officer: Client, world: World, path: str, form: dict[str, str], before: dict[str, str], after: dict[str, str], event: str
) -> None:
    device = await world.device(**before)
    other = await world.device()
    reply = await officer.post(f"/devices/{device.id}/{path}", data=form, allow_redirects=False)
    assert (reply.status, reply.headers["Location"]) == (303, f"/devices?done={path}")
    now = await device_of(world, device.id)
    assert {name: getattr(now, name) for name in after} == after
    assert now.version == device.version + 1
    if path in {"approve", "compliance"}:
        assert (now.compliance_source, now.compliance_at) == ("officer:sec.yamamoto", int(world.clock.now()))
    assert await device_of(world, other.id) == other
    [record] = world.events()
    assert (record.event, record.target, record.outcome) == (event, device.id, "success")
    assert record.detail["status"] == f"{device.status} -> {now.status}"
    assert record.detail["compliance"] == f"{device.compliance} -> {now.compliance}"
    assert 'role="status"' in await (await officer.get(reply.headers["Location"])).text()


@pytest.mark.parametrize(
    ("path", "status"),
    [("approve", "active"), ("approve", "blocked"), ("block", "blocked"), ("unblock", "active"), ("unblock", "pending")],
)
async def test_a_change_that_makes_no_sense_any_more(officer: Client, world: World, path: str, status: str) -> None:
    device = await world.device(status=status)
    reply = await officer.post(f"/devices/{device.id}/{path}", allow_redirects=False)
    assert reply.headers["Location"] == "/devices?done=changed"
    assert await device_of(world, device.id) == device
    assert world.events() == []
    assert "変更していません" in await (await officer.get("/devices?done=changed")).text()


@pytest.mark.parametrize(
    "form",
    [{}, {"state": ""}, {"state": "unknown"}, {"state": "Compliant"}, [("state", "compliant"), ("state", "non_compliant")]],
)
async def test_a_compliance_that_is_none(officer: Client, world: World, form: Any) -> None:
    device = await world.device()
    assert (await officer.post(f"/devices/{device.id}/compliance", data=form)).status == 400
    assert await device_of(world, device.id) == device
    assert world.events() == []


async def test_devices_and_changes_that_are_not_there(officer: Client, world: World) -> None:
    device = await world.device()
    assert (await officer.post("/devices/dev_unknown/block")).status == 404
    assert (await officer.post(f"/devices/{device.id}/destroy")).status == 404
    assert world.events() == []


class Racing(SqliteDevices):
    """A ledger in which something else happens between looking and changing."""

    def __init__(self, path: Path, meanwhile: Callable[[Device], Device] | None) -> None:
        super().__init__(path)
        self.meanwhile = meanwhile

    async def update(self, device_id: str, change: Callable[[Device], Device]) -> Device | None:
        if self.meanwhile is None:
            return None
        await super().update(device_id, self.meanwhile)
        return await super().update(device_id, change)


async def test_a_device_that_changes_meanwhile(visit: Visit, world: World, tmp_path: Path) -> None:
    await world.devices.close()
    world.devices = Racing(tmp_path / "racing.db", lambda device: replace(device, status="blocked"))
    client = await visit(OFFICER)
    device = await world.device(status="pending")
    reply = await client.post(f"/devices/{device.id}/approve", allow_redirects=False)
    assert reply.headers["Location"] == "/devices?done=changed"
    assert (await device_of(world, device.id)).status == "blocked"
    assert [(event.outcome, event.detail.get("why")) for event in world.events()] == [
        ("success", None),
        ("failure", "changed meanwhile"),
    ]


async def test_a_device_that_goes_meanwhile(visit: Visit, world: World, tmp_path: Path) -> None:
    await world.devices.close()
    world.devices = Racing(tmp_path / "racing.db", None)
    client = await visit(OFFICER)
    device = await world.device(status="pending")
    assert (await client.post(f"/devices/{device.id}/approve")).status == 404
    assert [event.outcome for event in world.events()] == ["success", "failure"]


async def test_two_officers_approve_at_once(officer: Client, world: World) -> None:
    device = await world.device(status="pending")
    replies = await asyncio.gather(*(officer.post(f"/devices/{device.id}/approve", allow_redirects=False) for _ in range(4)))
    assert sorted(reply.headers["Location"] for reply in replies).count("/devices?done=approve") == 1
    assert (await device_of(world, device.id)).version == device.version + 1


async def test_devices_waiting_come_first_and_markup_stays_text(officer: Client, world: World) -> None:
    await world.device(label="使用中")
    await world.device(label="承認待ちの端末", status="pending")
    await world.device(label=NASTY, registered_by=NASTY, compliance_source=NASTY)
    page = await (await officer.get("/devices")).text()
    assert page.index("承認待ちの端末") < page.index("使用中")
    assert_harmless(page)


@pytest.mark.parametrize("done", ["x", "<script>", "revoked\u202e", "ok"])
async def test_an_invented_notice_says_nothing(officer: Client, done: str) -> None:
    page = await (await officer.get("/sessions", params={"done": done})).text()
    assert "notice" not in page
    assert "<script>" not in page


async def test_the_overview_counts(officer: Client, world: World, clock: ManualClock) -> None:
    await world.session()
    await world.session()
    await world.device(status="pending")
    page = await (await officer.get("/")).text()
    assert "承認待ち 1台" in page
    assert '<span class="figure">2</span> <span class="muted">1名</span>' in page
