from pathlib import Path

import msgspec
import pytest

from gateway.kernel.errors import ConfigError
from gateway.kernel.secret import Secret
from idp.keys import KeyFile
from idp.model import ProofingRecord
from idp.proofing.digest import DigestKeys

NOW = 1_800_000_000
OLD, NEW = ("", Secret("k" * 40)), ("k2", Secret("z" * 40))
CARD = Secret("card")


def record(keys: DigestKeys, person: Secret = CARD, verifier: str = "v") -> ProofingRecord:
    digest = keys.digest(verifier, person)
    return ProofingRecord(
        user_id="usr_sato", level=3, method="m", verified_at=0, expires_at=None, verifier=verifier, transaction="t",
        person_digest=digest.digest, digest_key=digest.key,
    )  # fmt: skip


def test_it_depends_on_the_key_the_verifier_and_the_person() -> None:
    digests = {
        DigestKeys([key]).digest(verifier, Secret(person)).digest
        for key in (OLD, NEW)
        for verifier in ("v", "w", "v\x00c")
        for person in ("card", "ard", "\ud800")
    }
    assert len(digests) == 18
    assert all(len(digest) == 64 for digest in digests)


def test_the_first_keys_digests_stay_what_they_were() -> None:
    # HMAC-SHA256 of "verifier.example\0card-of-sato" under 40 times "k", computed with openssl.
    expected = "599c1439f65dbfab0265ab0242323e7dd922af22496cb8f14aab3cabebe2c055"
    assert DigestKeys([OLD]).digest("verifier.example", Secret("card-of-sato")).digest == expected


def test_the_newest_key_makes_digests_and_all_are_looked_under() -> None:
    keys = DigestKeys([NEW, OLD])
    assert keys.ids == ("k2", "")
    assert keys.digest("v", CARD) == DigestKeys([NEW]).digest("v", CARD)
    assert keys.candidates("v", CARD) == (DigestKeys([NEW]).digest("v", CARD), DigestKeys([OLD]).digest("v", CARD))


def test_a_record_is_recognised_under_its_own_key() -> None:
    both = DigestKeys([NEW, OLD])
    for keys in (DigestKeys([OLD]), DigestKeys([NEW])):
        assert both.same_person(record(keys), CARD)
        assert not both.same_person(record(keys), Secret("another"))
    assert not DigestKeys([NEW]).same_person(record(DigestKeys([OLD])), CARD)
    assert not both.same_person(msgspec.structs.replace(record(DigestKeys([OLD])), digest_key="k2"), CARD)


def test_a_record_of_an_older_key_can_be_renewed_by_its_person_alone() -> None:
    both = DigestKeys([NEW, OLD])
    assert both.renewed(record(DigestKeys([OLD])), CARD) == both.digest("v", CARD)
    assert both.renewed(record(DigestKeys([OLD])), Secret("another")) is None
    assert both.renewed(record(both), CARD) is None


def test_nothing_shows_a_key() -> None:
    assert "kkk" not in repr(DigestKeys([OLD])) + repr(vars(DigestKeys([OLD])))


@pytest.mark.parametrize("keys", [[], [OLD, OLD], [("", Secret("k" * 31))], [OLD, ("k2", Secret(""))]])
def test_keys_that_can_not_be_used_are_refused(keys: list[tuple[str, Secret]]) -> None:
    with pytest.raises(ConfigError):
        DigestKeys(keys)


# ---------------------------------------------------------------- the key file


async def test_a_rotation_adds_a_key_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = KeyFile.open(path, now=NOW)
    assert keys.digest_keys().ids == ("",)
    assert b"digest" not in path.read_bytes()  # an older version could still read it
    first = keys.digest_keys().digest("v", CARD)
    seal, signing = keys.sealing_key(), keys.keyset().public()
    name = await keys.rotate_digest(NOW)
    assert keys.digest_keys().ids == (name, "")
    assert keys.digest_keys().candidates("v", CARD)[1] == first
    other = await keys.rotate_digest(NOW)
    again = KeyFile.open(path, now=NOW)
    assert again.digest_keys().ids == (other, name, "")
    assert again.digest_keys().candidates("v", CARD) == keys.digest_keys().candidates("v", CARD)
    assert (again.sealing_key(), again.keyset().public()) == (seal, signing)
    await again.rotate(NOW)
    assert again.digest_keys().ids == (other, name, "")


async def test_other_processes_see_a_rotation_at_once(tmp_path: Path) -> None:
    one, two = (KeyFile.open(tmp_path / "keys.json", now=NOW) for _ in range(2))
    name = await one.rotate_digest(NOW)
    assert two.digest_keys().ids == (name, "")
    await two.rotate(NOW)
    assert one.digest_keys().ids == (name, "")
    assert one.refresh()  # having looked at the digest keys does not hide that the signing key is another
    assert not one.refresh()
    assert one.keyset().public() == two.keyset().public()


async def test_an_old_key_can_be_dropped_when_nothing_uses_it(tmp_path: Path) -> None:
    keys = KeyFile.open(tmp_path / "keys.json", now=NOW)
    with pytest.raises(ConfigError, match="is the newest"):
        await keys.drop_digest("", in_use=())
    name = await keys.rotate_digest(NOW)
    with pytest.raises(ConfigError, match="in use"):
        await keys.drop_digest("", in_use={"": 3})
    with pytest.raises(ConfigError, match="not there"):
        await keys.drop_digest("k9", in_use=())
    with pytest.raises(ConfigError, match="is the newest"):
        await keys.drop_digest(name, in_use=())
    await keys.drop_digest("", in_use={name: 3})
    assert KeyFile.open(tmp_path / "keys.json", now=NOW).digest_keys().ids == (name,)
    newest = await keys.rotate_digest(NOW)
    await keys.drop_digest(name, in_use=())
    assert keys.digest_keys().ids == (newest,)


@pytest.mark.parametrize(
    "damage", [(b'"key":"', b'"key":"short","x":"'), (b'"id":"', b'"id":"","was":"'), (b'"digest":[', b'"digest":[1,')]
)
async def test_a_damaged_digest_key_is_refused(tmp_path: Path, damage: tuple[bytes, bytes]) -> None:
    path = tmp_path / "keys.json"
    await KeyFile.open(path, now=NOW).rotate_digest(NOW)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(*damage))
    assert path.read_bytes() != raw
    with pytest.raises(ConfigError):
        KeyFile.open(path, now=NOW)


async def test_a_file_without_any_digest_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyFile.open(path, now=NOW)
    path.write_bytes(path.read_bytes().replace(b'{"signing"', b'{"first_digest":false,"signing"'))
    with pytest.raises(ConfigError, match="not complete"):
        KeyFile.open(path, now=NOW)
