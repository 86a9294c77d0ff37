import pytest

from gateway.domain.headers import (
    PROTECTED,
    fold,
    misspelt,
    response_headers,
    strip_client,
    upstream_headers,
    without_own_cookies,
)

OURS = frozenset({fold("X-Remote-User")})


@pytest.mark.parametrize("name", ["X-Remote-User", "x_remote_user", "X.Remote.User", "XREMOTEUSER", "x-remote-user-"])
def test_folding(name: str) -> None:
    assert fold(name) == "xremoteuser"


def test_what_is_not_protected_stays_in_order() -> None:
    headers = (("B", "1"), ("A", "2"), ("b", "3"), ("Accept-Encoding", "gzip"), ("Origin", "x"), ("Cookie", "a=b"))
    assert strip_client(headers, OURS) == headers


def test_protected_names_go_in_every_spelling_and_number() -> None:
    headers = (("X_Remote_User", "1"), ("a", "2"), ("x-remote-user", "3"), ("X-Forwarded-Anything", "4"), ("X-Gateway-New", "5"))
    assert strip_client(headers, OURS) == (("a", "2"),)


def test_listed_names_go_and_structural_ones_are_left_to_their_reader() -> None:
    headers = (("Connection", "close, X-A"), ("connection", "x-b"), ("X-A", "1"), ("X-B", "2"), ("Host", "h"))
    assert strip_client(headers, OURS) == (("Connection", "close, X-A"), ("connection", "x-b"), ("Host", "h"))


def test_the_upstreams_head() -> None:
    headers = (
        ("Host", "h:1"),
        ("Connection", "close"),
        ("TE", "trailers"),
        ("Content-Length", "3"),
        ("cookie", "__Host-gw-x=1"),
        ("A", "1"),
    )
    result = upstream_headers(headers, authority="h", forwarded=[("X-Forwarded-For", "1.2.3.4")], own=[("X-Remote-User", "u")])
    assert result == [("Host", "h"), ("A", "1"), ("X-Forwarded-For", "1.2.3.4"), ("X-Remote-User", "u")]


def test_cookies_without_ours_are_untouched() -> None:
    assert without_own_cookies(' a = 1 ;;b="x,y"; ') == ' a = 1 ;;b="x,y"; '


def test_response_fields_keep_their_bytes() -> None:
    headers = [(b"set-COOKIE", b"a=\xff"), (b"Content-Length", b"1"), (b"Keep_Alive", b"x"), (b"X", b"\x83\x65")]
    assert response_headers(headers) == [(b"set-COOKIE", b"a=\xff"), (b"X", b"\x83\x65")]


def test_nothing_that_the_gateway_says_can_be_configured_away() -> None:
    assert fold("X-Gateway-Assertion") in PROTECTED


def test_what_could_be_taken_for_one_of_ours_but_is_spelled_otherwise_is_found() -> None:
    names = frozenset({"x-remote-user", "x-gateway-assertion"})
    usual = ("X-Remote-User", "X-Forwarded-Email", "Client-Cert", "Content-Length", "Cookie", "Accept", "X-Other", "TE", "Host")
    for name in usual:
        assert misspelt((("Accept", "a"), (name, "b")), names) is None, name
    odd = ("XRemote-User", "X--Remote-User", "x_remote_user", "X.Remote.User", "_X-Remote-User", "XForwarded-For", "ClientCert")
    for name in (*odd, "Content_Length", "X-Gateway_Assertion", "X-Forwarded_Email"):
        assert misspelt((("Accept", "a"), (name, "b")), names) == name
