"""Notices reach a real mail server and a real webhook, say only what they may, and are tried again."""

import asyncio
import contextlib
import hashlib
import hmac
import ssl
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from gateway.audit.memory import MemoryAuditLog
from gateway.domain.record import EventRecord
from gateway.emergency.ledger import Ledger
from gateway.emergency.mail import Mail, Mailbox, compose
from gateway.emergency.notices import OutboxNotices
from gateway.emergency.outbox import CLAIM_SECONDS, PAUSES, Channel, Message
from gateway.emergency.sending import Carrier, NotSent, Sender
from gateway.emergency.webhook import SIGNATURE, TIMESTAMP, Webhook
from gateway.emergency.words import Manner, began, detail
from gateway.kernel.clock import ManualClock
from gateway.kernel.ids import new_id
from gateway.kernel.secret import Secret
from gateway.lasting.sqlite import SqliteLasting
from tests.support.emergency import Hook, MailServer, a_break_glass, open_hook, until
from tests.support.mutual import ServerCa

SECRET = Secret("s" * 43)
OFFICERS = ("sec.yamamoto@hospital.example", "sec.ito@hospital.example")
SUBJECT = "【緊急アクセス】佐藤 恵 さん"
HOSTILE = "佐藤\r\nBcc: thief@evil.example\r\n\r\n<b>\u202e恵\x00"


def manner(**changes: Any) -> Manner:
    usual = Manner(
        language="ja", zone=ZoneInfo("Asia/Tokyo"), hospital="portal.hospital.example", patient_id=False,
        link=lambda break_id: f"https://console.hospital.example/emergencies/{break_id}", apps={"ehr": ("電子カルテ", "Records")},
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


def message(
    subject: str = "【緊急アクセス】佐藤 恵 さん", text: str = "緊急アクセスが始まりました。\n", **changes: Any
) -> Message:
    at = "2027-01-15T08:00:00.000Z"
    usual = Message(id=new_id("ntc"), channel="mail", kind="break_glass.began", subject=subject, text=text, at=at)
    return msgspec.structs.replace(usual, **changes)


def mailbox(port: int, **changes: Any) -> Mailbox:
    usual = Mailbox(
        host="localhost", port=port, transport="plain", tls=None, user="", password=None, sender="gateway@hospital.example",
        to=OFFICERS, language="ja",
    )  # fmt: skip
    return msgspec.structs.replace(usual, **changes)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize("language", ["ja", "en"])
def test_officers_are_told_who_where_why_until_when(language: str) -> None:
    one = a_break_glass()
    subject, text = began(one, manner(language=language))
    assert "佐藤 恵" in subject
    reason = "急変" if language == "ja" else "Critical"
    for part in ("dr.sato", "救急科", reason, "192.0.2.10", one.id, "18:00", f"/emergencies/{one.id}"):
        assert part in text, part
    assert ("電子カルテ" if language == "ja" else "Records") in text


def test_neither_the_persons_own_words_nor_unasked_the_patient_leave_the_house() -> None:
    one = a_break_glass(text="P1001 山田 太郎さんが意識不明", patient="P1001", path="/patients/P1001")
    said = [*began(one, manner()), *detail(one, manner()).values()]
    assert not any("山田" in part or "P1001" in part for part in said)
    with_id = manner(patient_id=True)
    assert "患者ID: P1001" in began(one, with_id)[1]
    assert detail(one, with_id)["patient"] == "P1001"
    assert not any("山田" in part for part in (*began(one, with_id), *detail(one, with_id).values()))


def test_names_from_outside_stay_one_line_each() -> None:
    one = a_break_glass(name=HOSTILE, login=HOSTILE, department=HOSTILE, address=HOSTILE)
    subject, text = began(one, manner())
    assert subject.isprintable()
    assert all(line.isprintable() for line in text.splitlines())
    assert not any(line.startswith("Bcc") for line in text.splitlines())
    assert all(value.isprintable() for value in detail(one, manner()).values())


# ---------------------------------------------------------------- mail


async def test_a_mail_arrives_with_its_japanese_whole() -> None:
    with MailServer() as server:
        sent = message()
        await Mail(mailbox(server.port)).send(sent)
        (mail,) = server.mails
    assert mail["Subject"] == "【緊急アクセス】佐藤 恵 さん"
    assert mail.get_content().splitlines() == ["緊急アクセスが始まりました。"]
    assert server.recipients == [list(OFFICERS)]
    assert mail["From"] == "gateway@hospital.example"
    assert mail["Message-ID"] == f"<{sent.id}@hospital.example>"
    assert mail["Date"].datetime.isoformat() == "2027-01-15T08:00:00+00:00"
    # Seven bits on the way: any server takes it.
    assert server.raw[0].isascii()


@pytest.mark.parametrize(
    "subject",
    ["a\r\nBcc: thief@evil.example", "a\nX: y", "a\u2028b", "=?utf-8?B?aGk=?=\r\n b", "x" * 5000, "\x00\x1b[2J"],
)
def test_no_subject_becomes_a_field(subject: str) -> None:
    mail = compose(message(subject, text="\r\n.\r\nQUIT\r\n"), mailbox(25))
    head = bytes(mail).split(b"\r\n\r\n")[0].decode("ascii")
    names = [line.split(":")[0] for line in head.split("\r\n") if not line.startswith((" ", "\t"))]
    assert "Bcc" not in names
    assert "X" not in names
    assert names.count("Subject") == 1
    assert len(str(mail["Subject"])) < 250


async def test_starttls_and_tls_check_the_server_and_log_in(tmp_path: Path) -> None:
    certificate, key = (ours := ServerCa(tmp_path / "ours")).issue("localhost")
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cafile=ours.file)
    strangers = ssl.create_default_context(cafile=ServerCa(tmp_path / "strangers").file)
    for implicit in (False, True):
        with MailServer(tls=server_side, password="very secret", implicit=implicit) as server:
            transport, password = "tls" if implicit else "starttls", Secret("very secret")
            box = mailbox(server.port, transport=transport, tls=client_side, user="gateway", password=password)
            await Mail(box).send(message())
            assert len(server.mails) == 1
            for wrong in (
                msgspec.structs.replace(box, tls=strangers),
                msgspec.structs.replace(box, password=Secret("wrong one")),
                *(() if implicit else (msgspec.structs.replace(box, transport="plain"),)),
            ):
                with pytest.raises(NotSent) as caught:
                    await Mail(wrong).send(message())
                assert "secret" not in str(caught.value)
                assert "wrong one" not in str(caught.value)
            assert len(server.mails) == 1


