"""One line of the configuration says who verifies: with every section there, only that line changes."""

from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.app.verifiers import VERIFIERS, outcome_of, verifier_of
from gateway.config import load_config
from gateway.config.proofing import Backend
from gateway.kernel.clock import SystemClock
from idp.proofing.platform_operator import PlatformOperatorBackend
from tests.support.configuration import MINIMAL, private, write_config
from tests.support.jpki import JpkiSite

SECTIONS = """
[idp]
data_dir = "idp"
proofing = "{verifier}"
[idp.digital_agency]
environment = "sandbox"
client_id = "RP00000001"
key_file = "agency.pem"
[idp.platform_operator]
host = "test"
token_file = "operator-token"
settings = {{ organization = "見本病院" }}
[idp.in_person]
place_ja = "本館1階 総務課"
place_en = "Personnel, main building"
[idp.jpki]
verifier = "見本検証"
institution = "見本病院"
environment = "test"
crl_folder = "{crl}"
{roots}

[devices]"""


def written(folder: Path, verifier: str) -> Path:
    """A configuration with every verifier's section, of which one is named."""
    embedded = MINIMAL.replace('"https://id.other.example"', '"https://id.hospital.example"\nembedded = true')
    path = write_config(folder, embedded)
    key = ec.generate_private_key(ec.SECP256R1())
    private(folder / "agency.pem", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())
    private(folder / "operator-token", "a-token-of-the-operator")
    site = JpkiSite(folder / "jpki")
    made = (site.root("sign", 1), site.root("sign", 2))
    roots = "\n".join(f'[[idp.jpki.roots]]\nfile = "{root.file}"\nsha256 = "{root.sha256}"' for root in made)
    text = SECTIONS.format(verifier=verifier, crl=site.lists("sign"), roots=roots)
    path.write_text(embedded.replace("[devices]", text), "utf-8")
    return path


@pytest.mark.parametrize("verifier", [name for name in get_args(Backend) if name not in {"none", "simulated"}])
async def test_one_line_says_who_verifies(tmp_path: Path, verifier: str) -> None:
    config = load_config(written(tmp_path / "one", verifier), {})
    backend = verifier_of(config, SystemClock())
    assert backend is not None
    assert type(backend).__module__.startswith(f"idp.proofing.{verifier.replace('-', '_')}")
    await backend.close()


def test_none_is_nobody(tmp_path: Path) -> None:
    assert verifier_of(load_config(written(tmp_path / "one", "none"), {}), SystemClock()) is None


def test_everybody_who_can_be_named_can_be_made() -> None:
    assert set(VERIFIERS) == set(get_args(Backend))


async def test_the_operators_token_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    config = load_config(written(tmp_path / "one", "platform-operator"), {})
    backend = verifier_of(config, SystemClock())
    assert isinstance(backend, PlatformOperatorBackend)
    assert backend._settings.token.reveal() == "a-token-of-the-operator"
    assert backend._settings.return_url == "https://id.hospital.example/login/proofing/return"
    assert "a-token-of" not in repr(config) + repr(backend._settings)
    await backend.close()


YIELDS = {
    "digital-agency": (3, "jpki_auth_oidc", 365),
    "platform-operator": (3, "platform_operator", 1825),
    "jpki": (3, "jpki_sign", 1826),
    "in-person": (3, "in_person_ic", 1825),
}


@pytest.mark.parametrize("verifier", sorted(YIELDS))
def test_the_remedy_knows_what_a_proofing_yields(tmp_path: Path, verifier: str) -> None:
    path = written(tmp_path, verifier)
    found = outcome_of(load_config(path, {}))
    assert found is not None
    assert (found.level, found.method, found.expires_in_days) == YIELDS[verifier]
    text = path.read_text("utf-8")
    path.write_text(text.replace('data_dir = "idp"', 'data_dir = "idp"\nvalid_days = 30'), "utf-8")
    shorter = outcome_of(load_config(path, {}))
    assert shorter is not None
    assert shorter.expires_in_days == 30


def test_a_rehearsal_yields_little_so_that_no_remedy_promises_more(tmp_path: Path) -> None:
    path = written(tmp_path, "jpki")
    path.write_text(path.read_text("utf-8").replace('data_dir = "idp"', 'data_dir = "idp"\nrehearsal = true'), "utf-8")
    found = outcome_of(load_config(path, {}))
    assert found is not None
    assert (found.level, found.method) == (1, "rehearsal_jpki_sign")


def test_in_person_yields_the_best_document_that_is_taken(tmp_path: Path) -> None:
    path = written(tmp_path, "in-person")
    text = path.read_text("utf-8").replace('place_ja = "本館', 'levels = { driving_licence = 2 }\nplace_ja = "本館')
    path.write_text(text, "utf-8")
    found = outcome_of(load_config(path, {}))
    assert found is not None
    assert (found.level, found.method) == (2, "in_person_document")


def test_where_nobody_is_proofed_there_is_no_such_remedy(tmp_path: Path) -> None:
    assert outcome_of(load_config(written(tmp_path, "none"), {})) is None
