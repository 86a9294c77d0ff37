"""Opening, seeding and keeping house."""

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import idp.app
from gateway.kernel.clock import ManualClock
from gateway.kernel.errors import ConfigError, StoreUnavailable
from gateway.kernel.secret import Secret
from idp.factors.password import Passwords
from tests.support.oidc import PASSWORD, TOTP, Events, PlainPages, World, settings_in


async def test_settings_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    wrong = settings_in(tmp_path, issuer="http://id.example")
    with pytest.raises(ConfigError, match="neither https nor loopback"):
        await idp.app.open_provider(
            wrong, clock=ManualClock(), events=Events(), pages=PlainPages(), address_of=lambda request: ""
        )
    assert not (tmp_path / "idp").exists()


async def test_a_file_in_place_of_the_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "idp").write_text("x")
    with pytest.raises(ConfigError, match="can't be made"):
        await idp.app.open_provider(
            settings_in(tmp_path), clock=ManualClock(), events=Events(), pages=PlainPages(), address_of=lambda request: ""
        )


async def test_pages_that_fail_leave_nothing_open(tmp_path: Path) -> None:
    def broken(app: web.Application, parts: object) -> PlainPages:
        raise LookupError("no template")

    with pytest.raises(LookupError):
        await idp.app.open_provider(
            settings_in(tmp_path), clock=ManualClock(), events=Events(), pages=broken, address_of=lambda request: ""
        )
    assert not (tmp_path / "idp" / "idp.sqlite3-wal").exists(), "closed: the write-ahead log is folded in"


async def test_a_seeded_person_can_be_checked_and_is_not_seeded_twice(oidc: World) -> None:
    seed = oidc.provider.seed_user
    user = await seed(
        login=" Nurse.Suzuki", name="鈴木 花", roles=("nurse",), password=PASSWORD, totp_secret=TOTP, kana="スズキ ハナ"
    )
    assert (user.login, user.kana) == ("nurse.suzuki", "スズキ ハナ")
    stored = await oidc.parts.store.credentials.password(user.id)
    assert stored is not None
    assert Passwords(b"s" * 16).check(stored.encoded, PASSWORD).ok
    again = await seed(login="nurse.suzuki", name="x", roles=(), password=Secret("Another-4-secret"))
    assert again == user
    assert await oidc.parts.store.credentials.password(user.id) == stored


async def test_a_weak_password_is_refused_without_showing_it(oidc: World) -> None:
    with pytest.raises(ValueError, match="too_short") as caught:
        await oidc.provider.seed_user(login="nurse.suzuki", name="鈴木 花", roles=("nurse",), password=Secret("qX7"))
    assert "qX7" not in str(caught.value)
    assert await oidc.provider.list_users() == []


async def test_chores_purge_and_rotate_and_survive_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(idp.app, "_CHORES_EVERY_SECONDS", 0.01)
    clock = ManualClock()
    provider = await idp.app.open_provider(
        settings_in(tmp_path, key_days=1), clock=clock, events=Events(), pages=PlainPages(), address_of=lambda request: ""
    )
    server = TestServer(provider.app)
    await server.start_server()
    try:
        await provider.store.once.put("k", b"v", 60)
        before = provider._keys.keyset().signing.kid
        clock.advance(86_401)
        for _ in range(500):
            await asyncio.sleep(0.01)
            left = await provider.store._database.run(lambda c: c.execute("SELECT count(*) FROM one_time").fetchone()[0])
            if not left and provider._keys.keyset().signing.kid != before:
                break
        else:
            pytest.fail("the chores did not run")
        assert provider._endpoints._keys.signing.kid == provider._keys.keyset().signing.kid

        async def trouble() -> int:
            raise StoreUnavailable("gone")

        purge = provider.store.purge
        monkeypatch.setattr(provider.store, "purge", trouble)
        with caplog.at_level(logging.ERROR):
            for _ in range(500):
                await asyncio.sleep(0.01)
                if "tried again" in caplog.text:
                    break
        assert "tried again" in caplog.text
        monkeypatch.setattr(provider.store, "purge", purge)
        await provider.store.once.put("k", b"v", 60)
        clock.advance(60)
        for _ in range(500):
            await asyncio.sleep(0.01)
            left = await provider.store._database.run(lambda c: c.execute("SELECT count(*) FROM one_time").fetchone()[0])
            if not left:
                break
        assert left == 0, "after the trouble, chores go on"
    finally:
        await server.close()
        await provider.close()


async def test_the_largest_person_fits_into_a_token(oidc: World) -> None:
    user = await oidc.person(name="髙" * 100, roles=tuple(f"{number:02}" + "役" * 30 for number in range(16)))
    await oidc.parts.store.users.update(
        user.id, lambda old: msgspec.structs.replace(old, organization="院" * 100, department="科" * 100)
    )
    tokens = await oidc.tokens(oidc.browser(), user)
    await oidc.verified(tokens)
    assert len(tokens["id_token"]) <= 8192
