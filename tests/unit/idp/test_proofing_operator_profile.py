"""Profiles of platform operators: what a mapping must have, and what it must not."""

from pathlib import Path

import pytest

from gateway.kernel.errors import ConfigError
from idp.proofing.forbidden import names_individual_number
from idp.proofing.platform_operator.places import fill
from idp.proofing.platform_operator.pointers import MISSING, fault, look
from idp.proofing.platform_operator.profile import SHIPPED, load_profile, parse_profile

VERIFY = (SHIPPED / "pocketsign-verify-v2.toml").read_text("utf-8")
STAMP = (SHIPPED / "pocketsign-stamp-v1.toml").read_text("utf-8")


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_what_is_shipped_is_sound_and_called_by_its_name(path: Path) -> None:
    profile = load_profile(path.stem)
    assert profile.name == path.stem
    assert profile.recheck is not None
    assert load_profile(str(path)) == profile


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('name = "pocketsign-verify-v2"', 'name = "Pocket Sign"', "name 'Pocket Sign'"),
        ('title = "PocketSign Verify"', 'title = "x"\ncolour = "red"', "unknown field `colour`"),
        ('mock = "https://', 'mock = "http://', "hosts.mock"),
        ("{nonce}\n", "", "no {nonce}"),
        ("{time}\n", "{user}\n", "unknown placeholder {user}"),
        ("{time}\n", "{time\n", "brace"),
        ("signature = 1400", "signature = 0", "between 1 and 16384"),
        ("signature = 1400", "signature = 20000", "between 1 and 16384"),
        ("signature = 1400", "csrf = 10", "form field"),
        ('"{answer.signature}"', '"{answer.pin}"', "unknown placeholder {answer.pin}"),
        ('"{answer.signature}"', '"{challenge.session}"', "unknown placeholder {challenge.session}"),
        ('userId = "{user}"', 'userId = "{answer.signature}"', "unknown placeholder {answer.signature}"),
        ('userId = "{user}"', 'userId = "somebody"', "asks about nobody"),
        ('digest = "{digest}", ', "", "any answer would do"),
        ('"/pocketsign.verify.v2.VerificationService/Verify"', '"verify"', "is no path"),
        ('"/pocketsign.verify.v2.VerificationService/Verify"', '"/a/../b"', "is no path"),
        ('"/pocketsign.verify.v2.VerificationService/Verify"', '"//evil.example/b"', "is no path"),
        ('"/pocketsign.verify.v2.VerificationService/Verify"', '"/a?b=c"', "is no path"),
        ('"/pocketsign.verify.v2.VerificationService/Verify"', '"/a/{answer.signature}"', "unknown placeholder"),
        ('Connect-Protocol-Version = "1" }\nbody = { certificate', 'Authorization = "x" }\nbody = { certificate', "can't be set"),
        ('Connect-Protocol-Version = "1" }\nbody = { certificate', 'X-A = "\\r\\nB: c" }\nbody = { certificate', "printable"),
        (
            'Connect-Protocol-Version = "1" }\nbody = { certificate',
            'X-A = "{digest}" }\nbody = { certificate',
            "unknown placeholder",
        ),
        (
            'method = "POST"\npath = "/pocketsign.verify.v2.Ver',
            'method = "GET"\npath = "/pocketsign.verify.v2.Ver',
            "GET with a body",
        ),
        ('method = "POST"\npath = "/pocketsign.verify.v2.Ver', 'method = "PUT"\npath = "/pocketsign.verify.v2.Ver', "PUT"),
        ('at = "/certificateStatus/status"', 'at = "certificateStatus"', "does not begin with /"),
        ('at = "/certificateStatus/status"', 'at = "/a~2"', "neither ~0 nor ~1"),
        ('at = "/certificateStatus/status"', "at = []", "no pointer"),
        ('good = ["STATUS_GOOD"]', "good = []", "no word for good"),
        ('good = ["STATUS_GOOD"]', 'good = ["STATUS_GOOD", ""]', "empty word"),
        ('good = ["STATUS_GOOD"]', 'good = ["STATUS_GOOD", "STATUS_REVOKED"]', "two meanings"),
        ('good = ["RESULT_OK"]', 'good = ["RESULT_OK", "RESULT_SIGNATURE_MISMATCH"]', "two meanings"),
        ('revoked = ["STATUS_REVOKED"]', "revoked = []", "no word for revoked"),
        ('= "card_revoked"', '= "revoked"', "Invalid enum value 'revoked'"),
        ("_SIGNATURE = 3, TYPE", "_SIGNATURE = 4, TYPE", "level from 1 to 3"),
        ('user = "/user/id"', "", "missing required field `user`"),
        ('user = "/user/id"', "user = []", "no pointer"),
        ('user = "/user/id"', 'user = "/user/id"\naddress = "/x"', "unknown field `address`"),
        ("birth_date = [", "kana = [", "without a birth date"),
        ("status = 400", "status = 401", "says nothing about an answer"),
        ("status = 400", "status = 503", "says nothing about an answer"),
        ('echo = { "/verification/digest" = "{digest}" }', 'echo = { "x" = "{digest}" }', "does not begin with /"),
        ('echo = { "/verification/digest" = "{digest}" }', 'echo = { "/x" = "{answer.signature}" }', "unknown placeholder"),
        ("[validate.state]", "[validate.states]", "unknown field `states`"),
        ("[validate.state]", "[validate.state", "not sound"),
    ],
)
def test_what_could_not_work_is_refused(old: str, new: str, said: str) -> None:
    assert old in VERIFY
    with pytest.raises(ConfigError, match=said.replace("{", r"\{").replace("(", r"\(")) as refused:
        parse_profile(VERIFY.replace(old, new).encode(), "operator.toml")
    assert refused.value.where == "operator.toml"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('session_id = "session"', 'session = "session"', "is not in answer.fields"),
        ('session_id = "session"', 'session_id = "nothing"', "not in challenge.read"),
        ('link = "redirect"', 'link = "nothing"', "not in challenge.read"),
        ('redirect = "/redirectUrl"', 'redirect = "redirectUrl"', "does not begin with /"),
        ('body = { id = "{challenge.session}" }', 'body = { id = "{answer.session_id}" }', "any answer would do"),
    ],
)
def test_a_challenge_of_the_operators_is_tied_to_the_answer(old: str, new: str, said: str) -> None:
    assert old in STAMP
    with pytest.raises(ConfigError, match=said):
        parse_profile(STAMP.replace(old, new).encode(), "operator.toml")


