"""The sign-in pages: one address to look at (`/login?tx=...`), and a POST for each thing that a person can offer.

What page comes is `idp.login.next_step`'s answer each time anew. A POST that does not fit the present step changes nothing and
shows the present step; so does an empty one.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from aiohttp import web

from gateway.kernel.errors import ProtocolError
from idp import login
from idp.factors.fido2 import CeremonyRefused, Options
from idp.login import Account, Next, NotNow, Proof
from idp.model import AuthKind, LoginTransaction, User
from idp.protocol.transaction import without_session
from idp.web.checks import Checks, Wait, Wrong, clean_label
from idp.web.cookies import browser_of, finish, session_of
from idp.web.guard import Halt, check_token, form_token, guarded, read_form
from idp.web.parts import Parts
from idp.web.proofing import ProofingPages
from idp.web.render import Renderer, prefer_language

_LANGUAGE: Final = "lang"
_MINIMUM_REFRESH: Final = 60


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """One request within one sign-in."""

    transaction: LoginTransaction
    browser: str
    user: User | None
    account: Account | None
    next: Next

    def takes(self, kind: AuthKind) -> bool:
        """True when the present step takes this proof."""
        return kind in login.taken_at(self.next.step)


class SignIn:
    """The handlers of `/login` and below."""

    def __init__(self, parts: Parts, checks: Checks, renderer: Renderer, proofing: ProofingPages) -> None:
        self._parts, self._checks, self._renderer, self._proofing = parts, checks, renderer, proofing

    def add_routes(self, app: web.Application) -> None:
        """Add them."""
        app.router.add_get(
            "/login", guarded(self.show, self._renderer, self._parts.refusals), allow_head=False
        )  # it may end the sign-in
        app.router.add_get("/login/renew", guarded(self.renew, self._renderer, self._parts.refusals), allow_head=False)
        app.router.add_get("/login/elsewhere", guarded(self.elsewhere, self._renderer, self._parts.refusals), allow_head=False)
        for path, handler in (
            ("password", self.password), ("code", self.code), ("key/begin", self.begin_key), ("key", self.key),
            ("register/begin", self.begin_register), ("register", self.register), ("lost-key", self.lost_key),
            ("found-key", self.found_key),
            ("start-over", self.start_over), ("cancel", self.cancel),
        ):  # fmt: skip
            app.router.add_post(f"/login/{path}", guarded(handler, self._renderer, self._parts.refusals))

    # ------------------------------------------------------------------ looking

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show the step that is due, or end the sign-in when none is, or when another tab has done it."""
        names = request.query.getall("tx", [])
        if len(names) == 1:
            location = await self._parts.flows.give_back(
                names[0], browser_of(request), session_of(request), self._parts.address_of(request)
            )
            if location is not None:
                return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})
        return await self._page(request, await self.looking(request))

    async def renew(self, request: web.Request) -> web.StreamResponse:
        """Have the client ask anew: a page that was left open is to be good for a sign-in whenever somebody comes back to it."""
        visit = await self.visit(request, request.query.getall("tx", []))
        location = await self._parts.flows.renew(visit.transaction.id, visit.browser)
        if location is None:
            return self._again(visit)
        return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})

    async def elsewhere(self, request: web.Request) -> web.StreamResponse:
        """Tell a page that was left open whether `show` would give its sign-in back; changes nothing."""
        names = request.query.getall("tx", [])
        over = len(names) == 1 and await self._parts.flows.overtaken(names[0], browser_of(request), session_of(request))
        return web.json_response({"elsewhere": over}, headers={"Cache-Control": "no-store"})

    async def _page(
        self, request: web.Request, visit: Visit, status: int = 200, *, error: str = "", wait: Wait | None = None, typed: str = ""
    ) -> web.StreamResponse:
        step = visit.next.step
        if step == "done":
            return await self._finish(request, visit)
        transaction, account = visit.transaction, visit.account
        values = {
            "tx": transaction.id, "csrf": form_token(request, transaction.id), "error": error, "wait": wait, "user": visit.user,
            "account": account, "stale_after": max(_MINIMUM_REFRESH, transaction.expires_at - self._checks.now() - 30),
            "may_leave": not transaction.hint_subject and visit.user is not None,
            "problem": visit.next.problem, "typed": typed or transaction.login_hint, "lost": login.LOST_KEY in transaction.notes,
            "first_key": account is not None and login.first_key(transaction, account),
        }  # fmt: skip
        if step == "proofing" and visit.user is not None:
            values |= await self._proofing.offer(visit.user)
        response = self._renderer.page(request, f"{step}.html", status, here=_here(transaction), **values)
        if wait is not None:
            response.headers["Retry-After"] = str(wait.seconds)
        return response

    async def _finish(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        try:
            completed = await self._parts.flows.complete(
                visit.transaction.id, visit.browser, session_of(request), self._parts.address_of(request)
            )
        except ProtocolError as problem:
            # Something changed under the sign-in (deactivated, proofing ended): the flow looked again, and has the last word.
            raise Halt(403, "not_completed") from problem
        if completed is None:
            raise Halt(410, "transaction_unknown")
        return finish(completed)

    # ------------------------------------------------------------------ offering

    async def password(self, request: web.Request) -> web.StreamResponse:
        """Take a password, with a name where it is not known yet."""
        visit, form = await self._posted(request)
        if not visit.takes("pwd"):
            return self._again(visit)
        typed = form.get("login", "").strip() if visit.next.step == "identify" else ""
        if not form.get("password") or (visit.next.step == "identify" and not typed):
            return await self._page(
                request, visit, 400, error="identify_empty" if not visit.user else "password_empty", typed=typed
            )
        user = visit.user if visit.user is not None else await self._parts.store.users.by_login(typed)
        identifier = visit.user.id if visit.user is not None else typed
        result = await self._checks.password(user, identifier, form["password"], self._parts.address_of(request))
        if isinstance(result, Wait):
            return await self._page(request, visit, 429, wait=result, typed=typed)
        if isinstance(result, Wrong):
            return await self._page(request, visit, 403, error="credentials" if typed else "password_wrong", typed=typed)
        return await self._proved(request, visit, result.id, "pwd")

    async def code(self, request: web.Request) -> web.StreamResponse:
        """Take a one-time code or a recovery code."""
        visit, form = await self._posted(request)
        allowed = tuple(kind for kind in login.CODES if visit.takes(kind))
        if not allowed or visit.user is None:
            return self._again(visit)
        if not form.get("code", "").strip():
            return await self._page(request, visit, 400, error="code_empty")
        result = await self._checks.code(visit.user, form["code"], allowed, self._parts.address_of(request))
        if isinstance(result, Wait):
            return await self._page(request, visit, 429, wait=result)
        if isinstance(result, Wrong):
            return await self._page(request, visit, 403, error="code_wrong")
        return await self._proved(request, visit, visit.user.id, result)

    async def begin_key(self, request: web.Request) -> web.StreamResponse:
        """Give the page's script what to ask a key for."""
        visit, _ = await self._posted(request)
        who = login.subject(visit.transaction)
        if not visit.takes("fido2") or (who and (visit.account is None or not visit.account.keys)):
            return web.json_response({"again": True}, status=409)
        return _ceremony(*await self._checks.begin_touch(who, _binding(visit)))

    async def key(self, request: web.Request) -> web.StreamResponse:
        """Take a touch of a key."""
        visit, form = await self._posted(request)
        if not visit.takes("fido2"):
            return self._again(visit)
        try:
            touched = await self._checks.touch(
                _binding(visit), form.get("ceremony", ""), form.get("response", ""), self._parts.address_of(request)
            )
        except CeremonyRefused:
            return await self._page(request, visit, 403, error="key_refused")
        return await self._proved(request, visit, touched.user.id, "fido2", touched.authenticator)

    async def begin_register(self, request: web.Request) -> web.StreamResponse:
        """Give the page's script what to make a key for."""
        visit, _ = await self._posted(request)
        if visit.next.step != "register_key" or visit.user is None:
            return web.json_response({"again": True}, status=409)
        return _ceremony(*await self._checks.begin_key(visit.user, _binding(visit)))

    async def register(self, request: web.Request) -> web.StreamResponse:
        """Take a new key, where the state machine has come to that."""
        visit, form = await self._posted(request)
        if visit.next.step != "register_key" or visit.user is None:
            return self._again(visit)
        label = clean_label(form.get("label", ""))
        if label is None:
            return await self._page(request, visit, 400, error="label")
        try:
            await self._checks.add_key(
                visit.user, _binding(visit), form.get("ceremony", ""), form.get("response", ""), label,
                self._parts.address_of(request),
            )  # fmt: skip
        except CeremonyRefused:
            return await self._page(request, visit, 403, error="register_refused")
        return self._again(await self._update(visit, login.key_at_hand))

    # ------------------------------------------------------------------ turning

    async def lost_key(self, request: web.Request) -> web.StreamResponse:
        """Take the word of a person that none of their keys is at hand: the way round is longer, not easier."""
        visit, _ = await self._posted(request)
        if visit.next.step != "fido2":
            return self._again(visit)
        return self._again(await self._update(visit, login.claim_key_lost))

    async def found_key(self, request: web.Request) -> web.StreamResponse:
        """Take that word back."""
        visit, _ = await self._posted(request)
        return self._again(await self._update(visit, login.key_at_hand))

    async def start_over(self, request: web.Request) -> web.StreamResponse:
        """Begin as nobody: "I am somebody else"."""
        visit, _ = await self._posted(request)
        return self._again(await self._update(visit, login.start_over))

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """Go back to the client without a sign-in."""
        visit, _ = await self._posted(request)
        error = "unmet_authentication_requirements" if visit.next.step in {"refuse", "proofing"} else "access_denied"
        location = await self._parts.flows.cancel(visit.transaction.id, visit.browser, error, self._parts.address_of(request))
        if location is None:
            raise Halt(410, "transaction_unknown")
        return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})

    async def refuse_consent(self, request: web.Request, visit: Visit) -> web.StreamResponse:
        """Ask for consent to identity proofing once more."""
        return await self._page(request, visit, 400, error="consent")

    # ------------------------------------------------------------------

    async def visit(self, request: web.Request, names: list[str]) -> Visit:
        """Return the sign-in of that name, and what is due in it. Halt when there is no such one in this browser."""
        browser = browser_of(request)
        found = await self._parts.flows.load(names[0], browser) if len(names) == 1 and browser else None
        if found is None:
            raise Halt(410, "transaction_unknown")
        if found.session_id and await self._parts.store.sessions.get(found.session_id, self._checks.now()) is None:
            # Signed out elsewhere meanwhile: what that session had proved is gone with it.
            found = await self._parts.flows.update(found.id, browser, without_session)
            if found is None:
                raise Halt(410, "transaction_unknown")
        prefer_language(request, (found.notes.get(_LANGUAGE, ""), *found.ui_locales))
        return await self._seen(found, browser)

    async def _seen(self, transaction: LoginTransaction, browser: str) -> Visit:
        who = login.subject(transaction)
        account = await self._checks.account(who) if who else None
        user = await self._parts.store.users.get(who) if who else None
        return Visit(
            transaction=transaction, browser=browser, user=user, account=account, next=login.next_step(transaction, account)
        )

    async def looking(self, request: web.Request) -> Visit:
        """Return the visit of a GET; a language that was chosen stays for the rest of the sign-in."""
        visit = await self.visit(request, request.query.getall("tx", []))
        chosen = request.query.get(_LANGUAGE)
        if chosen in {"ja", "en"}:
            await self._update(visit, lambda old: msgspec.structs.replace(old, notes={**old.notes, _LANGUAGE: chosen}))
        return visit

    async def _posted(self, request: web.Request) -> tuple[Visit, Mapping[str, str]]:
        form = await read_form(request, self._parts.settings.issuer)
        visit = await self.visit(request, [form.get("tx", "")])
        check_token(request, form, visit.transaction.id)
        return visit, form

    async def _update(self, visit: Visit, change: "login.Change") -> Visit:
        after = await self._parts.flows.update(visit.transaction.id, visit.browser, change)
        if after is None:
            raise Halt(410, "transaction_unknown")
        return await self._seen(after, visit.browser)

    async def _proved(
        self, request: web.Request, visit: Visit, user_id: str, kind: AuthKind, authenticator: str = ""
    ) -> web.StreamResponse:
        """Put a verified proof into the transaction and go on. `accept` judges the stored one, not the one seen before."""
        account = await self._checks.account(user_id)
        proof = Proof(user_id=user_id, kind=kind, at=self._checks.now(), authenticator=authenticator)
        try:
            after = await self._update(visit, lambda stored: login.accept(stored, account, proof))
        except NotNow as refused:
            if refused.problem == "other_person":
                detail = {"factor": kind, "reason": "other_person"}
                await self._checks.tell("signin.failed", visit.user, self._parts.address_of(request), detail, failed=True)
                return await self._page(request, visit, 403, error="other_person")
            return self._again(visit)
        return await self._finish(request, after) if after.next.step == "done" else self._again(after)

    def _again(self, visit: Visit) -> web.Response:
        """Send the browser to look at what is due now (so that reloading a page never posts again)."""
        return web.Response(status=303, headers={"Location": _here(visit.transaction), "Cache-Control": "no-store"})


def _here(transaction: LoginTransaction) -> str:
    return f"/login?tx={transaction.id}"


def _binding(visit: Visit) -> str:
    return f"{visit.transaction.id}\x00{visit.browser}"


def _ceremony(name: str, options: Options) -> web.Response:
    return web.json_response({"ceremony": name, "options": options}, headers={"Cache-Control": "no-store"})
