"""The one place where a decision becomes HTTP.

| decision | a person's browser | a script (XHR, fetch, API) | WebSocket |
|---|---|---|---|
| Challenge | 302 to this host's sign-in (a form that was being sent: 401 page that keeps it) | 401 JSON, `sign_in` | 401 |
| Deny | 403 page: why, and the remedy | 403 JSON, `remedy` | 403 |
| Refuse | 400, 403, 404, 405, 408, 414, 421 or 431 page | same, JSON | same |
| Unavailable | 503 page | 503 JSON, Retry-After | 503 |

Policy text, group names and internal errors are never shown; the decision id is, so that the help desk can look it up. Whoever is
told only to ask the help desk (`HelpDesk`) gets nothing else.
"""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from gateway.domain.decision import Challenge, Decision, Deny, Refuse, Unavailable
from gateway.domain.reason import DenyReason, RefuseReason, RemedyStep, UpstreamProblem
from gateway.domain.request import Headers, RawRequest, Request
from gateway.domain.route import App
from gateway.kernel.i18n import Language
from gateway.kernel.web import page_headers
from gateway.present.help_desk import HelpDesk
from gateway.present.pages import Pages, language_of

_REFUSE_STATUS: Final[Mapping[RefuseReason, int]] = {
    RefuseReason.NO_ROUTE: 404,
    RefuseReason.METHOD: 405,
    RefuseReason.HEADERS_TOO_SLOW: 408,
    RefuseReason.TARGET_TOO_LONG: 414,
    RefuseReason.HOST_UNKNOWN: 421,
    RefuseReason.HOST_SNI_MISMATCH: 421,
    RefuseReason.ROUTE_MISMATCH: 421,
    RefuseReason.HEADERS_TOO_LARGE: 431,
    RefuseReason.CROSS_SITE: 403,
    RefuseReason.UNTRUSTED_PEER: 403,
}
_PROBLEM_STATUS: Final[Mapping[UpstreamProblem, int]] = {UpstreamProblem.TIMEOUT: 504}
_LOOKING: Final = frozenset({"GET", "HEAD"})
DONE_PATH: Final = "/.gateway/done"
STARTABLE: Final = frozenset(
    {
        RemedyStep.KEY_TOUCH,
        RemedyStep.SECOND_FACTOR,
        RemedyStep.REGISTER_DEVICE,
        RemedyStep.IDENTITY_PROOFING,
        RemedyStep.GRANT,
        RemedyStep.BREAK_GLASS,
    }
)
"""Steps that the gateway can start for the person; the others name whom to ask."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP reply of ours, for a door to send as it is."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Presenter:
    """Maps decisions and upstream problems to replies."""

    def __init__(self, pages: Pages, apps: Sequence[App], help_desk: HelpDesk | None = None) -> None:
        """`help_desk`: who is told only to ask it; None: nobody."""
        self._help_desk = help_desk or HelpDesk()
        self._pages = pages
        self._apps = {app.host: app for app in apps}

    def reply(
        self,
        decision: Decision,
        *,
        request: Request | None,
        raw: RawRequest,
        form: Sequence[tuple[str, str]] | None = None,
    ) -> Reply:
        """Map a decision that is not Allow. `form` is a small form that was being sent: the page gives it back.

        `request` is None when the request could not be canonicalised.
        """
        headers = request.headers if request is not None else raw.headers
        language = language_of(headers, request.query if request is not None else "")
        if isinstance(decision, Challenge):
            return self._challenge(decision, language, form)
        if isinstance(decision, Deny):
            return self._deny(decision, language, form)
        if isinstance(decision, Refuse):
            status = _REFUSE_STATUS.get(decision.reason, 400)
            return self._plain(status, "refuse", decision.reason, decision.id, language, headers, detail=decision.detail)
        if isinstance(decision, Unavailable):
            reply = self._plain(503, "unavailable", decision.reason, decision.id, language, headers)
            return Reply(status=503, headers=[*reply.headers, ("Retry-After", "5")], body=reply.body)
        raise AssertionError("an Allow has no page")

    def upstream_problem(self, problem: UpstreamProblem, request: Request, decision_id: str) -> Reply:
        """Map a failure behind an Allow, before any byte of the upstream's reply was sent on: 502 or 504."""
        status = _PROBLEM_STATUS.get(problem, 502)
        return self._plain(status, "upstream", problem, decision_id, language_of(request.headers, request.query), request.headers)

    # ------------------------------------------------------------------

    def _challenge(self, decision: Challenge, language: Language, form: Sequence[tuple[str, str]] | None) -> Reply:
        request = decision.request
        link = f"/.gateway/sign-in?rd={_back(request, form)}"
        if not is_navigation(request.headers):
            text = self._pages.text(language, f"challenge.{decision.reason}")
            return _json(
                401,
                {
                    "error": "sign_in_required",
                    "reason": decision.reason,
                    "sign_in": link,
                    "message": text,
                    "decision": decision.id,
                },
                [("WWW-Authenticate", "GatewaySession")],
            )
        if request.method in _LOOKING:
            return Reply(status=302, headers=[("Location", link), ("Cache-Control", "no-store")], body=b"")
        values: dict[str, object] = {
            "reason": str(decision.reason),
            "link": link,
            "decision": decision.id,
            "action": request.target,
            "form": form,
            "unsent": _unsent(request, form),
        }
        return self._page(401, "challenge.html", language, request, values, [("WWW-Authenticate", "GatewaySession")])

    def _deny(self, decision: Deny, language: Language, form: Sequence[tuple[str, str]] | None) -> Reply:
        request = decision.request
        back = _back(request, form)
        only = self._help_desk.only(decision.handle.session.identity)
        # For the log alone, where the person is told only to ask the help desk.
        remedy = () if only else decision.remedy
        steps = [{"step": str(step), "link": _link(step, decision, back)} for step in remedy]
        why = "help_desk" if only else _why(decision)
        last_resort = "" if only or not decision.last_resort else _link(RemedyStep.BREAK_GLASS, decision, back)
        if not is_navigation(request.headers):
            text = self._pages.text(language, f"deny.{why}.title")
            answer: dict[str, object] = {
                "error": "denied", "reason": why, "message": text, "remedy": steps, "decision": decision.id,
            }  # fmt: skip
            if last_resort:
                answer["break_glass"] = last_resort
            return _json(403, answer, [])
        values: dict[str, object] = {
            # In a page's words: somebody who sent something was not opening one.
            "contact": self._help_desk.text(language) if only else "",
            "waiting": why == "grant_waiting",
            "why": "no_policy_permits_action" if why == DenyReason.NO_POLICY_PERMITS and request.method not in _LOOKING else why,
            "steps": steps,
            "last_resort": last_resort,
            "emergency": _emergency(decision),
            "decision": decision.id,
            "person": decision.handle.session.identity.name,
            "action": request.target,
            "form": form,
            "unsent": _unsent(request, form),
            "app": self._title(request.host, language),
            "start": next((step["link"] for step in steps[:1] if step["link"]), ""),
        }
        return self._page(403, "deny.html", language, request, values, [])

    def _plain(
        self, status: int, kind: str, reason: str, decision_id: str, language: Language, headers: Headers, detail: str = ""
    ) -> Reply:
        if not is_navigation(headers):
            text = self._pages.text(language, f"{kind}.{reason or 'connect'}")
            return _json(
                status, {"error": kind, "reason": reason, "message": text, "detail": detail, "decision": decision_id}, []
            )
        values = {"kind": kind, "reason": str(reason or "connect"), "detail": detail, "decision": decision_id, "status": status}
        body = self._pages.render("problem.html", language, switch="", **values)
        return Reply(status=status, headers=[*page_headers(), ("Content-Type", "text/html; charset=utf-8")], body=body)

    def _page(
        self,
        status: int,
        template: str,
        language: Language,
        request: Request,
        values: dict[str, object],
        more: list[tuple[str, str]],
    ) -> Reply:
        # A form that is kept on the page would be lost by loading it again in another language.
        switch = f"/.gateway/language?rd={quote(request.target, safe='')}&lang=" if request.method == "GET" else ""
        body = self._pages.render(template, language, switch=switch, **values)
        headers = [*page_headers(), ("Content-Type", "text/html; charset=utf-8"), *more]
        return Reply(status=status, headers=headers, body=body)

    def _title(self, host: str, language: Language) -> str:
        app = self._apps.get(host)
        if app is None:
            return host
        return app.title_ja if language == "ja" else app.title_en


