"""What was signed: the text of this beginning, every byte of it and nothing else (GHSA-g258-q5gf-7hvx: bytes that a signature was
said to cover and did not), once, by this person's card.
"""

import base64
import json
from pathlib import Path

import pytest

from gateway.kernel.clock import ManualClock
from idp.proofing.jpki.backend import JpkiBackend
from idp.proofing.port import Person, Proofed, Started
from tests.support.jpki import NOW, SATO, JpkiSite, verdict, word
from tests.support.jpki_ca import Card, challenge_of, key, sign

SUZUKI = Person(user_id="usr_suzuki", name="鈴木 翔")


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    site = JpkiSite(tmp_path)
    site.publish("sign")
    site.publish("auth")
    return site


@pytest.fixture
def backend(site: JpkiSite) -> JpkiBackend:
    return site.backend()


async def began(backend: JpkiBackend, person: Person = SATO) -> tuple[Started, bytes]:
    started = await backend.begin(person, "sign_in")
    assert isinstance(started, Started)
    return started, base64.b64decode(challenge_of(started.show.values))


async def answered(backend: JpkiBackend, started: Started, card: Card, content: bytes) -> str:
    answer = {
        "kind": card.kind, "certificate": base64.b64encode(card.certificate).decode(),
        "signature": base64.b64encode(card.sign(content)).decode(),
    }  # fmt: skip
    return word(await backend.complete(started.state, answer))


async def test_what_is_signed_is_what_is_shown(backend: JpkiBackend) -> None:
    started, challenge = await began(backend)
    text = started.show.values["text"]
    assert challenge == text.encode()
    assert started.show.values["challenge"] == base64.b64encode(challenge).decode()
    for part in ("ひまわり病院", "ひまわり検証", "佐藤 恵", "本人確認", "2027年01月15日 17時00分00秒(日本時間)"):
        assert part in text


async def test_another_text_GHSA_g258_q5gf_7hvx(site: JpkiSite, backend: JpkiBackend) -> None:  # noqa: N802
    """Every way in which a signature could be over other bytes than the ones that count."""
    card = site.ca().issue()
    started, text = await began(backend)
    nonce = text.rstrip().rpartition(b" ")[2]
    assert len(nonce) == 64
    for other in (
        b"", b"\x00" + text, b" " + text, b"\xef\xbb\xbf" + text, text + b"\x00", text + b"\n", text[1:], text[:-1],
        text.strip(), text.replace(b"\n", b"\r\n"), text.replace("ひまわり病院".encode(), "ほかの病院".encode()),
        text.replace(nonce, bytes(64)), text.replace(nonce, nonce[::-1]), text + text,
        base64.b64encode(text), nonce, bytes.fromhex(nonce.decode()),
    ):  # fmt: skip
        assert await answered(backend, started, card, other) == "unusable_answer"
    assert await answered(backend, started, card, text) == "proofed"


async def test_an_answer_to_another_beginning(site: JpkiSite, backend: JpkiBackend) -> None:
    """Replayed, and moved from one person or one session to another."""
    card = site.ca().issue()
    first, text = await began(backend)
    assert await answered(backend, first, card, text) == "proofed"
    for person in (SATO, SUZUKI):
        second, _ = await began(backend, person)
        assert await answered(backend, second, card, text) == "unusable_answer"


async def test_an_answer_to_another_installation(site: JpkiSite) -> None:
    card = site.ca().issue()
    mine, other = site.backend(), site.backend(institution="ほかの病院")
    _, text = await began(other)
    started, _ = await began(mine)
    assert await answered(mine, started, card, text) == "unusable_answer"


async def test_no_two_beginnings_have_the_same_text(backend: JpkiBackend) -> None:
    assert len({(await began(backend))[1] for _ in range(20)}) == 20


async def test_a_name_can_not_write_lines_into_the_text(backend: JpkiBackend) -> None:
    name = "佐藤\n提出先: ほかの病院\u202e\u2028\x1b[2J\u200b"
    _, text = await began(backend, Person(user_id="usr_x", name=name))
    lines = text.decode().split("\n")
    assert [line for line in lines if line.startswith("提出先")] == ["提出先: ひまわり病院"]
    assert "\\u{202e}" in text.decode()
    assert not set(text.decode()) & {"\u202e", "\u2028", "\x1b", "\u200b"}


async def test_a_beginning_that_is_too_old_or_of_tomorrow(site: JpkiSite) -> None:
    """Even if the desk forgot its own limit."""
    clock = ManualClock(NOW)
    backend, card = site.backend(clock=clock), site.ca().issue()
    started, text = await began(backend)
    clock.advance(901)
    assert await answered(backend, started, card, text) == "unusable_answer"
    ahead, text = await began(site.backend(clock=ManualClock(NOW + 86_400)))
    assert await answered(backend, ahead, card, text) == "unusable_answer"


async def test_the_wrong_key(site: JpkiSite, backend: JpkiBackend) -> None:
    started, text = await began(backend)
    card = site.ca().issue()
    assert await answered(backend, started, Card("sign", card.certificate, key("forger")), text) == "unusable_answer"
    assert await answered(backend, started, Card("sign", card.certificate, site.ca().key), text) == "unusable_answer"


async def test_a_signature_of_another_kind_of_thing(site: JpkiSite, backend: JpkiBackend) -> None:
    """What the card signed elsewhere: a certificate's own seal, another application's document."""
    started, _ = await began(backend)
    card = site.ca().issue()
    seal = card.certificate[-256:]
    for signature in (seal, sign(card.key, b"contract"), bytes(256), b"\xff" * 256, b"\x01".rjust(256, b"\x00")):
        answer = {
            "kind": "sign", "certificate": base64.b64encode(card.certificate).decode(),
            "signature": base64.b64encode(signature).decode(),
        }  # fmt: skip
        assert word(await backend.complete(started.state, answer)) == "unusable_answer"


