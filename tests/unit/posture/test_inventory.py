"""What an inventory says: whole, or not at all, with every bad line."""

from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.posture import Attribute
from gateway.posture.inventory import MAX_BYTES, SHOWN, InventoryError, parse_inventory
from gateway.posture.ledger import set_attributes
from tests.support.devices import NOW, new_device

NAME_THEM = "f.csv:1: the first line should name the columns device,attribute,value,observed_at"
HEAD = "device,attribute,value,observed_at\n"
GOOD = "dev_1,disk_encrypted,true,2027-01-15T16:00:00+09:00\n"


def read(text: str | bytes) -> dict[str, tuple[Attribute, ...]]:
    data = text.encode() if isinstance(text, str) else text
    return parse_inventory(data, "f.csv", known={"dev_1", "dev_2"}, zone=ZoneInfo("Asia/Tokyo"), now=NOW, source="inventory:mdm")


def problems(text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(InventoryError) as caught:
        read(text)
    return caught.value.problems


def test_a_file_is_read_by_its_columns_names() -> None:
    rows = ("2027-01-15 16:00,false,dev_2,antivirus", "", "2027-01-15T07:00:00Z,true,dev_1,screen_lock", "")
    text = "\r\n".join(["\ufeffobserved_at,value,device,attribute", *rows])
    at = int(NOW) - 3600
    assert read(text) == {
        "dev_2": (Attribute(name="antivirus", value=False, at=at, source="inventory:mdm"),),
        "dev_1": (Attribute(name="screen_lock", value=True, at=at, source="inventory:mdm"),),
    }


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("dev_9,disk_encrypted,true,2027-01-15T16:00:00+09:00", 'there is no device "dev_9"'),
        (",disk_encrypted,true,2027-01-15T16:00:00+09:00", 'there is no device ""'),
        ("dev_1,disk,true,2027-01-15T16:00:00+09:00", '"disk" is none of disk_encrypted, screen_lock, antivirus, os_supported'),
        ("dev_1,antivirus,TRUE,2027-01-15T16:00:00+09:00", 'the value should be true or false, not "TRUE"'),
        ("dev_1,antivirus,,2027-01-15T16:00:00+09:00", 'the value should be true or false, not ""'),
        ("dev_1,antivirus,true,yesterday", '"yesterday" is no time; write it like 2026-11-23T06:00:00+09:00'),
        ("dev_1,antivirus,true,2027-01-15T17:02:00+09:00", '"2027-01-15T17:02:00+09:00" is in the future'),
        ("dev_1,antivirus,true,1969-01-15T17:02:00+09:00", '"1969-01-15T17:02:00+09:00" is too long ago'),
        ("dev_1,antivirus,true,0001-01-01T00:00:00+23:59", '"0001-01-01T00:00:00+23:59" is too long ago'),
        ("dev_1,antivirus,true", '"" is no time; write it like 2026-11-23T06:00:00+09:00'),
        ("dev_1,antivirus,true,2027-01-15T16:00:00+09:00,x", "has more cells than the first line"),
        ("dev_1,disk_encrypted,false,2027-01-15T16:30:00+09:00", "disk_encrypted of this device stands on line 2 already"),
        ("\u202edev_1,antivirus,true,2027-01-15T16:00:00+09:00", 'there is no device "?dev_1"'),
    ],
)  # fmt: skip
def test_one_bad_line_and_nothing_is_taken(row: str, what: str) -> None:
    assert problems(f"{HEAD}{GOOD}{row}\n") == (f"f.csv:3: {what}",)


def test_every_bad_line_is_told_up_to_a_number() -> None:
    text = HEAD + GOOD + "".join(f"dev_{number},x,true,now\n" for number in range(100, 130))
    assert len(problems(text)) == 30
    with pytest.raises(InventoryError) as caught:
        read(text)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith("f.csv:3: ")
    assert lines[SHOWN:] == ["... and 10 more", "Nothing was taken."]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", NAME_THEM),
        (HEAD.encode(), "f.csv: there is nothing below the first line"),
        (b"device,attribute,value\n", NAME_THEM),
        (
            b"device,device,value,observed_at\n",
            NAME_THEM,
        ),
        (HEAD.encode() + b"dev_1,\xff,true,x\n", "f.csv:2: is not UTF-8 text"),
        (HEAD.encode() + b'dev_1,"antivirus,true,x\n', "f.csv:2: is no CSV: unexpected end of data"),
        (HEAD.encode() + b"x" * MAX_BYTES, "f.csv: is larger than 16 MB"),
    ],
)
def test_what_is_no_such_file_is_said(data: bytes, what: str) -> None:
    assert problems(data) == (what,)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(InventoryError):
        read(HEAD.encode() + data)


def said(value: bool, at: int, source: str = "inventory:mdm") -> Attribute:
    return Attribute(name="antivirus", value=value, at=at, source=source)


def test_the_newest_word_stays_whoever_comes_last() -> None:
    seen = set_attributes(new_device(), [said(False, 100, "officer:sec.abe")])
    assert set_attributes(seen, [said(True, 99)]) is seen, "older"
    assert set_attributes(seen, [said(False, 100, "officer:sec.abe")]) is seen, "the same"
    assert set_attributes(seen, [said(True, 100)]).attributes == (said(True, 100),)
    other = Attribute(name="disk_encrypted", value=True, at=1, source="x")
    assert set_attributes(seen, [other, said(True, 101)]).attributes == (said(True, 101), other), "sorted by name"
