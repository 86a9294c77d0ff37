"""The proofing office: who stands how, invitations, keys, and what a person may do with their own."""

import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import AuditError, ConfigError
from idp.model import User
from idp.proofing.office import Decided, NotDecided, ProofingError
from tests.support.office import DAY, OfficeBench, office_bench, standing
from tests.support.proofing import NEAR_SATO, OFFICER, PEOPLE, SATO, SECOND, SUZUKI

BY = "hr.mori"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[OfficeBench]:
    async with office_bench(tmp_path) as made:
        yield made


# ---------------------------------------------------------------- looking


async def test_everybody_is_listed_with_how_they_stand(bench: OfficeBench) -> None:
    record = await bench.proofed()
    everybody = {one.user.login: one for one in await bench.office.standings()}
    assert set(everybody) == {user.login for user in PEOPLE}
    assert (everybody["dr.sato"].record, everybody["dr.sato"].in_force, everybody["dr.sato"].expiring) == (record, True, False)
    assert everybody["nurse.suzuki"].record is None
    assert not everybody["nurse.suzuki"].in_force


async def test_who_expires_soon_is_found_first_to_end_first_and_only_while_in_force(bench: OfficeBench) -> None:
    await bench.proofed(SATO, seconds=31 * DAY)
    await bench.proofed(SUZUKI, seconds=40 * DAY)
    await bench.proofed(OFFICER, seconds=None)
    await bench.proofed(SECOND, seconds=31 * DAY + 5)
    assert await bench.office.expiring() == []
    bench.clock.advance(DAY)
    assert [one.user.login for one in await bench.office.expiring()] == ["dr.sato"]
    bench.clock.advance(5)
    assert [one.user.login for one in await bench.office.expiring()] == ["dr.sato", "hr.hara"]
    assert [one.user.login for one in await bench.office.expiring(60)] == ["dr.sato", "hr.hara", "nurse.suzuki"]
    await bench.store.accounts.set_active(SECOND.id, active=False, by=BY, at=bench.now)
    await bench.office.end(SUZUKI.id, why="officer", by=BY)
    assert [one.user.login for one in await bench.office.expiring(60)] == ["dr.sato"]
    bench.clock.advance(30 * DAY)
    assert await bench.office.expiring(60) == []
    assert await standing(bench) == (False, False, "")


async def test_a_case_shows_both_sides_until_it_is_decided(bench: OfficeBench) -> None:
    bench.verifier.holds(NEAR_SATO)
    review = await bench.desk.case()
    (case,) = await bench.office.cases()
    assert (case.id, case.user_id, case.kind) == (review.case_id, SATO.id, "near_miss")
    assert {one.user.login: one.open_case for one in await bench.office.standings()}["dr.sato"] == case.id
    view = await bench.office.case(case.id)
    assert view is not None
    assert (view.user, view.differences) == (SATO, ("birth_date",))
    born = next(row for row in view.rows if row.field == "birth_date")
    assert (born.roster, born.card, born.equal) == ("1984-05-12", "1984-05-21", False)
    outcome = await bench.office.decide(case.id, by=OFFICER.login, by_user=OFFICER.id, approve=True, note="the ledger was wrong")
    assert isinstance(outcome, Decided)
    assert bench.events.names()[-2:] == ["proofing.decided", "proofing.added"], "told at once"
    over = await bench.office.case(case.id)
    assert over is not None
    assert (over.result, over.rows, over.case.state, over.case.note) == (None, (), "approved", "the ledger was wrong")
    assert await bench.office.cases() == []
    assert [one.id for one in await bench.office.cases(all_of_them=True)] == [case.id]
    assert await standing(bench) == (True, True, "")
    assert await bench.office.case("case_of_nobody") is None
    assert isinstance(await bench.office.decide("case_of_nobody", by=BY, approve=True), NotDecided)


# ---------------------------------------------------------------- invitations