async def test_the_kind_is_the_one_that_was_asked_for(site: JpkiSite, backend: JpkiBackend) -> None:
    assert await verdict(backend, site.ca().issue(), kind="auth") == "wrong_card"
    assert await verdict(backend, site.ca("auth").issue()) == "wrong_card"
    for kind in ("", "Sign", "sign ", "both", "sign\x00"):
        assert await verdict(backend, site.ca().issue(), kind=kind) == "unusable_answer"


@pytest.mark.parametrize("field", ["certificate", "signature"])
async def test_fields_in_another_size_or_spelling(site: JpkiSite, backend: JpkiBackend, field: str) -> None:
    card = site.ca().issue()
    started, _ = await began(backend)
    good = card.answer(challenge_of(started.show.values))
    text = good[field]
    for value in (
        "", " ", text + "\n", text[:40] + "\n" + text[40:], text.rstrip("=") + "====", text + "A", text[:-4],
        "-" + text[1:], text[:-1] + "é", "A" * 20_000, f"-----BEGIN CERTIFICATE-----{text}", "\udcff" + text,
        text.rstrip("=") + "\x00",
    ):  # fmt: skip
        assert word(await backend.complete(started.state, good | {field: value})) == "unusable_answer"
    assert word(await backend.complete(started.state, good)) == "proofed"


async def test_base64_with_bits_that_do_not_count(site: JpkiSite, backend: JpkiBackend) -> None:
    """The same bytes in another spelling: one answer, one form."""
    card = site.ca().issue()
    started, _ = await began(backend)
    good = card.answer(challenge_of(started.show.values))
    assert good["signature"].endswith("==")
    letter = good["signature"][-3]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = good["signature"][:-3] + alphabet[alphabet.index(letter) + 1] + "=="
    assert base64.b64decode(other) == base64.b64decode(good["signature"])
    assert word(await backend.complete(started.state, good | {"signature": other})) == "unusable_answer"


# ---------------------------------------------------------------- the client's JSON


async def test_the_clients_json_pasted_is_the_same_answer(site: JpkiSite, backend: JpkiBackend) -> None:
    card = site.ca().issue()
    started, _ = await began(backend)
    answer = card.answer(challenge_of(started.show.values))
    assert word(await backend.complete(started.state, {"answer": f"\n{json.dumps(answer, indent=1)}\n"})) == "proofed"
    assert word(await backend.complete(started.state, {"answer": json.dumps(answer), **answer})) == "unusable_answer"


@pytest.mark.parametrize(
    "pasted",
    [
        "", "{", "[]", "null", '"x"', "{}", '{"error": 1}', '{"certificate": ["a"]}', '{"kind": "sign", "unknown": "x"}',
        "[" * 30_000, "{" * 40_000, "\udcff", '{"kind": "sign", "certificate": "AAAA", "signature": "AAAA"}', "\x00",
        '{"error": "pin_locked"} x',
    ],
)  # fmt: skip
async def test_json_that_is_no_answer(backend: JpkiBackend, pasted: str) -> None:
    started, _ = await began(backend)
    assert word(await backend.complete(started.state, {"answer": pasted})) == "unusable_answer"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("pin_locked", "pin_locked"), ("cancelled", "cancelled"), ("wrong_card", "wrong_card"),
        ("reader_failed", "broken: jpki: the card client says that its reader failed"),
        ("proofed", "unusable_answer"),
        ("card_revoked", "unusable_answer"), ("PIN_LOCKED", "unusable_answer"), ("x" * 41, "unusable_answer"),
        ("a b", "unusable_answer"),
    ],
)  # fmt: skip
async def test_what_a_card_client_says_of_its_failure(site: JpkiSite, backend: JpkiBackend, error: str, expected: str) -> None:
    """Its own words only; and an error is never a success, whatever else came along."""
    started, _ = await began(backend)
    good = site.ca().issue().answer(challenge_of(started.show.values))
    for answer in ({"error": error}, {"answer": json.dumps({"error": error})}, good | {"error": error}):
        assert word(await backend.complete(started.state, answer)) == expected


async def test_a_state_that_is_not_ours(site: JpkiSite, backend: JpkiBackend) -> None:
    started, _ = await began(backend)
    good = site.ca().issue().answer(challenge_of(started.show.values))
    for state in (b"", b"{}", b"[]", b"\xff", b'{"text": 1, "at": 1, "transaction": ""}'):
        assert word(await backend.complete(state, good)) == "unusable_answer"


# ---------------------------------------------------------------- recognition


async def test_a_card_is_recognised_by_its_ca_and_number_alone(site: JpkiSite, backend: JpkiBackend) -> None:
    async def person(card: Card, desk: JpkiBackend = backend) -> str:
        started, text = await began(desk)
        answer = card.answer(base64.b64encode(text).decode())
        result = await desk.complete(started.state, answer)
        assert isinstance(result, Proofed)
        return result.person.reveal()

    mine = await person(site.ca().issue())
    assert mine == await person(site.ca().issue(names=None, not_after=b"\x17\x0d280101000000Z"))  # same number: the same card
    others = [
        await person(site.ca().issue(serial=0x1A2B3C4E)), await person(site.ca("sign", 1).issue()),
        await person(site.ca("auth").issue(), site.backend("auth")),
    ]  # fmt: skip
    assert len({mine, *others}) == 4
