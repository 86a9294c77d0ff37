"""Revocation, whose silence is never a yes and never a no: lists that are missing, stale, of another CA, unsigned, strange;
OCSP answers to another question, replayed, or signed by somebody else. All of them are Broken.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from idp.proofing.jpki import ocsp
from idp.proofing.jpki.certificate import Certificate, parse_certificate
from idp.proofing.jpki.roots import Root, parse_root
from idp.proofing.jpki.standing import Good, NoAnswer, RevokedThere, Standing
from tests.support import asn1
from tests.support.jpki import NOW, JpkiSite, verdict
from tests.support.jpki_ca import REASON, Authority, key, key_hash, point_name
from tests.support.jpki_ocsp import NO_CHECK, OCSP_SIGNING, Response, delegate, error, usage

SERIAL = 0x1A2B3C4D
CRITICAL_UNKNOWN = asn1.extension("1.2.392.200149.8.5.99", asn1.NULL, critical=True)


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    return JpkiSite(tmp_path)


async def listed(site: JpkiSite, data: bytes) -> str:
    """How a proofing ends where this is the second generation's list."""
    site.publish()
    site.deliver("sign", "2.crl", data)
    return await verdict(site.backend(), site.ca().issue())


# ---------------------------------------------------------------- lists


async def test_a_revoked_card(site: JpkiSite) -> None:
    assert await listed(site, site.ca().crl((7, SERIAL, 9), this_update=NOW - 60)) == "card_revoked"
    assert await listed(site, site.ca().crl((7, SERIAL + 1, 9), this_update=NOW - 60)) == "proofed"
    assert await listed(site, site.ca().crl((), this_update=NOW - 60)) == "proofed"


async def test_a_card_that_is_only_on_hold_is_revoked_too(site: JpkiSite) -> None:
    hold = asn1.seq(asn1.extension("2.5.29.21", asn1.tlv(0x0A, b"\x06")))
    assert await listed(site, site.ca().crl((SERIAL,), this_update=NOW - 60, entry=hold)) == "card_revoked"


async def test_no_list_at_all(site: JpkiSite) -> None:
    assert await verdict(site.backend(), site.ca().issue()) == "broken: jpki: there are no revocation lists"
    gone = site.backend(crl_folder=site.folder / "nowhere")
    assert await verdict(gone, site.ca().issue()) == "broken: jpki: there are no revocation lists"


async def test_only_the_other_generations_list(site: JpkiSite) -> None:
    """Both have the same name: the key tells them apart."""
    site.deliver("sign", "1.crl", site.ca("sign", 1).crl((), this_update=NOW - 60))
    assert await verdict(site.backend(), site.ca().issue()) == "broken: jpki: there is no revocation list for this card"
    assert await verdict(site.backend(), site.ca("sign", 1).issue()) == "proofed"


@pytest.mark.parametrize(
    ("this_update", "next_update", "expected"),
    [
        (NOW - 3600, NOW + 1, "proofed"), (NOW - 3600, NOW, "too old"), (NOW - 86_400, NOW - 1, "too old"),
        (NOW - 36 * 3600 + 1, NOW + 86_400, "proofed"), (NOW - 36 * 3600, NOW + 86_400 * 365, "too old"),
        (NOW + 300, NOW + 86_400, "proofed"), (NOW + 301, NOW + 86_400, "not yet in force"),
    ],
)  # fmt: skip
async def test_a_stale_list(site: JpkiSite, this_update: int, next_update: int, expected: str) -> None:
    """Whatever it says of its own life, it counts for 36 hours at most."""
    assert expected in await listed(site, site.ca().crl((), this_update=this_update, next_update=next_update))


async def test_a_list_that_turned_stale_while_we_ran(site: JpkiSite) -> None:
    site.publish()
    clock = ManualClock(NOW)
    backend = site.backend(clock=clock)
    assert await verdict(backend, site.ca().issue()) == "proofed"
    clock.advance(36 * 3600)
    assert "too old" in await verdict(backend, site.ca().issue())
    site.publish(at=NOW + 36 * 3600 - 60)
    assert await verdict(backend, site.ca().issue()) == "proofed"


