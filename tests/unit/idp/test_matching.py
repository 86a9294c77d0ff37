"""From a card to a person: what is taken for the same, what an officer looks at, what is refused."""

from datetime import date
from typing import Any

import pytest

from idp.model import User
from idp.proofing.dates import alike, read_date
from idp.proofing.matching import Different, Near, Roster, Row, Same, match, roster_of, sides
from idp.proofing.names import VARIANTS, fold, load_variants
from idp.proofing.port import Verified

TODAY = date(2026, 11, 23)


def judged(ours: dict[str, Any], cards: dict[str, Any]) -> Same | Near | Different:
    """Judge Takahashi Megumi, changed as said on either side."""
    return match(
        Roster(**{"name": "高橋 恵", "birth_date": "1984-05-12", **ours}),
        Verified(**{"name": "高橋 恵", "birth_date": "1984-05-12", **cards}),
        today=TODAY,
    )


@pytest.mark.parametrize(
    ("ours", "cards", "notes"),
    [
        ({}, {}, ()),
        ({}, {"birth_date": "319840512"}, ("era_date",)),
        ({}, {"birth_date": "019840512"}, ("era_date",)),
        ({"birth_date": "昭和59年5月12日"}, {}, ("era_date",)),
        ({}, {"name": "高橋　恵"}, ("spaces",)),
        ({}, {"name": "高橋恵"}, ("spaces",)),
        ({}, {"name": "高橋\u00a0恵"}, ("spaces",)),
        ({}, {"name": "髙橋　惠"}, ("variant_kanji", "spaces")),
        ({"name": "渡邉 あゆみ"}, {"name": "渡邊あゆみ"}, ("variant_kanji", "spaces")),
        ({"name": "渡辺 あゆみ"}, {"name": "渡邉\U000e0105 あゆみ"}, ("variant_kanji",)),
        ({"name": "齋藤 渚"}, {"name": "斉藤 渚"}, ("variant_kanji",)),
        ({"name": "山﨑 海"}, {"name": "山崎 海"}, ("variant_kanji",)),
        ({"name": "佐々木 玲"}, {"name": "佐佐木 玲"}, ("variant_kanji",)),
        ({"name": "三ヶ島 玲"}, {"name": "三ケ島 玲"}, ("variant_kanji",)),
        ({"name": "ﾏﾘｱ ﾛﾍﾟｽ"}, {"name": "マリア ロペス"}, ("width",)),
        ({"name": "リー 玲"}, {"name": "リ－ 玲"}, ("width", "marks")),
        ({"name": "マリア・ロペス"}, {"name": "ﾏﾘｱ･ﾛﾍﾟｽ"}, ("width",)),
        ({"name": "マリア・ロペス"}, {"name": "マリア　ロペス"}, ("spaces",)),
        ({"name": "Nguyen Van A"}, {"name": "ＮＧＵＹＥＮ　ＶＡＮ　Ａ"}, ("width", "case", "spaces")),
        ({"name": "NGUYEN VAN A"}, {"name": "VAN A NGUYEN"}, ("word_order",)),
        ({"name": "O’Brien Anne-Marie"}, {"name": "ANNE‐MARIE O'BRIEN"}, ("marks", "case", "word_order")),
        ({"kana": "タカハシ メグミ"}, {"kana": "ﾀｶﾊｼ ﾒｸﾞﾐ"}, ("width",)),
        ({"kana": "タカハシ メグミ"}, {"kana": "たかはしめぐみ"}, ("kana_script", "spaces")),
        ({"kana": "タカハシ メグミ"}, {}, ()),
        ({}, {"kana": "タカハシ メグミ"}, ()),
        ({"licences": ("第123456号",)}, {"licences": ("９９９９", "123 456")}, ()),
        ({"licences": ("123456",)}, {}, ()),
        # Staff at work under the name of before, with the card's former family name, and the reverse.
        ({}, {"name": "山田　恵", "former_names": ("高橋",)}, ("former_name",)),
        (
            {"kana": "タカハシ メグミ"},
            {"name": "山田　恵", "former_names": ("高橋",), "kana": "ヤマダ　メグミ"},
            ("former_name",),
        ),
        ({"name": "山田 恵", "former_names": ("高橋 恵",)}, {}, ("former_name",)),
        ({"name": "山田 恵", "former_names": ("髙橋",)}, {}, ("variant_kanji", "former_name")),
        ({}, {"name": "高橋［佐藤］　恵"}, ("former_name",)),
        ({}, {"name": "髙橋[佐藤]恵"}, ("variant_kanji", "former_name")),
        ({"kana": "タカハシ メグミ"}, {"name": "山田［高橋］　恵", "kana": "ヤマダ　メグミ"}, ("former_name",)),
        # Where what stands for a letter is that letter, nothing has to be taken on trust.
        ({"name": "吉野 恵"}, {"name": "吉野 恵", "substitutes": (1,)}, ("substitute",)),
        ({"name": "𠮷野 恵"}, {"name": "吉野 恵", "substitutes": (1,)}, ("variant_kanji", "substitute")),
        (
            {"name": "草彅 剛", "kana": "クサナギ ツヨシ"},
            {"name": "草●　剛", "kana": "クサナギ　ツヨシ", "substitutes": (2,)},
            ("spaces", "substitute"),
        ),
    ],
    ids=str,
)
def test_the_same_person_and_what_was_looked_through(ours: dict[str, Any], cards: dict[str, Any], notes: tuple[str, ...]) -> None:
    assert judged(ours, cards) == Same(notes=notes)  # type: ignore[arg-type]  # the literals are written as texts here


