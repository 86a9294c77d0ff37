"""A security key in software, honest by default and wrong in any way that a test asks for."""

import base64
import hashlib
import json
import struct
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fido2 import cbor

UP, UV, BE, BS, AT = 0x01, 0x04, 0x08, 0x10, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class SoftKey:
    """One discoverable credential. `algorithm` is a COSE number: -7, -8, -257, or one that a server should refuse."""

    def __init__(self, credential_id: bytes = b"soft-key-00000001", algorithm: int = -7, flags: int = UP | UV) -> None:
        self.credential_id = credential_id
        self.algorithm = algorithm
        self.flags = flags
        self.counter = 0
        self.user_handle: bytes | None = None
        self._ec = ec.generate_private_key(ec.SECP256R1())
        self._ed = ed25519.Ed25519PrivateKey.generate()
        self._rsa = rsa.generate_private_key(public_exponent=65537, key_size=2048) if algorithm == -257 else None

    def create(self, options: dict[str, Any], origin: str, **wrong: Any) -> str:
        """Answer creation options, as the browser's JSON."""
        self.user_handle = unb64(options["user"]["id"])
        client = self._client("webauthn.create", options["challenge"], origin, wrong)
        attested = (
            wrong.get("aaguid", bytes(16))
            + struct.pack(">H", len(self.credential_id))
            + self.credential_id
            + wrong.get("cose", cbor.encode(self._cose()))
        )
        data = self._data(wrong.get("rp_id", options["rp"]["id"]), wrong.get("flags", self.flags) | AT) + attested
        statement = cbor.encode({"fmt": wrong.get("fmt", "none"), "authData": data, "attStmt": wrong.get("statement", {})})
        return self._answer({"clientDataJSON": b64(client), "attestationObject": b64(statement)}, wrong)

    def get(self, options: dict[str, Any], origin: str, **wrong: Any) -> str:
        """Answer request options, as the browser's JSON. The counter goes up by one, unless `counter` is given."""
        self.counter = wrong.get("counter", self.counter + 1)
        client = self._client("webauthn.get", options["challenge"], origin, wrong)
        data = self._data(wrong.get("rp_id", options["rpId"]), wrong.get("flags", self.flags))
        signature = wrong.get("signature", self._sign(data + hashlib.sha256(client).digest()))
        response = {"clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature)}
        handle = wrong.get("user_handle", self.user_handle)
        if handle is not None:
            response["userHandle"] = b64(handle)
        return self._answer(response, wrong)

    def _client(self, kind: str, challenge: str, origin: str, wrong: dict[str, Any]) -> bytes:
        client = {"type": wrong.get("type", kind), "challenge": wrong.get("challenge", challenge), "origin": origin}
        return json.dumps(client | {"crossOrigin": wrong.get("cross_origin", False)}).encode()

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + struct.pack(">BI", flags, self.counter)

    def _answer(self, response: dict[str, str], wrong: dict[str, Any]) -> str:
        name = b64(wrong.get("raw_id", self.credential_id))
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "clientExtensionResults": {}, "response": response})

    def _cose(self) -> dict[int, Any]:
        if self._rsa is not None:
            numbers = self._rsa.public_key().public_numbers()
            return {1: 3, 3: -257, -1: numbers.n.to_bytes(256), -2: numbers.e.to_bytes(3)}
        if self.algorithm == -8:
            raw = self._ed.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
            return {1: 1, 3: -8, -1: 6, -2: raw}
        point = self._ec.public_key().public_numbers()
        return {1: 2, 3: self.algorithm, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}

    def _sign(self, message: bytes) -> bytes:
        if self._rsa is not None:
            return self._rsa.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if self.algorithm == -8:
            return self._ed.sign(message)
        return self._ec.sign(message, ec.ECDSA(hashes.SHA256()))