INDIVIDUAL_NUMBER = [
    "individual_number", "individualNumber", "INDIVIDUAL-NUMBER", "individual_number_unicode", "ｉndividual_number",
    "kojin_bango", "個人番号", "個人 番号", "マイナンバー", "ﾏｲﾅﾝﾊﾞｰ", "my_number", "myNumber", "personal_number",
]  # fmt: skip


@pytest.mark.parametrize("name", INDIVIDUAL_NUMBER)
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("identifyUser = true", '"@" = true'),
        ("identifyUser = true", 'fields = ["name", "@"]'),
        ('user = "/user/id"', 'user = "/user/@"'),
        ("[settings]", '[settings]\nwhat = "@"'),
        ('"/pocketsign.verify.v2.UserService/CheckUserStatus"', '"/@"'),
        ("STATUS_GOOD", "@"),
    ],
)
def test_no_mapping_sends_or_reads_the_individual_number(name: str, old: str, new: str) -> None:
    assert old in VERIFY
    with pytest.raises(ConfigError, match="Individual Number"):
        parse_profile(VERIFY.replace(old, new.replace("@", name)).encode(), "operator.toml")
    assert names_individual_number(f"x {name} y")


@pytest.mark.parametrize("name", ["マイナンバーカード", "mynumbercard", "my_number_card", "serialNumber", "phone_number", "番号"])
def test_what_is_something_else_is_let_be(name: str) -> None:
    assert not names_individual_number(name)


def test_a_profile_is_not_endless(tmp_path: Path) -> None:
    path = tmp_path / "huge.toml"
    path.write_text(VERIFY + "#" * 70_000, "utf-8")
    with pytest.raises(ConfigError, match="larger than 64 KiB"):
        load_profile(str(path))


@pytest.mark.parametrize("name", ["nobody", "", "Pocketsign", "pocketsign-verify-v2.toml", "/nonexistent/x.toml", "/"])
def test_a_profile_that_is_not_there(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no profile|can't be read"):
        load_profile(name)


def test_pointers_are_those_of_rfc_6901() -> None:
    document = {"a": [{"b": 1}, None], "": 2, "a/b": 3, "m~n": 4, "0": 5}
    expected = {"/a/0/b": 1, "/a/1": None, "/": 2, "/a~1b": 3, "/m~0n": 4, "/0": 5, "/a": document["a"]}
    for pointer, value in expected.items():
        assert look(document, (pointer,)) == value
    for pointer in ("/a/2", "/a/-", "/a/00", "/a/-1", "/a/0/b/c", "/x", "/a/\uff10", "/a/1/x"):
        assert look(document, (pointer,)) is MISSING
    assert look(document, ("/x", "/a/0/b")) == 1
    assert fault("") == fault("a") == "does not begin with /"


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    values = {"a": "{b}", "b": "secret"}
    assert fill({"x": ["{a}", "{a}{b}", 1, True, None]}, values) == {"x": ["{b}", "{b}secret", 1, True, None]}
