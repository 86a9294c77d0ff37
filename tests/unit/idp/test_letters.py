"""Letters of methods, which move on dates."""

from datetime import date

import pytest

from idp.proofing.letters import LETTERS, letter, load_letters

BEFORE, AFTER = date(2027, 3, 31), date(2027, 4, 1)
ONE = 'what="x"\nspans=[{letter="カ", from=2025-06-24, source="x"}]'


@pytest.mark.parametrize(
    ("method", "until", "since"),
    [
        ("jpki_sign", "カ", "ヌ"), ("mdoc_mnc", "ル", "ト"), ("ic_chip_face", "ヘ", "ハ"), ("certified_ca_sign", "ワ", "リ"),
        ("specified_ca_sign", "ヨ", "ル"), ("document_image_face", "ホ", None),
    ],
)  # fmt: skip
def test_the_letters_move_in_april_2027(method: str, until: str, since: str | None) -> None:
    assert (letter(method, BEFORE), letter(method, AFTER)) == (until, since)
    assert letter(method, date(2025, 6, 24)) == until
    assert letter(method, date(2040, 1, 1)) == since


@pytest.mark.parametrize("method", ["simulated", "in_person", "", "JPKI_SIGN"])
def test_a_method_without_a_letter(method: str) -> None:
    assert letter(method, BEFORE) is None


def test_before_the_data_there_is_no_letter() -> None:
    assert letter("jpki_sign", date(2025, 6, 23)) is None


def test_no_two_methods_share_a_letter_on_a_day() -> None:
    for day in (date(2025, 6, 24), BEFORE, AFTER):
        letters = [found for method in LETTERS if (found := letter(method, day))]
        assert len(letters) == len(set(letters)) >= 5


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('spans=[{letter="カ", from=2025-06-24, source="x"}]', "what"),
        ('what="x"\nspans=[]', "neither what it is"),
        ('what="x"\nspans=[{letter="カ", from=2025-06-24}]', "source"),
        ('what="x"\nspans=[{letter="カ", from=2025-06-24, source=""}]', "no letter with a source"),
        ('what="x"\nspans=[{letter="カヨ", from=2025-06-24, source="x"}]', "no letter with a source"),
        ('what="x"\nspans=[{letter="カ", from="24 June 2025", source="x"}]', "from"),
        ('what="x"\nspans=[{letter="カ", from="2025-06-31", source="x"}]', "from"),
        ('what="x"\nspans=[{letter="カ", from=2025-06-24, unitl=2027-03-31, source="x"}]', "unitl"),
        ('what="x"\nended="x"\nspans=[{letter="カ", from=2025-06-24, until=2025-06-23, source="x"}]', "ends before it begins"),
        ('what="x"\nspans=[{letter="カ", from=2025-06-24, until=2027-03-31, source="x"}]', "with a day and a reason"),
        ('what="x"\nended="x"\nspans=[{letter="カ", from=2025-06-24, source="x"}]', "with a day and a reason"),
        (f'{ONE[:-1]}, {{letter="ヌ", from=2027-04-01, source="x"}}]', "2027-04-01 does not follow"),
    ],
)
def test_data_that_can_not_be_right_does_not_load(text: str, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        load_letters(f"[m]\n{text}")


@pytest.mark.parametrize(("until", "fits"), [("2027-03-30", False), ("2027-03-31", True), ("2027-04-01", False)])
def test_spans_leave_no_day_out_and_none_twice(until: str, *, fits: bool) -> None:
    spans = f'{{letter="カ", from=2025-06-24, until={until}, source="x"}}, {{letter="ヌ", from=2027-04-01, source="x"}}'
    text = f'[m]\nwhat="x"\nspans=[{spans}]'
    if fits:
        assert [span.letter for span in load_letters(text)["m"].spans] == ["カ", "ヌ"]
    else:
        with pytest.raises(ValueError, match="2027-04-01 does not follow"):
            load_letters(text)
