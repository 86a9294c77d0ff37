"""What every store of the identity provider promises (`idp.ports`). One backend today; another one joins the fixture."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

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
    ProofingRecord,
    RecoveryCodes,
    SsoSession,
    TotpCredential,
    User,
)
from idp.store import open_store

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


class TestProofing:
    def record(self, **changes: object) -> ProofingRecord:
        base = ProofingRecord(
            user_id=SATO.id, level=3, method="jpki_sign", verified_at=NOW, expires_at=NOW + 10, verifier="pf", transaction="t1",
            person_digest="d1",
        )  # fmt: skip
        return msgspec.structs.replace(base, **changes)

    async def test_the_newest_counts_and_the_rest_is_kept(self, store: OwnStore) -> None:
        assert await store.proofing.latest(SATO.id) is None
        await store.proofing.add(self.record())
        newer = self.record(transaction="t2", level=2, expires_at=None)
        await store.proofing.add(newer)
        assert await store.proofing.latest(SATO.id) == newer
        assert newer.in_force(NOW + 10**9)
        assert not self.record().in_force(NOW + 10)
        assert self.record().in_force(NOW + 9)

    async def test_one_proofing_counts_for_one_account(self, store: OwnStore) -> None:
        await store.proofing.add(self.record())
        with pytest.raises(ValueError, match="used before"):
            await store.proofing.add(self.record(user_id=SUZUKI.id))
        assert await store.proofing.latest(SUZUKI.id) is None
        await store.proofing.add(self.record(user_id=SUZUKI.id, transaction="t9"))
        assert await store.proofing.users_with_digest("d1") == [SATO.id, SUZUKI.id]
        assert await store.proofing.users_with_digest("d2") == []

    @pytest.mark.parametrize("level", [0, 4, -1])
    async def test_a_level_that_does_not_exist_is_refused(self, store: OwnStore, level: int) -> None:
        with pytest.raises(ValueError, match="level"):
            await store.proofing.add(self.record(level=level))


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
