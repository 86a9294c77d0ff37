"""Administration of accounts beside a running provider, and how the provider tells of it."""

import asyncio
import fcntl
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pyotp
import pytest
from aiohttp.test_utils import TestServer

import idp.changes
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import AuditError, ConfigError
from gateway.kernel.secret import Secret
from idp.app import open_provider
from idp.changes import Changes
from idp.details import Details
from idp.factors.password import Passwords
from idp.files import DATABASE, TELLING, open_keys
from idp.model import Event, Fido2Credential, RecoveryCodes
from idp.people import AccountError, People, open_people
from idp.store import SqliteStore, open_store
from idp.web.cookies import BROWSER_COOKIE
from tests.support.oidc import Events, PlainPages, World, settings_in, transaction_of

PASSWORD = Secret("Tombo-33-hasu")
BY = "os:root"


@pytest.fixture
async def people(oidc: World) -> AsyncIterator[People]:
    """The accounts of the running provider, opened a second time as another process would."""
    async with open_people(folder_of(oidc), clock=oidc.clock, service_name="病院") as opened:
        yield opened


def folder_of(oidc: World) -> Path:
    return oidc.provider.store._database._path.parent


def store_of(oidc: World) -> SqliteStore:
    return oidc.provider.store


async def until(happened: Callable[[], bool]) -> None:
    for _ in range(300):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen within three seconds")


async def told(oidc: World, count: int) -> list[Event]:
    """What was told of accounts, once it is so much."""

    def of_accounts() -> list[Event]:
        return [event for event in oidc.events.seen if event.name.startswith("account.")]

    await until(lambda: len(of_accounts()) >= count)
    return of_accounts()


async def test_an_added_person_has_what_they_sign_in_with(oidc: World, people: People) -> None:
    made = await people.add(
        login=" Dr.MORI ", name="森 あゆみ", roles=("physician", "auditor", "physician"), password=PASSWORD, by=BY,
        department="内科", organization="中央病院", email="Mori@Hospital.example",
        details=Details(birth_date="19850401", kana="ﾓﾘ ｱﾕﾐ", former_names=("林", " 林 "), licences=("第123456号",)),
    )  # fmt: skip
    user = made.user
    assert (user.login, user.email, user.roles) == ("dr.mori", "mori@hospital.example", ("physician", "auditor"))
    assert (user.birth_date, user.kana, user.department) == ("1985-04-01", "モリ アユミ", "内科")
    assert (user.former_names, user.licences) == (("林",), ("第123456号",))
    stored, generator = await store_of(oidc).credentials.password(user.id), await store_of(oidc).credentials.totp(user.id)
    assert stored is not None
    assert generator is not None
    assert Passwords(b"s" * 16).check(stored.encoded, PASSWORD).ok
    scanned = pyotp.parse_uri(made.url.reveal())
    assert isinstance(scanned, pyotp.TOTP)
    assert (scanned.secret, scanned.name, scanned.issuer) == (generator.secret.reveal(), "dr.mori", "病院")
    [standing] = await people.list()
    assert (standing.user, standing.password, standing.totp, standing.keys, standing.locked_until) == (user, True, True, 0, 0)
    [event] = await told(oidc, 1)
    assert (event.name, event.login, event.by, event.detail["roles"]) == ("account.added", "dr.mori", BY, "physician auditor")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"login": "dr.sato"}, "login 'dr.sato' is taken"),
        ({"login": "森"}, "not acceptable"),
        ({"login": ""}, "not acceptable"),
        ({"name": " "}, "has no name"),
        ({"roles": (" ",)}, "empty role"),
        ({"email": "nobody"}, "not acceptable"),
        ({"details": Details(birth_date="1985-02-30")}, "'1985-02-30' is no date.*S59.5.12 or 昭和59年5月12日"),
        ({"details": Details(birth_date="昭和60年")}, "no date"),
        ({"details": Details(birth_date="平成64年1月1日")}, "no date"),
        ({"details": Details(birth_date="2984-05-12")}, "a day to come"),
        ({"details": Details(kana="森 アユミ")}, "the kana has '森' in it"),
        ({"details": Details(kana="モリ\u200bアユミ")}, r"the kana has a character that can't be seen \(U\+200B\)"),
        ({"name": "森\u202eあゆみ"}, r"the name has a character that can't be seen \(U\+202E\)"),
        ({"details": Details(former_names=("林\u2066",))}, "the former name has a character"),
        ({"details": Details(licences=("1\n2",))}, "the licence has a character"),
        ({"details": Details(licences=tuple("123456789"))}, "more than 8 former names or licences"),
        ({"details": Details(former_names=("林" * 101,))}, "more than 100 characters"),
        ({"password": Secret("short1")}, "fewer than 8 characters"),
        ({"password": Secret("dr.mori-1985")}, "contains the login"),
        ({"password": Secret("a" * 12)}, "no digit, and it is too common"),
    ],
    ids=str,
)
async def test_what_can_not_be_an_account_is_said_and_leaves_nothing(
    oidc: World, people: People, changes: dict[str, object], what: str
) -> None:
    await oidc.person()
    given: dict[str, object] = {"login": "dr.mori", "name": "森", "roles": ("physician",), "password": PASSWORD, "by": BY}
    with pytest.raises(AccountError, match=what) as caught:
        await people.add(**{**given, **changes})  # type: ignore[arg-type]  # a case may replace any of them
    assert "short1" not in str(caught.value)
    assert [standing.user.login for standing in await people.list()] == ["dr.sato"]
    assert await store_of(oidc).accounts.pending() == []


