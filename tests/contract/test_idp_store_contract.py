"""What every store of the identity provider promises (`idp.ports`). One backend today; another one joins the fixture."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.flows import OwnStore
from idp.model import (
    AccessGrant,
    AuthEvent,
    CodeGrant,
    Fido2Credential,
    LoginTransaction,
    PasswordCredential,
    PersonDigest,
    ProofingCase,
    ProofingRecord,
    RecoveryCodes,
    SsoSession,
    TotpCredential,
    User,
)
from idp.store import open_store
from idp.stored_proofing import CaseRuling, KeepRefusal

NOW = 1_800_000_000
SATO = User(
    id="usr_sato", login="dr.sato", name="佐藤 健", roles=("physician",), organization="中央病院", department="内科",
    email="sato@hospital.example", birth_date="1980-01-02", kana="サトウ ケン",
)  # fmt: skip
SUZUKI = User(id="usr_suzuki", login="nurse.suzuki", name="鈴木 花", roles=("nurse", "auditor"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(float(NOW))


@pytest.fixture
async def store(tmp_path: Path, clock: ManualClock) -> AsyncIterator[OwnStore]:
    opened = await open_store(tmp_path / "idp.sqlite3", clock=clock, sealing_key=b"k" * 32, idle_seconds=900, seconds=43_200)
    for user in (SATO, SUZUKI):
        await opened.users.add(user)
    yield opened
    await opened.close()


def session(session_id: str = "sid_1", user_id: str = SATO.id, at: int = NOW) -> SsoSession:
    events = (AuthEvent(kind="pwd", at=at), AuthEvent(kind="otp", at=at))
    return SsoSession(id=session_id, user_id=user_id, events=events, created_at=at, last_seen_at=at, address="192.0.2.1")


def transaction(transaction_id: str = "tx_1") -> LoginTransaction:
    return LoginTransaction(
        id=transaction_id, client_id="gateway", redirect_uri="https://x/cb", scope="openid", state="s", nonce="n",
        code_challenge="c", created_at=NOW, expires_at=NOW + 100, browser_hash="b" * 64, notes={"step": "1"},
        proved=(AuthEvent(kind="pwd", at=NOW),), user_id=SATO.id,
    )  # fmt: skip


def code(session_id: str = "sid_1") -> CodeGrant:
    return CodeGrant(
        client_id="gateway", redirect_uri="https://x/cb", scope="openid", nonce="n", code_challenge="c", user_id=SATO.id,
        session_id=session_id, acr="phr", auth_time=NOW, events=(AuthEvent(kind="fido2", at=NOW, phishing_resistant=True),),
        issued_at=NOW, expires_at=NOW + 60,
    )  # fmt: skip


def access() -> AccessGrant:
    return AccessGrant(
        issuer="i", audience="a", client_id="gateway", user_id=SATO.id, session_id="sid_1", scope="openid", issued_at=NOW,
        expires_at=NOW + 300,
    )  # fmt: skip


async def wins(attempt: Callable[[], Awaitable[object]], times: int = 20) -> int:
    """How many of so many callers at once got a truthy answer."""
    return sum(bool(answer) for answer in await asyncio.gather(*(attempt() for _ in range(times))))


class TestUsers:
    async def test_everything_comes_back(self, store: OwnStore) -> None:
        assert await store.users.get(SATO.id) == SATO
        assert await store.users.list() == [SATO, SUZUKI]
        assert await store.users.get("usr_nobody") is None

    @pytest.mark.parametrize("name", ["dr.sato", "DR.SATO", " ｄｒ．sato ", "Sato@Hospital.EXAMPLE"])
    async def test_names_lead_to_the_person_in_any_spelling(self, store: OwnStore, name: str) -> None:
        assert await store.users.by_login(name) == SATO

    @pytest.mark.parametrize(
        "name", ["", " ", "dr.sat", "usr_sato", "%", "dr_sato", "' OR 1=1 --", "\x00", "\ud800", "x" * 100_000]
    )
    async def test_other_names_lead_to_nobody(self, store: OwnStore, name: str) -> None:
        assert await store.users.by_login(name) is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"id": "usr_sato"},
            {"login": "dr.sato"},
            {"email": "sato@hospital.example"},
            {"id": "sato"},
            {"name": " "},
            {"roles": ("",)},
            {"name": "x" * 101},
            {"name": "a\nb"},
            {"roles": ("r",) * 17},
            {"roles": ("r" * 33,)},
        ],
        ids=str,
    )
    async def test_taken_or_unacceptable_is_refused_and_leaves_nothing(self, store: OwnStore, changes: dict[str, object]) -> None:
        new = User(id="usr_new", login="dr.new", name="新", roles=())
        with pytest.raises(ValueError, match=r"taken|no name|empty role|more than|control|does not begin"):
            await store.users.add(msgspec.structs.replace(new, **changes))
        assert await store.users.list() == [SATO, SUZUKI]
        await store.users.add(new)

    async def test_update_is_atomic_and_moves_names(self, store: OwnStore) -> None:
        after = await store.users.update(SATO.id, lambda old: msgspec.structs.replace(old, login="dr.sato2", email=""))
        assert after is not None
        assert await store.users.by_login("dr.sato2") == after
        assert await store.users.by_login("dr.sato") is None
        assert await store.users.by_login(SATO.email) is None
        assert await store.users.update("usr_nobody", lambda old: old) is None
        with pytest.raises(ValueError, match="taken"):
            await store.users.update(SATO.id, lambda old: msgspec.structs.replace(old, name="changed", login="nurse.suzuki"))
        assert await store.users.get(SATO.id) == after
        with pytest.raises(ValueError, match="can't change"):
            await store.users.update(SATO.id, lambda old: msgspec.structs.replace(old, id="usr_other"))

        async def grow() -> User | None:
            return await store.users.update(SATO.id, lambda old: msgspec.structs.replace(old, department=old.department + "x"))

        await asyncio.gather(*(grow() for _ in range(10)))
        final = await store.users.get(SATO.id)
        assert final is not None
        assert final.department == "内科" + "x" * 10


class TestCredentials:
    async def test_password_is_replaced(self, store: OwnStore) -> None:
        assert await store.credentials.password(SATO.id) is None
        for encoded in ("$argon2id$1", "$argon2id$2"):
            credential = PasswordCredential(user_id=SATO.id, encoded=encoded, changed_at=NOW)
            await store.credentials.set_password(credential)
            assert await store.credentials.password(SATO.id) == credential

    async def test_nothing_is_stored_for_nobody(self, store: OwnStore) -> None:
        credentials = store.credentials
        with pytest.raises(ValueError, match="usr_x"):
            await credentials.set_password(PasswordCredential(user_id="usr_x", encoded="e", changed_at=NOW))
        with pytest.raises(ValueError, match="usr_x"):
            await credentials.set_totp(TotpCredential(user_id="usr_x", secret=Secret("A"), created_at=NOW))
        with pytest.raises(ValueError, match="usr_x"):
            await credentials.set_recovery(RecoveryCodes(user_id="usr_x", hashes=("a",), created_at=NOW))
        with pytest.raises(ValueError, match="usr_x"):
            await credentials.add_fido2(
                Fido2Credential(id="k", user_id="usr_x", label="", public_data=b"", sign_count=0, created_at=NOW)
            )
        with pytest.raises(ValueError, match="usr_x"):
            await store.sessions.create(session(user_id="usr_x"))

    async def test_a_totp_step_is_used_once(self, store: OwnStore) -> None:
        credential = TotpCredential(user_id=SATO.id, secret=Secret("JBSWY3DP"), created_at=NOW, last_step=99)
        await store.credentials.set_totp(credential)
        assert await store.credentials.totp(SATO.id) == credential
        assert not await store.credentials.advance_totp(SATO.id, 99)
        assert await wins(lambda: store.credentials.advance_totp(SATO.id, 100)) == 1
        assert not await store.credentials.advance_totp(SATO.id, 99)
        assert await store.credentials.advance_totp(SATO.id, 102)
        assert not await store.credentials.advance_totp(SATO.id, 101)
        assert not await store.credentials.advance_totp(SUZUKI.id, 200)
        assert await store.credentials.remove_totp(SATO.id)
        assert not await store.credentials.remove_totp(SATO.id)
        assert await store.credentials.totp(SATO.id) is None

    async def test_keys_belong_to_one_person(self, store: OwnStore) -> None:
        keys = [
            Fido2Credential(
                id=f"key{number}", user_id=SATO.id, label=f"鍵{number}", public_data=bytes([number]), sign_count=0,
                created_at=NOW + number, backup_eligible=number == 1,
            )
            for number in (1, 0)
        ]  # fmt: skip
        for key in keys:
            await store.credentials.add_fido2(key)
        assert await store.credentials.fido2(SATO.id) == [keys[1], keys[0]]
        assert await store.credentials.fido2(SUZUKI.id) == []
        assert await store.credentials.fido2_by_id("key1") == keys[0]
        assert await store.credentials.fido2_by_id("key9") is None
        with pytest.raises(ValueError, match="registered already"):
            await store.credentials.add_fido2(msgspec.structs.replace(keys[0], user_id=SUZUKI.id))
        assert not await store.credentials.remove_fido2(SUZUKI.id, "key1")
        assert await store.credentials.remove_fido2(SATO.id, "key1")
        assert await store.credentials.fido2(SATO.id) == [keys[1]]

    @pytest.mark.parametrize(
        ("stored", "said", "good"), [(0, 0, True), (0, 1, True), (5, 6, True), (5, 5, False), (5, 4, False), (5, 0, False)]
    )
    async def test_a_key_counter_only_goes_up(self, store: OwnStore, stored: int, said: int, good: bool) -> None:
        key = Fido2Credential(id="k", user_id=SATO.id, label="", public_data=b"", sign_count=stored, created_at=NOW)
        await store.credentials.add_fido2(key)
        assert await store.credentials.use_fido2("k", said, NOW + 5) is good
        after = await store.credentials.fido2_by_id("k")
        assert after == (msgspec.structs.replace(key, sign_count=said, last_used_at=NOW + 5) if good else key)
        assert not await store.credentials.use_fido2("gone", 99, NOW)

    async def test_one_counter_value_is_accepted_once(self, store: OwnStore) -> None:
        await store.credentials.add_fido2(
            Fido2Credential(id="k", user_id=SATO.id, label="", public_data=b"", sign_count=1, created_at=NOW)
        )
        assert await wins(lambda: store.credentials.use_fido2("k", 2, NOW)) == 1

    async def test_a_recovery_code_is_used_once(self, store: OwnStore) -> None:
        assert await store.credentials.recovery(SATO.id) is None
        await store.credentials.set_recovery(RecoveryCodes(user_id=SATO.id, hashes=("old",), created_at=NOW))
        codes = RecoveryCodes(user_id=SATO.id, hashes=("a", "b"), created_at=NOW)
        await store.credentials.set_recovery(codes)
        assert await store.credentials.recovery(SATO.id) == codes
        assert not await store.credentials.use_recovery(SATO.id, "old")
        assert not await store.credentials.use_recovery(SUZUKI.id, "a")
        assert await wins(lambda: store.credentials.use_recovery(SATO.id, "a")) == 1
        left = await store.credentials.recovery(SATO.id)
        assert left is not None
        assert left.hashes == ("b",)


def digest(text: str = "d1", key: str = "") -> PersonDigest:
    return PersonDigest(key=key, digest=text)


def record(user_id: str = SATO.id, digest: str = "d1", **changes: object) -> ProofingRecord:
    base = ProofingRecord(
        user_id=user_id, level=3, method="jpki_sign", verified_at=NOW, expires_at=NOW + 10, verifier="pf", transaction="t1",
        person_digest=digest,
    )  # fmt: skip
    return msgspec.structs.replace(base, **changes)


async def keep(store: OwnStore, of: ProofingRecord, *more: PersonDigest, **options: Any) -> ProofingRecord | KeepRefusal:
    digests = (digest(of.person_digest, of.digest_key), *more)
    return await store.proofing.keep(of, digests, **{"now": NOW, **options})


class TestProofing:
    async def test_the_newest_counts_and_the_rest_is_kept(self, store: OwnStore) -> None:
        assert await store.proofing.latest(SATO.id) is None
        first = await keep(store, record())
        assert isinstance(first, ProofingRecord)
        assert first == msgspec.structs.replace(record(), number=first.number)
        newer = record(transaction="t2", level=2, expires_at=None)
        second = await keep(store, newer, now=NOW + 5)
        assert second == await store.proofing.latest(SATO.id)
        assert isinstance(second, ProofingRecord)
        assert second.number > first.number > 0
        assert newer.in_force(NOW + 10**9)
        assert not record().in_force(NOW + 10)
        assert record().in_force(NOW + 9)

    async def test_judging_says_what_keeping_would(self, store: OwnStore) -> None:
        assert await store.proofing.judge(record(), (digest(),), now=NOW) is None
        assert await store.proofing.latest(SATO.id) is None
        await keep(store, record())
        assert await store.proofing.judge(record(), (digest(),), now=NOW) == "used"

    async def test_a_verifiers_reference_counts_once(self, store: OwnStore) -> None:
        await keep(store, record())
        assert await keep(store, record()) == "used"
        assert await keep(store, record(SUZUKI.id, "d2")) == "used"
        assert await store.proofing.latest(SUZUKI.id) is None
        assert isinstance(await keep(store, record(SUZUKI.id, "d2", verifier="another")), ProofingRecord)

    async def test_one_person_has_one_active_account(self, store: OwnStore) -> None:
        await keep(store, record())
        suzukis = record(SUZUKI.id, transaction="t2")
        assert await keep(store, suzukis) == "person_of_other_account"
        assert await keep(store, suzukis, now=NOW + 100) == "over"
        late = msgspec.structs.replace(suzukis, expires_at=NOW + 1000)
        assert await keep(store, late, now=NOW + 100) == "person_of_other_account"  # the first is over, and still theirs
        await store.users.update(SATO.id, lambda user: msgspec.structs.replace(user, active=False))
        assert isinstance(await keep(store, suzukis), ProofingRecord)

    async def test_another_verifier_or_the_rule_lets_one_person_have_two(self, store: OwnStore) -> None:
        await keep(store, record())
        assert isinstance(await keep(store, record(SUZUKI.id, verifier="other")), ProofingRecord)
        assert isinstance(await keep(store, record(SUZUKI.id, transaction="t2"), shared=True), ProofingRecord)

    async def test_two_accounts_at_the_same_instant_are_told_apart(self, store: OwnStore) -> None:
        results = [record(user.id, transaction=f"{user.id} {n}") for n in range(10) for user in (SATO, SUZUKI)]
        outcomes = await asyncio.gather(*(keep(store, result) for result in results))
        owners = {outcome.user_id for outcome in outcomes if isinstance(outcome, ProofingRecord)}
        assert len(owners) == 1
        assert sum(outcome == "person_of_other_account" for outcome in outcomes) == 10

    async def test_another_card_than_the_one_in_force_is_told_and_may_replace_it(self, store: OwnStore) -> None:
        await keep(store, record())
        other = record(digest="d2", transaction="t2", expires_at=NOW + 100)
        assert await keep(store, other) == "new_card"
        assert isinstance(await keep(store, other, rebind=True), ProofingRecord)
        after = record(transaction="t3", expires_at=NOW + 1000)
        assert isinstance(await keep(store, after, now=NOW + 100), ProofingRecord)  # nothing is in force any more

    async def test_nobody_is_proofed_whose_account_is_gone_or_off(self, store: OwnStore) -> None:
        assert await keep(store, record("usr_nobody")) == "inactive"
        await store.users.update(SATO.id, lambda user: msgspec.structs.replace(user, active=False))
        assert await keep(store, record()) == "inactive"

    async def test_older_keys_are_looked_under_and_records_move_to_the_newest(self, store: OwnStore) -> None:
        await keep(store, record())
        assert await store.proofing.digest_keys_in_use() == {"": 1}
        newer = record(digest="n1", digest_key="k2", transaction="t2")
        assert await keep(store, newer) == "keys_unknown"
        assert await keep(store, msgspec.structs.replace(newer, user_id=SUZUKI.id), digest()) == "person_of_other_account"
        assert isinstance(await keep(store, newer, digest()), ProofingRecord)
        assert await store.proofing.digest_keys_in_use() == {"k2": 1}
        assert await store.proofing.known(SATO.id, (digest("n1", "k2"),))
        assert not await store.proofing.known(SATO.id, (digest(),))

    async def test_a_record_can_be_put_under_another_key(self, store: OwnStore) -> None:
        kept = await keep(store, record())
        assert isinstance(kept, ProofingRecord)
        await store.proofing.rekey(kept.number, digest("n1", "k2"))
        assert await store.proofing.latest(SATO.id) == msgspec.structs.replace(kept, person_digest="n1", digest_key="k2")

    async def test_a_person_is_known_by_their_own_records_alone(self, store: OwnStore) -> None:
        await keep(store, record())
        assert await store.proofing.known(SATO.id, (digest("d0"), digest()))
        assert not await store.proofing.known(SUZUKI.id, (digest(),))
        assert not await store.proofing.known(SATO.id, (digest("d1", "k2"),))

    @pytest.mark.parametrize("level", [0, 4, -1])
    async def test_a_level_that_does_not_exist_is_refused(self, store: OwnStore, level: int) -> None:
        with pytest.raises(ValueError, match="level"):
            await keep(store, record(level=level))


def case(case_id: str = "case_1", user_id: str = SATO.id, **changes: object) -> ProofingCase:
    base = ProofingCase(id=case_id, user_id=user_id, kind="near_miss", opened_at=NOW, expires_at=NOW + 100)
    return msgspec.structs.replace(base, **changes)


def ruling(by: str = "officer.1", *, approve: bool = True, by_user: str = "", at: int = NOW) -> CaseRuling:
    return CaseRuling(by=by, by_user=by_user, approve=approve, note="seen", at=at)


HELD = Secret("what is held")
RESULT = record(expires_at=NOW + 1000)


async def decide(store: OwnStore, word: CaseRuling, case_id: str = "case_1", of: ProofingRecord = RESULT) -> object:
    """What came of a ruling, after it was checked that judging had said so."""
    said = await store.cases.judge(case_id, word, of, (digest(),), shared=False)
    outcome = await store.cases.decide(case_id, word, of, (digest(),), shared=False)
    assert said == (outcome[0] if isinstance(outcome, tuple) else outcome)
    return outcome


class TestCases:
    async def test_what_is_held_is_there_while_it_is_open(self, store: OwnStore) -> None:
        await store.cases.open(case(), HELD)
        assert await store.cases.get("case_1") == case()
        assert await store.cases.held("case_1", NOW) == HELD
        assert await store.cases.waiting(NOW) == [case()]
        assert await store.cases.held("case_1", NOW + 100) is None
        assert await store.cases.waiting(NOW + 100) == []
        assert await store.cases.get("case_9") is None
        assert await store.cases.held("case_9", NOW) is None

    async def test_approving_keeps_the_result_and_forgets_what_was_held(self, store: OwnStore) -> None:
        await store.cases.open(case(), HELD)
        outcome = await decide(store, ruling())
        latest = await store.proofing.latest(SATO.id)
        assert outcome == ("approved", latest)
        assert latest is not None
        assert latest.transaction == "t1"
        after = await store.cases.get("case_1")
        assert after == case(state="approved", decided_by="officer.1", decided_at=NOW, note="seen")
        assert await store.cases.held("case_1", NOW) is None

    async def test_rejecting_keeps_nothing(self, store: OwnStore) -> None:
        await store.cases.open(case(), HELD)
        assert await decide(store, ruling(approve=False)) == ("rejected", None)
        assert await store.proofing.latest(SATO.id) is None
        assert await store.cases.held("case_1", NOW) is None

    async def test_a_case_is_decided_once(self, store: OwnStore) -> None:
        await store.cases.open(case(), HELD)
        words = [ruling(f"officer.{n}", approve=n % 2 == 0) for n in range(20)]
        outcomes = await asyncio.gather(
            *(store.cases.decide("case_1", word, RESULT, (digest(),), shared=False) for word in words)
        )
        assert sum(isinstance(outcome, tuple) for outcome in outcomes) == 1
        assert outcomes.count("decided") == 19

    async def test_time_ends_it(self, store: OwnStore) -> None:
        await store.cases.open(case(), HELD)
        assert await decide(store, ruling(at=NOW + 100)) == "expired"
        assert await store.cases.expire(NOW + 99) == 0
        assert await store.cases.expire(NOW + 100) == 1
        assert await store.cases.get("case_1") == case(state="expired")
        assert await decide(store, ruling()) == "expired"
        assert await store.cases.held("case_1", NOW) is None

    async def test_nobody_decides_on_themselves(self, store: OwnStore) -> None:
        for kind in ("near_miss", "in_person"):
            await store.cases.open(case(kind=kind, id=f"case_{kind}"), HELD)
            for approve in (True, False):
                for word in (
                    ruling(SATO.login, approve=approve), ruling(SATO.email.upper(), approve=approve),
                    ruling("officer.1", by_user=SATO.id, approve=approve),
                ):  # fmt: skip
                    assert await decide(store, word, f"case_{kind}") == "own_case"

    async def test_in_person_takes_two_officers(self, store: OwnStore) -> None:
        await store.cases.open(case(kind="in_person"), HELD)
        assert await decide(store, ruling(SUZUKI.login)) == ("open", None)
        assert await store.cases.held("case_1", NOW) == HELD
        for same in (ruling(SUZUKI.login), ruling(" NURSE.suzuki "), ruling("other", by_user=SUZUKI.id)):
            assert await decide(store, same) == "same_officer"
        outcome = await decide(store, ruling("officer.2"))
        assert isinstance(outcome, tuple)
        assert outcome[0] == "approved"
        after = await store.cases.get("case_1")
        assert after is not None
        assert (after.first_by, after.decided_by) == (SUZUKI.login, "officer.2")

    async def test_two_first_words_at_the_same_instant_are_one_first_and_one_second(self, store: OwnStore) -> None:
        await store.cases.open(case(kind="in_person"), HELD)
        words = [ruling("officer.1")] * 5
        outcomes = await asyncio.gather(
            *(store.cases.decide("case_1", word, RESULT, (digest(),), shared=False) for word in words)
        )
        assert sorted(map(str, outcomes)) == ["('open', None)", *["same_officer"] * 4]

    async def test_who_looked_may_be_the_first_and_not_the_person(self, store: OwnStore) -> None:
        await store.cases.open(case(kind="in_person", first_by="officer.1", first_at=NOW), HELD)
        assert await decide(store, ruling("officer.1")) == "same_officer"
        assert isinstance(await decide(store, ruling("officer.2")), tuple)
        await store.cases.open(case("case_2", kind="in_person", first_by=SATO.login, first_at=NOW), HELD)
        assert await decide(store, ruling("officer.2"), "case_2") == "own_case"

    async def test_the_first_word_may_be_no(self, store: OwnStore) -> None:
        await store.cases.open(case(kind="in_person"), HELD)
        assert await decide(store, ruling(approve=False)) == ("rejected", None)

    async def test_approving_is_judged_as_keeping_is(self, store: OwnStore) -> None:
        await keep(store, record(SUZUKI.id, transaction="t0", expires_at=None))
        await store.cases.open(case(), HELD)
        assert await decide(store, ruling()) == "person_of_other_account"
        assert await store.cases.held("case_1", NOW) == HELD
        assert await decide(store, ruling(), of=msgspec.structs.replace(RESULT, expires_at=NOW)) == "over"
        assert await decide(store, ruling(), of=msgspec.structs.replace(RESULT, user_id=SUZUKI.id)) == "unknown"
        assert await decide(store, ruling(approve=False)) == ("rejected", None)

    async def test_approving_replaces_another_card(self, store: OwnStore) -> None:
        await keep(store, record(digest="old", transaction="t0", expires_at=None))
        await store.cases.open(case(kind="new_card"), HELD)
        assert isinstance(await decide(store, ruling()), tuple)

    async def test_what_waits_is_out_of_date_once_the_person_was_proofed_or_a_newer_case_opened(self, store: OwnStore) -> None:
        for name in ("case_1", "case_2"):
            await store.cases.open(case(name), HELD)
        assert await decide(store, ruling()) == "replaced"
        assert await store.cases.waiting(NOW) == [case("case_2")]
        await keep(store, record(transaction="t0"))
        assert await decide(store, ruling(), "case_2") == "replaced"
        assert await store.cases.held("case_2", NOW) is None


class TestSessions:
    async def test_a_token_stands_for_its_session(self, store: OwnStore) -> None:
        token = await store.sessions.create(session())
        assert await store.sessions.resolve(token.reveal(), NOW) == session()
        assert await store.sessions.get("sid_1", NOW) == session()
        assert await store.sessions.list(NOW) == [session()]
        with pytest.raises(ValueError, match="taken"):
            await store.sessions.create(session())

    async def test_activity_moves_the_idle_limit_and_looking_does_not(self, store: OwnStore) -> None:
        token = (await store.sessions.create(session())).reveal()
        await store.sessions.get("sid_1", NOW + 899)
        looked = await store.sessions.look(token, NOW + 899)
        assert looked == session()
        assert await store.sessions.look("x" * 43, NOW) is None
        moved = await store.sessions.resolve(token, NOW + 899)
        assert moved is not None
        assert moved.last_seen_at == NOW + 899
        assert await store.sessions.look(token, NOW + 899 + 900) is None
        assert await store.sessions.resolve(token, NOW + 899 + 900) is None
        assert await store.sessions.list(NOW + 899 + 900) == []

    async def test_a_session_has_an_end(self, store: OwnStore) -> None:
        await store.sessions.create(session())
        token = (await store.sessions.create(msgspec.structs.replace(session("sid_2"), last_seen_at=NOW + 43_199))).reveal()
        assert await store.sessions.resolve(token, NOW + 43_199) is not None
        assert await store.sessions.resolve(token, NOW + 43_200) is None

    async def test_rotation_replaces_the_token_and_keeps_the_id(self, store: OwnStore) -> None:
        old = (await store.sessions.create(session())).reveal()
        events = (AuthEvent(kind="fido2", at=NOW + 5, phishing_resistant=True),)
        new = await store.sessions.rotate(
            "sid_1", lambda s: msgspec.structs.replace(s, events=events, last_seen_at=NOW + 5), NOW + 5
        )
        assert new is not None
        assert await store.sessions.resolve(old, NOW + 5) is None
        found = await store.sessions.resolve(new.reveal(), NOW + 5)
        assert found == msgspec.structs.replace(session(), events=events, last_seen_at=NOW + 5)
        with pytest.raises(ValueError, match="keeps its"):
            await store.sessions.rotate("sid_1", lambda s: msgspec.structs.replace(s, user_id=SUZUKI.id), NOW)
        assert await store.sessions.rotate("sid_1", lambda s: s, NOW + 905) is None
        assert await store.sessions.rotate("sid_9", lambda s: s, NOW) is None

    async def test_revoking_is_told_once(self, store: OwnStore) -> None:
        await store.sessions.create(session())
        assert await wins(lambda: store.sessions.revoke("sid_1")) == 1
        for name in ("sid_a", "sid_b"):
            await store.sessions.create(session(name))
        await store.sessions.create(session("sid_c", SUZUKI.id))
        assert await store.sessions.revoke_user(SATO.id) == 2
        assert [left.id for left in await store.sessions.list(NOW)] == ["sid_c"]

    async def test_deactivation_ends_sessions_at_once(self, store: OwnStore) -> None:
        token = await store.sessions.create(session())
        await store.users.update(SATO.id, lambda user: msgspec.structs.replace(user, active=False))
        assert await store.sessions.resolve(token.reveal(), NOW) is None
        later = await store.sessions.create(session())
        assert await store.sessions.resolve(later.reveal(), NOW) is None
        assert await store.sessions.get("sid_1", NOW) is None
        assert not await store.grants.put_code("c", code(), NOW)


class TestGrants:
    async def test_a_code_is_redeemed_once(self, store: OwnStore) -> None:
        await store.sessions.create(session())
        assert await store.grants.put_code("c", code(), NOW)
        assert await store.grants.redeem("c", "other", NOW) == "unknown"
        assert await store.grants.redeem("x", "gateway", NOW) == "unknown"
        answers = await asyncio.gather(*(store.grants.redeem("c", "gateway", NOW) for _ in range(20)))
        assert [answer for answer in answers if answer != "reused"] == [code()]

    async def test_a_late_code_is_expired_and_does_not_count_as_used(self, store: OwnStore) -> None:
        await store.sessions.create(session())
        await store.grants.put_code("c", code(), NOW)
        assert await store.grants.redeem("c", "gateway", NOW + 60) == "expired"
        assert await store.grants.redeem("c", "gateway", NOW + 60) == "expired"
        assert not await store.grants.put_access("t", "c", access(), NOW)

    async def test_reuse_takes_access_back(self, store: OwnStore) -> None:
        await store.sessions.create(session())
        await store.grants.put_code("c", code(), NOW)
        await store.grants.redeem("c", "gateway", NOW)
        assert await store.grants.put_access("t", "c", access(), NOW)
        assert await store.grants.access("t", NOW + 299) == access()
        assert await store.grants.access("t", NOW + 300) is None
        assert await store.grants.redeem("c", "gateway", NOW) == "reused"
        assert await store.grants.access("t", NOW) is None
        assert not await store.grants.put_access("t2", "c", access(), NOW)

    async def test_no_code_without_the_right_live_session(self, store: OwnStore) -> None:
        await store.sessions.create(session("sid_1", SUZUKI.id))
        assert not await store.grants.put_code("c", code(), NOW)
        assert not await store.grants.put_code("c", code("sid_9"), NOW)
        await store.sessions.create(session("sid_2"))
        assert not await store.grants.put_code("c", code("sid_2"), NOW + 900)
        assert await store.grants.put_code("c", code("sid_2"), NOW + 899)

    async def test_the_end_of_a_session_takes_everything_along(self, store: OwnStore) -> None:
        await store.sessions.create(session())
        for name in ("used", "unused"):
            await store.grants.put_code(name, code(), NOW)
        await store.grants.redeem("used", "gateway", NOW)
        await store.grants.put_access("t", "used", access(), NOW)
        await store.sessions.revoke("sid_1")
        assert await store.grants.redeem("unused", "gateway", NOW) == "unknown"
        assert await store.grants.access("t", NOW) is None


class TestTransactions:
    async def test_one_is_taken_once(self, store: OwnStore) -> None:
        await store.transactions.put(transaction())
        assert await store.transactions.get("tx_1", NOW) == transaction()
        assert await wins(lambda: store.transactions.take("tx_1", NOW)) == 1
        assert await store.transactions.get("tx_1", NOW) is None

    async def test_changes_are_atomic_and_a_failed_one_changes_nothing(self, store: OwnStore) -> None:
        await store.transactions.put(transaction())

        def count(old: LoginTransaction) -> LoginTransaction:
            return msgspec.structs.replace(old, notes={"step": str(int(old.notes["step"]) + 1)})

        def fail(old: LoginTransaction) -> LoginTransaction:
            raise LookupError("no")

        await asyncio.gather(*(store.transactions.update("tx_1", count, NOW) for _ in range(20)))
        with pytest.raises(LookupError):
            await store.transactions.update("tx_1", fail, NOW)
        after = await store.transactions.get("tx_1", NOW)
        assert after is not None
        assert after.notes == {"step": "21"}

    async def test_an_expired_one_is_gone(self, store: OwnStore) -> None:
        await store.transactions.put(transaction())
        assert await store.transactions.get("tx_1", NOW + 99) is not None
        assert await store.transactions.get("tx_1", NOW + 100) is None
        assert await store.transactions.update("tx_1", lambda old: old, NOW + 100) is None
        assert await store.transactions.take("tx_1", NOW + 100) is None


class TestOneTime:
    async def test_a_value_is_taken_once_and_only_under_its_kind(self, store: OwnStore) -> None:
        name = await store.once.put("ceremony", b"\x00value", 60)
        assert await store.once.take("proofing", name) is None
        assert await store.once.peek("ceremony", name) == b"\x00value"
        assert await wins(lambda: store.once.take("ceremony", name)) == 1
        assert await store.once.peek("ceremony", name) is None

    async def test_a_given_name_is_taken_by_one_value_at_a_time(self, store: OwnStore, clock: ManualClock) -> None:
        assert await wins(lambda: store.once.put_as("ceremony", "given", b"v", 60)) == 1
        assert not await store.once.put_as("proofing", "given", b"w", 60)
        assert await store.once.peek("ceremony", "given") == b"v"
        clock.advance(60)
        assert await store.once.put_as("proofing", "given", b"w", 60)

    async def test_a_change_is_atomic_and_gives_no_more_time(self, store: OwnStore, clock: ManualClock) -> None:
        name = await store.once.put("ceremony", b"0", 60)

        def count(value: bytes) -> bytes | None:
            return str(int(value) + 1).encode() if value < b"7" else None

        assert await wins(lambda: store.once.change("ceremony", name, count)) == 7
        assert await store.once.peek("ceremony", name) == b"7"
        assert await store.once.change("proofing", name, lambda _: b"x") is None
        with pytest.raises(ValueError, match="one-time"):
            await store.once.change("ceremony", name, lambda _: b"x" * 16_385)
        clock.advance(60)
        assert await store.once.change("ceremony", name, lambda _: b"x") is None

    async def test_it_expires(self, store: OwnStore, clock: ManualClock) -> None:
        name = await store.once.put("ceremony", b"v", 60)
        clock.advance(60)
        assert await store.once.peek("ceremony", name) is None
        assert await store.once.take("ceremony", name) is None

    async def test_limits(self, store: OwnStore) -> None:
        name = await store.once.put("k", b"x" * 16_384, 1)
        assert await store.once.take("k", name) is not None
        for value, ttl in ((b"x" * 16_385, 1), (b"x", 0), (b"x", -1)):
            with pytest.raises(ValueError, match="one-time"):
                await store.once.put("k", value, ttl)
        for wrong in ("", "x", name + "x", "\ud800", "x" * 100_000):
            assert await store.once.take("k", wrong) is None
