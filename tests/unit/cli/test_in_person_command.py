"""Two officers proof somebody with `gateway proofing`, beside the gateway that shows the code."""

import asyncio
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.app.verifiers import verifier_of
from gateway.cli import main
from gateway.config import load_config
from gateway.kernel.clock import SystemClock
from idp.files import DATABASE, open_keys
from idp.model import ProofingRecord, User
from idp.proofing.in_person import InPersonBackend
from idp.proofing.port import Person, Started
from idp.store import open_store
from tests.support.configuration import MINIMAL, write_config

SECTION = (
    '[idp]\ndata_dir = "idp"\nproofing = "in-person"\n[idp.in_person]\nplace_ja = "総務課"\nplace_en = "Personnel"\n\n[devices]'
)
CONFIG = MINIMAL.replace('"https://id.other.example"', '"https://id.hospital.example"\nembedded = true').replace(
    "[devices]", SECTION
)
SATO = User(id="usr_sato", login="dr.sato", name="佐藤 恵", roles=("physician",), birth_date="1984-05-12")
MORI = User(id="usr_mori", login="hr.mori", name="森 直子", roles=("officer",))
HARA = User(id="usr_hara", login="hr.hara", name="原 誠", roles=("officer",))
TYPED = "佐藤 恵\n1984-05-12\n\n"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "etc", CONFIG)


@pytest.fixture
def proofing(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str, typed: str = TYPED) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed.encode()), encoding="utf-8"))
        status = main(["proofing", *arguments, "--config", str(config)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def code_of_sato(config: Path) -> str:
    """What the serving process does when Sato asks: a code on the page."""

    async def work() -> str:
        loaded, clock = load_config(config, {}), SystemClock()
        assert loaded.idp is not None
        keys = open_keys(loaded.idp.data_dir, now=int(clock.now()))
        store = await open_store(
            loaded.idp.data_dir / DATABASE, clock=clock, sealing_key=keys.sealing_key(), idle_seconds=1, seconds=1
        )
        try:
            for user in (SATO, MORI, HARA):
                if await store.users.get(user.id) is None:
                    await store.users.add(user)
            backend = verifier_of(loaded, clock)
            assert isinstance(backend, InPersonBackend)
            backend.use(store)
            started = await backend.begin(Person(user_id=SATO.id, name=SATO.name), "sign_in")
            assert isinstance(started, Started)
            return started.show.values["code"]
        finally:
            await store.close()

    return asyncio.run(work())


def kept(config: Path) -> ProofingRecord | None:
    async def work() -> ProofingRecord | None:
        store = await open_store(
            config.parent / "idp" / DATABASE, clock=SystemClock(), sealing_key=b"x" * 32, idle_seconds=1, seconds=1
        )
        try:
            return await store.proofing.latest(SATO.id)
        finally:
            await store.close()

    return asyncio.run(work())


def test_two_officers_proof_somebody(config: Path, proofing: Run) -> None:
    code = code_of_sato(config)
    status, out, _ = proofing("check", "dr.sato", code, "--document", "driving_licence", "--by", "hr.mori")
    assert status == 0
    case = out.strip().rpartition(" ")[2].rstrip(".")
    assert case.startswith("case_")
    assert kept(config) is None
    status, out, _ = proofing("cases", case)
    assert status == 0
    assert "first officer: hr.mori" in out
    status, _, err = proofing("decide", case, "--approve", "--by", "hr.mori")
    assert status == 1
    assert "same_officer" in err
    status, out, _ = proofing("decide", case, "--approve", "--by", "hr.hara")
    assert (status, out) == (0, "The case is approved.\n")
    record = kept(config)
    assert record is not None
    assert (record.level, record.method) == (2, "in_person_document")


def test_a_wrong_code_and_another_persons_document(config: Path, proofing: Run) -> None:
    code = code_of_sato(config)
    wrong = f"{(int(code.replace(' ', '')) + 1) % 1_000_000:06}"
    status, _, err = proofing("check", "dr.sato", wrong, "--document", "passport", "--by", "hr.mori")
    assert status == 1
    assert "unknown_code" in err
    status, _, err = proofing(
        "check", "dr.sato", code, "--document", "passport", "--by", "hr.mori", typed="鈴木 翔\n1990-01-02\n\n"
    )
    assert status == 1
    assert "name_mismatch" in err
    status, _, err = proofing("check", "dr.sato", code, "--document", "passport", "--by", "hr.mori", typed="")
    assert status != 0
    assert "not typed in" in err
    assert kept(config) is None


def test_the_section_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(
        tmp_path / "etc", CONFIG.partition("[idp.in_person]")[0] + "\n[devices]" + CONFIG.partition("[devices]")[2]
    )
    assert main(["check-config", str(path)]) != 0
    assert "there is no [idp.in_person] section" in capsys.readouterr().err