@pytest.mark.parametrize(
    ("ours", "cards", "differences"),
    [
        ({"birth_date": ""}, {}, ("no_birth_date",)),
        ({}, {"birth_date": ""}, ("no_birth_date",)),
        ({}, {"birth_date": "19840230"}, ("unreadable_date",)),
        ({}, {"birth_date": "419840512"}, ("unreadable_date",)),  # Heisei did not have that day
        ({}, {"birth_date": "619840512"}, ("unreadable_date",)),
        ({}, {"birth_date": "2084-05-12"}, ("unreadable_date",)),
        ({}, {"birth_date": "1984-05-13"}, ("birth_date",)),
        ({}, {"birth_date": "1984-12-05"}, ("birth_date",)),
        ({}, {"birth_date": "1948-05-12"}, ("birth_date",)),
        ({}, {"birth_date": "1990-11-30"}, ("birth_date",)),  # an equal name, and another day
        ({}, {"name": "高橋 健"}, ("name",)),
        ({}, {"name": "山田 恵"}, ("name",)),  # another name, and the same day: people marry
        ({}, {"name": "山田 太郎"}, ("name",)),
        ({}, {"name": "山田 太郎", "birth_date": "1999-01-01", "kana": "x"}, None),
        ({"kana": "タカハシ メグミ"}, {"kana": "タカハシ ケイ"}, ("kana",)),
        ({"kana": "タカハシ リョウ"}, {"kana": "タカハシ リヨウ"}, ("kana",)),
        ({"kana": "ハットリ エヴァ"}, {"kana": "ハットリ エバ"}, ("kana",)),
        ({"kana": "オオノ"}, {"kana": "オーノ"}, ("kana",)),
        ({"kana": "タカハシ メグミ"}, {"name": "高端 恵実", "kana": "タカハシ メグミ"}, ("name",)),
        ({"licences": ("123456",)}, {"licences": ("654321",)}, ("licence",)),
        # A slip on both sides of the line: a letter of the name, and a digit of the day.
        ({}, {"name": "高橋 健", "birth_date": "1984-05-13"}, ("name", "birth_date")),
        ({}, {"name": "高橋 健", "birth_date": ""}, ("name", "no_birth_date")),
        (
            {"name": "一二三四五六七", "kana": "ヒフミ"},
            {"name": "●●●四五六七", "kana": "ヒフミ", "substitutes": (1, 2, 3)},
            ("substitute",),
        ),
        ({"name": "NGUYEN VAN A"}, {"name": "NGUYEN A"}, ("name",)),
        ({"name": "NGUYEN VAN A"}, {"name": "NGUYEN A", "birth_date": ""}, ("name", "no_birth_date")),
        ({"name": "José"}, {"name": "JOSE"}, ("name",)),
        ({"name": "三ヶ島 玲"}, {"name": "三が島 玲"}, ("name",)),
        ({"name": "村田 玲"}, {"name": "邨田 玲"}, ("name",)),
        ({"name": ""}, {"name": ""}, ("name",)),
        ({}, {"name": "山田［佐藤］　恵"}, ("name",)),
        ({}, {"name": "高橋［　恵"}, ("name",)),
        ({}, {"name": "［高橋］　恵"}, ("name",)),
        ({}, {"name": "高橋［佐藤\u200b］　恵"}, ("name", "characters")),
        ({}, {"name": "高橋\u200b［佐藤］　恵"}, ("name", "characters")),
        ({}, {"name": "●橋［佐藤］　恵", "substitutes": (1,)}, ("name",)),
        ({"name": "高橋"}, {"name": "山田 恵", "former_names": ("高橋",)}, ("name",)),  # a family name alone is no name
        ({"name": "鈴木 恵", "former_names": ("高橋",)}, {"name": "山田 恵", "former_names": ("高橋",)}, ("name",)),
        ({}, {"name": "高橋\u200b 恵"}, ("characters",)),
        ({}, {"name": "\u202e恵 橋高"}, ("name", "characters")),
        ({"name": "\ue000橋 恵"}, {"name": "\ue000橋 恵"}, ("characters",)),
        ({"name": "\ufffd橋 恵"}, {"name": "\ufffd橋 恵"}, ("characters",)),
        ({"kana": "タカハシ\u200fメグミ"}, {"kana": "タカハシメグミ"}, ("characters",)),
        ({}, {"name": "山田 恵", "former_names": ("高橋\u202c",)}, ("characters",)),
        ({"name": "草彅 剛"}, {"name": "草● 剛", "substitutes": (2,)}, ("substitute",)),
        (
            {"name": "草彅 剛", "kana": "クサナギ"},
            {"name": "草● 剛", "substitutes": (2,), "kana": "クサカリ"},
            ("kana", "substitute"),
        ),
        ({"name": "草彅 剛", "kana": "クサナギ"}, {"name": "●● 剛", "substitutes": (1, 2), "kana": "クサナギ"}, ("substitute",)),
        ({}, {"substitutes": (9,)}, ("substitute",)),
        (
            {"name": "草彅 剛", "kana": "クサナギ"},
            {"name": "草\u202e 剛", "kana": "クサナギ", "substitutes": (2,)},
            ("characters", "substitute"),
        ),
        ({}, {"substitutes": (0,)}, ("substitute",)),
        # A licence in common: it is looked at, whatever else differs.
        (
            {"licences": ("123456",)},
            {"name": "山田 太郎", "birth_date": "1999-01-01", "licences": ("123456",)},
            ("name", "birth_date"),
        ),
    ],
    ids=str,
)
def test_what_an_officer_looks_at(ours: dict[str, Any], cards: dict[str, Any], differences: tuple[str, ...] | None) -> None:
    if differences is None:
        assert isinstance(judged(ours, cards), Different)
    else:
        assert judged(ours, cards) == Near(differences=differences)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ours", "cards", "differences"),
    [
        ({}, {"name": "山田 太郎", "birth_date": "1990-11-30"}, ("name", "birth_date")),
        ({}, {"name": "高橋 健", "birth_date": "1990-11-30"}, ("name", "birth_date")),
        ({}, {"name": "山田 太郎", "birth_date": "1984-05-13"}, ("name", "birth_date")),
        ({"birth_date": ""}, {"name": "山田 太郎"}, ("name", "no_birth_date")),
        ({"name": "森 恵"}, {"name": "森 健", "birth_date": ""}, ("name", "no_birth_date")),
        ({"name": "NGUYEN VAN A"}, {"name": "NGUYEN", "birth_date": ""}, ("name", "no_birth_date")),
        ({}, {"name": "山田 太郎", "birth_date": "x"}, ("name", "unreadable_date")),
        ({"kana": "タカハシ メグミ"}, {"kana": "タカハシ ケイ", "birth_date": "1990-11-30"}, ("kana", "birth_date")),
        ({}, {"name": "●●●", "substitutes": (1, 2, 3), "birth_date": "1990-11-30"}, ("substitute", "birth_date")),
    ],
    ids=str,
)
def test_somebody_else(ours: dict[str, Any], cards: dict[str, Any], differences: tuple[str, ...]) -> None:
    assert judged(ours, cards) == Different(differences=differences)  # type: ignore[arg-type]


