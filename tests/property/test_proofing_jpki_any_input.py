"""Any bytes, and any small change of good ones: the JPKI backend raises nothing and believes nothing that its CA did not sign."""

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from idp.proofing.jpki import ocsp
from idp.proofing.jpki.backend import JpkiBackend
from idp.proofing.jpki.certificate import parse_certificate
from idp.proofing.jpki.crl import parse_crl, revoked_serials
from idp.proofing.jpki.der import Element, Malformed, elements, one, well_formed
from idp.proofing.jpki.roots import Root, parse_root
from idp.proofing.jpki.standing import NoAnswer
from idp.proofing.port import NotProofed, Proofed, Started
from tests.support.jpki import NOW, SATO, JpkiSite
from tests.support.jpki_ca import Card, challenge_of

NONCE = bytes(32)
DEMANDS = ocsp.Demands(age=3600, nonce=True, no_check=True)


class Scene:
    """A backend, a card, and one beginning that is answered again and again."""

    def __init__(self, folder: Path) -> None:
        self.site = JpkiSite(folder)
        self.site.publish()
        self.backend: JpkiBackend = self.site.backend()
        self.card: Card = self.site.ca().issue()
        self.root: Root = parse_root(self.site.ca().certificate)
        self.list = self.site.ca().crl((1, 2, 3), this_update=NOW - 60)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("jpki"))


changes = st.lists(
    st.tuples(st.integers(0, 5_000), st.sampled_from(["put", "set", "cut", "copy"]), st.binary(min_size=1, max_size=6)),
    max_size=5,
)


def changed(data: bytes, how: list[tuple[int, str, bytes]]) -> bytes:
    found = bytearray(data)
    for place, kind, content in how:
        at = place % (len(found) + 1)
        if kind == "put":
            found[at:at] = content
        elif kind == "set":
            found[at : at + len(content)] = content
        elif kind == "cut":
            del found[at : at + len(content)]
        else:
            found[at:at] = found[at : at + 40]
    return bytes(found)


async def begun(scene: Scene) -> tuple[Started, dict[str, str]]:
    started = await scene.backend.begin(SATO, "sign_in")
    return started, scene.card.answer(challenge_of(started.show.values))


@given(how=changes, field=st.sampled_from(["certificate", "signature"]))
@example(how=[], field="certificate")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_changed_certificate_or_signature(scene: Scene, how: list[tuple[int, str, bytes]], field: str) -> None:
    started, answer = await begun(scene)
    good = base64.b64decode(answer[field])
    data = changed(good, how)
    found = await scene.backend.complete(started.state, answer | {field: base64.b64encode(data).decode()})
    if data == good:
        assert isinstance(found, Proofed)
    else:
        assert isinstance(found, NotProofed)
        assert found.reason in {"unusable_answer", "wrong_card"}


words = st.one_of(st.text(max_size=60), st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()))


@given(answer=st.dictionaries(st.sampled_from(["certificate", "signature", "kind", "error", "answer", "x"]), words))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_answer(scene: Scene, answer: Mapping[str, str]) -> None:
    started, _ = await begun(scene)
    assert isinstance(await scene.backend.complete(started.state, answer), NotProofed)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_der_or_not(data: bytes) -> None:
    try:
        found = elements(data)
        for element in found:
            well_formed(element)
    except Malformed:
        return
    assert b"".join(element.whole for element in found) == data
    for element in found:
        assert one(element.whole, element.tag) == Element(element.tag, element.whole, element.value)


@given(data=st.binary(max_size=400))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_no_certificate_list_or_answer(scene: Scene, data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_certificate(data)
    with pytest.raises(Malformed):
        parse_crl(data, (scene.root,))
    card = parse_certificate(scene.card.certificate)
    assert isinstance(ocsp.judge(data, card, scene.root, NONCE, demands=DEMANDS, now=NOW), NoAnswer)


@given(how=changes)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_changed_list(scene: Scene, how: list[tuple[int, str, bytes]]) -> None:
    data = changed(scene.list, how)
    try:
        found = parse_crl(data, (scene.root,))
    except Malformed:
        assert data != scene.list
    else:
        assert (data, set(found.serials)) == (scene.list, {1, 2, 3})


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_as_entries(data: bytes) -> None:
    try:
        assert all(serial >= 0 for serial in revoked_serials(data))
    except Malformed:
        return
