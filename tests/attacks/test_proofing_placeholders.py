"""What stands in a field where a name is lacking, on both sides, says of nobody who they are."""

from datetime import date

import pytest

from idp.proofing.matching import Near, Roster, Same, match
from idp.proofing.port import Verified

BORN, TODAY = "1984-05-12", date(2026, 11, 1)


@pytest.mark.parametrize("text", ["-", "ー", "'", "・", " ", "*", "0", "----", "。", "?", "～"])
def test_no_letter_is_no_name(text: str) -> None:
    assert isinstance(match(Roster(name=text, birth_date=BORN), Verified(name=text, birth_date=BORN), today=TODAY), Near)
    # Nor is it a reading that would make up for letters that the card lacks.
    ledger, card = (
        Roster(name="髙橋 恵", kana=text, birth_date=BORN),
        Verified(name="■橋 恵", substitutes=(1,), kana=text, birth_date=BORN),
    )
    assert isinstance(match(ledger, card, today=TODAY), Near)


@pytest.mark.parametrize("text", ["一", "ー一", "々", "𠮷", "\U0003134f", "Ｏ", "ん", "O'"])
def test_one_letter_is(text: str) -> None:
    assert isinstance(match(Roster(name=text, birth_date=BORN), Verified(name=text, birth_date=BORN), today=TODAY), Same)
