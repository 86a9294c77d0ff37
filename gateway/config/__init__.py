"""One `gateway.toml`, typed and frozen: `load_config` reads it, `check_production` says why it can't serve real patients."""

from gateway.config.load import InvalidConfigError, load_config, read_config
from gateway.config.model import Config
from gateway.config.production import check_production

__all__ = ["Config", "InvalidConfigError", "check_production", "load_config", "read_config"]
