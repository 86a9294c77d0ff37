"""What can be ordered, and a form's text turned into an entry of the book. Pure."""

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from gateway.demo.patients import Text

Kind = Literal["order", "narcotic", "done"]

FORM_ID: Final = re.compile(r"ord_[0-9a-f]{32}")
ORDERS: Final = {
    "blood-count": Text("末梢血液一般検査", "Complete blood count"),
    "electrolytes": Text("電解質(Na・K・Cl)", "Electrolytes (Na, K, Cl)"),
    "chest-xr": Text("胸部単純X線 正面", "Chest radiograph, frontal"),
    "head-ct": Text("頭部単純CT", "Head CT, plain"),
    "ecg": Text("12誘導心電図", "12-lead ECG"),
    "drip": Text("点滴 維持液 500mL", "Infusion, maintenance fluid 500 mL"),
}
NARCOTICS: Final = {
    "morphine-10": Text("モルヒネ塩酸塩注射液 10mg 1アンプル", "Morphine hydrochloride injection 10 mg, 1 ampoule"),
    "fentanyl-patch": Text("フェンタニル貼付剤 1mg 1枚", "Fentanyl patch 1 mg, 1 sheet"),
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a patient's book. It is only ever added to."""

    id: str
    """From the form that it was written on, so that sending a form twice enters it once."""
    kind: Kind
    what: str
    """A code of ORDERS or NARCOTICS; of `done`, the id of the order."""
    author: str
    """Name as the gateway said it."""
    subject: str
    at: int
    """Epoch seconds."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """An order, and that it was carried out."""

    order: Entry
    name: Text
    done: Entry | None


def parse_entry(
    form: Mapping[str, str], kind: Literal["order", "narcotic"], *, author: str, subject: str, at: int
) -> Entry | None:
    """Return the entry on a form; None when it holds nothing that can be ordered."""
    what = form.get("what", "")
    if what not in (ORDERS if kind == "order" else NARCOTICS) or FORM_ID.fullmatch(form.get("form", "")) is None:
        return None
    return Entry(id=form["form"], kind=kind, what=what, author=author, subject=subject, at=at)


def lines(entries: Iterable[Entry]) -> list[Line]:
    """Return the orders among a patient's entries, newest first, each with the first word that it was carried out."""
    known = sorted(entries, key=lambda entry: (entry.at, entry.id))
    done: dict[str, Entry] = {}
    for entry in known:
        if entry.kind == "done":
            done.setdefault(entry.what, entry)
    orders = [entry for entry in known if entry.kind != "done"]
    return [Line(order=entry, name=(ORDERS | NARCOTICS)[entry.what], done=done.get(entry.id)) for entry in reversed(orders)]
