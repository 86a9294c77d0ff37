import pytest

from gateway.domain.connection import Connection
from gateway.domain.refusal import Refusal
from gateway.doors.connection import describe
from gateway.doors.trust import Peers, behind_front, last_client, parse_address
from gateway.kernel.errors import ConfigError

FRONTS = Peers(["10.0.0.0/28", "2001:db8::7", "192.0.2.1"], [33])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.0.0.5", True),
        ("10.0.0.16", False),
        ("2001:db8::7", True),
        ("2001:db8::8", False),
        ("::ffff:10.0.0.5", True),
        ("192.0.2.1", True),
        ("", False),
        ("10.0.0.5:80", False),
        ("10.0.0.5%eth0", False),
        ("localhost", False),
        ("010.0.0.5", False),
        ("167772165", False),
    ],
)
def test_addresses(address: str, trusted: bool) -> None:
    assert FRONTS.has_address(address) is trusted


def test_user_ids() -> None:
    assert FRONTS.has_uid(33)
    assert not FRONTS.has_uid(0)
    assert not Peers(["10.0.0.1"]).has_uid(0)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "::/1", "10.0.0.1/8", "x", "", "10.0.0.0/33"])
def test_ranges_that_are_a_mistake(text: str) -> None:
    with pytest.raises(ConfigError, match="trusted peers"):
        Peers([text])


def test_a_negative_user_id() -> None:
    with pytest.raises(ConfigError):
        Peers([], [-1])


def test_an_empty_list_trusts_nobody() -> None:
    assert not Peers([])
    assert bool(FRONTS)
    connection = Connection(peer_address="10.0.0.5")
    assert behind_front(connection, (("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-Proto", "https")), Peers([])) is connection


def test_only_fronts_in_the_list() -> None:
    assert last_client("10.0.0.2, 10.0.0.3", FRONTS) == "10.0.0.2"
    assert last_client("1.2.3.4,10.0.0.3", FRONTS) == "1.2.3.4"
    assert last_client("::ffff:1.2.3.4", FRONTS) == "1.2.3.4"
    assert isinstance(last_client("1.2.3.4,,10.0.0.3", FRONTS), Refusal)


def test_an_address_that_is_none() -> None:
    assert parse_address("1.2.3") is None
    assert parse_address("fe80::1%1") is None


def test_a_lost_connection_is_nobodys() -> None:
    connection = describe(None)
    assert connection.peer_address == ""
    assert not FRONTS.has_address(connection.peer_address)
