import json
import re
from html.parser import HTMLParser

import msgspec
import pytest

from gateway.domain.connection import Connection
from gateway.domain.decision import Challenge, Decision, Deny, Refuse, Unavailable
from gateway.domain.identity import Handle, Identity, Session
from gateway.domain.posture import Posture
from gateway.domain.reason import ChallengeReason, DenyReason, RefuseReason, RemedyStep, UnavailableReason, UpstreamProblem
from gateway.domain.request import RawRequest, Request
from gateway.domain.route import Route
from gateway.doors.portal.home import METHODS
from gateway.kernel.i18n import Language
from gateway.present.mapper import Presenter, Reply
from gateway.present.pages import Pages
from tests.support.world import HOST, ehr

ROUTE = Route(id="ehr.chart", app="ehr", methods=("GET",), pattern=("patients", "{patient}"), action="read")
BROWSER = (("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"))
EVIL = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def presenter() -> Presenter:
    return Presenter(Pages(portal="http://portal.localhost:8080", simulated=True), [ehr()])


def request(method: str = "GET", path: str = "/patients/p1", headers: tuple[tuple[str, str], ...] = BROWSER) -> Request:
    return Request(
        method=method, host=HOST, path=path, query="", has_query=False, segments=("patients", "p1"),
        headers=(("Host", HOST), *headers), connection=Connection(peer_address="192.0.2.1"),
    )  # fmt: skip


def handle(name: str = "佐藤 恵") -> Handle:
    identity = Identity(subject="usr_1", login="dr.sato", name=name, roles=("physician",))
    session = Session(
        id="ses_1", identity=identity, events=(), generation=1, created_at=0, last_seen_at=0, expires_at=1, idle_seconds=1
    )
    return Handle(session=session, host=HOST, generation=1)


def deny(req: Request, *steps: RemedyStep, **more: object) -> Deny:
    fields = {"reason": DenyReason.NO_POLICY_PERMITS, "posture": Posture(), "handle": handle(), **more}
    return Deny(id="dec_1", request=req, route=ROUTE, remedy=steps, **fields)  # type: ignore[arg-type]  # test helper


def show(presenter: Presenter, decision: Decision, req: Request, form: list[tuple[str, str]] | None = None) -> Reply:
    raw = RawRequest(method=req.method, target=req.target, headers=req.headers, connection=req.connection)
    return presenter.reply(decision, request=req, raw=raw, form=form)


def header(reply: Reply, name: str) -> str:
    return dict(reply.headers)[name]


def test_a_browser_is_sent_to_sign_in_and_back_to_the_same_page(presenter: Presenter) -> None:
    req = request()
    reply = show(presenter, Challenge(id="dec_1", reason=ChallengeReason.SIGN_IN_REQUIRED, request=req, route=ROUTE), req)
    assert reply.status == 302
    assert header(reply, "Location") == "/.gateway/sign-in?rd=%2Fpatients%2Fp1"


@pytest.mark.parametrize(
    "headers",
    [
        (("Accept", "*/*"), ("Sec-Fetch-Mode", "cors")),
        (("Accept", "text/html"), ("X-Requested-With", "XMLHttpRequest")),
        (("Accept", "application/json"),),
        (("Upgrade", "websocket"), ("Sec-Fetch-Mode", "websocket")),
    ],
)
def test_a_script_gets_401_json_with_a_sign_in_link(presenter: Presenter, headers: tuple[tuple[str, str], ...]) -> None:
    req = request(headers=headers)
    reply = show(presenter, Challenge(id="dec_1", reason=ChallengeReason.SESSION_IDLE, request=req, route=ROUTE), req)
    assert reply.status == 401
    assert header(reply, "WWW-Authenticate")
    body = json.loads(reply.body)
    assert body["error"] == "sign_in_required"
    assert body["sign_in"].startswith("/.gateway/sign-in?rd=")


def test_the_page_says_why_and_starts_the_first_step(presenter: Presenter) -> None:
    req = request(headers=(*BROWSER, ("Accept-Language", "en")))
    reply = show(presenter, deny(req, RemedyStep.REGISTER_DEVICE, RemedyStep.IDENTITY_PROOFING), req)
    page = reply.body.decode()
    assert reply.status == 403
    assert 'lang="en"' in page
    assert "This device must be registered" in page
    assert "An identity check<span" in page
    assert 'href="/.gateway/remedy?step=register_device&amp;rd=%2Fpatients%2Fp1"' in page


@pytest.mark.parametrize(
    ("language", "title", "card"),
    [("ja", "本人確認が必要です", "マイナンバー"), ("en", "An identity check is needed", "My Number")],
)
def test_an_identity_check_is_not_always_of_a_card(presenter: Presenter, language: str, title: str, card: str) -> None:
    """At the counter other documents count as well; the page that follows knows what to have ready."""
    req = request(headers=(*BROWSER, ("Accept-Language", language)))
    page = show(presenter, deny(req, RemedyStep.IDENTITY_PROOFING), req).body.decode()
    assert f"<h1>{title}</h1>" in page
    assert card not in page


def test_japanese_is_the_default(presenter: Presenter) -> None:
    req = request()
    page = show(presenter, deny(req, RemedyStep.KEY_TOUCH), req).body.decode()
    assert 'lang="ja"' in page
    assert "セキュリティキーで確認してください" in page


