"""The check list as a list, its order, and what a proofing yields."""

import re
from pathlib import Path

import pytest

import idp.proofing.jpki
from idp.proofing.jpki import checks
from idp.proofing.jpki.text import text_to_sign
from idp.proofing.port import NotProofed, Person, Proofed, Verified
from tests.support import asn1
from tests.support.jpki import NOW, JpkiSite, outcome, verdict
from tests.support.jpki_ca import LEAF_TO, attributes

PACKAGE = Path(idp.proofing.jpki.__file__).parent


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    site = JpkiSite(tmp_path)
    site.publish("sign")
    site.publish("auth")
    return site


def test_every_number_of_the_list_stands_above_its_code() -> None:
    assert checks.__doc__ is not None
    listed = [int(number) for number in re.findall(r"^ ?(\d+)\. ", checks.__doc__, re.MULTILINE)]
    assert listed == list(range(1, 19))
    above = [
        int(number)
        for path in PACKAGE.glob("*.py")
        for number in re.findall(r"^ +# \[(\d+)\] ", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert set(above) == set(listed)


async def test_what_a_signing_certificate_yields(site: JpkiSite) -> None:
    found = await outcome(site.backend(), site.ca().issue(names=attributes("髙﨑　恵", substitutes="0100")))
    assert isinstance(found, Proofed)
    assert (found.level, found.method, found.evidence, found.vouched) == (3, "jpki_sign", "electronic_signature", False)
    assert (found.verified_at, found.expires_at, found.verifier) == (NOW, LEAF_TO, "ひまわり検証")
    assert re.fullmatch(r"jpki_sign_[0-9a-f]{32}", found.transaction)
    assert found.attributes == Verified(name="髙﨑　恵", substitutes=(2,), birth_date="319840512")


async def test_the_authentication_certificate_names_nobody(site: JpkiSite) -> None:
    found = await outcome(site.backend("auth"), site.ca("auth").issue())
    assert isinstance(found, Proofed)
    assert (found.method, found.attributes, found.vouched) == ("jpki_auth", None, False)


async def test_a_proofing_ends_with_the_certificate_or_earlier(site: JpkiSite) -> None:
    found = await outcome(site.backend(valid_days=30), site.ca().issue())
    assert isinstance(found, Proofed)
    assert found.expires_at == NOW + 30 * 86_400


async def test_nothing_personal_stays_in_the_state_but_the_text(site: JpkiSite) -> None:
    started = await site.backend().begin(Person(user_id="usr_sato", name="佐藤 恵", birth_date="1984-05-12"), "renewal")
    assert b"1984" not in started.state
    assert b"usr_sato" not in started.state
    assert "(更新)" in started.show.values["text"]


async def test_genuine_comes_before_expired(site: JpkiSite) -> None:
    """What a forger's certificate says of its own life is of no interest."""
    over = asn1.utc_time(NOW - 1)
    assert await verdict(site.backend(), site.ca().issue(not_after=over)) == "card_expired"
    assert await verdict(site.backend(), site.ca().issue(not_after=over, signer=site.ca("auth").key)) == "wrong_card"


async def test_nobody_is_asked_about_a_card_that_was_not_there(site: JpkiSite) -> None:
    """A wrong signature is a no, whatever the state of the revocation lists."""
    for file in site.lists("sign").iterdir():
        file.unlink()
    backend, card = site.backend(), site.ca().issue()
    started = await backend.begin(Person(user_id="usr_sato", name="佐藤 恵"), "sign_in")
    answer = card.answer("AAAA")
    assert await backend.complete(started.state, answer) == NotProofed(reason="unusable_answer")


def test_the_text_is_the_same_for_the_same_arguments() -> None:
    def text(nonce: bytes) -> str:
        return text_to_sign(
            institution="病院", verifier="検証者", name="佐藤 恵", purpose="sign_in", at=0, transaction="t", nonce=nonce
        )  # fmt: skip

    assert text(bytes(32)) == text(bytes(32)) != text(bytes(31) + b"\x01")
    assert "1970年01月01日 09時00分00秒(日本時間)" in text(bytes(32))
    with pytest.raises(ValueError, match="32 bytes"):
        text(b"short")
