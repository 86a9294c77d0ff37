"""Matching a card with the staff ledger, for any text: what holds whatever the names are."""

import unicodedata
from datetime import date

from hypothesis import example, given
from hypothesis import strategies as st

from idp.proofing.dates import ERAS, alike, read_date
from idp.proofing.matching import Different, Near, Roster, Same, match, sides, visible
from idp.proofing.names import VARIANTS, fold, has_letter, is_unseen
from idp.proofing.port import Verified

TODAY = date(2026, 11, 23)
BORN = "1984-05-12"
PLAIN = "佐藤鈴木高橋田中伊渡山本恵花子太一郎さくらアユミ邉斎齋﨑髙ー"
"""Letters of which some are variants of one another."""
names = st.text(alphabet=PLAIN + " ", min_size=1, max_size=12).filter(lambda text: has_letter(fold(text)))
texts = st.text(max_size=40)
dates = st.dates(min_value=date(1868, 1, 25), max_value=TODAY)
groups: dict[str, str] = {}
for _code, _first in VARIANTS.items():
    groups[_first] = groups.get(_first, "") + chr(_code)


def ledger(name: str = "佐藤 恵", birth_date: str = BORN, kana: str = "") -> Roster:
    return Roster(name=name, birth_date=birth_date, kana=kana)


def card(name: str = "佐藤 恵", birth_date: str = BORN, kana: str = "", substitutes: tuple[int, ...] = ()) -> Verified:
    return Verified(name=name, birth_date=birth_date, kana=kana, substitutes=substitutes)


@given(names, dates)
def test_everybody_is_themselves_without_a_note(name: str, born: date) -> None:
    assert match(ledger(name, born.isoformat()), card(name, born.isoformat()), today=TODAY) == Same()


@given(names, names, texts, texts)
@example("a\u202e", "a", "", "")
def test_the_sides_may_be_exchanged(one: str, other: str, kana: str, reading: str) -> None:
    forth = match(ledger(one, kana=kana), card(other, kana=reading), today=TODAY)
    back = match(ledger(other, kana=reading), card(one, kana=kana), today=TODAY)
    assert forth == back


@given(names, st.lists(st.sampled_from(" \u3000\u00a0\u2003"), max_size=3), st.data())
def test_no_difference_goes_without_a_note(name: str, blanks: list[str], data: st.DataObject) -> None:
    other = name
    for blank in blanks:
        place = data.draw(st.integers(0, len(other)))
        other = other[:place] + blank + other[place:]
    assert match(ledger(name), card(other), today=TODAY) == Same(notes=("spaces",) if other != name else ())


@given(names, st.data())
def test_another_letter_is_never_the_same_person(name: str, data: st.DataObject) -> None:
    place = data.draw(st.sampled_from([place for place, char in enumerate(name) if char != " "]))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda char: fold(char) != fold(name[place]) and char != "々"))
    changed = name[:place] + letter + name[place + 1 :]
    assert fold(changed) != fold(name) or is_unseen(letter)
    assert not isinstance(match(ledger(name), card(changed), today=TODAY), Same)


@given(names, st.data())
def test_a_letter_more_or_less_is_never_the_same_person(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name)))
    letter = data.draw(st.sampled_from(sorted(PLAIN + "々゙ッ")))
    assert not isinstance(match(ledger(name), card(name[:place] + letter + name[place:]), today=TODAY), Same)


@given(st.sampled_from(sorted(groups)), names, st.data())
def test_a_variant_is_the_same_letter_and_noted(first: str, name: str, data: st.DataObject) -> None:
    one = data.draw(st.sampled_from(groups[first]))
    other = data.draw(st.sampled_from(groups[first]).filter(lambda char: char != one))
    place = data.draw(st.integers(0, len(name)))
    ours, cards = (name[:place] + letter + name[place:] for letter in (one, other))
    assert match(ledger(ours), card(cards), today=TODAY) == Same(notes=("variant_kanji",))


def test_the_groups_are_disjoint_and_each_member_is_one_letter() -> None:
    letters = [char for members in groups.values() for char in members]
    assert len(letters) == len(set(letters)) > 800
    assert len(groups) > 400
    for letter in letters:
        assert len(letter) == 1
        assert unicodedata.normalize("NFKC", letter) == letter
        assert unicodedata.category(letter) == "Lo"
        assert fold(letter) in groups, letter
    assert not {"々", "一", "ー"} & set(letters)


