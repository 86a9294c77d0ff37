from typing import Any

import msgspec
import pytest

from idp import login
from idp.login import Account, Next, NotNow, Proof
from idp.model import ACR_PHR, ACR_PROOFED, AuthEvent, AuthKind, LoginTransaction

NOW = 1_800_000_000


def tx(**changes: Any) -> LoginTransaction:
    base: dict[str, Any] = {
        "id": "tx_1", "client_id": "gateway", "redirect_uri": "http://x/", "scope": "openid", "state": "s", "nonce": "n",
        "code_challenge": "c", "created_at": NOW, "expires_at": NOW + 600, "browser_hash": "b",
    }  # fmt: skip
    return LoginTransaction(**(base | changes))


def sato(**changes: Any) -> Account:
    base: dict[str, Any] = {"user_id": "usr_sato", "password": True, "totp": True}
    return Account(**(base | changes))


def proof(kind: AuthKind, user_id: str = "usr_sato") -> Proof:
    return Proof(user_id=user_id, kind=kind, at=NOW)


def walk(transaction: LoginTransaction, account: Account, *kinds: AuthKind) -> LoginTransaction:
    for kind in kinds:
        transaction = login.accept(transaction, account, proof(kind))
    return transaction


def step(transaction: LoginTransaction, account: Account | None) -> str:
    return login.next_step(transaction, account).step


def test_an_ordinary_sign_in_is_name_and_password_then_a_code() -> None:
    transaction, account = tx(), sato()
    assert step(transaction, None) == "identify"
    transaction = login.accept(transaction, account, proof("pwd"))
    assert transaction.user_id == "usr_sato"
    assert step(transaction, account) == "totp"
    transaction = login.accept(transaction, account, proof("otp"))
    assert step(transaction, account) == "done"
    assert [event.kind for event in transaction.proved] == ["pwd", "otp"]


def test_a_key_alone_is_enough_and_phishing_resistant() -> None:
    transaction = login.accept(tx(), sato(keys=1), proof("fido2"))
    assert step(transaction, sato(keys=1)) == "done"
    assert transaction.proved == (AuthEvent(kind="fido2", at=NOW, phishing_resistant=True),)


def test_a_recovery_code_stands_in_for_the_second_factor_only() -> None:
    account = sato(recovery=True)
    with pytest.raises(NotNow):
        login.accept(tx(), account, proof("recovery"))
    assert step(walk(tx(), account, "pwd", "recovery"), account) == "done"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"totp": False, "recovery": True}, Next(step="recovery")),
        ({"totp": False, "keys": 1}, Next(step="fido2")),
        ({"totp": False}, Next(step="refuse", problem="no_second_factor")),
        ({"totp": False, "recovery": True, "keys": 1}, Next(step="recovery")),
    ],
)
def test_after_the_password_comes_what_the_person_has(changes: dict[str, Any], expected: Next) -> None:
    account = sato(**changes)
    assert login.next_step(walk(tx(), account, "pwd"), account) == expected


def test_who_has_no_password_signs_in_with_the_key_or_not_at_all() -> None:
    known = tx(hint_subject="usr_sato")
    assert login.next_step(known, sato(password=False, keys=1)) == Next(step="fido2")
    assert login.next_step(known, sato(password=False)) == Next(step="refuse", problem="no_second_factor")
    phr = tx(hint_subject="usr_sato", acr=ACR_PHR)
    assert login.next_step(phr, sato(password=False)) == Next(step="refuse", problem="no_second_factor")
    assert login.next_step(phr, sato(password=False, keys=1)) == Next(step="fido2")


def test_a_lost_key_without_anything_else_ends_with_the_reason() -> None:
    account = sato(totp=False, keys=1)
    begun = login.claim_key_lost(walk(tx(), account, "pwd"))
    assert login.next_step(begun, account) == Next(step="refuse", problem="key_lost_without_recovery")
    assert step(login.key_at_hand(begun), account) == "fido2"


def test_a_step_up_asks_the_hinted_person_for_a_touch_and_nothing_else() -> None:
    asked = tx(acr=ACR_PHR, fresh=True, hint_subject="usr_sato", user_id="usr_sato", session_id="sid_1")
    assert step(asked, sato(keys=2)) == "fido2"
    assert step(walk(asked, sato(keys=2), "fido2"), sato(keys=2)) == "done"
    for kind in ("pwd", "otp", "recovery"):
        with pytest.raises(NotNow, match="order"):
            login.accept(asked, sato(keys=2, recovery=True), proof(kind))


def test_a_person_without_a_key_registers_one_after_a_fresh_second_factor() -> None:
    asked = tx(acr=ACR_PHR, fresh=True, hint_subject="usr_sato", user_id="usr_sato", session_id="sid_1")
    account = sato()
    assert step(asked, account) == "totp"
    asked = walk(asked, account, "otp")
    assert step(asked, account) == "register_key"
    assert login.may_register_key(asked, account)
    account = sato(keys=1)
    assert step(asked, account) == "fido2"
    assert not login.may_register_key(asked, account)
    assert step(walk(asked, account, "fido2"), account) == "done"


