"""The JPKI with an OCSP responder and a card client that are processes of their own, and every way in which one fails."""

import asyncio
import base64
import json
import subprocess
import sys
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.kernel.clock import SystemClock
from idp.proofing.jpki.backend import JpkiBackend, jpki_backend
from idp.proofing.jpki.settings import JpkiSettings, RootFile
from idp.proofing.port import NotProofed, Proofed
from tests.standins.card import card_of
from tests.support import asn1
from tests.support.jpki import SATO, JpkiSite, verdict
from tests.support.jpki_ca import Card
from tests.support.standin import ROOT, StandIn, standin

NONE = "broken: jpki: the OCSP answer does not repeat our nonce: it is not for this question"


@pytest.fixture
def site(tmp_path: Path) -> JpkiSite:
    return JpkiSite(tmp_path, at=int(time.time()))


@pytest.fixture
async def responder(site: JpkiSite) -> AsyncIterator[StandIn]:
    site.ca().save(site.folder / "keys")
    async with standin("ocsp", "--keys", str(site.folder / "keys"), "--kind", "sign") as running:
        yield running


@pytest.fixture
async def backend(site: JpkiSite, responder: StandIn) -> AsyncIterator[JpkiBackend]:
    settings = site.settings(crl_folder=None, ocsp_url=f"{responder.origin}/", ocsp_seconds=2)
    made = jpki_backend(settings, SystemClock())
    yield made
    await made.close()


@pytest.fixture
def card(site: JpkiSite) -> Card:
    return site.ca().issue(not_before=asn1.utc_time(site.at - 86_400), not_after=asn1.utc_time(site.at + 86_400))


async def test_good_revoked_and_a_responder_that_the_ca_delegated_to(
    backend: JpkiBackend, responder: StandIn, card: Card
) -> None:
    assert await verdict(backend, card) == "proofed"
    await responder.mode("delegated")
    assert await verdict(backend, card) == "proofed"
    await responder.mode("delegated", revoked=["1a2b3c4d"])
    assert await verdict(backend, card) == "card_revoked"
    await responder.mode("ok")
    assert await verdict(backend, card) == "card_revoked"
    log = await responder.calls()
    assert {(entry["serial"], entry["nonce"]) for entry in log} == {("1a2b3c4d", True)}
    assert not any(name.lower() in {"cookie", "authorization"} for entry in log for name in entry["headers"])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("unknown", "broken: jpki: the OCSP answer does not know the certificate"),
        ("delegate_of_nobody", "broken: jpki: the OCSP answer is signed by nobody who may"),
        ("delegate_without_usage", "broken: jpki: the OCSP answer is signed by nobody who may"),
        ("try_later", "broken: jpki: the OCSP answer is the error TRY_LATER"),
        ("slow", "broken: jpki: the OCSP responder does not answer (TimeoutError)"),
        ("down", "broken: jpki: the OCSP responder answered 503, no application/ocsp-response"),
        ("redirect", "broken: jpki: the OCSP responder answered 302, no application/ocsp-response"),
        ("html", "broken: jpki: the OCSP responder answered 200, no application/ocsp-response"),
        ("huge", "broken: jpki: the OCSP answer is too long"),
        ("gzip", "broken: jpki: the OCSP responder answered 200, no application/ocsp-response"),
        ("garbage", "broken: jpki: the OCSP answer is malformed"),
        ("old", "broken: jpki: the OCSP answer is too old, or from the future"),
        ("over", "broken: jpki: the OCSP answer is over"),
        ("no_nonce", NONE),
        ("other_nonce", NONE),
        ("other_certificate", "broken: jpki: the OCSP answer is about another certificate"),
        ("other_ca", "broken: jpki: the OCSP answer is about another certificate"),
        ("unsigned", "broken: jpki: the OCSP answer is signed by nobody who may"),
    ],
)
async def test_a_responder_that_fails_is_never_a_yes_nor_a_no(
    backend: JpkiBackend, responder: StandIn, card: Card, mode: str, expected: str
) -> None:
    await responder.mode(mode)
    assert await verdict(backend, card) == expected
    await responder.mode("ok")
    assert await verdict(backend, card) == "proofed"


async def test_a_responder_that_hangs_up_or_is_gone(backend: JpkiBackend, responder: StandIn, card: Card, site: JpkiSite) -> None:
    await responder.mode("hang_up")
    assert (await verdict(backend, card)).startswith("broken: jpki: the OCSP responder does not answer (")
    gone = jpki_backend(site.settings(crl_folder=None, ocsp_url="http://127.0.0.1:9/"), SystemClock())
    assert (await verdict(gone, card)).startswith("broken: jpki: the OCSP responder does not answer (")
    await gone.close()
    await gone.close()


async def test_an_old_good_played_back_after_the_revocation(backend: JpkiBackend, responder: StandIn, card: Card) -> None:
    assert await verdict(backend, card) == "proofed"
    await responder.mode("replay", revoked=["1a2b3c4d"])
    assert await verdict(backend, card) == NONE


# ---------------------------------------------------------------- the card client by hand


def client(*words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.standins.card", *words], input=given, capture_output=True, text=True, cwd=ROOT, check=True,
        timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["sign", "auth"])
async def test_a_card_client_by_hand(tmp_path: Path, kind: str) -> None:
    printed = (await asyncio.to_thread(client, "make", str(tmp_path))).stdout
    section = next(part for part in printed.split("\n# ") if f'certificate = "{kind}"' in part.partition("\n")[0])
    fields = tomllib.loads(section.partition("\n")[2])["idp"]["jpki"]
    roots = tuple(RootFile(file=Path(root["file"]), sha256=root["sha256"]) for root in fields.pop("roots"))
    backend = jpki_backend(JpkiSettings(**fields | {"roots": roots, "crl_folder": Path(fields["crl_folder"])}), SystemClock())
    started = await backend.begin(SATO, "sign_in")
    done = await asyncio.to_thread(client, "sign", str(tmp_path), kind, given=started.show.values["request"])
    assert done.stderr == started.show.values["text"]  # the client shows what it signs
    found = await backend.complete(started.state, {"answer": done.stdout})
    assert isinstance(found, Proofed)
    assert found.method == f"jpki_{kind}"
    locked = await asyncio.to_thread(
        client, "sign", str(tmp_path), kind, "--error", "pin_locked", given=started.show.values["request"]
    )
    assert json.loads(locked.stdout) == {"error": "pin_locked"}
    assert await backend.complete(started.state, {"answer": locked.stdout}) == NotProofed(reason="pin_locked")


def test_the_stand_ins_card_is_the_one_that_was_made(tmp_path: Path) -> None:
    client("make", str(tmp_path), "--name", "髙﨑　恵")
    assert "髙﨑　恵".encode() in card_of(tmp_path, "sign").certificate
    assert len(base64.b64decode(card_of(tmp_path, "auth").answer("AAAA")["signature"])) == 256
