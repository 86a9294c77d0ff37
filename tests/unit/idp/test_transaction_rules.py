"""What pages may do to a sign-in in progress."""

from typing import Any

import msgspec
import pytest

from gateway.kernel.errors import ProtocolError
from idp.model import ACR_PHR, ACR_PROOFED_ANEW, AuthEvent, LoginTransaction, ProofingRecord, User
from idp.protocol.transaction import check_change, check_complete, lacking, without_session

NOW = 1_800_000_000
PWD, OTP, KEY = (AuthEvent(kind=kind, at=NOW) for kind in ("pwd", "otp", "fido2"))
USER = User(id="usr_a", login="a", name="A", roles=())
TX = LoginTransaction(
    id="tx", client_id="gateway", redirect_uri="https://x/cb", scope="openid", state="s", nonce="n", code_challenge="c",
    created_at=NOW, expires_at=NOW + 9, browser_hash="h", acr=ACR_PHR, hint_subject="usr_a", user_id="usr_a", session_id="sid",
    session_events=(PWD,), proved=(OTP,),
)  # fmt: skip


def changed(**changes: Any) -> LoginTransaction:
    return msgspec.structs.replace(TX, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "other"}, {"client_id": "x"}, {"redirect_uri": "https://evil/"}, {"scope": "openid profile"}, {"state": "x"},
        {"nonce": "x"}, {"code_challenge": "x"}, {"created_at": 0}, {"expires_at": NOW + 99}, {"browser_hash": "x"}, {"acr": ""},
        {"max_age": 5}, {"fresh": True}, {"hint_subject": ""}, {"login_hint": "x"}, {"ui_locales": ("ja",)},
        {"session_id": "sid2"}, {"session_events": (PWD, KEY)}, {"session_events": (KEY,)}, {"session_id": ""},
        {"user_id": ""}, {"user_id": "usr_b"}, {"user_id": "usr_b", "session_id": "", "session_events": ()},
        {"user_id": "usr_b", "proved": ()}, {"notes": {"x": "y" * 5000}},
    ],
    ids=str,
)  # fmt: skip
def test_pages_can_not_change_what_is_not_theirs(changes: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        check_change(TX, changed(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"proved": (OTP, KEY)}, {"proved": ()}, {"notes": {"step": "2"}}, {"session_events": ()},
        {"session_id": "", "session_events": ()}, {"user_id": "usr_b", "session_id": "", "session_events": (), "proved": (KEY,)},
        {"user_id": "", "session_id": "", "session_events": (), "proved": ()},
    ],
    ids=str,
)  # fmt: skip
def test_pages_can_do_their_work(changes: dict[str, Any]) -> None:
    check_change(TX, changed(**changes))


def test_a_proofing_made_for_one_person_does_not_count_for_the_next() -> None:
    here = {"user_id": "usr_b", "session_id": "", "session_events": (), "proved": ()}
    made = changed(proofing=7)
    check_change(made, msgspec.structs.replace(made, **here, proofing=0))
    with pytest.raises(ProtocolError):
        check_change(made, msgspec.structs.replace(made, **here))


def test_only_a_proofing_of_this_sign_in_is_one_anew() -> None:
    asked = changed(acr=ACR_PROOFED_ANEW)
    record = ProofingRecord(
        user_id=USER.id, level=3, method="m", verified_at=NOW, expires_at=None, verifier="v", transaction="t", person_digest="d",
        number=7,
    )  # fmt: skip
    assert lacking(asked, USER, record, NOW) == ("proofing",)
    assert lacking(msgspec.structs.replace(asked, proofing=6), USER, record, NOW) == ("proofing",)
    assert lacking(msgspec.structs.replace(asked, proofing=7), USER, record, NOW) == ()
    assert lacking(msgspec.structs.replace(asked, proofing=7), USER, None, NOW) == ("proofing",)
    unstored = msgspec.structs.replace(record, number=0)
    assert lacking(asked, USER, unstored, NOW) == ("proofing",), "0 is no number"


def test_every_field_is_either_fixed_or_watched() -> None:
    """A field that is added to the transaction is fixed until somebody opens it on purpose."""
    assert set(LoginTransaction.__struct_fields__) == {
        "id", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "created_at", "expires_at",
        "browser_hash", "acr", "max_age", "fresh", "ui_locales", "login_hint", "hint_subject", "user_id", "session_id",
        "session_events", "proved", "proofing", "notes", "claims",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "user", "why"),
    [
        ({}, None, "nobody"),
        ({}, msgspec.structs.replace(USER, id="usr_b"), "nobody"),
        ({}, msgspec.structs.replace(USER, active=False), "deactivated"),
        ({"hint_subject": "usr_b"}, USER, "another person"),
        ({"fresh": True}, USER, "fresh"),
        ({"proved": (msgspec.structs.replace(KEY, at=NOW - 1),)}, USER, "older"),
        ({}, USER, "phr"),
    ],
)
def test_what_is_not_complete_is_not_completed(changes: dict[str, Any], user: User | None, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        check_complete(changed(**changes), user, None, NOW)
    assert check_complete(changed(proved=(KEY,)), USER, None, NOW) == USER


def test_without_the_session_nobody_is_known_who_proved_nothing() -> None:
    assert without_session(TX).user_id == "usr_a"
    assert without_session(changed(proved=())).user_id == ""
    assert without_session(TX).session_events == ()