async def test_an_old_list_played_back_beside_the_new_one(site: JpkiSite) -> None:
    site.publish(revoked=(SERIAL,))
    site.deliver("sign", "0-old.crl", site.ca().crl((), this_update=NOW - 7200))
    site.deliver("sign", "9-old.crl", site.ca().crl((), this_update=NOW - 7200))
    assert await verdict(site.backend(), site.ca().issue()) == "card_revoked"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda site: site.ca("auth").crl((), this_update=NOW - 60), "of another CA"),
        (lambda site: Authority("sign", private=key("forger")).crl((), this_update=NOW - 60), "of another CA"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, key_id=bytes(20)), "of another CA"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, issuer=site.ca("auth").name), "of another CA"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, signer=key("forger")), "did not sign"),
        (lambda site: site.ca("sign", 1).crl((), this_update=NOW - 60, key_id=site.ca().key_id), "did not sign"),
        (lambda site: site.ca().crl((), this_update=NOW - 60)[:-256] + bytes(256), "did not sign"),
        (lambda site: site.ca().crl((), this_update=NOW - 60) + b"\x00", "bytes after it"),
        (lambda site: site.ca().crl((), this_update=NOW - 60)[:-1], "cut short"),
        (lambda site: b"", "cut short"),
        (lambda site: b"<html>maintenance</html>", "cut short"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, more=(CRITICAL_UNKNOWN,)), "not understood"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, more=(_delta(),)), "not understood"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, more=(_point(b"\x84\x01\xff"),)), "a field too many"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, more=(_point(b"\x83\x02\x06\x40"),)), "a field too many"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, more=(_point(b"\x82\x01\xff"),)), "a field too many"),
        (lambda site: site.ca().crl((1,), this_update=NOW - 60, entry=_of_another_ca()), "not understood"),
        (lambda site: site.ca().crl((), this_update=NOW - 60, inner=asn1.algorithm("1.2.840.113549.1.1.5")), "sha256With"),
        (lambda site: site.ca().crl((-5,), this_update=NOW - 60), "negative"),
    ],
)  # fmt: skip
async def test_a_list_that_can_not_be_used(site: JpkiSite, make: Callable[[JpkiSite], bytes], why: str) -> None:
    """Broken, also where a good list lies beside it: nobody knows what this one would have said."""
    said = await listed(site, make(site))
    assert said.startswith("broken: jpki: revocation list '2.crl': ")
    assert why in said
    site.deliver("sign", "3.crl", site.ca().crl((), this_update=NOW - 60))
    assert await verdict(site.backend(), site.ca().issue()) == said


def _delta() -> bytes:
    return asn1.extension("2.5.29.27", asn1.integer(1), critical=True)


def _point(flag: bytes) -> bytes:
    """An issuingDistributionPoint: indirect [4], some reasons [3], CA certificates only [2]."""
    return asn1.extension("2.5.29.28", asn1.seq(flag), critical=True)


def _of_another_ca() -> bytes:
    other = asn1.tlv(0xA4, asn1.name(("2.5.4.6", "JP")))
    return asn1.seq(asn1.extension("2.5.29.29", asn1.seq(other), critical=True))


async def test_a_file_that_is_not_there_yet_or_unreadable(site: JpkiSite) -> None:
    site.publish()
    (site.lists("sign") / "dangling.crl").symlink_to(site.folder / "nowhere")
    assert "broken: jpki: the folder of revocation lists can't be read" in await verdict(site.backend(), site.ca().issue())
    (site.lists("sign") / "dangling.crl").unlink()
    (site.lists("sign") / "folder.crl").mkdir()
    assert "can't be read" in await verdict(site.backend(), site.ca().issue())
    (site.lists("sign") / "folder.crl").rmdir()
    (site.lists("sign") / "half.crl.part").write_bytes(b"half")  # not ours to look at
    assert await verdict(site.backend(), site.ca().issue()) == "proofed"


async def test_a_list_of_one_distribution_point_is_for_its_cards_alone(site: JpkiSite) -> None:
    chiyoda, minato = (point_name(city) for city in ("Chiyoda-ku", "Minato-ku"))
    site.deliver("sign", "minato.crl", site.ca().crl((), this_update=NOW - 60, names=(minato,)))
    backend, card = site.backend(), site.ca().issue()
    assert await verdict(backend, card) == "broken: jpki: there is no revocation list for this card"
    assert await verdict(backend, site.ca().issue(city="Minato-ku")) == "proofed"
    site.deliver("sign", "chiyoda.crl", site.ca().crl((), this_update=NOW - 60, names=(chiyoda,)))
    assert await verdict(backend, card) == "proofed"
    site.deliver("sign", "chiyoda.crl", site.ca().crl((SERIAL,), this_update=NOW - 30, names=(chiyoda,)))
    assert await verdict(backend, card) == "card_revoked"
    without = site.ca().issue(without=frozenset({"2.5.29.31"}))
    assert await verdict(backend, without) == "broken: jpki: there is no revocation list for this card"


# ---------------------------------------------------------------- OCSP


