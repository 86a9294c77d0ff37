"""Ctrl-C ends it cleanly; the next start on the same data directory knows people, keys and devices, and the log is one log."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.demo import Demo
from tests.support.visitor import Arrive

CHART: Final = "/patients/P1001"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Demo]:
    """A demo that this test starts and stops."""
    running = Demo(tmp_path)
    try:
        yield running
    finally:
        running.end()


def test_the_second_start_goes_on_where_the_first_ended(kept: Demo, arrive: Arrive) -> None:
    kept.start()
    first = kept.shown
    sato, gone = arrive("dr.sato", kept, folder="restart"), arrive("nurse.suzuki", kept)
    sato.reach("ehr", CHART)
    sato.own_a_key()
    gone.reach("ehr")
    stored = gone.context.storage_state()
    gone.sign_out()
    sato.open("ehr", CHART)
    stream = sato.open_stream(f"{CHART}/vitals/stream")
    sato.page.bring_to_front()
    kept.stop(signal.SIGINT)  # with a page open: its streams are ended, not waited for
    assert stream.evaluate("() => window.ended")["code"] in {1001, 1006}
    sato.page.wait_for_function("() => document.getElementById('vitals').dataset.now === 'lost'")
    whole = kept.verify()
    assert whole.returncode == 0, whole.stdout

    kept.start()
    assert kept.shown == first, "the same people, passwords and addresses"
    # Whoever had signed out stays out, with the old cookies too.
    back = arrive("nurse.suzuki", kept, storage_state=stored)
    back.open("ehr")
    assert back.host() == "id"
    assert back.heading() == "サインイン"
    # The provider's session lasts, so Dr. Sato goes on without a question; device and proofed identity are known.
    sato.open("ehr", CHART)
    sato.page.wait_for_url(f"{kept.urls['ehr']}{CHART}")
    assert sato.heading() == "見本 花子"
    sato.open("portal")
    assert "登録済み(ブラウザの鍵)" in sato.text()
    # And the key signs in where nothing else is known.
    elsewhere = arrive("dr.sato", kept)
    elsewhere.open("portal")
    elsewhere.sign_in()
    assert elsewhere.heading() == "佐藤 恵 さん"
    kept.stop(signal.SIGTERM)
    whole = kept.verify()
    assert whole.returncode == 0, whole.stdout
    events = [row["event"] for row in kept.log() if row["type"] == "event" and row["event"].startswith("gateway.")]
    assert events == ["gateway.started", "gateway.stopped", "gateway.started", "gateway.stopped"]
