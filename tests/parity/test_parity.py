"""The same case at every door: the same answer, the same record, the same effect on the application.

Each case says what must come of it. Beyond that, what each door leaves behind (the closed fields of its record, the request at
the application, the kind of page) must equal what the embedded door leaves. Where a front answers by itself before it asks,
`DIVERGENCES` says so, with the reason: it must be a refusal all the same, and nothing may reach the application.
"""

import json
from typing import Any, Final, Literal, cast

import msgspec
import pytest

from tests.support.fronts import NAVIGATION, SCRIPT, Answered, Door, OpenDoors, wait_until
from tests.support.fronts_site import HOST, Made
from tests.support.raw_upstream import ETAG

Kind = Literal["app", "html", "json", "redirect", "empty"]
HANDSHAKE: Final = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
ORIGIN: Final = "Origin: https://{authority}"
FORM: Final = ("Content-Type: application/x-www-form-urlencoded", "Content-Length: 7")


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One request, and what comes of it."""

    target: str = "/x"
    lines: tuple[str, ...] = ()
    method: str = "GET"
    body: bytes = b""
    session: Made | Literal["", "forged"] = "live"
    host: str = ""
    status: int
    outcome: str
    reason: str
    kind: Kind
    remedy: tuple[str, ...] = ()


def allow(target: str = "/x", *lines: str, status: int = 200, **more: Any) -> Case:
    return Case(
        target=target, lines=lines, **{"status": status, "outcome": "allow", "reason": "policy_permits", "kind": "app", **more}
    )


def challenge(reason: str, *lines: str, kind: Kind, **more: Any) -> Case:
    status = 302 if kind == "redirect" else 401
    return Case(lines=lines, **{"status": status, "outcome": "challenge", "reason": reason, "kind": kind, "session": "", **more})


def deny(target: str, reason: str, *lines: str, kind: Kind, **more: Any) -> Case:
    return Case(target=target, lines=lines, status=403, outcome="deny", reason=reason, kind=kind, **more)


def refuse(target: str, reason: str, *lines: str, status: int = 400, kind: Kind = "json", **more: Any) -> Case:
    return Case(target=target, lines=lines or SCRIPT, status=status, outcome="refuse", reason=reason, kind=kind, **more)


CASES: Final[dict[str, Case]] = {
    # ---- allow
    "allow": allow("/x", *NAVIGATION),
    "allow, script": allow("/x", *SCRIPT),
    "allow, query": allow("/x?patient=1&a=%2F;b&c", *NAVIGATION),
    "allow, empty query": allow("/x?"),
    "allow, Japanese path": allow("/%E6%82%A3%E8%80%85/%20a", *NAVIGATION),
    "allow, parameters": allow("/matrix/page;v=1/x"),
    "allow, HEAD": allow("/x", method="HEAD", kind="empty"),
    "allow, OPTIONS": allow("/x", method="OPTIONS"),
    "allow, DELETE": allow("/x", ORIGIN, method="DELETE"),
    "allow, write": allow("/write/note?patient=77", ORIGIN, "Content-Length: 0", method="POST"),
    "allow, POST with body": allow(
        "/x", ORIGIN, "Content-Length: 12", "Content-Type: text/plain", method="POST", body=b"hello\r\nworld"
    ),
    "allow, POST in chunks": allow(
        "/x", ORIGIN, "Transfer-Encoding: chunked", method="POST", body=b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    ),
    "allow, PUT of some size": allow("/x", ORIGIN, "Content-Length: 300000", method="PUT", body=b"x" * 300_000),
    "allow, expect": allow("/x", ORIGIN, "Expect: 100-continue", "Content-Length: 5", method="POST", body=b"hello"),
    "allow, range": allow("/file", "Range: bytes=10-19", status=206),
    "allow, range that is not there": allow("/file", "Range: bytes=1000-2000", status=416, kind="empty"),
    "allow, not modified": allow("/file", f"If-None-Match: {ETAG}", status=304, kind="empty"),
    "allow, WebSocket": allow("/ws/x", *HANDSHAKE, ORIGIN, status=101, kind="empty"),
    "allow, spoofed headers": allow(
        "/x",
        "X-Remote-User: evil",
        "X_Remote_User: evil",
        "X-Gateway-Assertion: evil",
        "X-Forwarded-For: 10.0.0.1",
        "X-Original-URL: /admin",
    ),
    "allow, spoofed department": allow("/x", "X-Remote-Department: evil"),
    # ---- challenge
    "challenge, navigation": challenge("sign_in_required", *NAVIGATION, target="/x?a=1", kind="redirect"),
    "challenge, script": challenge("sign_in_required", *SCRIPT, kind="json"),
    "challenge, API": challenge("sign_in_required", "Accept: application/json", kind="json"),
    "challenge, XHR of old": challenge(
        "sign_in_required", "Accept: text/html, */*", "X-Requested-With: XMLHttpRequest", kind="json"
    ),
    "challenge, HEAD": challenge("sign_in_required", *SCRIPT, method="HEAD", kind="empty"),
    "challenge, forged cookie": challenge("cookie_unknown", *NAVIGATION, session="forged", kind="redirect"),
    "challenge, revoked": challenge("session_revoked", *SCRIPT, session="revoked", kind="json"),
    "challenge, revoked, navigation": challenge("session_revoked", *NAVIGATION, session="revoked", kind="redirect"),
    "challenge, idle": challenge("session_idle", *SCRIPT, session="idle", kind="json"),
    "challenge, expired": challenge("session_expired", *SCRIPT, session="expired", kind="json"),
    "challenge, form": challenge("sign_in_required", *NAVIGATION, ORIGIN, *FORM, method="POST", body=b"a=1&b=2", kind="html"),
    "challenge, preflight": challenge(
        "sign_in_required", "Origin: https://evil.example", "Access-Control-Request-Method: DELETE", method="OPTIONS", kind="json"
    ),
    "challenge, WebSocket": challenge("sign_in_required", *HANDSHAKE, ORIGIN, target="/ws/x", kind="json"),
    # ---- deny, and what would help
    "deny, navigation": deny("/admin", "policy_forbids", *NAVIGATION, kind="html"),
    "deny, script": deny("/admin/x", "policy_forbids", *SCRIPT, kind="json"),
    "deny, POST": deny(
        "/admin/x", "policy_forbids", *SCRIPT, ORIGIN, "Content-Length: 2", method="POST", body=b"{}", kind="json"
    ),
    "deny, HEAD": deny("/admin", "policy_forbids", *SCRIPT, method="HEAD", kind="empty"),
    "step-up, navigation": deny("/touch/1", "policy_forbids", *NAVIGATION, kind="html", remedy=("key_touch",)),
    "step-up, script": deny("/touch/1", "policy_forbids", *SCRIPT, kind="json", remedy=("key_touch",)),
    "device needed": deny("/ward/1", "policy_forbids", *SCRIPT, kind="json"),
    # ---- refuse
    "refuse, dot segments": refuse("/public/../admin", "target_dot_segments"),
    "refuse, dot segments, navigation": refuse("/public/../admin", "target_dot_segments", *NAVIGATION, kind="html"),
    "refuse, encoded dots": refuse("/public/%2e%2e/admin", "target_encoding"),
    "refuse, needless encoding": refuse("/%61dmin", "target_encoding"),
    "refuse, encoded slash": refuse("/public%2fadmin", "target_encoding"),
    "refuse, encoded NUL": refuse("/admin%00", "target_encoding"),
    "refuse, double encoding": refuse("/%2561dmin", "target_encoding"),
    "refuse, empty segment": refuse("//admin", "target_empty_segment"),
    "refuse, parameters": refuse("/admin;x=1", "target_parameters"),
    "refuse, encoded parameters": refuse("/admin%3bx=1", "target_parameters"),
    "refuse, fragment": refuse("/public#/admin", "target_bytes"),
    "refuse, backslash": refuse("/public\\admin", "target_bytes"),
    "refuse, lookalike": refuse("/ADMIN", "no_route", status=404),
    "refuse, broken escape": refuse("/admin%zz", "target_encoding"),
    "refuse, cross-site": refuse(
        "/x", "cross_site", *SCRIPT, "Origin: https://evil.example", "Content-Length: 0", method="POST", status=403
    ),
    "refuse, cross-site by fetch metadata": refuse(
        "/x",
        "cross_site",
        "Accept: application/json",
        "Sec-Fetch-Site: cross-site",
        "Content-Length: 0",
        method="POST",
        status=403,
    ),
    "refuse, cross-site WebSocket": refuse("/ws/x", "cross_site", *HANDSHAKE, "Origin: https://evil.example", status=403),
    "refuse, WebSocket where none is": refuse("/x", "upgrade", *HANDSHAKE, ORIGIN),
    "refuse, h2c": refuse(
        "/x", "upgrade", *SCRIPT, "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__"
    ),
    "refuse, method": refuse("/x", "method", method="TRACE", status=405),
    "refuse, host": refuse("/x", "host_unknown", host="evil.localhost", status=421),
    "refuse, two cookies fields": refuse("/x", "header_malformed", *SCRIPT, "Cookie: a=b"),
    "refuse, header value": refuse("/x", "header_malformed", *SCRIPT, "X-A: \udcff"),
}

ENVOYS: Final = ("envoy-http", "envoy-grpc")
DIVERGENCES: Final[dict[tuple[str, str], str]] = {
    (
        "caddy",
        "refuse, broken escape",
    ): "Go's HTTP server refuses an escape that is none before Caddy sees it: 400, in nobody's log",
    ("nginx", "refuse, encoded NUL"): "nginx refuses %00 by itself: 400, in its access log",
    ("nginx", "refuse, broken escape"): "nginx refuses an escape that is none by itself: 400, in its access log",
    ("nginx", "refuse, method"): "nginx refuses TRACE by itself: 405, in its access log",
    **{
        (
            "nginx",
            case,
        ): f"nginx's parser refuses it by itself: {status}, in its access log and (with access_log) an event in ours"
        for case, status in {"refuse, encoded NUL": 400, "refuse, broken escape": 400, "refuse, method": 405}.items()
    },
    **{
        (envoy, case): why
        for envoy in ENVOYS
        for case, why in {
            "refuse, fragment": "Envoy refuses a # by itself (CVE-2021-32779): 400, in its access log",
            "refuse, h2c": "Envoy's codec ignores this upgrade (RFC 9110 §7.8) and drops its fields: an ordinary request",
        }.items()
    },
}
"""(door, case): why the front's answer is its own, and where one finds it."""
IGNORED: Final = frozenset((envoy, "refuse, h2c") for envoy in ENVOYS)
"""Divergences that are no refusals: the front takes away what the case is about, and we decide about what is left."""