async def test_what_the_server_says_of_a_failure_stays_out_of_ours() -> None:
    with MailServer(status="554 5.7.1 no mail from you, password was hunter2") as server:
        with pytest.raises(NotSent, match=r"^the mail server answered 554 \(SMTPDataError\)$"):
            await Mail(mailbox(server.port)).send(message())
        port = server.port
    with pytest.raises(NotSent, match="could not be handed in"):
        await Mail(mailbox(port)).send(message())


# ---------------------------------------------------------------- webhook


async def test_a_webhook_is_signed_and_can_be_verified() -> None:
    async with open_hook() as hook:
        sent = message(detail={"break_glass": "brk_1", "name": "佐藤 恵"})
        await Webhook(hook.url, SECRET, ManualClock()).send(sent)
        ((headers, body),) = hook.posts
    signed = hmac.new(SECRET.reveal().encode(), f"{headers[TIMESTAMP]}.".encode() + body, hashlib.sha256).hexdigest()
    assert headers[SIGNATURE] == f"v1={signed}"
    assert headers[TIMESTAMP] == "1800000000"
    assert headers["Content-Type"] == "application/json"
    assert hook.bodies == [
        {
            "version": 1, "id": sent.id, "kind": "break_glass.began", "at": "2027-01-15T08:00:00.000Z", "subject": sent.subject,
            "text": sent.text, "detail": {"break_glass": "brk_1", "name": "佐藤 恵"},
        }
    ]  # fmt: skip


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 500, 503])
async def test_any_answer_but_2xx_is_none_and_redirects_lead_nowhere(status: int) -> None:
    async with open_hook() as elsewhere, open_hook() as hook:
        hook.status, hook.location = status, elsewhere.url
        with pytest.raises(NotSent, match=f"answered {status}"):
            await Webhook(hook.url, SECRET, ManualClock()).send(message())
        assert len(hook.posts) == 1
        assert elsewhere.posts == []


async def test_a_receiver_that_is_not_there_is_named_in_no_error() -> None:
    async with open_hook() as hook:
        url = hook.url
    with pytest.raises(NotSent) as caught:
        await Webhook(f"{url}/token-4711", SECRET, ManualClock()).send(message())
    assert "4711" not in str(caught.value)