@pytest.mark.parametrize(
    ("acr", "keys", "expected"), [(ACR_PHR, 0, True), (ACR_PHR, 1, False), (ACR_PROOFED, 0, False), ("", 0, False)]
)
def test_only_who_is_asked_for_a_key_and_has_none_is_told_so(acr: str, keys: int, expected: bool) -> None:
    assert login.first_key(tx(acr=acr, hint_subject="usr_sato"), sato(keys=keys)) is expected


def test_without_a_live_session_the_password_comes_first() -> None:
    asked = tx(acr=ACR_PHR, fresh=True, hint_subject="usr_sato")
    assert step(asked, sato()) == "password"
    assert step(walk(asked, sato(), "pwd"), sato()) == "totp"


def test_a_key_just_registered_does_not_open_the_way_for_a_second_one() -> None:
    asked = tx(acr=ACR_PHR, fresh=True, hint_subject="usr_sato", user_id="usr_sato", session_id="sid_1")
    asked = login.claim_key_lost(walk(asked, sato(), "otp"))
    assert login.next_step(asked, sato(keys=1)) == Next(step="refuse", problem="key_lost_without_recovery")
    assert step(asked, sato(keys=1, recovery=True)) == "recovery"


def test_who_lost_the_key_needs_a_recovery_code_not_a_one_time_code() -> None:
    asked = tx(acr=ACR_PHR, fresh=True, hint_subject="usr_sato", user_id="usr_sato", session_id="sid_1")
    account = sato(keys=1, recovery=True)
    lost = login.claim_key_lost(asked)
    assert step(lost, account) == "recovery"
    with pytest.raises(NotNow):
        login.accept(lost, account, proof("otp"))
    lost = walk(lost, account, "recovery")
    assert step(lost, account) == "register_key"
    assert step(login.key_at_hand(lost), sato(keys=2, recovery=True)) == "fido2"


def test_proofing_comes_after_two_factors_and_only_when_asked_for() -> None:
    asked, account = tx(acr=ACR_PROOFED), sato()
    assert step(asked, None) == "identify"
    assert step(walk(asked, account, "pwd"), account) == "totp"
    asked = walk(asked, account, "pwd", "otp")
    assert step(asked, account) == "proofing"
    assert step(asked, sato(proofed=True)) == "done"
    assert step(walk(tx(), account, "pwd", "otp"), account) == "done"


@pytest.mark.parametrize("kind", ["pwd", "otp", "fido2", "recovery"])
def test_another_person_than_hinted_is_told_so_and_changes_nothing(kind: AuthKind) -> None:
    asked = tx(hint_subject="usr_sato")
    suzuki = Account(user_id="usr_suzuki", password=True, totp=True, keys=1)
    with pytest.raises(NotNow) as refused:
        login.accept(asked, suzuki, proof(kind, "usr_suzuki"))
    assert refused.value.problem == "other_person"


def test_a_second_person_can_not_finish_what_a_first_began() -> None:
    begun = walk(tx(), sato(), "pwd")
    suzuki = Account(user_id="usr_suzuki", password=True, totp=True, keys=1)
    for kind in ("otp", "fido2", "pwd"):
        with pytest.raises(NotNow, match="other_person"):
            login.accept(begun, suzuki, proof(kind, "usr_suzuki"))


def test_a_deactivated_or_unknown_person_is_refused() -> None:
    begun = tx(user_id="usr_sato", session_id="sid_1")
    assert login.next_step(begun, sato(active=False)) == Next(step="refuse", problem="inactive")
    assert login.next_step(begun, None) == Next(step="refuse", problem="unknown_person")
    assert login.next_step(begun, Account(user_id="usr_suzuki")) == Next(step="refuse", problem="unknown_person")
    with pytest.raises(NotNow, match="inactive"):
        login.accept(tx(), sato(active=False), proof("pwd"))
    with pytest.raises(NotNow, match="inactive"):
        login.accept(tx(), None, proof("pwd"))


def test_a_transaction_that_says_two_things_is_refused() -> None:
    odd = tx(hint_subject="usr_sato", user_id="usr_suzuki")
    suzuki = Account(user_id="usr_suzuki", password=True, totp=True)
    assert login.next_step(odd, suzuki) == Next(step="refuse", problem="other_person")


def test_what_was_proved_twice_is_kept_once_and_newest() -> None:
    asked = tx(acr=ACR_PHR, user_id="usr_sato", proved=(AuthEvent(kind="fido2", at=NOW - 5),))
    again = login.accept(msgspec.structs.replace(asked, proved=()), sato(keys=1), proof("fido2"))
    assert [event.at for event in again.proved] == [NOW]


def test_starting_over_forgets_everything_but_what_was_asked() -> None:
    begun = login.claim_key_lost(walk(tx(acr=ACR_PHR, session_id="", hint_subject=""), sato(), "pwd"))
    fresh = login.start_over(begun)
    assert fresh == tx(acr=ACR_PHR)
