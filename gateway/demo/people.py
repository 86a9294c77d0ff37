"""The demo's staff: synthetic people, one of each role. Passwords and TOTP secrets are made for each installation."""

import secrets
from pathlib import Path
from typing import Final

import msgspec
import pyotp

from gateway.kernel.errors import ConfigError


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A synthetic member of staff."""

    login: str
    name: str
    kana: str
    birth_date: str
    roles: tuple[str, ...]
    department: str


class Secrets(msgspec.Struct, frozen=True, kw_only=True):
    """What a person of the demo signs in with."""

    password: str
    totp_secret: str


ORGANIZATION: Final = "demo-hospital"
PEOPLE: Final[tuple[Person, ...]] = (
    Person(login="dr.sato", name="佐藤 恵", kana="サトウ メグミ", birth_date="1984-05-12", roles=("physician",), department="内科"),
    Person(login="nurse.suzuki", name="鈴木 翔", kana="スズキ ショウ", birth_date="1991-09-03", roles=("nurse",), department="3階東病棟"),
    Person(login="pharm.takahashi", name="高橋 葵", kana="タカハシ アオイ", birth_date="1988-01-27", roles=("pharmacist",), department="薬剤部"),
    Person(login="clerk.tanaka", name="田中 誠", kana="タナカ マコト", birth_date="1979-11-30", roles=("clerk",), department="医事課"),
    Person(login="vendor.ito", name="伊藤 健", kana="イトウ ケン", birth_date="1986-07-08", roles=("vendor",), department="保守業者"),
    Person(
        login="sec.yamamoto", name="山本 凛", kana="ヤマモト リン", birth_date="1982-03-19", roles=("security_officer",), department="情報システム室",
    ),
    Person(login="audit.nakamura", name="中村 律", kana="ナカムラ リツ", birth_date="1975-12-01", roles=("auditor",), department="監査室"),
)  # fmt: skip
_WORDS: Final = (
    "sakura",
    "kaede",
    "tsubaki",
    "momiji",
    "ayame",
    "botan",
    "suzuran",
    "hinata",
    "aozora",
    "minato",
    "kawasemi",
    "hotaru",
)


def load_secrets(path: Path) -> dict[str, Secrets]:
    """Read every person's secrets, making those that are missing. The file is for its owner only."""
    known: dict[str, Secrets] = {}
    if path.exists():
        try:
            known = msgspec.json.decode(path.read_bytes(), type=dict[str, Secrets])
        except msgspec.DecodeError as error:
            raise ConfigError(
                "the demo's secrets can't be read", where=str(path), todo="Delete the file or use another --data-dir"
            ) from error
    for person in PEOPLE:
        known.setdefault(person.login, Secrets(password=_passphrase(), totp_secret=pyotp.random_base32()))
    path.touch(mode=0o600, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(known)))
    return known


def code_now(secret: str, now: float) -> str:
    """The six digits that an authenticator app would show."""
    return pyotp.TOTP(secret).at(int(now))


def _passphrase() -> str:
    words = "-".join(secrets.choice(_WORDS) for _ in range(3))
    return f"{words}-{secrets.randbelow(9000) + 1000}"