NONCE = bytes(range(32))
DEMANDS = ocsp.Demands(age=3600, nonce=True, no_check=True)


class Asked:
    """One question to the second generation's responder."""

    def __init__(self, site: JpkiSite) -> None:
        self.ca = site.ca()
        self.certificate: Certificate = parse_certificate(self.ca.issue().certificate)
        self.root: Root = parse_root(self.ca.certificate)

    def judged(self, *, nonce: bytes = NONCE, demands: ocsp.Demands = DEMANDS, **fields: object) -> Standing:
        return self.read(self.response(**fields).encode(), nonce=nonce, demands=demands)

    def response(self, **fields: object) -> Response:
        good: dict[str, object] = {"ca": self.ca, "serial": SERIAL, "at": NOW - 60, "nonce": NONCE}
        return Response(**(good | fields))  # type: ignore[arg-type]

    def read(self, data: bytes, *, nonce: bytes = NONCE, demands: ocsp.Demands = DEMANDS) -> Standing:
        return ocsp.judge(data, self.certificate, self.root, nonce, demands=demands, now=NOW)


@pytest.fixture
def asked(site: JpkiSite) -> Asked:
    return Asked(site)


def test_good_revoked_and_unknown(asked: Asked) -> None:
    assert asked.judged() == Good()
    assert asked.judged(status="revoked") == RevokedThere()
    assert asked.judged(status="unknown") == NoAnswer(detail="jpki: the OCSP answer does not know the certificate")


def test_a_replayed_answer(asked: Asked) -> None:
    """An old "good", for another nonce or for none, after the card was revoked."""
    for nonce in (None, b"", bytes(32), NONCE[:16], NONCE + b"\x00"):
        assert asked.judged(nonce=NONCE) == Good()
        found = asked.read(asked.response(nonce=nonce).encode())
        assert isinstance(found, NoAnswer)
    twice = asked.response(more=(asn1.extension("1.3.6.1.5.5.7.48.1.2", asn1.octets(NONCE)),)).encode()
    assert isinstance(asked.read(twice), NoAnswer)


def test_a_responder_without_nonces_is_believed_for_an_hour(asked: Asked) -> None:
    plain = ocsp.Demands(age=3600, nonce=False, no_check=True)
    late = NOW + 86_400
    assert asked.judged(nonce=b"", demands=plain) == Good()
    for at, expected in ((NOW - 3599, True), (NOW - 3600, False), (NOW - 86_400, False), (NOW + 300, True), (NOW + 301, False)):
        assert (asked.judged(nonce=b"", demands=plain, at=at, next_update=late) == Good()) is expected


def test_times_of_an_answer(asked: Asked) -> None:
    assert asked.judged(next_update=NOW + 1) == Good()
    assert asked.judged(next_update=None) == Good()
    assert asked.judged(next_update=NOW) == NoAnswer(detail="jpki: the OCSP answer is over")
    assert isinstance(asked.judged(produced_at=NOW + 301), NoAnswer)


def test_an_answer_about_another_certificate(asked: Asked) -> None:
    about = NoAnswer(detail="jpki: the OCSP answer is about another certificate")
    assert asked.judged(serial=SERIAL + 1) == about
    assert asked.judged(issuer_name=asn1.name(("2.5.4.6", "JP"))) == about
    assert asked.judged(twice=True) == about
    assert asked.judged(hash_oid="2.16.840.1.101.3.4.2.1") == about


def test_an_answer_of_another_ca(asked: Asked, site: JpkiSite) -> None:
    for ca in (site.ca("sign", 1), site.ca("auth"), Authority("sign", private=key("forger"))):
        assert asked.judged(ca=ca) == NoAnswer(detail="jpki: the OCSP answer is signed by nobody who may")


def test_an_answer_that_nobody_signed(asked: Asked) -> None:
    nobody = NoAnswer(detail="jpki: the OCSP answer is signed by nobody who may")
    assert asked.judged(signer=key("forger")) == nobody
    assert asked.judged(signer=key("forger"), responder=asked.ca.key) == nobody
    good = asked.response().encode()
    assert asked.read(good[:-256] + bytes(256)) == nobody
    weak = asked.judged(algorithm=asn1.algorithm("1.2.840.113549.1.1.5"))
    assert weak == NoAnswer(detail="jpki: the OCSP answer is not signed with sha256WithRSAEncryption")