async def test_nobody_is_not_changed(oidc: World, people: People) -> None:
    for act in (
        people.set_active("dr.nobody", active=False, by=BY),
        people.unlock("dr.nobody", by=BY),
        people.set_roles("dr.nobody", ("nurse",), by=BY),
        people.reset("dr.nobody", PASSWORD, by=BY),
        people.set_details("dr.nobody", Details(kana=""), by=BY),
    ):
        with pytest.raises(AccountError, match=r"nobody called 'dr\.nobody'"):
            await act
    for missing in (
        store_of(oidc).accounts.unlock("usr_x", by=BY, at=1),
        store_of(oidc).accounts.set_roles("usr_x", (), by=BY, at=1),
        store_of(oidc).accounts.set_details("usr_x", lambda user: user, by=BY, at=1),
    ):
        assert await missing is None
    assert await store_of(oidc).accounts.pending() == []


async def test_another_process_shuts_a_person_out_and_it_is_told_within_a_second(oidc: World, people: People) -> None:
    user, browser = await oidc.person(), oidc.browser()
    tokens = await oidc.tokens(browser, user)
    oidc.clock.advance(7)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await people.set_active("DR.SATO", active=False, by=BY)
    assert (await oidc.userinfo(tokens["access_token"])).status == 401, "at once, whoever tells it"
    [event] = await told(oidc, 1)
    assert loop.time() - began < 1
    assert (event.name, event.subject, event.login, event.by, event.at) == (
        "account.deactivated", user.id, "dr.sato", BY, oidc.now,
    )  # fmt: skip
    await people.set_active("dr.sato", active=True, by=BY)
    assert (await told(oidc, 2))[-1].name == "account.activated"
    assert await store_of(oidc).accounts.pending() == []


async def test_roles_are_replaced_and_told_with_those_of_before(oidc: World, people: People) -> None:
    user = await oidc.person()
    after = await people.set_roles("dr.sato", ("nurse", "auditor", "nurse"), by=BY)
    assert after.roles == ("nurse", "auditor")
    [event] = await told(oidc, 1)
    assert (event.name, event.subject) == ("account.roles", user.id)
    assert (event.detail["before"], event.detail["roles"]) == ("physician", "nurse auditor")