async def test_all_who_lack_a_proofing_are_invited_once_in_a_batch(bench: OfficeBench) -> None:
    await bench.proofed(SATO)
    await bench.store.accounts.set_active(SECOND.id, active=False, by=BY, at=bench.now)
    due = bench.now + 30 * DAY
    batch, added = await bench.office.invite(None, by=BY, due_at=due)
    assert added == 2
    assert {one.user.login for one in await bench.office.standings() if one.due_at == due} == {"nurse.suzuki", "hr.mori"}
    assert await bench.office.invite(None, by=BY, due_at=due, batch=batch) == (batch, 0)
    newcomer = User(id="usr_new", login="new", name="新 人", roles=())
    await bench.store.users.add(newcomer)
    assert await bench.office.invite(None, by=BY, due_at=due, batch=batch) == (batch, 1)
    await bench.teller.tell()
    told = [event for event in bench.events.all if event.name == "proofing.invited"]
    assert sorted((event.login, event.by, event.detail["batch"]) for event in told) == [
        ("hr.mori", BY, batch), ("new", BY, batch), ("nurse.suzuki", BY, batch),
    ]  # fmt: skip


async def test_how_far_a_batch_is(bench: OfficeBench) -> None:
    await bench.proofed(SATO)
    bench.clock.advance(60)
    batch, _ = await bench.office.invite([user.id for user in PEOPLE], by=BY, due_at=bench.now + DAY)
    invitation = await bench.office.invitation_of(SATO.id)
    assert invitation is not None
    assert (invitation.state, invitation.due_at) == ("open", bench.now + DAY)

    async def counts() -> tuple[int, int, int, int, int]:
        (found,) = await bench.office.batches()
        assert (found.id, found.invited_by) == (batch, BY)
        return found.invited, found.done, found.review, found.open, found.overdue

    assert await counts() == (4, 0, 0, 4, 0), "Sato's proofing is of before the invitation: they are to renew it"
    await bench.proofed(SATO)
    assert await bench.office.invitation_of(SATO.id) is None
    bench.verifier.holds(msgspec.structs.replace(NEAR_SATO, name="鈴木 翔", kana="スズキ ショウ", birth_date="1990-03-11"), "x")
    await bench.desk.case(SUZUKI)
    assert await counts() == (4, 1, 1, 2, 0)
    bench.clock.advance(DAY)
    assert await counts() == (4, 1, 1, 0, 2)
    await bench.store.accounts.set_active(SECOND.id, active=False, by=BY, at=bench.now)
    assert await counts() == (3, 1, 1, 0, 1)
    await bench.office.end(SATO.id, why="revoked", by=BY)
    assert await counts() == (3, 0, 1, 0, 2), "a proofing that was revoked has not done it"


@pytest.mark.parametrize("days", [-1, 0, 401])
async def test_a_due_date_lies_ahead_and_not_too_far(bench: OfficeBench, days: int) -> None:
    with pytest.raises(ProofingError, match="due date"):
        await bench.office.invite(None, by=BY, due_at=bench.now + days * DAY)


async def test_an_invitation_of_somebody_who_is_not_there_invites_nobody(bench: OfficeBench) -> None:
    await bench.store.accounts.set_active(SECOND.id, active=False, by=BY, at=bench.now)
    for wrong in ("usr_nobody", SECOND.id):
        with pytest.raises(ProofingError, match="no active account"):
            await bench.office.invite([SATO.id, wrong], by=BY, due_at=bench.now + DAY)
    assert await bench.office.batches() == []
    batch, _ = await bench.office.invite([SATO.id], by=BY, due_at=bench.now + DAY)
    with pytest.raises(ProofingError, match="another due date"):
        await bench.office.invite([SUZUKI.id], by=BY, due_at=bench.now + 2 * DAY, batch=batch)
    await bench.teller.tell()
    assert bench.events.names() == ["account.deactivated", "proofing.invited"]


async def test_hundreds_of_invitations_do_not_delay_what_ends_sessions(bench: OfficeBench) -> None:
    for number in range(150):
        await bench.store.users.add(User(id=f"usr_x{number}", login=f"x{number}", name="x", roles=()))
    await bench.office.invite(None, by=BY, due_at=bench.now + DAY)
    await bench.store.accounts.set_active(SATO.id, active=False, by=BY, at=bench.now)
    await bench.teller.tell()
    assert bench.events.names()[0] == "account.deactivated"
    assert bench.events.names().count("proofing.invited") == 154


# ---------------------------------------------------------------- ending


