"""What a copy of the database, a log file or an error message gives away."""

import logging
import stat

import pytest

from idp.web.cookies import BROWSER_COOKIE, SESSION_COOKIE
from tests.support.oidc import PASSWORD, SECRET, TOTP, World


async def test_no_secret_in_database_files_or_logs(oidc: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user = await oidc.provider.seed_user(
        login="nurse.suzuki", name="鈴木 花", roles=("nurse",), password=PASSWORD, totp_secret=TOTP
    )
    browser = oidc.browser()
    ask, code = await oidc.sign_in(browser, user)
    tokens = (await oidc.redeem(ask, code)).json()
    await oidc.redeem(ask, code)
    once = await oidc.parts.store.once.put("ceremony", b"challenge", 60)
    held = {
        "code": code,
        "access token": tokens["access_token"],
        "id token": tokens["id_token"],
        "session": browser.cookies[SESSION_COOKIE],
        "binding": browser.cookies[BROWSER_COOKIE],
        "password": PASSWORD.reveal(),
        "totp": TOTP.reveal(),
        "client": SECRET.reveal(),
        "one-time name": once,
        "verifier": ask.verifier,
    }
    files = {path.name: path.read_bytes() for path in oidc.parts.settings.data_dir.iterdir()}
    assert {"idp.sqlite3", "idp.sqlite3-wal", "idp-keys.json"} <= set(files)
    assert user.login.encode() in files["idp.sqlite3-wal"], "the search below looks where things are"
    for name, secret in held.items():
        for file, content in files.items():
            assert secret.encode() not in content, (name, file)
        assert secret not in caplog.text, name
    assert "Issue token" in caplog.text, "Authlib does log at debug level: what it logs must not be the token"


async def test_files_are_for_the_owner_only(oidc: World) -> None:
    await oidc.person()
    folder = oidc.parts.settings.data_dir
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes.values()) == {0o600}, modes