def is_navigation(headers: Headers) -> bool:
    """True when a person is looking at the reply: a top-level navigation, not a script's request or a WebSocket.

    Browsers say so in `Sec-Fetch-Mode`; older ones and tools are judged by `Accept`.
    """
    fields = {name.lower(): value for name, value in headers}
    if "upgrade" in fields:
        return False
    mode = fields.get("sec-fetch-mode")
    if mode is not None:
        return mode == "navigate"
    return "text/html" in fields.get("accept", "") and fields.get("x-requested-with", "") != "XMLHttpRequest"


def return_path(request: Request) -> str:
    """Where to come back to: the page itself, or for anything but GET the page that sent it, if it is of the same host."""
    if request.method in _LOOKING and is_navigation(request.headers):
        return request.target
    try:
        referer = urlsplit(request.header("referer") or "")
    except ValueError:
        return "/"
    if referer.hostname == request.host and referer.path.startswith("/"):
        return f"{referer.path}?{referer.query}" if referer.query else referer.path
    return "/"


def _emergency(decision: Deny) -> dict[str, str] | None:
    """What the page says of the break-glass of the session; it can be ended at the portal."""
    found = decision.handle.session.emergency
    if not decision.break_glass or found is None:
        return None
    return {"until": "", "patient": found.patient, "end": ""}


