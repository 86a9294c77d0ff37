"""`/jwks.json`: the public keys (RFC 7517)."""

from idp.protocol.keyset import KeySet


def document(keys: KeySet) -> dict[str, object]:
    """Return the JWK set: public members only, the newest key first."""
    return {"keys": keys.public()}
