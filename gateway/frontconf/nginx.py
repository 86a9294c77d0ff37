"""nginx in front: `auth_request` asks, nginx forwards."""

import msgspec

from gateway.config import Config


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `gateway.toml` does not know."""

    port: int = 443


def render(config: Config, options: Options) -> str:
    """Return nginx.conf."""
    raise NotImplementedError