def test_a_very_long_name_takes_no_long_time() -> None:
    assert isinstance(judged({"name": "高" * 100_000}, {"name": "橋" * 100_000, "birth_date": "1990-11-30"}), Different)


def test_what_is_compared_of_an_account() -> None:
    user = User(
        id="usr_1", login="dr.mori", name="森 あゆみ", roles=(), birth_date="1985-04-01", kana="モリ アユミ",
        former_names=("林",), licences=("1",),
    )  # fmt: skip
    assert roster_of(user) == Roster(
        name="森 あゆみ", kana="モリ アユミ", birth_date="1985-04-01", former_names=("林",), licences=("1",)
    )
    assert roster_of(User(id="usr_1", login="dr.mori", name="森", roles=())) == Roster(name="森")
    assert "森" not in repr(roster_of(user))


def test_both_sides_are_shown_with_all_that_is_in_them() -> None:
    rows = sides(
        Roster(name="草彅 剛", kana="クサナギ", birth_date="1974-07-09", former_names=("草\u200b",), licences=("1", "2")),
        Verified(
            name="草●\u202e　剛\U000e0100", substitutes=(2,), kana="クサナギ", birth_date="319740709", licences=("2\n",)
        ),
    )  # fmt: skip
    assert rows == (
        Row(field="name", roster="草彅 剛", card="草●⟨?⟩⟨U+202E⟩　剛⟨U+E0100⟩", equal=False),
        Row(field="former_names", roster="草⟨U+200B⟩", card="", equal=None),
        Row(field="kana", roster="クサナギ", card="クサナギ", equal=True),
        Row(field="birth_date", roster="1974-07-09", card="319740709", equal=True),
        Row(field="licences", roster="1、2", card="2⟨U+000A⟩", equal=True),
    )