def test_a_delegated_responder(asked: Asked) -> None:
    private = key("responder")

    def delegated(*more: bytes, demands: ocsp.Demands = DEMANDS, **fields: object) -> Standing:
        card = delegate(asked.ca, private, *more, **fields)
        return asked.judged(demands=demands, signer=private, certificates=(card.certificate,))

    assert delegated() == Good()
    assert delegated(without=frozenset({"2.5.29.31", "2.5.29.32", "2.5.29.35"})) == Good()
    assert delegated(usage(OCSP_SIGNING), demands=ocsp.Demands(age=3600, nonce=True, no_check=False)) == Good()
    bad = (
        delegated(NO_CHECK),  # not for OCSP
        delegated(usage("1.3.6.1.5.5.7.3.2"), NO_CHECK), delegated(usage("2.5.29.37.0"), NO_CHECK),
        delegated(usage(OCSP_SIGNING, "1.3.6.1.5.5.7.3.2"), NO_CHECK),
        delegated(usage(OCSP_SIGNING)),  # nothing says that it is not revoked
        delegated(signer=key("forger")), delegated(authority_key=bytes(20)), delegated(key_usage=(6,)),
        delegated(issuer=asn1.name(("2.5.4.6", "JP"))), delegated(not_after=asn1.utc_time(NOW)),
        delegated(not_before=asn1.utc_time(NOW + 1)), delegated(usage(OCSP_SIGNING), NO_CHECK, CRITICAL_UNKNOWN),
        delegated(usage(OCSP_SIGNING), NO_CHECK, asn1.extension("2.5.29.19", asn1.seq(asn1.TRUE), critical=True)),
    )  # fmt: skip
    assert [found for found in bad if not isinstance(found, NoAnswer)] == []
    # a card's own key answers for the card
    holder = asked.ca.issue()
    assert isinstance(asked.judged(signer=holder.key, certificates=(holder.certificate,)), NoAnswer)
    # signed by the one, said to be of the other
    card = delegate(asked.ca, private)
    assert isinstance(asked.judged(signer=key("forger"), responder=private, certificates=(card.certificate,)), NoAnswer)
    assert isinstance(asked.judged(signer=private, responder=asked.ca.key, certificates=(card.certificate,)), NoAnswer)


def test_critical_extensions_that_nobody_understands(asked: Asked) -> None:
    assert isinstance(asked.judged(more=(CRITICAL_UNKNOWN,)), NoAnswer)
    assert isinstance(asked.judged(more_of_one=(CRITICAL_UNKNOWN,)), NoAnswer)
    assert asked.judged(more_of_one=(asn1.extension("1.2.392.200149.8.5.99", asn1.NULL),)) == Good()


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6])
def test_error_answers(asked: Asked, number: int) -> None:
    assert isinstance(asked.read(error(number)), NoAnswer)


def test_answers_that_are_none(asked: Asked) -> None:
    good = asked.response().encode()
    for data in (b"", b"\x30", b"\x00" * 64, good[:-1], good + b"\x00", error(0), error(9), asn1.seq(), b"<html></html>"):
        assert isinstance(asked.read(data), NoAnswer)
    for place in range(0, len(good), 7):
        mangled = bytearray(good)
        mangled[place] ^= 0x01
        assert isinstance(asked.read(bytes(mangled)), NoAnswer)


def test_certificates_in_an_answer_that_are_none(asked: Asked) -> None:
    """Of another version, with an extension twice, without a key that anybody knows; and no certificate at all."""
    private = key("responder")
    twice = delegate(asked.ca, private, NO_CHECK, NO_CHECK, usage(OCSP_SIGNING))
    odd = delegate(asked.ca, private, version=asn1.tlv(0xA0, asn1.integer(5)))
    unknown = delegate(asked.ca, private, key_info=asn1.seq(asn1.algorithm("1.2.3.4"), asn1.bits(b"key")))
    strange = delegate(asked.ca, private, usage(OCSP_SIGNING), asn1.extension("2.5.29.17", asn1.seq(b"\xa3\x00")))
    for certificate in (twice.certificate, odd.certificate, unknown.certificate, strange.certificate, asn1.seq(), asn1.NULL):
        assert isinstance(asked.judged(signer=private, certificates=(certificate,)), NoAnswer)
    good = delegate(asked.ca, private).certificate
    assert isinstance(asked.judged(signer=private, certificates=(odd.certificate, good)), NoAnswer)


def test_the_question_names_the_certificate_and_nothing_else(asked: Asked) -> None:
    question = ocsp.ask(asked.certificate, asked.root, NONCE)
    assert key_hash(asked.ca.key) in question
    assert NONCE in question
    assert "佐藤".encode() not in question
    assert REASON not in question
    assert NONCE not in ocsp.ask(asked.certificate, asked.root, b"")
