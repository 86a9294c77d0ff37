"""The demo's staff: synthetic people, one of each role, and two security officers, so that a change can be approved.

Passwords and TOTP secrets are made for each installation.
"""

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
_STAFF: Final = """
dr.sato        | 佐藤 恵 | サトウ メグミ | 1984-05-12 | physician        | 内科
nurse.suzuki   | 鈴木 翔 | スズキ ショウ | 1991-09-03 | nurse            | 3階東病棟
pharm.takahashi| 高橋 葵 | タカハシ アオイ | 1988-01-27 | pharmacist     | 薬剤部
clerk.tanaka   | 田中 誠 | タナカ マコト | 1979-11-30 | clerk            | 医事課
vendor.ito     | 伊藤 健 | イトウ ケン   | 1986-07-08 | vendor           | 保守業者
sec.yamamoto   | 山本 凛 | ヤマモト リン | 1982-03-19 | security_officer | 情報システム室
audit.nakamura | 中村 律 | ナカムラ リツ | 1975-12-01 | auditor          | 監査室
sec.inoue      | 井上 蓮 | イノウエ レン | 1985-08-21 | security_officer | 情報システム室
res.kobayashi  | 小林 海 | コバヤシ カイ | 1998-02-14 | resident         | 内科
tech.kato      | 加藤 遥 | カトウ ハルカ | 1990-06-06 | technologist     | 放射線部
reader.yoshida | 吉田 湊 | ヨシダ ミナト | 1980-10-10 | external_reader  | 遠隔読影センター
"""


def _person(line: str) -> Person:
    login, name, kana, birth_date, role, department = (cell.strip() for cell in line.split("|"))
    return Person(login=login, name=name, kana=kana, birth_date=birth_date, roles=(role,), department=department)


PEOPLE: Final = tuple(_person(line) for line in _STAFF.strip().splitlines())
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
    known = known_secrets(path) if path.exists() else {}
    for person in PEOPLE:
        known.setdefault(person.login, Secrets(password=_passphrase(), totp_secret=pyotp.random_base32()))
    path.touch(mode=0o600, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(known)))
    return known


def known_secrets(path: Path) -> dict[str, Secrets]:
    """Read the secrets of a demo that has run before. ConfigError when there are none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Secrets])
    except OSError as error:
        raise ConfigError(
            f"the demo's people can't be read ({error.strerror})",
            where=str(path),
            todo="Start `gateway demo` first, with the same --data-dir.",
        ) from error
    except msgspec.DecodeError as error:
        raise ConfigError(
            "the demo's people can't be read", where=str(path), todo="Delete the file, or use another --data-dir."
        ) from error


def code_now(secret: str, now: float) -> str:
    """The six digits that an authenticator app would show."""
    return pyotp.TOTP(secret).at(int(now))


def _passphrase() -> str:
    words = "-".join(secrets.choice(_WORDS) for _ in range(3))
    return f"{words}-{secrets.randbelow(9000) + 1000}"
