"""`gateway proofing` as an officer meets it."""

import asyncio
import json
import os
import pwd
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from gateway.demo import run as demo
from gateway.kernel.clock import SystemClock
from gateway.kernel.secret import Secret
from idp.files import open_keys
from idp.model import AccountChange, PersonDigest, ProofingRecord, User
from idp.proofing.cases import Review
from idp.proofing.port import Proofed
from idp.store import SqliteStore, open_store
from tests.support.configuration import MINIMAL, write_config
from tests.support.idp_site import Events
from tests.support.proofing import NEAR_SATO, OFFICER, PEOPLE, SATO, SECOND, SUZUKI

DAY = 86_400
NOW = int(SystemClock().now())
OS = f"os:{pwd.getpwuid(os.getuid()).pw_name}"
SIGNED = f"hr.mori through {OS}"
EMBEDDED = MINIMAL.replace('"https://id.other.example"', '"https://id.hospital.example"\nembedded = true').replace(
    "[devices]", '[idp]\ndata_dir = "idp"\nreview_days = 20\nexpiring_days = 10\n\n[devices]'
)

Run = Callable[..., tuple[int, str, str]]
Look = Callable[[SqliteStore], Coroutine[Any, Any, Any]]


class Files:
    """A provider's files, which this test and the command open in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def with_store(self, look: Look) -> Any:
        async def work() -> Any:
            keys = open_keys(self.folder, now=NOW)
            path = self.folder / "idp.sqlite3"
            store = await open_store(path, clock=SystemClock(), sealing_key=keys.sealing_key(), idle_seconds=1, seconds=1)
            try:
                return await look(store)
            finally:
                await store.close()

        return asyncio.run(work())

    def add_people(self) -> None:
        async def add(store: SqliteStore) -> None:
            for user in PEOPLE:
                await store.users.add(user)

        self.with_store(add)

    def proofed(self, user: User = SATO, *, ends: int | None = NOW + 100 * DAY, method: str = "jpki_sign", at: int = NOW) -> None:
        record = ProofingRecord(
            user_id=user.id, level=3, method=method, verified_at=at, expires_at=ends, verifier="verifier.example",
            transaction=f"t-{user.id}-{at}", person_digest=user.id, evidence="electronic_signature",
        )  # fmt: skip

        async def keep(store: SqliteStore) -> None:
            assert isinstance(await store.proofing.keep(record, (PersonDigest(key="", digest=user.id),), now=at), ProofingRecord)

        self.with_store(keep)

    def case(self, user: User = SATO) -> str:
        proofed = Proofed(
            level=3, method="jpki_sign", evidence="electronic_signature", verified_at=NOW, expires_at=NOW + DAY * 30,
            verifier="verifier.example", transaction="t-case", person=Secret("card"), attributes=NEAR_SATO,
        )  # fmt: skip

        async def work(store: SqliteStore) -> str:
            keys = open_keys(self.folder, now=NOW)
            review = Review(store, Events(), SystemClock(), keys.digest_keys)
            return (await review.open(user, "near_miss", proofed, differences=("birth_date",))).case_id

        found: str = self.with_store(work)
        return found

    def notes(self) -> list[AccountChange]:
        """What waits for the running gateway to tell it."""
        found: list[AccountChange] = self.with_store(lambda store: store.accounts.pending())
        return found

    def note(self, name: str) -> AccountChange:
        return [change for change in self.notes() if change.name == name][-1]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "etc", EMBEDDED)


@pytest.fixture
def files(config: Path) -> Files:
    made = Files(config.parent / "idp")
    made.add_people()
    return made


@pytest.fixture
def proofing(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str, file: Path = config) -> tuple[int, str, str]:
        status = main(["proofing", *arguments, "--config", str(file)])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d}"


def in_days(days: int) -> str:
    return day(NOW + days * DAY)


def test_the_status_says_how_everybody_stands(proofing: Run, files: Files) -> None:
    files.proofed(SATO, ends=NOW + 5 * DAY)
    files.proofed(SECOND)
    proofing("end", "hr.hara", "--why", "revoked", "--by", "hr.mori")
    proofing("invite", "nurse.suzuki", "--by", "hr.mori", "--due", in_days(30))
    case = files.case(SUZUKI)
    status, out, err = proofing("status")
    assert (status, err) == (0, "")
    head, *rows, last = out.splitlines()
    assert head.split() == ["login", "name", "proofing", "since", "until", "invited", "until", "case"]
    by_login = {row.split()[0]: row for row in rows}
    assert set(by_login) == {"dr.sato", "nurse.suzuki", "hr.mori", "hr.hara"}
    assert "level 3 jpki_sign, ends soon" in by_login["dr.sato"]
    assert "ended (revoked)" in by_login["hr.hara"]
    assert by_login["nurse.suzuki"].split()[-2:] == [in_days(30), case]
    assert "none" in by_login["hr.mori"]
    assert last == "4 active accounts, 1 with a proofing in force, of which 1 end soon."
    few = proofing("status", "--expiring", "3")[1]
    assert few == "4 active accounts, 1 with a proofing in force, of which 0 end soon.\n"
    assert [row.split()[0] for row in proofing("status", "--expiring", "6")[1].splitlines()[1:-1]] == ["dr.sato"]


def test_people_are_invited_and_the_batch_shows_how_far_it_is(proofing: Run, files: Files) -> None:
    files.proofed(SATO)
    status, out, err = proofing("invite", "--all", "--by", "HR.Mori", "--due", in_days(20), "--batch", "spring")
    assert (status, out, err) == (0, f"3 invited until {in_days(20)}, as batch spring.\n", "")
    assert proofing("invite", "--all", "--by", "hr.mori", "--due", in_days(20), "--batch", "spring")[1].startswith("0 invited")
    files.proofed(SUZUKI, at=int(SystemClock().now()) + 100, ends=None)
    _, row = proofing("batches")[1].splitlines()
    assert row.split() == ["spring", *SIGNED.split(), day(NOW), in_days(20), "3", "1", "0", "2", "0"]
    assert files.note("proofing.invited").by == SIGNED


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("invite", "--by", "hr.mori", "--due", in_days(9)), "it is not said who is invited. Name people, or say --all."),
        (("invite", "--all", "dr.sato", "--by", "hr.mori", "--due", in_days(9)), "it is not said who is invited."),
        (("invite", "--all", "--by", "hr.mori", "--due", "soon"), "'soon' is no date. Write YYYY-MM-DD."),
        (("invite", "--all", "--by", "hr.mori", "--due", "2027-02-30"), "'2027-02-30' is no date. Write YYYY-MM-DD."),
        (("invite", "--all", "--by", "hr.mori", "--due", "9999-12-31"), "'9999-12-31' is no date."),
        (("invite", "--all", "--by", "hr.mori", "--due", "2020-01-01"), "the due date is not in the coming 400 days."),
        (("invite", "--all", "--by", "nobody", "--due", in_days(9)), "there is nobody called 'nobody'."),
        (("invite", "nobody", "--by", "hr.mori", "--due", in_days(9)), "there is nobody called 'nobody'."),
        (("recheck",), "idp.proofing: no verifier is configured. Configure one first."),
        (("cases", "case_x"), "there is no case 'case_x'."),
        (("end", "nobody", "--by", "hr.mori"), "there is nobody called 'nobody'."),
        (("export", "nobody"), "there is nobody called 'nobody'."),
        (("delete", "dr.sato", "--by", "nobody"), "there is nobody called 'nobody'."),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_said_in_one_line(proofing: Run, files: Files, arguments: tuple[str, ...], error: str) -> None:
    status, out, err = proofing(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.removeprefix("gateway: ").startswith(error)
    assert files.notes() == []


def test_somebody_who_is_deactivated_decides_nothing(proofing: Run, files: Files) -> None:
    files.with_store(lambda store: store.accounts.set_active(OFFICER.id, active=False, by="x", at=NOW))
    status, _, err = proofing("end", "dr.sato", "--by", "hr.mori")
    assert (status, err) == (2, "gateway: hr.mori is deactivated and decides nothing\n")


def test_a_case_is_shown_with_both_sides_and_decided(proofing: Run, files: Files) -> None:
    case = files.case()
    _, row = proofing("cases")[1].splitlines()
    assert row.split()[:3] == [case, "dr.sato", "near_miss"]
    status, out, _ = proofing("cases", case)
    assert status == 0
    assert "differences: birth_date" in out
    born = next(line for line in out.splitlines() if line.startswith("birth_date"))
    assert born.split() == ["birth_date", "1984-05-12", "1984-05-21", "DIFFERENT"]
    status, _, err = proofing("decide", case, "--approve", "--by", "dr.sato")
    assert (status, err) == (1, "gateway: nothing was decided: own_case\n"), "nobody decides on themselves"
    assert proofing("decide", case, "--approve", "--by", "hr.mori", "--note", "the ledger was wrong")[:2] == (
        0, "The case is approved.\n",
    )  # fmt: skip
    assert len(proofing("cases")[1].splitlines()) == 1
    over = proofing("cases", case)[1]
    assert "1984-05-21" not in over
    assert "by hr.mori" in over
    names = [change.name for change in files.notes()]
    assert (names[0], names[1], names[-1]) == ("proofing.decided", "proofing.decided", "proofing.added")
    refused, decided = (change for change in files.notes() if change.name == "proofing.decided")
    assert (refused.detail["outcome"], refused.detail["reason"]) == ("failure", "own_case")
    assert (decided.by, decided.detail["decision"], decided.detail["through"]) == ("hr.mori", "approved", OS)
    assert proofing("decide", case, "--refuse", "--by", "hr.hara")[0] == 1


def test_an_officer_refuses_a_case(proofing: Run, files: Files) -> None:
    case = files.case()
    assert proofing("decide", case, "--refuse", "--by", "hr.mori")[:2] == (0, "The case is rejected.\n")
    assert [change.name for change in files.notes()] == ["proofing.decided"]


def test_keys_are_shown_rotated_and_dropped(proofing: Run, files: Files) -> None:
    files.proofed(SATO)
    assert proofing("keys")[1].splitlines()[1].split() == ["first", "in", "use", "1", "0"]
    out = proofing("keys", "--rotate")[1]
    key = out.split()[2]
    assert out.splitlines()[0] == f"The key {key} is used from now on."
    assert [row.split()[0] for row in out.splitlines()[2:]] == [key, "first"]
    status, _, err = proofing("keys", "--drop", "first")
    assert status == 2
    assert "in use by living records" in err
    proofing("end", "dr.sato", "--by", "hr.mori")
    assert proofing("keys")[1].splitlines()[2].split() == ["first", "can", "be", "dropped", "0", "1"]
    status, out, _ = proofing("keys", "--drop", "first")
    assert (status, out.splitlines()[0]) == (0, "The key first is forgotten.")
    assert out.splitlines()[-1].split() == ["first", "missing", "0", "1"]


def test_a_proofing_is_ended_once(proofing: Run, files: Files) -> None:
    files.proofed()
    status, out, err = proofing("end", "dr.sato", "--by", "hr.mori")
    assert (status, err) == (0, "")
    assert out == "The proofing of dr.sato has ended. A running gateway takes it out of their sessions within a second.\n"
    assert proofing("end", "dr.sato", "--by", "hr.mori") == (1, "", "gateway: dr.sato has no proofing in force\n")
    change = files.note("proofing.ended")
    assert (change.by, change.detail["why"]) == (SIGNED, "officer")


def test_an_export_is_json_and_a_deletion_leaves_nothing(proofing: Run, files: Files) -> None:
    files.proofed()
    status, out, err = proofing("export", "dr.sato")
    assert (status, err) == (0, "")
    exported = json.loads(out)
    assert exported["proofings"][0]["transaction"] == f"t-usr_sato-{NOW}"
    assert "佐藤 恵" in out
    assert (files.note("proofing.exported").by, files.note("proofing.exported").detail["through"]) == (OS, OS)
    files.with_store(_told)
    status, out, _ = proofing("delete", "dr.sato", "--by", "hr.mori")
    assert (status, out.splitlines()) == (
        0, ["What was kept of dr.sato is deleted: 1 proofings, 0 cases, 0 invitations. The log says that it was."],
    )  # fmt: skip
    assert files.note("proofing.deleted").by == SIGNED
    kept = b"".join(path.read_bytes() for path in files.folder.iterdir())
    assert f"t-usr_sato-{NOW}".encode() not in kept
    assert json.loads(proofing("export", "dr.sato")[1])["proofings"] == []


async def _told(store: SqliteStore) -> None:
    """As the running gateway does."""
    for change in await store.accounts.pending():
        await store.accounts.told(change.number)


def test_asking_again_says_what_was_found(proofing: Run, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    demo._make_folder(folder)
    demo._make_keys(folder / "keys")
    file = demo._write_config(
        folder, 8080, "http", None, issuer="http://id.localhost:8080", upstreams={"ehr": 1, "imaging": 2, "orders": 3}
    )
    files = Files(folder / "idp")
    proofing("status", file=file)
    files.add_people()
    files.proofed(SATO, method="simulated")
    files.proofed(SUZUKI, method="jpki_sign")
    files.with_store(_told)
    status, out, err = proofing("recheck", file=file)
    assert (status, err) == (0, "")
    assert out.startswith(f"Recheck 1 by {OS}, begun ")
    assert out.endswith(": 2 in all, 1 valid, 0 revoked, 0 expired, 1 without an answer.\n")
    assert proofing("status", file=file)[1].splitlines()[-1] == out.strip()
    assert files.note("proofing.rechecked").detail["valid"] == "1"