async def test_details_are_changed_and_told_without_what_they_are(oidc: World, people: People) -> None:
    await people.add(
        login="dr.mori", name="森 あゆみ", roles=("physician",), password=PASSWORD, by=BY,
        details=Details(birth_date="S60.4.1", kana="もり あゆみ", licences=("123456",)),
    )  # fmt: skip
    user, changed = await people.set_details(
        "DR.MORI", Details(birth_date="昭和60年4月2日", kana="ﾓﾘ ｱﾕﾐ", former_names=("林 あゆみ", "原")), by=BY
    )
    assert (user.birth_date, user.kana, user.former_names) == ("1985-04-02", "モリ アユミ", ("林 あゆみ", "原"))
    assert (user.name, user.licences, changed) == ("森 あゆみ", ("123456",), ("birth_date", "former_names"))
    assert await store_of(oidc).users.get(user.id) == user
    event = (await told(oidc, 2))[-1]
    assert (event.name, event.subject, event.by, event.detail["changed"]) == (
        "account.details", user.id, BY, "birth_date former_names",
    )  # fmt: skip
    assert not any(text in repr(event) for text in ("1985", "林", "モリ"))
    user, changed = await people.set_details("dr.mori", Details(birth_date="", kana=" ", former_names=("",), licences=()), by=BY)
    assert (user.birth_date, user.kana, user.former_names, user.licences) == (None, None, (), ())
    assert changed == ("kana", "birth_date", "former_names", "licences")
    assert (await people.set_details("dr.mori", Details(name=" 森 あゆみ "), by=BY))[1] == ()
    assert len(await told(oidc, 3)) == 3, "nothing was changed, and nothing is told"


@pytest.mark.parametrize("details", [Details(birth_date="1985-02-30"), Details(name=" "), Details(kana="森")], ids=str)
async def test_details_that_can_not_be_change_nothing(oidc: World, people: People, details: Details) -> None:
    before = await oidc.person()
    with pytest.raises(AccountError):
        await people.set_details("dr.sato", msgspec.structs.replace(details, licences=("1",)), by=BY)
    assert await store_of(oidc).users.get(before.id) == before
    assert await store_of(oidc).accounts.pending() == []


