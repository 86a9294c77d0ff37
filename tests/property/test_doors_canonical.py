"""Random request lines at every door: whatever is accepted, the application receives byte for byte; nothing else arrives."""

import string
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.domain.connection import Connection
from gateway.domain.request import RawRequest, Refusal, parse_request
from tests.support.fronts import DOORS, Door, OpenDoors
from tests.support.fronts_site import HOST
from tests.support.raw import Line, NoReplyError

TRICKS = st.sampled_from(
    [
        b"/",
        b"//",
        b".",
        b"..",
        b"%2e",
        b"%2f",
        b"%5c",
        b"\\",
        b";",
        b"%3b",
        b"#",
        b"%23",
        b"?",
        b"%3F",
        b"%00",
        b"%",
        b"%zz",
        b"%25",
        b"%252e",
        b"admin",
        b"ADMIN",
        b"%61",
        b"~",
        b"%7E",
        b"%E6%82%A3",
        b"%c0%ae",
        b"%ff",
        b"\t",
        b"+",
        b"%20",
        b"&",
        b"=",
        b"*",
        b"http://",
        b"@",
        b":",
        b"|",
        b"\xc3\xa9",
        b"\x00",
        b"\x7f",
        b"{x}",
        b"$uri",
        b"$1",
        b"{path}",
        b"{http.request.uri}",
        b"%REQ(:PATH)%",
    ]
)
TEXT = st.text(string.ascii_letters + string.digits + "-._~!$'()*+,:@", min_size=1, max_size=5).map(str.encode)
UTF8 = st.text("患者カルテé ß𝄞", min_size=1, max_size=3).map(lambda text: quote(text, safe="").encode())
TARGETS = st.lists(st.one_of(TRICKS, TEXT, UTF8), max_size=8).map(lambda parts: b"/" + b"".join(parts))
PATHS = st.lists(st.one_of(TEXT, UTF8), min_size=1, max_size=4).map(lambda parts: b"/" + b"/".join(parts))
QUERIES = st.one_of(st.just(b""), st.text("abc=&;%2F%20?/[]|{}$\\^`\"<>'", max_size=12).map(lambda text: b"?" + text.encode()))
METHODS = st.sampled_from(["GET", "GET", "GET", "DELETE", "OPTIONS", "PROPFIND"])


@pytest.fixture(params=DOORS)
def sound_door(request: pytest.FixtureRequest, doors: OpenDoors) -> Door:
    found = doors(request.param)
    found.begin()
    return found


class Talker:
    """A connection that is opened anew when the door has ended it."""

    def __init__(self, door: Door) -> None:
        self.door = door
        self.line: Line | None = None

    def ask(self, data: bytes) -> int:
        for _ in range(2):
            fresh = self.line is None
            line = self.line = self.line or self.door.line()
            try:
                line.send(data)
                reply = line.reply()
                if reply.status >= 400 or reply.value("Connection") == "close" or line.hung_up:
                    self.close()
                return reply.status
            except NoReplyError:
                self.close()
                if fresh:
                    return 0
        return 0

    def close(self) -> None:
        if self.line is not None:
            self.line.close()
            self.line = None


def test_whatever_is_accepted_arrives_byte_for_byte(sound_door: Door) -> None:
    door, talker = sound_door, Talker(sound_door)
    accepted = 0

    @given(target=st.one_of(TARGETS, st.tuples(PATHS, QUERIES).map(b"".join)), method=METHODS)
    @example(target=b"/a?", method="GET")
    @example(target=b"/a??x=%2E%2e%2F&y=|{}\\^`", method="GET")
    @example(target=b"/$uri/{path}/%24%7B", method="GET")
    @example(target=b"/%E6%82%A3%E8%80%85/%20", method="DELETE")
    @settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def run(target: bytes, method: str) -> None:
        nonlocal accepted
        door.site.forget()
        lines = [f"Origin: https://{door.authority}"] if method == "DELETE" else []
        status = talker.ask(door.head(target, *lines, method=method))
        hits = list(door.site.upstream.hits)
        text = target.decode("utf-8", "surrogateescape")
        raw = RawRequest(method=method, target=text, headers=(("Host", HOST),), connection=Connection(peer_address="192.0.2.1"))
        if isinstance(parse_request(raw), Refusal):
            assert 400 <= status < 500 or status == 0, (target, status)
        if 200 <= status < 300:
            accepted += 1
            assert [(hit.method, hit.target) for hit in hits] == [(method, target)]
        else:
            assert 400 <= status < 500 or status == 0, (target, status)
            assert hits == [], target
        assert door.site.unjustified(door.site.decisions(), hits) == []

    try:
        run()
    finally:
        talker.close()
    assert accepted >= 30, "nearly everything is refused, so this shows little"
    door.assert_sound()
