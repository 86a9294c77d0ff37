"""No sequence of inputs ends a sign-in without what was asked for, by whom it was asked of; and an honest one always ends."""

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from idp import login
from idp.login import Account, NotNow, Proof
from idp.model import ACR_MFA, ACR_PHR, ACR_PROOFED, AuthEvent, AuthKind, LoginTransaction
from idp.protocol.transaction import check_change

PEOPLE = ("usr_sato", "usr_suzuki")
KINDS: tuple[AuthKind, ...] = ("pwd", "otp", "fido2", "recovery")
NOW = 1_800_000_000


def a_transaction(acr: str, hint: str, session: str, brought: tuple[AuthKind, ...], *, fresh: bool) -> LoginTransaction:
    session = session if not hint or session == hint else ""  # as `protocol.authorize.begin` has it
    events = tuple(AuthEvent(kind=kind, at=NOW - 60) for kind in brought) if session and not fresh else ()
    return LoginTransaction(
        id="tx_1", client_id="gateway", redirect_uri="http://x/", scope="openid", state="s", nonce="n", code_challenge="c",
        created_at=NOW, expires_at=NOW + 600, browser_hash="b", acr=acr, fresh=fresh, hint_subject=hint, user_id=session,
        session_id="sid_1" if session else "", session_events=events,
    )  # fmt: skip


def an_account(user_id: str, **more: Any) -> Account:
    return Account(user_id=user_id, **more)


ACCOUNTS = st.fixed_dictionaries(
    {
        "password": st.booleans(),
        "totp": st.booleans(),
        "recovery": st.booleans(),
        "keys": st.integers(0, 2),
        "proofed": st.booleans(),
        "active": st.just(True),
    }
)


