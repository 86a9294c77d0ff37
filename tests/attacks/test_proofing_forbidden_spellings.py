"""The Individual Number under any name: in a profile it does not load, in an answer nothing of it is used."""

import json

import pytest

from idp.proofing.forbidden import forbidden_in, names_individual_number
from idp.proofing.strict import MustNotBeSentError, parse_object

SPELLINGS = (
    "individual_number", "IndividualNo", "individualNum", "individual-num", "INDIVIDUAL NUMBER", "individual\u200bnumber",
    "kojin_bango", "kojinBangō", "kojinbangou", "こじんばんごう", "コジンバンゴウ", "ｺｼﾞﾝﾊﾞﾝｺﾞｳ", "個人番号", "個 人 番 号",
    "個人番號", "mynumber", "my_num", "myNo", "MyNumber1", "my-number-value", "マイナンバー", "マイナンバ-", "マイナンバ―",
    "ﾏｲﾅﾝﾊﾞｰ", "まいなんばー", "mynanumber", "personal_number",
)  # fmt: skip
OTHERS = (
    "mynumbercard", "myNumberCard", "my_number_card_expires", "マイナンバーカード", "個人番号カード", "individualNote", "mynote",
    "name", "userId", "jp_individual_number_card", "certificateStatus", "transactionNumber", "individual",
    "jpkiCardDigitalSignatureContent", "マイナ",
)  # fmt: skip


@pytest.mark.parametrize("name", SPELLINGS)
def test_it_is_recognised(name: str) -> None:
    assert names_individual_number(name)
    assert forbidden_in({"a": [{"b": f"/{name}/0"}]})
    with pytest.raises(MustNotBeSentError):
        parse_object(json.dumps({"person": [{name: "123456789018"}]}).encode())


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_something_else_is_no_outage(name: str) -> None:
    assert not names_individual_number(name)
    assert parse_object(json.dumps({name: "x"}, ensure_ascii=False).encode()) == {name: "x"}