_FIELDS: Final = (
    "outcome", "reason", "host", "method", "path", "query_names", "app", "route", "action", "patient", "policies", "errors",
    "remedy", "bundle", "phase", "lease_seconds",
)  # fmt: skip


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a case left behind, without what has to differ (ids, times, the door's name)."""

    status: int
    kind: Kind
    record: dict[str, Any]
    upstream: list[dict[str, Any]]
    said: dict[str, Any]


def run(door: Door, case: Case) -> Left:
    """Send a case and gather what it left. Checks what needs the ids: page and application name the decision."""
    lines = [line.format(authority=door.authority) for line in case.lines]
    cookies = {"": "", "forged": "__Host-gw-session=" + "f" * 43}
    cookie = cookies[case.session] if case.session in cookies else door.cookie(cast("Made", case.session))
    closing = () if any(line.startswith("Connection:") for line in lines) else ("Connection: close",)
    data = door.head(case.target, *lines, *closing, method=case.method, cookie=cookie, host=case.host) + case.body
    answered = door.send(data, method=case.method, wait=0, line=door.line(sni=case.host or HOST))
    assert answered.unjustified == []
    assert answered.stray == []
    reply = answered.replies[0]
    kind = _kind(answered, case.method)
    said: dict[str, Any] = {"location": reply.value("Location"), "cache": reply.value("Cache-Control")}
    [record] = answered.decisions or [{}]
    if kind == "json":
        said |= json.loads(reply.body)
        assert said.pop("decision") == record.get("id"), "the answer names the decision"
    if kind == "html":
        assert record.get("id", "?").encode() in reply.body, "the page names the decision"
        assert b"<html" in reply.body
    for hit in answered.hits:
        assert hit.values("X-Request-Id") == [record["id"]]
    return Left(
        status=reply.status,
        kind=kind,
        record=_closed(record),
        upstream=[
            _effect(hit.head, hit.body, {name.lower(): value for name, value in hit.fields}, hit.method, hit.target)
            for hit in answered.hits
        ],
        said=said,
    )


def _kind(answered: Answered, method: str) -> Kind:
    reply = answered.replies[0]
    if reply.status == 302:
        return "redirect"
    if not reply.body or method == "HEAD":
        return "empty"
    if answered.hits:
        return "app"
    return "json" if reply.value("Content-Type").startswith("application/json") else "html"


def _closed(record: dict[str, Any]) -> dict[str, Any]:
    """The record's closed fields: who, what, from where, why. Ages and times of facts move by themselves."""
    if not record:
        return {}
    found = {name: record[name] for name in _FIELDS}
    found["actor"] = {name: value for name, value in record["actor"].items() if name != "session"}
    found["address"] = record["source"].get("address", "")
    if record["facts"]:
        facts = {name: value for name, value in record["facts"].items() if name != "time"}
        facts["authentication"] = {name: value for name, value in facts["authentication"].items() if name != "age_seconds"}
        found["facts"] = facts
    return found


def _effect(head: bytes, body: bytes, fields: dict[str, str], method: str, target: bytes) -> dict[str, Any]:
    """What the application does by: target byte for byte, body, who asks. Its hop's own fields and the assertion's time aside."""
    assert b"evil" not in head
    assert "x-gateway-assertion" in fields
    assert "__Host-gw-" not in fields.get("cookie", "")
    said = {
        name: fields.get(name.lower(), "")
        for name in ("X-Remote-User", "X-Remote-Name", "X-Remote-Department", "X-Forwarded-For", "X-Forwarded-Proto")
    }
    kept = {
        name: fields.get(name.lower(), "") for name in ("Range", "If-None-Match", "Content-Type", "Accept", "Origin", "Cookie")
    }
    return {"method": method, "target": target, "body": body, **said, **kept}


@pytest.fixture(scope="session")
def baseline() -> dict[str, Left]:
    """What the embedded door leaves, by case."""
    return {}


def standard(doors: OpenDoors, baseline: dict[str, Left], name: str) -> Left:
    if name not in baseline:
        door = doors("embedded")
        door.site.forget()
        left = run(door, CASES[name])
        authority = door.authority
        baseline[name] = msgspec.json.decode(msgspec.json.encode(left).replace(authority.encode(), b"AUTHORITY"), type=Left)
    return baseline[name]


@pytest.mark.parametrize("name", CASES)
def test_the_same_case_at_every_door(door: Door, doors: OpenDoors, baseline: dict[str, Left], name: str) -> None:
    case = CASES[name]
    if (door.name, name) in DIVERGENCES:
        lines = [line.format(authority=door.authority) for line in case.lines]
        answered = door.send(door.head(case.target, *lines, method=case.method, host=case.host) + case.body, method=case.method)
        assert (answered.unjustified, answered.stray) == ([], [])
        if (door.name, name) in IGNORED:
            assert [(hit.values("Upgrade"), hit.values("HTTP2-Settings")) for hit in answered.hits] == [([], [])]
            return
        assert 400 <= answered.status < 500 or answered.status == 501
        assert answered.hits == []
        assert {record["outcome"] for record in answered.decisions} <= {"refuse"}
        if door.access is not None:
            last = door.access()[-1]
            assert (last["method"], last["status"]) == (case.method, str(answered.status)), (
                "where we have no record, the front has one"
            )
        return
    left = run(door, case)
    assert (left.status, left.kind) == (case.status, case.kind), left
    assert (left.record["outcome"], left.record["reason"]) == (case.outcome, case.reason)
    assert (left.upstream != []) == (case.outcome == "allow")
    if case.remedy:
        assert tuple(left.record["remedy"]) == case.remedy
    if case.outcome == "challenge" and case.kind == "json":
        assert left.said["sign_in"].startswith("/.gateway/sign-in?rd=")
    if case.kind == "redirect":
        assert left.said["location"].startswith("/.gateway/sign-in?rd=")
    mine = msgspec.json.decode(msgspec.json.encode(left).replace(door.authority.encode(), b"AUTHORITY"), type=Left)
    expected = standard(doors, baseline, name)
    assert mine == expected


# ---------------------------------------------------------------- what takes something to pieces


def test_the_session_store_is_gone(door: Door) -> None:
    """Fail closed, say so, and get well again by itself; nobody has to sign in anew."""
    door.cookie()
    door.site.redis.kill()
    try:
        script, person = door.get("/x", *SCRIPT), door.get("/x", *NAVIGATION)
        stranger = door.get("/x", *SCRIPT, cookie="")
    finally:
        door.site.redis.start()
    for answered in (script, person):
        assert answered.status == 503
        assert answered.hits == []
        assert [(record["outcome"], record["reason"]) for record in answered.decisions] == [("unavailable", "session_store")]
    assert json.loads(script.replies[0].body)["reason"] == "session_store"
    assert script.replies[0].value("Retry-After") == "5"
    assert person.decisions[0]["id"].encode() in person.replies[0].body
    assert b"<html" in person.replies[0].body
    assert stranger.status == 401, "who shows no session needs no store to be told so"
    assert door.get("/x").status == 200


def test_a_session_that_is_revoked_between_two_requests(door: Door) -> None:
    session, cookie = door.site.sign_in()
    with door.line() as line:
        line.send(door.head("/x", cookie=cookie))
        assert line.reply().status == 200
        door.site.with_sessions(lambda store: store.revoke(session.id))
        line.send(door.head("/x", *SCRIPT, cookie=cookie))
        assert line.reply().status == 401
    answered = door.collect()
    assert [(record["outcome"], record["reason"]) for record in answered.decisions] == [
        ("allow", "policy_permits"),
        ("challenge", "session_revoked"),
    ]
    assert len(answered.hits) == 1


def test_a_websocket_carries_bytes_and_is_cut_when_its_session_is_revoked(door: Door) -> None:
    session, cookie = door.site.sign_in()
    with door.line() as line:
        line.send(door.head("/ws/x", *HANDSHAKE, ORIGIN.format(authority=door.authority), cookie=cookie))
        assert line.reply().status == 101
        frame = b"\x82\x85\x00\x00\x00\x00hello"
        line.send(frame)
        echoed = line.exactly(len(frame))
        assert echoed == frame
        door.site.with_sessions(lambda store: store.revoke(session.id))
        line.rest(10)
        assert line.hung_up
    decisions = door.collect().decisions
    assert decisions[0]["outcome"] == "allow"
    assert [record["outcome"] for record in decisions if record["phase"] == "stream"][:1] in (["challenge"], [])


def test_an_event_stream_is_not_held_back_and_is_cut_when_its_session_is_revoked(door: Door) -> None:
    session, cookie = door.site.sign_in()
    with door.line() as line:
        line.send(door.head("/events", "Accept: text/event-stream", "Sec-Fetch-Mode: cors", cookie=cookie))
        received = b""
        while received.count(b"data: beat") < 3:
            received += line.some()
            assert not line.hung_up
        door.site.with_sessions(lambda store: store.revoke(session.id))

        def silent() -> bool:
            line.some()
            return not line.more(0.5)

        # Caddy 2.6 leaves the connection open and sends nothing more; the others end it, Envoy after a second.
        wait_until(silent, "the stream goes on")
    answered = door.collect()
    assert answered.unjustified == []
    assert [(record["phase"], record["outcome"], record["reason"]) for record in answered.decisions] == [
        ("request", "allow", "policy_permits"),
        ("stream", "challenge", "session_revoked"),
    ]
    assert [hit.target for hit in answered.hits] == [b"/events"]


def test_the_return_address_is_the_page_that_was_asked_for(door: Door) -> None:
    answered = door.get("/x?a=1&b=%2F", *NAVIGATION, cookie="")
    assert answered.replies[0].value("Location") == "/.gateway/sign-in?rd=%2Fx%3Fa%3D1%26b%3D%252F"
    assert f"https://{HOST}" not in answered.replies[0].value("Location")