async def test_an_officer_ends_a_proofing(bench: OfficeBench) -> None:
    record = await bench.proofed()
    assert await bench.office.end(SATO.id, why="officer", by=BY) == 1
    assert await bench.office.end(SATO.id, why="officer", by=BY) == 0
    assert await standing(bench) == (False, False, "officer")
    event = bench.events.last("proofing.ended")
    assert (event.subject, event.login, event.by) == (SATO.id, "dr.sato", BY)
    assert event.detail | {"change": ""} == {
        "why": "officer", "level": "3", "method": "scripted", "verifier": record.verifier, "transaction": record.transaction,
        "change": "",
    }  # fmt: skip
    assert bench.events.names().count("proofing.ended") == 1


# ---------------------------------------------------------------- digest keys


async def test_keys_are_shown_with_what_uses_them_and_dropped_when_nothing_does(bench: OfficeBench) -> None:
    await bench.proofed(SATO)
    await bench.proofed(SUZUKI)
    new = await bench.office.rotate_key()
    bench.desk.keys = bench.key_file.digest_keys()
    await bench.proofed(SATO)
    uses = {one.id: (one.newest, one.there, one.living, one.others) for one in await bench.office.keys_in_use()}
    assert uses == {new: (True, True, 1, 1), "": (False, True, 1, 0)}, "Sato's older record has moved, they were recognised"
    for key in ("", new, "nokey"):
        with pytest.raises(ConfigError):
            await bench.office.drop_key(key)
    bench.clock.advance(10)
    await bench.proofed(SUZUKI)
    await bench.office.drop_key("")
    assert [(one.id, one.living) for one in await bench.office.keys_in_use()] == [(new, 2)]


async def test_a_key_that_is_gone_although_records_name_it_is_shown_as_missing(bench: OfficeBench) -> None:
    await bench.proofed()
    with sqlite3.connect(bench.desk.path) as connection:
        connection.execute("UPDATE proofing SET digest_key='lost'")
    connection.close()
    last = (await bench.office.keys_in_use())[-1]
    assert (last.id, last.there, last.living) == ("lost", False, 1)


# ---------------------------------------------------------------- a person's own


async def everything_about_sato(bench: OfficeBench) -> list[str]:
    """Have something of all that can be kept; return texts that it is known by in the database."""
    first = await bench.proofed(SATO)
    bench.clock.advance(60)
    second = await bench.proofed(SATO)
    batch, _ = await bench.office.invite([SATO.id], by=BY, due_at=bench.now + DAY)
    bench.verifier.holds(NEAR_SATO, "another card of Sato")
    case = await bench.desk.case(SATO)
    with sqlite3.connect(bench.desk.path) as connection:
        connection.execute("INSERT OR IGNORE INTO proofing_binding VALUES (?, 'fido2:KEYOFSATO', ?)", (second.number, bench.now))
        connection.execute("INSERT OR IGNORE INTO proofing_stated VALUES (?, 'birthdate')", (second.number,))
        connection.execute("INSERT OR IGNORE INTO proofing_case_binding VALUES (?, 'fido2:NEXTKEYOFSATO')", (case.case_id,))
    connection.close()
    return [
        first.transaction, second.transaction, second.person_digest, batch, case.case_id, "fido2:KEYOFSATO",
        "fido2:NEXTKEYOFSATO", "birthdate",
    ]  # fmt: skip


def rows_of(bench: OfficeBench, user_id: str) -> dict[str, list[tuple[object, ...]]]:
    """Every row of every table that names this person, or names one that does."""
    found: dict[str, list[tuple[object, ...]]] = {}
    with sqlite3.connect(bench.desk.path) as connection:
        tables = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'proofing%' AND type='table'")
        ]
        for table in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            where = {
                "user_id": "user_id=?", "proofing_id": "proofing_id IN (SELECT id FROM proofing WHERE user_id=?)",
                "case_id": "case_id IN (SELECT id FROM proofing_case WHERE user_id=?)",
            }  # fmt: skip
            key = next((column for column in where if column in columns), None)
            if key is not None:
                found[table] = list(connection.execute(f"SELECT * FROM {table} WHERE {where[key]}", (user_id,)))  # noqa: S608  ours
            else:
                assert table == "proofing_recheck", f"whom does {table} belong to?"
    connection.close()
    return found


