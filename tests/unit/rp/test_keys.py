"""The key that signs assertions: only a private one on P-256, only its owner's."""

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jose import jwt
from joserfc import jws
from joserfc.jwk import ECKey

from gateway.demo.tls import prepare
from gateway.kernel.errors import ConfigError
from gateway.rp.keys import FileSigner

PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_what_it_signs_an_independent_library_verifies(tmp_path: Path) -> None:
    path = write(tmp_path / "assertion.pem", ec.generate_private_key(ec.SECP256R1()).private_bytes(*PRIVATE))
    signer, again = FileSigner.load(path), FileSigner.load(path)
    assert signer.jwks() == again.jwks()
    keys = signer.jwks()["keys"]
    assert isinstance(keys, list)
    claims = jwt.decode(again.sign({"aud": "ehr", "sub": "usr_1"}), keys[0], algorithms=["ES256"], audience="ehr")
    assert claims == {"aud": "ehr", "sub": "usr_1"}


def test_two_libraries_verify_every_signature() -> None:
    signer = FileSigner(ECKey.generate_key("P-256", private=True))
    keys = signer.jwks()["keys"]
    assert isinstance(keys, list)
    public = ECKey.import_key(keys[0])
    # r or s begins with a zero byte once in 128: lengths that are not always 32 would show.
    for number in range(600):
        token = signer.sign({"jti": f"dec_{number}", "name": "佐藤"})
        header = {"alg": "ES256", "kid": keys[0]["kid"], "typ": "JWT"}
        found = jws.deserialize_compact(token, public, algorithms=["ES256"])
        assert found.headers() == header
        assert jwt.decode(token, keys[0], algorithms=["ES256"]) == json.loads(found.payload)
        assert found.payload == f'{{"jti":"dec_{number}","name":"佐藤"}}'.encode()


@pytest.mark.parametrize(
    "key", [ECKey.generate_key("P-384", private=True), ECKey.import_key(ECKey.generate_key("P-256").as_dict(private=False))]
)
def test_a_signer_wants_a_private_key_on_its_curve(key: ECKey) -> None:
    with pytest.raises(ValueError, match="P-256"):
        FileSigner(key)


def test_a_certificate_or_public_key_is_no_signing_key(tmp_path: Path) -> None:
    files = prepare(tmp_path / "tls", ("portal.localhost",), 1_800_000_000.0)
    public = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path in (files.certificate, write(tmp_path / "public.pem", public)):
        with pytest.raises(ConfigError, match="private key"):
            FileSigner.load(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        ec.generate_private_key(ec.SECP384R1()).private_bytes(*PRIVATE),
        ed25519.Ed25519PrivateKey.generate().private_bytes(*PRIVATE),
    ],
    ids=["empty", "text", "P-384", "Ed25519"],
)
def test_other_keys_are_refused_with_the_place(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "key.pem", data)
    with pytest.raises(ConfigError) as caught:
        FileSigner.load(path)
    assert caught.value.where == str(path)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()).private_bytes(*PRIVATE), 0o640)
    with pytest.raises(ConfigError, match="others"):
        FileSigner.load(path)