def _link(step: RemedyStep, decision: Deny, back: str) -> str:
    if step not in STARTABLE:
        return ""
    named = f"&grant={quote(decision.grant, safe='')}" if step is RemedyStep.GRANT else ""
    if step is RemedyStep.BREAK_GLASS:
        named = _asked(decision.request, back)
    return f"/.gateway/remedy?step={step}{named}&rd={back}"


def _asked(request: Request, back: str) -> str:
    """Which request was refused, where that is another than the page to come back to: policies offer break-glass for this one."""
    target = quote(request.target, safe="")
    return "" if request.method in _LOOKING and target == back else f"&method={request.method}&target={target}"


def _back(request: Request, form: Sequence[tuple[str, str]] | None) -> str:
    # Beside a page that keeps a form, the step runs in a window of its own and ends on the page that says so.
    return quote(DONE_PATH if form is not None else return_path(request), safe="")


def _unsent(request: Request, form: Sequence[tuple[str, str]] | None) -> bool:
    """True when something was being sent that the page can't give back (an upload, a large form): it has to say so."""
    return form is None and request.method not in _LOOKING


def _why(decision: Deny) -> str:
    """The kind of "no" to explain: a state of the device first, then the first missing thing, then who to ask."""
    if decision.reason is DenyReason.POLICY_ERROR:
        return "policy_error"
    if decision.posture.note in {"pending", "blocked"}:
        return f"device_{decision.posture.note}"
    if not decision.remedy:
        return str(decision.reason)
    first = str(decision.remedy[0])
    return "grant_waiting" if first == RemedyStep.GRANT and decision.waiting else first


def _json(status: int, value: Mapping[str, object], more: list[tuple[str, str]]) -> Reply:
    body = msgspec.json.encode(value)
    headers = [
        ("Content-Type", "application/json"),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *more,
    ]
    return Reply(status=status, headers=headers, body=body)
