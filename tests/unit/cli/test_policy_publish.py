"""`gateway policy publish`, `rollback`, `history`: the desk of the console, from a folder under version control."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.changes.desk import Desk
from gateway.cli import main
from gateway.lasting.sqlite import SqliteLasting
from tests.support.changes import READ, files, new_desk
from tests.support.configuration import MINIMAL, write_config
from tests.support.policy import CASES, policy

Run = Callable[..., tuple[int, str, str]]
CONFIG = MINIMAL.replace('dir = "policies"', 'dir = "policies"\ndatabase = "state/policies.sqlite3"') + (
    '[console]\nhost = "console.hospital.example"\n'
)
NO_OFFICERS = policy("f", 'principal in Role::"security_officer"', effect="forbid", scope="principal, action, resource")
NURSES_ONLY = policy(when='principal in Role::"nurse" && context.device.registered')
MORE = READ + policy(
    "nurse", "context.device.registered", scope='principal in Role::"nurse", action == Action::"write", resource'
)


def write(folder: Path, given: dict[str, bytes]) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    for name, data in given.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


class Hospital:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_config(folder, CONFIG)
        self.proposed = folder / "proposed"
        self.lasting = SqliteLasting(folder / "state" / "policies.sqlite3")

    def desk(self) -> Desk:
        return new_desk(self.lasting)

    def propose(self, read: str = MORE, **more: bytes | str) -> None:
        write(self.proposed, files(read, **more))  # type: ignore[arg-type]  # cases are bytes


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    made = Hospital(tmp_path)
    asyncio.run(made.desk().begin_with_folder(files()))
    yield made
    made.lasting.close()


@pytest.fixture
def run(hospital: Hospital, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["policy", *arguments, "--config", str(hospital.config)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call


def publish(
    hospital: Hospital, run: Run, *more: str, by: str = "sec.abe", why: str = "Ticket 4711\nas agreed"
) -> tuple[int, str, str]:
    return run("publish", str(hospital.proposed), "--by", "sec.abe", "--why", why, *more)


def test_without_an_approver_it_waits_for_one(hospital: Hospital, run: Run) -> None:
    hospital.propose()
    status, out, err = publish(hospital, run)
    assert (status, err) == (0, "")
    [draft] = asyncio.run(hospital.desk().drafts())
    assert out == f"{draft.id} waits for a second officer at the console; nothing is in force yet\n"
    assert (draft.state, draft.author.subject, draft.author.login) == ("waiting", "cli:sec.abe", "sec.abe")
    assert (draft.title, draft.why) == ("Ticket 4711", "Ticket 4711\nas agreed")
    assert len(asyncio.run(hospital.desk().history())) == 1


def test_approved_outside_it_is_in_force_at_once(hospital: Hospital, run: Run) -> None:
    hospital.propose()
    status, out, _ = publish(hospital, run, "--approved-by", "sec.kato", "--title", "Nurses read")
    assert status == 0
    publication, kept = asyncio.run(hospital.desk().in_force())
    assert out == f"publication 2 is in force (approved), version {publication.version[:12]}\n"
    assert kept == files(MORE)
    assert publication.approved_by is not None
    assert (publication.title, publication.author.login, publication.approved_by.login) == ("Nurses read", "sec.abe", "sec.kato")


@pytest.mark.parametrize("approver", ["sec.abe", "SEC.ABE", "ｓｅｃ.abe"])
def test_nobody_approves_their_own(hospital: Hospital, run: Run, approver: str) -> None:
    hospital.propose()
    status, out, err = publish(hospital, run, "--approved-by", approver)
    assert (status, out) == (1, "")
    assert err.startswith("gateway: refused: who makes a change can't approve it.")
    assert asyncio.run(hospital.desk().drafts()) == []


@pytest.mark.parametrize(
    ("read", "cases", "said"),
    [
        ("permit(;", CASES, "a.cedar:1: "),
        (NURSES_ONLY, CASES, "cases/a.toml:2: the case 'read' does not hold: outcome is deny"),
        (READ, b"# none", "cases: there is no case"),
        (READ + NO_OFFICERS, CASES, "under these policies 0 of the security officers could still edit, approve and publish"),
    ],
)  # fmt: skip
def test_what_is_not_good_is_said_and_leaves_nothing(hospital: Hospital, run: Run, read: str, cases: bytes, said: str) -> None:
    hospital.propose(read, cases=cases)
    status, out, err = publish(hospital, run, "--approved-by", "sec.kato")
    assert (status, out) == (1, "")
    assert said in err
    assert asyncio.run(hospital.desk().drafts()) == []


def test_what_is_in_force_already_leaves_no_change_waiting(hospital: Hospital, run: Run) -> None:
    hospital.propose(READ)
    status, _, err = publish(hospital, run)
    assert (status, err) == (
        1,
        "gateway: refused: it is what is in force: nothing would change. Change something, or withdraw it\n",
    )
    assert [draft.state for draft in asyncio.run(hospital.desk().drafts())] == ["withdrawn"]


def test_back_and_history(hospital: Hospital, run: Run) -> None:
    hospital.propose()
    publish(hospital, run, "--approved-by", "sec.kato")
    status, out, _ = run("rollback", "1", "--by", "sec.kato", "--why", "Ward 3\ncan't prescribe")
    assert status == 0
    assert out.startswith("publication 3 is in force (back to 1), version ")
    status, out, _ = run("history")
    assert status == 0
    lines = out.splitlines()
    assert [line.split()[0] for line in lines] == ["NUMBER", "3", "2", "1"]
    assert "back to 1" in lines[1]
    assert ["Policies of the installation" in line for line in lines[1:]] == [True, False, True]
    # The console says the same of both, in the reader's language.
    assert [one.is_initial for one in asyncio.run(hospital.desk().history())] == [True, False, True]
    assert "Ward 3 can't prescribe" in lines[1]
    assert "sec.abe" in lines[2]
    assert "sec.kato" in lines[2]
    status, _, err = run("rollback", "1", "--by", "sec.kato", "--why", "again")
    assert (status, err) == (1, "gateway: refused: publication 1 is what is in force. Nothing has to be done\n")
    status, _, err = run("rollback", "9", "--by", "sec.kato", "--why", "again")
    assert (status, err) == (1, "gateway: refused: there is no publication 9. Look at the list anew\n")


def test_a_bundle_that_is_too_large_or_can_not_be_read_can_not_be_used(hospital: Hospital, run: Run) -> None:
    hospital.propose()
    (hospital.proposed / "b.cedar").write_bytes(b"/" * 50_000_000)
    status, _, err = publish(hospital, run)
    assert status == 2
    assert "b.cedar: larger than 256 KiB. Split the file" in err
    shutil.rmtree(hospital.proposed)
    assert publish(hospital, run)[0] == 2


def test_without_a_database_there_is_no_place_for_changes(hospital: Hospital, run: Run) -> None:
    write_config(hospital.folder, MINIMAL)
    hospital.propose()
    status, _, err = publish(hospital, run)
    assert status == 2
    assert "policies come from their folder alone: there is no place for changes" in err


def test_a_database_that_is_none_is_said(hospital: Hospital, run: Run) -> None:
    hospital.lasting.close()
    (hospital.folder / "state" / "policies.sqlite3").write_bytes(b"no database" * 500)
    status, _, err = run("history")
    assert status == 2
    assert "policies.sqlite3 can't be used (file is not a database)" in err


def test_reasons_that_mislead_are_refused(hospital: Hospital, run: Run) -> None:
    hospital.propose()
    status, _, err = publish(hospital, run, why="safe \u202eelbasid\u202c")
    assert status == 1
    assert "the title holds an invisible character, U+202E" in err or "the reason holds an invisible character, U+202E" in err