@given(
    texts,
    texts,
    texts,
    texts,
    st.lists(st.integers(-3, 50), max_size=5),
    st.lists(texts, max_size=3),
    st.lists(texts, max_size=3),
)
def test_no_text_raises_and_what_is_shown_can_be_seen(
    name: str, other: str, kana: str, born: str, places: list[int], formers: list[str], licences: list[str]
) -> None:
    roster = Roster(name=name, kana=kana, birth_date=born, former_names=tuple(formers), licences=tuple(licences))
    verified = Verified(
        name=other, substitutes=tuple(places), kana=born, birth_date=kana, former_names=tuple(licences), licences=tuple(formers)
    )
    result = match(roster, verified, today=TODAY)
    assert isinstance(result, Same | Near | Different)
    assert isinstance(result, Same) or result.differences
    for row in sides(roster, verified):
        assert not any(is_unseen(char) for char in row.roster + row.card)


@given(texts, texts)
def test_two_texts_are_shown_as_two(one: str, other: str) -> None:
    assert (visible(one) == visible(other)) == (one == other)


@given(names, st.characters(categories=["Cc", "Cf", "Cs", "Co", "Zl", "Zp"]), st.data())
@example("佐藤 恵", "\u202e", None)
@example("佐藤 恵", "\u200b", None)
@example("佐藤 恵", "\u2800", None)
@example("佐藤 恵", "\ufe0f", None)
def test_what_no_name_has_is_never_the_same_person(name: str, odd: str, data: st.DataObject | None) -> None:
    place = data.draw(st.integers(0, len(name))) if data is not None else 0
    spoilt = name[:place] + odd + name[place:]
    for ours, cards in ((name, spoilt), (spoilt, name), (spoilt, spoilt)):
        result = match(ledger(ours), card(cards), today=TODAY)
        assert isinstance(result, Near)
        assert "characters" in result.differences


@given(names, st.data())
def test_a_substitute_stands_for_one_letter(name: str, data: st.DataObject) -> None:
    solid = name.replace(" ", "")
    place = data.draw(st.integers(0, len(solid) - 1))
    flagged = solid[:place] + "●" + solid[place + 1 :]
    kana = "サトウ メグミ"
    found = match(ledger(solid, kana=kana), card(flagged, kana=kana, substitutes=(place + 1,)), today=TODAY)
    assert found == (Same(notes=("substitute",)) if len(solid) > 1 else Near(differences=("substitute",)))
    for other in (solid[:place] + "漢字" + solid[place + 1 :], solid[:place] + solid[place + 1 :]):
        assert not isinstance(
            match(ledger(other, kana=kana), card(flagged, kana=kana, substitutes=(place + 1,)), today=TODAY), Same
        )
    unread = match(ledger(solid), card(flagged, substitutes=(place + 1,)), today=TODAY)
    assert unread == Near(differences=("substitute",)), "without a reading an officer looks"


@given(names, dates, dates.filter(lambda day: day != date(1984, 5, 12)))
def test_another_birth_date_is_never_the_same_person(name: str, one: date, other: date) -> None:
    result = match(ledger(name, one.isoformat()), card(name, other.isoformat()), today=TODAY)
    assert isinstance(result, Same) == (one == other)


@given(dates)
def test_every_spelling_of_a_day_is_that_day(day: date) -> None:
    number, era = next((number, era) for number, era in reversed(list(enumerate(ERAS, 1))) if era.first <= day)
    year = day.year - era.before
    for text in (
        day.isoformat(), f"{day:%Y%m%d}", f"{day.year}/{day.month}/{day.day}", f"{day.year}年{day.month}月{day.day}日",
        f"{number}{day:%Y%m%d}", f"0{day:%Y%m%d}", f"{era.letter}{year}.{day.month}.{day.day}",
        f"{era.letter.lower()}{year:02}-{day.month:02}-{day.day:02}", f"{era.name}{year}年{day.month}月{day.day}日",
        f" {era.name} {'元' if year == 1 else year} 年 {day.month} 月 {day.day} 日",
    ):  # fmt: skip
        assert read_date(text) == day, text
    wrong = {1, 2, 3, 4, 5} - {place for place, one in enumerate(ERAS, 1) if one.first <= day <= one.last}
    assert all(read_date(f"{other}{day:%Y%m%d}") is None for other in wrong)


@given(dates, dates)
def test_likeness_of_days_has_no_side_and_is_no_sameness(one: date, other: date) -> None:
    assert alike(one, other) == alike(other, one)
    assert not alike(one, one)


@given(st.text(alphabet="0123456789年月日-/.MTSHR昭和平成令元㍼ ", max_size=16) | texts)
def test_a_text_is_a_date_or_none(text: str) -> None:
    day = read_date(text)
    assert day is None or read_date(day.isoformat()) == day
