"""Revocation lists in a folder: read once for each change, linear in their length, beside the event loop; and asking again."""

import asyncio
import threading
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from gateway.kernel.secret import Secret
from idp.proofing.jpki import folder as under_test
from idp.proofing.jpki.backend import JpkiBackend
from idp.proofing.jpki.crl import Crl, parse_crl, revoked_serials
from idp.proofing.jpki.der import Malformed
from idp.proofing.jpki.roots import Root, load_roots
from idp.proofing.port import Expired, Proofed, Recorded, Revoked, Unknown, Valid
from tests.support import asn1
from tests.support.jpki import NOW, JpkiSite, outcome, verdict
from tests.support.jpki_ca import point_name

FIVE, DATE = asn1.integer(5), asn1.utc_time(NOW)


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    site = JpkiSite(tmp_path)
    site.publish()
    return site


@pytest.fixture
def roots(site: JpkiSite) -> tuple[Root, ...]:
    return load_roots((site.root("sign", 1), site.root("sign", 2)), NOW)


def test_a_list_is_read_as_it_was_written(site: JpkiSite, roots: tuple[Root, ...]) -> None:
    serials = {1, 0x7F, 0x80, 0xFF, 0x1A2B3C4D, 2**159 - 1}
    found = parse_crl(site.ca().crl(sorted(serials), this_update=NOW), roots)
    assert found == Crl(
        key_id=site.ca().key_id, issuer=site.ca().name, names=frozenset(), this_update=NOW, next_update=NOW + 172_800,
        serials=frozenset(serials),
    )  # fmt: skip
    for entry in (b"", asn1.seq(asn1.extension("2.5.29.24", asn1.general_time(NOW)))):
        assert parse_crl(site.ca().crl((5,), this_update=NOW, entry=entry), roots).serials == {5}
    long = asn1.seq(asn1.extension("1.2.3.4", asn1.octets(bytes(200))))  # an entry whose length takes two bytes
    assert parse_crl(site.ca().crl((5, 6), this_update=NOW, entry=long), roots).serials == {5, 6}


@pytest.mark.parametrize(
    "entry",
    [
        b"\x30\x00", b"\x30", b"\x31\x00", asn1.seq(b"\x02\x00", DATE), asn1.seq(b"\x02\x02\x00\x05", DATE),
        asn1.seq(asn1.integer(-5), DATE), asn1.seq(asn1.integer(1 << 160), DATE), asn1.seq(FIVE),
        asn1.seq(FIVE, asn1.utf8("270115080000Z")),
        asn1.seq(FIVE, asn1.tlv(0x17, b"270115080000")), asn1.seq(FIVE, asn1.tlv(0x17, b"270115080000z")),
        asn1.seq(FIVE, asn1.general_time(NOW)[:-1]), asn1.seq(FIVE, DATE, asn1.integer(1)),
        asn1.seq(FIVE, DATE, asn1.seq(), asn1.seq()),
        asn1.seq(asn1.utf8("5"), DATE), asn1.seq(FIVE, DATE)[:-1],
    ],
)  # fmt: skip
def test_entries_that_are_none(entry: bytes) -> None:
    good = asn1.seq(FIVE, DATE)
    assert revoked_serials(good + good) == {5}
    for data in (entry, good + entry, entry + good):
        with pytest.raises(Malformed):
            revoked_serials(data)


def test_a_list_of_a_hundred_thousand(site: JpkiSite, roots: tuple[Root, ...]) -> None:
    serials = range(1, 700_001, 7)
    assert parse_crl(site.ca().crl(serials, this_update=NOW), roots).serials == frozenset(serials)


