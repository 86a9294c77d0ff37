"""Settings that can't be used safely are refused with what to do."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.settings import Client, IdpSettings, ProofingSettings

CLIENT = Client.registered("gateway", Secret("s" * 32), redirect_uris=("https://portal.example/cb",))
GOOD = IdpSettings(issuer="https://id.example", clients=(CLIENT,), data_dir=Path("data"))


@pytest.mark.parametrize(
    "issuer",
    ["https://id.example", "https://id.example:8443", "http://id.localhost:8080", "http://127.0.0.1:1", "http://[::1]:8080"],
)
def test_good_issuers(issuer: str) -> None:
    msgspec.structs.replace(GOOD, issuer=issuer).check()


@pytest.mark.parametrize(
    "issuer",
    ["", "id.example", "http://id.example", "https://id.example/", "https://id.example/path", "https://id.example?x", "https://ID.example",
     "https://user@id.example", "https://id.example#", "ftp://id.example", "https://id.exämple", "https://id.example ",
     "http://localhost.evil.example"],
)  # fmt: skip
def test_bad_issuers(issuer: str) -> None:
    with pytest.raises(ConfigError) as caught:
        msgspec.structs.replace(GOOD, issuer=issuer).check()
    assert caught.value.where == "idp.issuer"
    assert caught.value.todo


@pytest.mark.parametrize(
    "changes",
    [
        {"id": ""},
        {"id": "a b"},
        {"id": "a:b"},
        {"id": "x" * 65},
        {"secret_hash": "s"},
        {"secret_hash": "S" * 64},
        {"redirect_uris": ()},
        {"redirect_uris": ("http://portal.example/cb",)},
        {"redirect_uris": ("/cb",)},
        {"redirect_uris": ("https://p.example/cb#x",)},
        {"redirect_uris": ("https://p.example/cb#",)},
        {"redirect_uris": ("https://p.example/c b",)},
        {"redirect_uris": ("javascript:x",)},
        {"redirect_uris": ('https://p.example/"',)},
        {"post_logout_redirect_uris": ("http://portal.example/",)},
    ],
    ids=str,
)
def test_bad_clients(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        msgspec.structs.replace(GOOD, clients=(msgspec.structs.replace(CLIENT, **changes),)).check()
    assert caught.value.where.startswith("idp.clients.")


@pytest.mark.parametrize(
    "changes",
    [
        {"clients": ()},
        {"clients": (CLIENT, CLIENT)},
        {"code_seconds": 0},
        {"code_seconds": 601},
        {"key_days": -1},
        {"proofing": ProofingSettings(recheck_hours=-1)},
        {"proofing": ProofingSettings(review_days=0)},
        {"proofing": ProofingSettings(expiring_days=0)},
    ],
    ids=str,
)
def test_other_bad_settings(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        msgspec.structs.replace(GOOD, **changes).check()


def test_a_short_client_secret_is_refused_without_showing_it() -> None:
    with pytest.raises(ConfigError) as caught:
        Client.registered("gateway", Secret("hunter2hunter2"), redirect_uris=())
    assert "hunter2" not in str(caught.value)


def test_only_the_hash_of_a_secret_is_kept() -> None:
    assert "s" * 32 not in repr(CLIENT)
    assert CLIENT.knows_secret("s" * 32)
    assert not CLIENT.knows_secret("s" * 31)
    assert GOOD.client("gateway") == CLIENT
    assert GOOD.client("Gateway") is None
