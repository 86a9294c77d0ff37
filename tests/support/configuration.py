"""A small valid configuration on disk, with the keys and folders that it names."""

from pathlib import Path

CLIENT_SECRET = "c" * 43

MINIMAL = """\
[server]
public_port = 443
front = { socket = "front.sock", trusted_uids = [33] }

[portal]
host = "portal.hospital.example"
assertion_key_file = "assertion.pem"

[identity]
issuer = "https://id.other.example"
client_secret_file = "client-secret"

[devices]
database = "devices.sqlite3"

[policies]
dir = "policies"

[audit]
dir = "audit"
key_file = "audit.pem"

[[apps]]
id = "ehr"
host = "ehr.hospital.example"
upstream = "http://127.0.0.1:9001"
title_ja = "電子カルテ"
title_en = "Records"
[[apps.routes]]
id = "ehr.home"
methods = ["GET"]
path = "/"
action = "read"
"""
"""What a configuration must have, and no more."""


def private(path: Path, content: str) -> Path:
    """Write a file that only its owner can read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(content, "utf-8")
    path.chmod(0o600)
    return path


def write_config(folder: Path, text: str = MINIMAL) -> Path:
    """Write `gateway.toml` and everything that `MINIMAL` names into `folder`; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policies").mkdir(exist_ok=True)
    for name in ("assertion.pem", "audit.pem"):
        # The loader looks who can read a key, not what is in it.
        private(folder / name, "-----BEGIN PRIVATE KEY-----\n")
    private(folder / "client-secret", f"{CLIENT_SECRET}\n")
    path = folder / "gateway.toml"
    path.write_text(text, "utf-8")
    return path
