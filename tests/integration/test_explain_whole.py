"""What the running gateway decided, explained by its own command and its own console."""

import asyncio
from pathlib import Path

import pytest

from gateway.cli import main
from gateway.domain.record import DecisionRecord
from gateway.kernel.secret import Secret
from tests.support.whole import PASSWORD, SECRET, Whole, open_whole

OFFICER = "sec.yamamoto"


async def officer(whole: Whole) -> None:
    assert whole.gateway.provider is not None
    await whole.gateway.provider.seed_user(
        login=OFFICER, name="山本 凛", roles=("security_officer",), organization="demo-hospital", birth_date="1984-05-12",
        kana="カナ", password=Secret(PASSWORD), totp_secret=Secret(SECRET),
    )  # fmt: skip


def decisions(whole: Whole) -> list[DecisionRecord]:
    return [record for record in whole.records if isinstance(record, DecisionRecord)]


async def test_every_decision_of_a_running_gateway_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_whole(tmp_path) as whole:
        await officer(whole)
        doctor = whole.browser()
        await doctor.register_device(await doctor.sign_in())
        await doctor.request("POST", doctor.url("ehr", "/patients/p001/prescriptions"), {"drug": "x"})
        denied = decisions(whole)[-1]
        assert denied.outcome == "deny"
        config = str(tmp_path / "gateway.toml")
        every = decisions(whole)
        assert {record.outcome for record in every} >= {"deny", "challenge"}
        for record in every:
            arguments = ["policy", "explain", "--config", config, "--lang", "en", "--decision", record.id]
            assert await asyncio.to_thread(main, arguments) == 0, capsys.readouterr()
            out = capsys.readouterr().out
            if record.facts is not None:
                assert "The same policies give the same answer to the same facts now." in out
                assert "does not agree" not in out
        looking = whole.browser()
        page = await looking.touch_key(await looking.sign_in("console", f"/policies/explain?decision={denied.id}", OFFICER))
        page = await looking.open("console", f"/policies/explain?decision={denied.id}")
        assert page.status == 200, page.text
        assert "拒否：許可するポリシーがありません。" in page.text
        assert 'id="ticket-ja"' in page.text
        assert [event.target for event in whole.events("policy.explained")][-1:] == [denied.id]