# ---------------------------------------------------------------- sending


class World:
    def __init__(self, folder: Path) -> None:
        self.clock, self.log = ManualClock(), MemoryAuditLog()
        self.lasting = SqliteLasting(folder / "policies.sqlite3")
        self.ledger = Ledger(self.lasting)
        self.outbox = self.ledger.outbox

    def events(self, name: str) -> list[EventRecord]:
        return [record for record in self.log.records if isinstance(record, EventRecord) and record.event == name]

    def notices(self, *channels: Channel) -> OutboxNotices:
        return OutboxNotices(self.outbox, channels, clock=self.clock, wake=lambda: None)

    @contextlib.asynccontextmanager
    async def sending(self, carriers: Mapping[Channel, Carrier], senders: int = 1) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(Sender(self.outbox, carriers, log=self.log, clock=self.clock, look_seconds=0.02).run())
            for _ in range(senders)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    yield world
    world.lasting.close()


def carriers(server: MailServer, hook: Hook, clock: ManualClock) -> dict[Channel, Carrier]:
    return {"mail": Mail(mailbox(server.port)), "webhook": Webhook(hook.url, SECRET, clock)}


async def test_each_channel_is_told_once_however_many_processes_send(world: World) -> None:
    async with open_hook() as hook:
        with MailServer() as server:
            async with world.sending(carriers(server, hook, world.clock), senders=3):
                for number in range(4):
                    await world.notices("mail", "webhook").notify("policy.rolled_back", f"{number}", "text", {"about": "bnd_1"})
                await until(lambda: len(world.events("notice.sent")) == 8)
            assert sorted(str(mail["Subject"]) for mail in server.mails) == ["0", "1", "2", "3"]
            assert sorted(body["subject"] for body in hook.bodies) == ["0", "1", "2", "3"]
    event = world.events("notice.sent")[0]
    assert event.detail["kind"] == "policy.rolled_back"
    assert event.detail["about"] == "bnd_1"


async def test_a_failure_is_recorded_and_tried_again_until_it_is_sent(world: World) -> None:
    async with open_hook() as hook:
        hook.status = 503
        async with world.sending({"webhook": Webhook(hook.url, SECRET, world.clock)}):
            await world.notices("webhook").notify("test", "subject", "text")
            await until(lambda: bool(world.events("notice.failed")))
            (failed,) = world.events("notice.failed")
            assert failed.detail["why"] == "the webhook answered 503"
            (left,) = await world.outbox.unsent()
            assert (left.attempts, left.given_up) == (1, False)
            hook.status = 200
            world.clock.advance(PAUSES[0])
            await until(lambda: bool(world.events("notice.sent")))
    assert await world.outbox.unsent() == []
    assert [body["id"] for body in hook.bodies] == [left.id, left.id]


async def test_what_a_process_took_and_did_not_live_to_send_another_sends(world: World) -> None:
    await world.notices("webhook").notify("test", "subject", "text")
    assert await world.outbox.take(int(world.clock.now())) is not None
    async with open_hook() as hook, world.sending({"webhook": Webhook(hook.url, SECRET, world.clock)}):
        await asyncio.sleep(0.1)
        assert hook.posts == []
        world.clock.advance(CLAIM_SECONDS)
        await until(lambda: len(hook.posts) == 1)


async def test_a_channel_that_is_configured_no_more_is_said_to_be_so(world: World) -> None:
    await world.notices("mail").notify("test", "subject", "text")
    async with world.sending({}):
        await until(lambda: bool(world.events("notice.failed")))
    assert [each.problem for each in await world.outbox.unsent()] == ["this channel is not configured any more"]


async def test_no_secret_and_no_address_is_in_what_is_recorded(world: World) -> None:
    async with open_hook() as hook:
        url = f"{hook.url}/hidden-token"
    async with world.sending({"webhook": Webhook(url, SECRET, world.clock)}):
        await world.notices("webhook").notify("test", "subject", "text")
        await until(lambda: bool(world.events("notice.failed")))
    said = repr([world.log.records, await world.outbox.unsent()])
    assert "hidden-token" not in said
    assert SECRET.reveal() not in said


async def test_with_no_channel_nothing_is_kept(world: World) -> None:
    await world.notices().notify("test", "subject", "text")
    assert await world.outbox.next_due() is None