async def test_a_lock_is_shown_and_ended(oidc: World, people: People) -> None:
    await oidc.person()
    attempts = store_of(oidc).attempts
    while (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed:
        pass
    [standing] = await people.list()
    assert standing.locked_until > oidc.now
    assert not (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed, "looking is no attempt, and ends nothing"
    await people.unlock("dr.sato", by=BY)
    assert (await people.list())[0].locked_until == 0
    assert (await attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed
    assert (await told(oidc, 1))[-1].name == "account.unlocked"


async def test_a_reset_leaves_nothing_of_what_was_lost(oidc: World, people: People) -> None:
    user, browser = await oidc.person(), oidc.browser()
    store = store_of(oidc)
    await store.credentials.add_fido2(
        Fido2Credential(id="k", user_id=user.id, label="鍵", public_data=b"x", sign_count=0, created_at=oidc.now)
    )
    await store.credentials.set_recovery(RecoveryCodes(user_id=user.id, hashes=("a", "b"), created_at=oidc.now))
    await oidc.proofed(user, expires_in=None)
    [full] = await people.list()
    assert (full.keys, full.recovery_codes, full.proofed) == (1, 2, True)
    old = await store.credentials.totp(user.id)
    tokens = await oidc.tokens(browser, user)
    while (await store.attempts.begin("dr.sato", "192.0.2.1", oidc.now)).allowed:
        pass

    made = await people.reset("dr.sato", PASSWORD, by=BY)

    [left] = await people.list()
    assert (left.password, left.totp, left.keys, left.recovery_codes, left.proofed, left.locked_until) == (
        True, True, 0, 0, False, 0,
    )  # fmt: skip
    new = await store.credentials.totp(user.id)
    assert old is not None
    assert new is not None
    assert new.secret != old.secret
    scanned = pyotp.parse_uri(made.url.reveal())
    assert scanned.secret == new.secret.reveal()
    stored = await store.credentials.password(user.id)
    assert stored is not None
    assert Passwords(b"s" * 16).check(stored.encoded, PASSWORD).ok
    assert (await oidc.userinfo(tokens["access_token"])).status == 401
    assert (await browser.get("/authorize", oidc.ask().pairs)).location.startswith("/login?tx=")
    [event] = await told(oidc, 1)
    assert (event.name, event.subject, event.by) == ("account.reset", user.id, BY)


async def test_a_weak_password_resets_nothing(oidc: World, people: People) -> None:
    user = await oidc.person()
    before = await store_of(oidc).credentials.totp(user.id)
    with pytest.raises(AccountError, match="no digit"):
        await people.reset("dr.sato", Secret("kawauso-hotaru"), by=BY)
    assert await store_of(oidc).credentials.totp(user.id) == before


async def test_a_sign_in_of_the_thief_that_was_half_way_ends_with_the_reset(oidc: World, people: People) -> None:
    """Somebody with the stolen password and phone has proved both, and waits on the page that registers a key."""
    thief, user = oidc.browser(), await oidc.person()
    other = await oidc.person("nurse.suzuki", "鈴木 花", ("nurse",))
    stolen = (await thief.get("/authorize", oidc.ask(acr_values="phr").pairs)).location
    await oidc.prove(thief, stolen, user, "pwd", "otp")
    colleague = oidc.browser()
    honest = (await colleague.get("/authorize", oidc.ask().pairs)).location
    await oidc.prove(colleague, honest, other, "pwd")
    await people.reset("dr.sato", PASSWORD, by=BY)
    flows = oidc.parts.flows
    assert await flows.load(transaction_of(stolen), thief.cookies[BROWSER_COOKIE]) is None
    assert await flows.load(transaction_of(honest), colleague.cookies[BROWSER_COOKIE]) is not None


# ---------------------------------------------------------------- telling


async def test_what_the_log_did_not_take_is_told_later_in_order_and_once(
    oidc: World, people: People, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idp.changes, "AGAIN_SECONDS", 0.02)
    await oidc.person()
    oidc.events.broken = True
    with caplog.at_level(logging.ERROR):
        await people.set_active("dr.sato", active=False, by=BY)
        await people.set_active("dr.sato", active=True, by=BY)
        await people.set_roles("dr.sato", ("nurse",), by=BY)
        await until(lambda: "can't be told right now" in caplog.text)
        await asyncio.sleep(0.1)
        assert caplog.text.count("can't be told right now") == 1, "not once for each try"
    oidc.events.broken = False
    events = await told(oidc, 3)
    assert [event.name for event in events] == ["account.deactivated", "account.activated", "account.roles"]
    numbers = [int(event.detail["change"]) for event in events]
    assert numbers == sorted(set(numbers))
    await asyncio.sleep(0.5)
    assert len(oidc.events.seen) == 3
    assert await store_of(oidc).accounts.pending() == []


async def test_trouble_of_any_kind_does_not_end_the_telling(
    oidc: World, people: People, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(idp.changes, "AGAIN_SECONDS", 0.02)
    await oidc.person()
    record = oidc.events.record

    async def broken(event: Event) -> None:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(oidc.events, "record", broken)
    with caplog.at_level(logging.ERROR):
        await people.unlock("dr.sato", by=BY)
        await until(lambda: "a mistake of ours" in caplog.text)
    monkeypatch.setattr(oidc.events, "record", record)
    assert (await told(oidc, 1))[0].name == "account.unlocked"


async def test_many_changes_are_all_told(oidc: World, people: People) -> None:
    user = await oidc.person()
    for number in range(250):
        await store_of(oidc).accounts.set_roles(user.id, (f"r{number}",), by=BY, at=oidc.now)
    await oidc.provider.deactivate_user(user.id, by="sec.yamamoto")
    assert [event.detail["roles"] for event in oidc.events.seen[:-1]] == [f"r{number}" for number in range(250)]
    assert oidc.events.seen[-1].name == "account.deactivated"


async def test_two_processes_tell_each_change_once(tmp_path: Path) -> None:
    settings, clock, events = settings_in(tmp_path), ManualClock(), Events()
    real, telling, most = events.record, [0], [0]

    async def slow(event: Event) -> None:
        telling[0] += 1
        most[0] = max(most[0], telling[0])
        await asyncio.sleep(0.01)
        await real(event)
        telling[0] -= 1

    events.record = slow  # type: ignore[method-assign]  # a log that takes its time
    tellers = []
    for _ in range(2):
        key = open_keys(settings.data_dir, now=0).sealing_key()
        store = await open_store(settings.data_dir / DATABASE, clock=clock, sealing_key=key, idle_seconds=900, seconds=900)
        tellers.append((Changes(store.accounts, events, lock=settings.data_dir / TELLING), store))
    try:
        async with open_people(settings.data_dir, clock=clock, service_name="x") as people:
            await people.add(login="dr.mori", name="森", roles=("physician",), password=PASSWORD, by=BY)
            for number in range(20):
                await people.set_roles("dr.mori", (f"r{number}",), by=BY)
        await asyncio.gather(*(changes.tell() for changes, _ in tellers))
    finally:
        for _, store in tellers:
            await store.close()
    assert [event.detail["roles"] for event in events.seen] == ["physician", *(f"r{number}" for number in range(20))]
    assert most == [1]


async def test_one_that_hangs_does_not_keep_the_other_from_telling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idp.changes, "WAIT_SECONDS", 0.2)
    settings, clock, events = settings_in(tmp_path), ManualClock(), Events()
    async with open_people(settings.data_dir, clock=clock, service_name="x") as people:
        await people.add(login="dr.mori", name="森", roles=("physician",), password=PASSWORD, by=BY)
    provider = await open_provider(settings, clock=clock, events=events, pages=PlainPages(), address_of=lambda request: "")
    with (settings.data_dir / TELLING).open("w") as hanging:
        fcntl.flock(hanging, fcntl.LOCK_EX)
        server = TestServer(provider.app)
        await server.start_server()
    try:
        assert events.names() == ["account.added"]
    finally:
        await server.close()
        await provider.close()


async def test_what_was_done_while_nothing_ran_is_told_before_anybody_is_served(tmp_path: Path) -> None:
    settings, clock, events = settings_in(tmp_path), ManualClock(), Events()
    async with open_people(settings.data_dir, clock=clock, service_name="x") as people:
        await people.add(login="dr.mori", name="森", roles=("physician",), password=PASSWORD, by=BY)
        await people.set_active("dr.mori", active=False, by=BY)
    provider = await open_provider(settings, clock=clock, events=events, pages=PlainPages(), address_of=lambda request: "")
    server = TestServer(provider.app)
    assert events.seen == []
    await server.start_server()
    try:
        assert events.names() == ["account.added", "account.deactivated"]
    finally:
        await server.close()
        await provider.close()


async def test_nobody_is_served_while_that_can_not_be_told(tmp_path: Path) -> None:
    settings, clock, events = settings_in(tmp_path), ManualClock(), Events()
    async with open_people(settings.data_dir, clock=clock, service_name="x") as people:
        await people.add(login="dr.mori", name="森", roles=("physician",), password=PASSWORD, by=BY)
    events.broken = True
    provider = await open_provider(settings, clock=clock, events=events, pages=PlainPages(), address_of=lambda request: "")
    server = TestServer(provider.app)
    try:
        with pytest.raises(AuditError, match="disk full"):
            await server.start_server()
    finally:
        await server.close()
        await provider.close()


async def test_accounts_can_not_be_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "idp").write_text("x")
    with pytest.raises(ConfigError, match="can't be made"):
        async with open_people(tmp_path / "idp", clock=ManualClock(), service_name="x"):
            pass


async def test_a_seeded_person_is_nobodys_act(oidc: World) -> None:
    await oidc.person()
    assert await store_of(oidc).accounts.pending() == []
    assert oidc.events.seen == []


async def test_the_largest_change_is_told(oidc: World, people: People) -> None:
    user = await oidc.person()
    roles = tuple(f"{number:02}" + "役" * 30 for number in range(16))
    await people.set_roles("dr.sato", roles, by="os:" + "x" * 200)
    [event] = await told(oidc, 1)
    assert event.detail["roles"] == " ".join(roles)
    assert await store_of(oidc).users.get(user.id) == msgspec.structs.replace(user, roles=roles)