def test_a_stopped_form_is_given_back_and_the_step_runs_beside_it(presenter: Presenter) -> None:
    req = request("POST", "/patients/p1/prescriptions")
    form = [("drug", "アムロジピン 5mg"), ("note", f"\nline {EVIL}")]
    page = show(presenter, deny(req, RemedyStep.KEY_TOUCH), req, form).body.decode()
    assert "rd=%2F.gateway%2Fdone" in page
    assert 'target="gw-step"' in page
    assert "アムロジピン 5mg" in page
    assert EVIL not in page

    class Kept(HTMLParser):
        name, found = "", {}

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.name = dict(attrs).get("name") or "" if tag == "textarea" else ""

        def handle_data(self, data: str) -> None:
            if self.name:
                # HTML: the first line break of a textarea is not part of its value.
                self.found[self.name] = data.removeprefix("\n")

        def handle_endtag(self, tag: str) -> None:
            self.name = ""

    parser = Kept()
    parser.feed(page)
    assert parser.found == dict(form)


def test_an_upload_that_was_stopped_is_said_to_be_lost(presenter: Presenter) -> None:
    req = request("POST", "/patients/p1/documents")
    challenge = Challenge(id="dec_1", reason=ChallengeReason.SESSION_IDLE, request=req, route=ROUTE)
    for decision, again in ((deny(req, RemedyStep.KEY_TOUCH), True), (challenge, True), (deny(req), False)):
        page = show(presenter, decision, req).body.decode()
        assert "送信しようとした内容は登録されていません" in page
        assert ("もう一度送信してください" in page) is again
        assert 'id="resend"' not in page
    assert "送信しようとした内容" not in show(presenter, deny(request()), request()).body.decode()


def test_a_form_that_meets_a_dead_session_is_kept_too(presenter: Presenter) -> None:
    req = request("POST", "/patients/p1/prescriptions")
    challenge = Challenge(id="dec_1", reason=ChallengeReason.SESSION_IDLE, request=req, route=ROUTE)
    reply = show(presenter, challenge, req, [("drug", "x")])
    assert reply.status == 401
    assert 'name="drug"' in reply.body.decode()


def test_no_remedy_means_whom_to_ask(presenter: Presenter) -> None:
    req = request()
    page = show(presenter, deny(req), req).body.decode()
    assert "情報システム担当" in page
    assert 'id="start"' not in page


def test_a_step_that_nobody_can_start_here_has_no_button(presenter: Presenter) -> None:
    req = request()
    assert 'id="start"' not in show(presenter, deny(req, RemedyStep.DEVICE_COMPLIANCE), req).body.decode()


def test_names_are_escaped_and_pages_are_locked_down(presenter: Presenter) -> None:
    req = request()
    reply = show(presenter, deny(req, RemedyStep.KEY_TOUCH, handle=handle(EVIL)), req)
    assert EVIL not in reply.body.decode()
    assert "script-src 'self'" in header(reply, "Content-Security-Policy")
    assert "frame-ancestors 'none'" in header(reply, "Content-Security-Policy")
    assert header(reply, "Cache-Control") == "no-store"
    assert not re.search(r"<script(?! src=)|<style| style=| on\w+=", reply.body.decode())


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize(
    "decision",
    [
        *(Refuse(id="dec_1", reason=reason, detail="x") for reason in RefuseReason),
        *(Unavailable(id="dec_1", reason=reason) for reason in UnavailableReason),
    ],
    ids=lambda decision: str(decision.reason),
)
def test_every_reason_has_a_text_and_a_status_in_both_languages(
    presenter: Presenter, decision: Refuse | Unavailable, language: str
) -> None:
    for headers in ((*BROWSER, ("Accept-Language", language)), (("Accept", "*/*"), ("Accept-Language", language))):
        reply = show(presenter, decision, request(headers=headers))
        assert 400 <= reply.status < 600
        assert b"dec_1" in reply.body
        assert reply.status == 503 if isinstance(decision, Unavailable) else reply.status < 500


@pytest.mark.parametrize("reason", list(ChallengeReason))
@pytest.mark.parametrize("step", [None, *RemedyStep])
@pytest.mark.parametrize("why", list(DenyReason))
@pytest.mark.parametrize("note", ["", "pending", "blocked", "unknown_device", "certificate_unknown"])
def test_every_no_has_a_page(
    presenter: Presenter, reason: ChallengeReason, step: RemedyStep | None, why: DenyReason, note: str
) -> None:
    posture = msgspec.convert({"note": note}, Posture)
    req = request()
    steps = (step,) if step else ()
    assert show(presenter, deny(req, *steps, reason=why, posture=posture), req).status == 403
    post = request("POST")
    challenge = Challenge(id="dec_1", reason=reason, request=post, route=ROUTE)
    assert show(presenter, challenge, post).status == 401


@pytest.mark.parametrize("problem", [problem for problem in UpstreamProblem if problem])
def test_every_upstream_problem_has_a_page(presenter: Presenter, problem: UpstreamProblem) -> None:
    reply = presenter.upstream_problem(problem, request(), "dec_1")
    assert reply.status == (504 if problem is UpstreamProblem.TIMEOUT else 502)


def test_a_posted_form_comes_back_to_the_page_that_sent_it_if_it_is_ours(presenter: Presenter) -> None:
    ours = request("POST", headers=(*BROWSER, ("Referer", f"http://{HOST}:8080/patients/p1/prescriptions/new?x=1")))
    page = show(presenter, deny(ours, RemedyStep.KEY_TOUCH), ours).body.decode()
    assert "rd=%2Fpatients%2Fp1%2Fprescriptions%2Fnew%3Fx%3D1" in page
    foreign = request("POST", headers=(*BROWSER, ("Referer", "http://evil.example/phish")))
    assert "phish" not in show(presenter, deny(foreign, RemedyStep.KEY_TOUCH), foreign).body.decode()


@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_portal_has_words_for_every_way_of_proofing(language: Language) -> None:
    pages = Pages(portal="http://portal.localhost:8080", simulated=False)
    words = {pages.text(language, f"portal.method.{name}") for name in METHODS}
    assert len(words) == len(METHODS)
    assert pages.text(language, "portal.rehearsal")