class SignIn(RuleBasedStateMachine):
    """Everything that two people and a forger of requests can do to one sign-in, against a book of what was really proved."""

    people: Bundle[str] = Bundle("people")

    @initialize(
        target=people,
        acr=st.sampled_from(["", ACR_MFA, ACR_PHR, ACR_PROOFED]),
        hint=st.sampled_from(["", *PEOPLE]),
        session=st.sampled_from(["", *PEOPLE]),
        brought=st.lists(st.sampled_from(KINDS), unique=True).map(tuple),
        fresh=st.booleans(),
        accounts=st.tuples(ACCOUNTS, ACCOUNTS),
    )
    def begin(
        self, acr: str, hint: str, session: str, brought: tuple[AuthKind, ...], fresh: bool, accounts: tuple[Any, Any]
    ) -> str:
        self.transaction = a_transaction(acr, hint, session, brought, fresh=fresh)
        self.accounts = {who: an_account(who, **found) for who, found in zip(PEOPLE, accounts, strict=True)}
        self.session_of = self.transaction.user_id
        self.session_kinds = {event.kind for event in self.transaction.session_events}
        self.proved: set[AuthKind] = set()
        self.prover = ""
        return PEOPLE[0]

    def account(self) -> Account | None:
        return self.accounts.get(login.subject(self.transaction))

    def step(self) -> str:
        return login.next_step(self.transaction, self.account()).step

    def changed(self, after: LoginTransaction) -> None:
        check_change(self.transaction, after)  # what the provider's own guard would say to it
        self.transaction = after

    @rule(who=st.sampled_from(PEOPLE), kind=st.sampled_from(KINDS))
    def prove(self, who: str, kind: AuthKind) -> None:
        step = self.step()
        try:
            after = login.accept(self.transaction, self.accounts[who], Proof(user_id=who, kind=kind, at=NOW))
        except NotNow:
            return
        assert kind in login.taken_at(step)  # type: ignore[arg-type]  # a step, as text
        assert self.prover in {"", who}
        self.changed(after)
        self.prover = who
        self.proved.add(kind)

    @rule(who=st.sampled_from(PEOPLE), kind=st.sampled_from(KINDS))
    def prove_for_somebody_else(self, who: str, kind: AuthKind) -> None:
        before = self.transaction
        other = next(person for person in PEOPLE if person != who)
        try:
            login.accept(before, self.accounts[other], Proof(user_id=who, kind=kind, at=NOW))
        except NotNow:
            return
        raise AssertionError("a proof was accepted with another person's account")

    @rule(who=st.sampled_from(PEOPLE), kind=st.sampled_from(KINDS))
    def prove_as_a_deactivated_person(self, who: str, kind: AuthKind) -> None:
        gone = msgspec.structs.replace(self.accounts[who], active=False)
        try:
            login.accept(self.transaction, gone, Proof(user_id=who, kind=kind, at=NOW))
        except NotNow:
            return
        raise AssertionError("a deactivated person was accepted")

    @rule()
    def claim_key_lost(self) -> None:
        self.changed(login.claim_key_lost(self.transaction))

    @rule()
    def key_at_hand(self) -> None:
        self.changed(login.key_at_hand(self.transaction))

    @rule()
    def start_over(self) -> None:
        self.changed(login.start_over(self.transaction))
        self.proved, self.prover, self.session_kinds, self.session_of = set(), "", set(), ""

    @rule()
    @precondition(lambda self: self.step() == "register_key")
    def register_key(self) -> None:
        account = self.account()
        assert account is not None
        assert login.may_register_key(self.transaction, account)
        # A second factor proved in this very sign-in, and the password here or in this browser's live session.
        assert self.proved & {"otp", "recovery"}
        assert "pwd" in self.proved or self.session_of == account.user_id
        # Never easier than the key that is there already.
        assert not account.keys or "recovery" in self.proved
        self.accounts[account.user_id] = msgspec.structs.replace(account, keys=account.keys + 1)
        self.changed(login.key_at_hand(self.transaction))

    @rule()
    @precondition(lambda self: self.step() == "proofing")
    def proof_identity(self) -> None:
        account = self.account()
        assert account is not None
        self.accounts[account.user_id] = msgspec.structs.replace(account, proofed=True)

    @invariant()
    def done_means_proved(self) -> None:
        if not hasattr(self, "transaction") or self.step() != "done":
            return
        who = login.subject(self.transaction)
        assert who == (self.prover or self.session_of)
        assert self.transaction.hint_subject in {"", who}
        counted = self.proved | (set() if self.transaction.fresh or self.session_of != who else self.session_kinds)
        assert "fido2" in counted or ("pwd" in counted and counted & {"otp", "recovery"})
        if self.transaction.acr == ACR_PHR:
            assert "fido2" in counted
        if self.transaction.acr == ACR_PROOFED:
            assert self.accounts[who].proofed
        if self.transaction.fresh:
            assert self.proved

    @invariant()
    def a_code_is_never_taken_before_the_password(self) -> None:
        if hasattr(self, "transaction") and self.step() in {"totp", "recovery"}:
            assert "pwd" in self.proved | self.session_kinds or self.session_of == login.subject(self.transaction) != ""

    @invariant()
    def an_honest_person_ends_in_a_few_steps(self) -> None:
        if not hasattr(self, "transaction"):
            return
        transaction, accounts = self.transaction, dict(self.accounts)
        for _ in range(8):
            who = login.subject(transaction) or PEOPLE[0]
            account = accounts[who]
            step = login.next_step(transaction, accounts.get(login.subject(transaction))).step
            if step in {"done", "refuse"}:
                return
            if step == "proofing":
                accounts[who] = msgspec.structs.replace(account, proofed=True)
            elif step == "register_key":
                accounts[who] = msgspec.structs.replace(account, keys=account.keys + 1)
                transaction = login.key_at_hand(transaction)
            else:
                kind = login.taken_at(step)[0]
                transaction = login.accept(transaction, account, Proof(user_id=who, kind=kind, at=NOW))
        raise AssertionError(f"still at {step} after eight honest steps")


SignIn.TestCase.settings = settings(max_examples=400, stateful_step_count=20, deadline=None)
TestSignIn = SignIn.TestCase
