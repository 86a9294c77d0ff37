"""The parts behind the nginx door: its secret, and what becomes of the leases it gives."""

from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.config import Config
from gateway.doors.external import FrontListener
from gateway.doors.nginx import NginxDoor
from gateway.doors.said import Says
from gateway.doors.trust import Fronts
from gateway.kernel.clock import Clock
from gateway.kernel.errors import ConfigError
from gateway.pipeline import Pipeline
from gateway.present import Presenter


class Nginx:
    """What nginx doors need beyond what every asked door does."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._secret: Final = front_secret(config.portal.assertion_key_file)

    def door(self, pipeline: Pipeline, presenter: Presenter, fronts: Fronts, says: Says) -> FrontListener:
        """Make a door; nothing listens yet."""
        return NginxDoor(
            pipeline=pipeline, present=presenter, fronts=fronts, says=says, clock=self._clock, secret=self._secret
        ).listener


def front_secret(key_file: Path) -> bytes:
    """Derive, from the key that signs assertions, the secret of what goes through fronts: so all workers and nodes share it.

    Raises ConfigError when the file holds no EC private key.
    """
    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError("the key can't be read", where=str(key_file), todo="It must be a PEM private key on P-256.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("this is not a private key on P-256", where=str(key_file), todo="Replace the file")
    value = key.private_numbers().private_value.to_bytes((key.key_size + 7) // 8, "big")
    return HKDF(SHA256(), 32, salt=None, info=b"zt-gateway fronts 1").derive(value)