async def test_the_export_has_everything_that_is_kept(bench: OfficeBench) -> None:
    known = await everything_about_sato(bench)
    exported = json.loads(json.dumps(await bench.office.export(SATO.id, address="192.0.2.7")))
    text = json.dumps(exported, ensure_ascii=False)
    assert all(one in text for one in known)
    kept = rows_of(bench, SATO.id)
    assert all(kept.values()), "the test has something of each table"
    hidden = {"sealed"}
    with sqlite3.connect(bench.desk.path) as connection:
        for table, rows in kept.items():
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            for row in rows:
                for name, value in zip(names, row, strict=True):
                    if isinstance(value, str) and name not in hidden:
                        assert value in text, f"{table}.{name}"
    connection.close()
    newest = exported["proofings"][-1]
    assert (newest["in_force"], newest["level"], "birthdate" in newest["confirmed"]) == (True, 3, True)
    assert newest["letter_today"] == {"day": "2027-01-15", "letter": None}, "what is scripted has no letter"
    assert exported["proofings"][0]["ended_why"] == "replaced"
    held = exported["reviews"][0]["held"]
    assert (held["card_fields"], "birth_date" in held["differences"]) == (["name", "kana", "birth_date"], True)
    assert "1984-05-21" not in text, "the card may have been another person's"
    assert "Number" not in text.replace("individual_number", "")
    event = bench.events.last("proofing.exported")
    assert (event.subject, event.by, event.address) == (SATO.id, "", "192.0.2.7")


async def test_the_letter_is_of_the_day_in_japan(bench: OfficeBench) -> None:
    record = await bench.proofed()
    with sqlite3.connect(bench.desk.path) as connection:
        # 2027-03-31 15:30 UTC is the first of April in Japan.
        connection.execute("UPDATE proofing SET verified_at=1806507000, method='jpki_sign' WHERE id=?", (record.number,))
    connection.close()
    exported = json.loads(json.dumps(await bench.office.export(SATO.id)))
    assert exported["proofings"][0]["letter_when_verified"]["day"] == "2027-04-01"


async def test_an_export_that_can_not_be_told_is_not_made(bench: OfficeBench) -> None:
    await bench.proofed()
    bench.events.fail = AuditError("the disk is full")
    with pytest.raises(AuditError):
        await bench.office.export(SATO.id)
    bench.events.fail = None
    with pytest.raises(ProofingError, match="no such person"):
        await bench.office.export("usr_nobody")


async def test_deletion_leaves_the_record_of_it_and_nothing_else(bench: OfficeBench) -> None:
    other = await bench.proofed(SUZUKI)
    known = await everything_about_sato(bench)
    assert all(one.encode() in bench.desk.files() for one in known if one != "birthdate")
    kept = await bench.office.delete(SATO.id, by=BY)
    assert (len(kept.records), len(kept.cases), len(kept.bindings), len(kept.invitations)) == (2, 1, 1, 1)
    assert not any(rows_of(bench, SATO.id).values())
    files = bench.desk.files()
    assert [one for one in known if one.encode() in files and one != "birthdate"] == []
    event = bench.events.last("proofing.deleted")
    assert (event.subject, event.login, event.by) == (SATO.id, "dr.sato", BY)
    assert event.detail | {"change": ""} == {
        "records": "2", "bindings": "1", "cases": "1", "invitations": "1", "made": "scripted 3 2027-01-15", "change": "",
    }  # fmt: skip
    assert await bench.store.proofing.latest(SUZUKI.id) == other, "nobody else's"
    assert await bench.office.invitation_of(SATO.id) is None
    assert (await bench.office.own_view(SATO.id)).records == ()
    with pytest.raises(ProofingError, match="no such person"):
        await bench.office.delete("usr_nobody", by=BY)


async def test_somebody_of_whom_nothing_is_kept_can_be_deleted_too(bench: OfficeBench) -> None:
    kept = await bench.office.delete(SUZUKI.id, by=BY)
    assert kept.records == ()
    assert bench.events.last("proofing.deleted").detail["records"] == "0"