@pytest.mark.parametrize(
    "text",
    ["", "昭和60年", "昭和六十年一月一日", "S64.1.8", "H31.5.1", "R1.4.30", "M0.1.1", "1984-13-01", "1984-05.12", "1984-02-30",
     "0000-01-01", "1985-W01-1", "319840500", "３１９８４０５１", "1984-05-12T00:00", "-984-05-12", "１" * 50, "٣19840512"],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert read_date(text) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("S64.1.7", date(1989, 1, 7)), ("昭和64年1月7日", date(1989, 1, 7)), ("平成元年1月8日", date(1989, 1, 8)),
        ("㍼59/5/12", date(1984, 5, 12)),
        ("㋿元年５月１日", date(2019, 5, 1)), ("119120730", date(1912, 7, 30)), ("219120730", date(1912, 7, 30)),
        ("T15.12.25", date(1926, 12, 25)), ("S1.12.25", date(1926, 12, 25)), ("1984.5.12", date(1984, 5, 12)),
        ("2000-02-29", date(2000, 2, 29)), ("018000101", date(1800, 1, 1)),
    ],
)  # fmt: skip
def test_the_edges_of_eras(text: str, day: date) -> None:
    assert read_date(text) == day


@pytest.mark.parametrize(
    ("other", "slip"),
    [
        (date(1984, 5, 13), True),  # a digit
        (date(1974, 5, 12), True),
        (date(1948, 5, 12), True),  # two digits exchanged
        (date(1984, 5, 21), True),
        (date(1984, 12, 5), True),  # day and month exchanged
        (date(1984, 5, 12), False),
        (date(1984, 5, 23), False),
        (date(1985, 5, 13), False),
        (date(1984, 12, 6), False),
        (date(1985, 12, 5), False),
    ],
)
def test_one_slip_of_a_day(other: date, *, slip: bool) -> None:
    assert alike(date(1984, 5, 12), other) == alike(other, date(1984, 5, 12)) == slip


# ---------------------------------------------------------------- the table of variants


@pytest.mark.parametrize(
    "group",
    ["高髙", "﨑崎嵜", "邉邊辺", "齋斎斉齊", "澤沢", "濱浜", "廣広", "國国", "德徳", "惠恵", "眞真", "櫻桜", "瀨瀬", "增増",
     "淺浅", "黑黒", "靜静", "榮栄", "龍竜", "條条", "圓円", "學学", "壽寿", "實実", "寬寛", "晴\ufa12", "海\ufa45", "神\ufa19",
     "塚\ufa10", "祐\ufa4f", "福\ufa1b", "都\ufa26"],
)  # fmt: skip
def test_the_forms_that_are_met_every_day(group: str) -> None:
    assert len({fold(char) for char in group}) == 1


@pytest.mark.parametrize("pair", ["坂阪", "崎埼", "村邨", "藤籐", "祇祗", "大太", "二ニ", "へヘ", "一ー", "力カ", "己巳", "末未"])
def test_letters_that_only_look_alike(pair: str) -> None:
    assert fold(pair[0]) != fold(pair[1])


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('[a]\nwhat="x"\ngroups=["高髙", "髙橋"]', "'髙橋' is no group: 髙"),
        ('[a]\nwhat="x"\ngroups=["高髙"]\n[b]\nwhat="x"\ngroups=["髙橋"]', "variants.b: '髙橋' is no group: 髙"),
        ('[a]\nwhat="x"\ngroups=["高"]', "'高' is no group: too short"),
        ('[a]\nwhat="x"\ngroups=["高高"]', "no group: 高"),
        ('[a]\nwhat="x"\ngroups=["海\ufa45"]', "no group: \ufa45"),
        ('[a]\nwhat="x"\ngroups=["邉\U000e0100"]', "is no group"),
        ('[a]\nwhat=""\ngroups=["高髙"]', "what its source is"),
        ('[a]\ngroups=["高髙"]', "what its source is"),
    ],
)  # fmt: skip
def test_a_table_that_contradicts_itself_does_not_load(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        load_variants(text)


def test_the_first_of_a_group_stands_for_it() -> None:
    assert chr(ord("髙")).translate(VARIANTS) == "高"