async def test_a_file_is_read_once_for_each_change(site: JpkiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    read, threads = list[str](), set[int]()

    def noted(data: bytes, roots: tuple[Root, ...]) -> Crl:
        found = parse_crl(data, roots)
        read.append(found.key_id.hex())
        threads.add(threading.get_ident())
        return found

    monkeypatch.setattr(under_test, "parse_crl", noted)
    backend, card = site.backend(), site.ca().issue()
    first, second = site.ca("sign", 1).key_id.hex(), site.ca().key_id.hex()
    assert [await verdict(backend, card) for _ in range(3)] == ["proofed"] * 3
    assert await asyncio.gather(*(verdict(backend, card) for _ in range(8))) == ["proofed"] * 8
    assert read == [first, second]
    site.deliver("sign", "2.crl", site.ca().crl((card_serial(),), this_update=NOW - 5))
    assert await verdict(backend, card) == "card_revoked"
    assert read == [first, second, second]
    assert threading.get_ident() not in threads


def card_serial() -> int:
    return 0x1A2B3C4D


# ---------------------------------------------------------------- asked again


async def kept(backend: JpkiBackend, site: JpkiSite) -> tuple[Recorded, list[str]]:
    """A record of a proofing, and what it was asked about."""
    found = await outcome(backend, site.ca().issue())
    assert isinstance(found, Proofed)
    asked: list[str] = []

    def is_person(other: Secret) -> bool:
        asked.append(other.reveal())
        return other == found.person

    return Recorded(
        verifier=found.verifier, transaction=found.transaction, verified_at=found.verified_at, expires_at=found.expires_at,
        is_person=is_person,
    ), asked  # fmt: skip


async def test_valid_revoked_and_expired(site: JpkiSite) -> None:
    clock = ManualClock(NOW)
    backend = site.backend(clock=clock)
    record, _ = await kept(backend, site)
    assert await backend.recheck(record) == Valid()
    site.publish(revoked=(7, card_serial(), 9))
    assert await backend.recheck(record) == Revoked()
    assert record.expires_at is not None
    clock.advance(record.expires_at - NOW)
    assert await backend.recheck(record) == Expired()


async def test_the_number_of_another_generations_card_is_another_card(site: JpkiSite) -> None:
    backend = site.backend()
    record, _ = await kept(backend, site)
    site.deliver("sign", "1.crl", site.ca("sign", 1).crl((card_serial(),), this_update=NOW - 60))
    assert await backend.recheck(record) == Valid()


async def test_only_what_came_since_is_asked_about_again(site: JpkiSite) -> None:
    backend = site.backend()
    site.publish(revoked=range(100, 200))
    record, asked = await kept(backend, site)
    assert await backend.recheck(record) == Valid()
    assert len(asked) == 100
    assert await backend.recheck(record) == Valid()
    assert len(asked) == 100
    site.publish(revoked=range(100, 203))
    assert await backend.recheck(record) == Valid()
    assert [text.rpartition(":")[2] for text in asked[100:]] == [f"{serial:x}" for serial in range(200, 203)]
    site.publish(revoked=(*range(100, 203), card_serial()))
    assert await backend.recheck(record) == Revoked()
    assert await backend.recheck(record) == Revoked()  # found once, and found again


async def test_valid_takes_a_fresh_whole_list_of_every_root(site: JpkiSite) -> None:
    clock = ManualClock(NOW)
    backend = site.backend(clock=clock)
    record, _ = await kept(backend, site)
    (site.lists("sign") / "1.crl").unlink()
    assert isinstance(await backend.recheck(record), Unknown)
    only_minato = site.ca("sign", 1).crl((), this_update=NOW - 60, names=(point_name("Minato-ku"),))
    site.deliver("sign", "1.crl", only_minato)
    assert isinstance(await backend.recheck(record), Unknown)
    site.publish()
    assert await backend.recheck(record) == Valid()
    clock.advance(36 * 3600)
    assert isinstance(await backend.recheck(record), Unknown)
    site.publish(revoked=(card_serial(),))  # old, but what is revoked stays revoked
    assert await backend.recheck(record) == Revoked()
    site.deliver("sign", "2.crl", b"")
    assert isinstance(await backend.recheck(record), Unknown)


async def test_nobody_knows_with_a_responder_or_of_the_other_certificate(site: JpkiSite) -> None:
    record, _ = await kept(site.backend(), site)
    by_responder = site.backend(crl_folder=None, ocsp_url="http://127.0.0.1:9/")
    assert isinstance(await by_responder.recheck(record), Unknown)
    site.publish("auth")
    assert isinstance(await site.backend("auth").recheck(record), Unknown)
    await by_responder.close()


async def test_the_memory_of_what_was_asked_has_a_bound(site: JpkiSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_RECORDS", 2)
    backend = site.backend()
    site.publish(revoked=(1,))
    records = [await kept(backend, site) for _ in range(3)]
    for record, _ in records:
        assert await backend.recheck(record) == Valid()
    for record, _ in reversed(records):
        assert await backend.recheck(record) == Valid()
    assert [len(asked) for _, asked in records] == [2, 1, 1]
