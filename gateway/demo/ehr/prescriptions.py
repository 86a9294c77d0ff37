"""Prescriptions: what may be ordered, and a form's text turned into an order or into what is wrong with it. Pure."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.demo.patients import Text

MAX_DAYS: Final = 30
MAX_COMMENT: Final = 200
FORM_ID: Final = re.compile(r"rx_[0-9a-f]{32}")


class Drug(msgspec.Struct, frozen=True, kw_only=True):
    """A drug of the sample formulary."""

    code: str
    name: Text
    unit: Text
    max_amount: float
    """Per dose."""


_TABLET: Final = Text("錠", "tablet(s)")
DRUGS: Final = (
    Drug(code="amlodipine-5", name=Text("アムロジピン錠 5mg", "Amlodipine 5 mg tablets"), unit=_TABLET, max_amount=2),
    Drug(code="furosemide-20", name=Text("フロセミド錠 20mg", "Furosemide 20 mg tablets"), unit=_TABLET, max_amount=4),
    Drug(
        code="metformin-250",
        name=Text("メトホルミン錠 250mg", "Metformin 250 mg tablets"),
        unit=_TABLET,
        max_amount=3,
    ),
    Drug(
        code="loxoprofen-60",
        name=Text("ロキソプロフェン錠 60mg", "Loxoprofen 60 mg tablets"),
        unit=_TABLET,
        max_amount=2,
    ),
    Drug(
        code="paracetamol-500",
        name=Text("アセトアミノフェン錠 500mg", "Paracetamol 500 mg tablets"),
        unit=_TABLET,
        max_amount=2,
    ),
    Drug(
        code="rebamipide-100",
        name=Text("レバミピド錠 100mg", "Rebamipide 100 mg tablets"),
        unit=_TABLET,
        max_amount=1,
    ),
    Drug(
        code="magnesium-330",
        name=Text("酸化マグネシウム錠 330mg", "Magnesium oxide 330 mg tablets"),
        unit=_TABLET,
        max_amount=2,
    ),
)
TIMINGS: Final = {
    "qd-breakfast": Text("1日1回 朝食後", "once daily, after breakfast"),
    "qd-bedtime": Text("1日1回 就寝前", "once daily, at bedtime"),
    "bid": Text("1日2回 朝夕食後", "twice daily, after breakfast and dinner"),
    "tid": Text("1日3回 毎食後", "three times daily, after meals"),
}
_BY_CODE: Final = {drug.code: drug for drug in DRUGS}


class Prescription(msgspec.Struct, frozen=True, kw_only=True):
    """One order."""

    id: str
    """From the form that it was written on, so that sending a form twice orders once."""
    drug: str
    amount: float
    """Per dose, in the drug's unit."""
    timing: str
    days: int
    comment: str
    prescriber: str
    """Name as the gateway said it."""
    subject: str
    at: int
    """Epoch seconds."""

    @property
    def drug_name(self) -> Text:
        """The drug's name."""
        return _BY_CODE[self.drug].name

    @property
    def dose(self) -> Text:
        """Amount and timing in words."""
        unit, timing = _BY_CODE[self.drug].unit, TIMINGS[self.timing]
        return Text(
            f"1回{self.amount:g}{unit.ja} {timing.ja} {self.days}日分", f"{self.amount:g} {unit.en} {timing.en}, {self.days} days"
        )


def parse_prescription(form: Mapping[str, str], *, prescriber: str, subject: str, at: int) -> Prescription | dict[str, str]:
    """Return the order on a form, or the text keys of what is wrong, by field."""
    wrong: dict[str, str] = {}
    drug = _BY_CODE.get(form.get("drug", ""))
    if drug is None:
        wrong["drug"] = "choose"
    amount = _number(form.get("amount", ""))
    if amount is None or amount <= 0 or amount * 2 != int(amount * 2) or (drug is not None and amount > drug.max_amount):
        wrong["amount"] = "amount"
    if form.get("timing", "") not in TIMINGS:
        wrong["timing"] = "choose"
    days = _number(form.get("days", ""))
    if days is None or days != int(days) or not 1 <= days <= MAX_DAYS:
        wrong["days"] = "days"
    comment = form.get("comment", "").strip().replace("\r\n", "\n")  # as browsers send line breaks
    if len(comment) > MAX_COMMENT:
        wrong["comment"] = "comment"
    if FORM_ID.fullmatch(form.get("form", "")) is None:
        wrong["form"] = "form"
    if wrong or drug is None or amount is None or days is None:
        return wrong
    return Prescription(
        id=form["form"],
        drug=drug.code,
        amount=amount,
        timing=form["timing"],
        days=int(days),
        comment=comment,
        prescriber=prescriber,
        subject=subject,
        at=at,
    )


def _number(text: str) -> float | None:
    """A plain decimal number; full-width digits, as Japanese keyboards give them, are welcome."""
    narrow = text.strip().translate({0xFF10 + digit: str(digit) for digit in range(10)} | {0xFF0E: "."})
    return float(narrow) if re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,2})?", narrow) else None
