"""A person's own page: keys, authenticator app, recovery codes. To look takes a live session; to change, a fresh second factor.

Fresh means: proved within the last minutes in this very session. Who has a key confirms with a key (or, when it is lost, with a
recovery code); a one-time code does only for those without one, so that adding a key is never easier than what it adds to.

Who comes without a session signs in as everywhere else: the page is a client of the provider for that (`account_client`). The
code that comes back is never redeemed; the session that the sign-in leaves in the browser is what counts.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from gateway.kernel.ids import new_token
from gateway.kernel.secret import Secret, same
from idp.bindings import Binder
from idp.factors import recovery, totp
from idp.factors.fido2 import CeremonyRefused
from idp.login import Account
from idp.model import AuthEvent, AuthKind, Fido2Credential, RecoveryCodes, SsoSession, TotpCredential, User
from idp.protocol.binding import KEY
from idp.settings import Client
from idp.web.checks import Checks, Wait, Wrong, clean_label
from idp.web.cookies import bind_browser, browser_of, session_of, set_session
from idp.web.guard import Halt, check_token, form_token, guarded, read_form
from idp.web.options import PageOptions
from idp.web.parts import Parts
from idp.web.render import Renderer

CLIENT_ID: Final = "account"
_RETURN: Final = "/account/return"
_GOAL: Final = "for"
_PROOFING: Final = "proofing"
_GOALS: Final = {_PROOFING: "/account/proofing"}
"""Where somebody came from who was sent here to confirm: a closed set, so that no address of a request leads anywhere."""
_ENROL: Final = "totp-enrolment"
_ENROL_SECONDS: Final = 900


def account_client(issuer: str) -> Client:
    """Return the registration of the account page with the provider it belongs to. Its secret is random and thrown away."""
    return Client.registered(CLIENT_ID, Secret(new_token()), redirect_uris=(f"{issuer}{_RETURN}",))


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Whose page it is, and what they have proved in this session."""

    user: User
    account: Account
    session: SsoSession
    fresh: bool

    @property
    def confirms_with(self) -> tuple[AuthKind, ...]:
        """What this person may confirm a change with."""
        return confirmations(self.account)


class _Enrolment(msgspec.Struct, frozen=True, kw_only=True):
    session: str
    user_id: str
    secret: str


def confirmations(account: Account) -> tuple[AuthKind, ...]:
    """Return what a person may confirm a change of their factors with."""
    first: tuple[AuthKind, ...] = ("fido2",) if account.keys else ("otp",) if account.totp else ()
    return (*first, "recovery") if account.recovery else first


def is_fresh(account: Account, events: tuple[AuthEvent, ...], now: int, within_seconds: int) -> bool:
    """True when one of the person's confirmations was proved lately."""
    return any(event.kind in confirmations(account) and 0 <= now - event.at <= within_seconds for event in events)


class AccountPages:
    """The handlers of `/account` and below."""

    def __init__(self, parts: Parts, checks: Checks, renderer: Renderer, options: PageOptions) -> None:
        self._parts, self._checks, self._renderer, self._options = parts, checks, renderer, options
        self._credentials = parts.store.credentials
        self._binder = Binder(parts.store, parts.events, parts.clock)

    def add_routes(self, app: web.Application) -> None:
        """Add them."""
        refusals = self._parts.refusals
        app.router.add_get("/account", guarded(self.show, self._renderer, refusals), allow_head=False)
        app.router.add_get(_RETURN, guarded(self.returned, self._renderer, refusals), allow_head=False)
        for path, handler in (
            ("confirm/key/begin", self.begin_confirm), ("confirm/key", self.confirm_key), ("confirm/code", self.confirm_code),
            ("keys/begin", self.begin_key), ("keys", self.add_key), ("keys/remove", self.remove_key),
            ("totp", self.enrol), ("totp/confirm", self.confirm_enrol), ("recovery", self.new_recovery),
        ):  # fmt: skip
            app.router.add_post(f"/account/{path}", guarded(handler, self._renderer, refusals))

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Show the page, or sign in first."""
        found = await self.visitor(request)
        if not isinstance(found, Holder):
            return found
        if found.fresh and request.query.get(_GOAL) == _PROOFING:
            raise web.HTTPSeeOther(_GOALS[_PROOFING])
        return await self._page(request, found, saved="saved" in request.query, goal=request.query.get(_GOAL, ""))

    async def visitor(self, request: web.Request) -> Holder | web.StreamResponse:
        """Return who looks at an account page, or where to send them before they can."""
        session = await self._parts.store.sessions.resolve(session_of(request), self._checks.now())
        if session is None:
            return self.sign_in()
        if not browser_of(request):
            # The session outlived the browser binding (a cookie was cleared): bind anew, then the forms have a token.
            response = web.Response(status=303, headers={"Location": request.path, "Cache-Control": "no-store"})
            bind_browser(response, Secret(new_token()))
            return response
        return await self.holder(session)

    async def returned(self, request: web.Request) -> web.StreamResponse:
        """Come back from the sign-in: what counts is the session, not what the address says."""
        if await self._parts.store.sessions.resolve(session_of(request), self._checks.now()) is None:
            if request.query.get("error") == "interaction_required":
                return self.sign_in()  # the page was left open: see `SignIn.renew`
            raise Halt(403, "not_completed")  # also when it was cancelled: not into the next sign-in at once
        return self._home()

    # ------------------------------------------------------------------ confirming

    async def begin_confirm(self, request: web.Request) -> web.StreamResponse:
        """Give the page's script what to ask the person's key for."""
        holder, _ = await self.posted(request)
        if not holder.account.keys:
            return web.json_response({"again": True}, status=409)
        name, options = await self._checks.begin_touch(holder.user.id, self._binding(request, holder, "confirm"))
        return web.json_response({"ceremony": name, "options": options}, headers={"Cache-Control": "no-store"})

    async def confirm_key(self, request: web.Request) -> web.StreamResponse:
        """Take a touch."""
        holder, form = await self.posted(request)
        try:
            touched = await self._checks.touch(
                self._binding(request, holder, "confirm"), form.get("ceremony", ""), form.get("response", ""),
                self._parts.address_of(request),
            )  # fmt: skip
        except CeremonyRefused:
            return await self._page(request, holder, status=403, error="key_refused", goal=form.get(_GOAL, ""))
        if touched.user.id != holder.user.id:
            raise Halt(403, "not_completed")
        return await self._confirmed(request, holder, "fido2", touched.authenticator, goal=form.get(_GOAL, ""))

    async def confirm_code(self, request: web.Request) -> web.StreamResponse:
        """Take a code: of the app for those without a key, a recovery code for anybody."""
        holder, form = await self.posted(request)
        goal = form.get(_GOAL, "")
        allowed = tuple(kind for kind in holder.confirms_with if kind != "fido2")
        if not form.get("code", "").strip() or not allowed:
            return await self._page(request, holder, status=400, error="code_empty", goal=goal)
        result = await self._checks.code(holder.user, form["code"], allowed, self._parts.address_of(request))
        if isinstance(result, Wait):
            return await self._page(request, holder, status=429, wait=result, goal=goal)
        if isinstance(result, Wrong):
            return await self._page(request, holder, status=403, error="code_wrong", goal=goal)
        return await self._confirmed(request, holder, result, goal=goal)

    async def _confirmed(
        self, request: web.Request, holder: Holder, kind: AuthKind, authenticator: str = "", *, goal: str
    ) -> web.StreamResponse:
        now = self._checks.now()
        event = AuthEvent(kind=kind, at=now, phishing_resistant=kind == "fido2", authenticator=authenticator)

        def add(session: SsoSession) -> SsoSession:
            kept = tuple(earlier for earlier in session.events if earlier.kind != kind)
            return msgspec.structs.replace(session, events=(*kept, event))

        token = await self._parts.store.sessions.rotate(holder.session.id, add, now)
        if token is None:
            raise Halt(403, "not_completed")
        events = (*holder.session.events, event)
        await self._binder.used(holder.user, events, self._fresh_since(), self._parts.address_of(request))
        response = self._home(at=_GOALS.get(goal, ""))
        set_session(response, token)
        return response

    # ------------------------------------------------------------------ changing

    async def begin_key(self, request: web.Request) -> web.StreamResponse:
        """Give the page's script what to make a key for."""
        holder, _ = await self.posted(request)
        if not holder.fresh:
            return web.json_response({"again": True}, status=409)
        name, options = await self._checks.begin_key(holder.user, self._binding(request, holder, "add"))
        return web.json_response({"ceremony": name, "options": options}, headers={"Cache-Control": "no-store"})

    async def add_key(self, request: web.Request) -> web.StreamResponse:
        """Store a new key."""
        holder, form = await self.changing(request)
        label = clean_label(form.get("label", ""))
        if label is None:
            return await self._page(request, holder, status=400, error="label")
        bind = await self._binder.may_add(holder.user, holder.session.events, self._fresh_since())
        try:
            added = await self._checks.add_key(
                holder.user, self._binding(request, holder, "add"), form.get("ceremony", ""), form.get("response", ""), label,
                self._parts.address_of(request),
            )  # fmt: skip
        except CeremonyRefused:
            return await self._page(request, holder, status=403, error="register_refused")
        if bind:
            await self._binder.add(holder.user, KEY + added.id, self._parts.address_of(request))
        return self._home(saved=True)

    async def remove_key(self, request: web.Request) -> web.StreamResponse:
        """Forget a key, unless it is the last second factor."""
        holder, form = await self.changing(request)
        key = form.get("key", "")
        if key not in {credential.id for credential in await self._credentials.fido2(holder.user.id)}:
            return await self._page(request, holder, status=404, error="gone")
        if holder.account.keys == 1 and not holder.account.totp:
            return await self._page(request, holder, status=409, error="last_factor")
        await self._tell(request, "factor.removed", holder, {"kind": "fido2", "key": key[:16]})
        if not await self._credentials.remove_fido2(holder.user.id, key):
            return await self._page(request, holder, status=404, error="gone")
        return self._home(saved=True)

    async def enrol(self, request: web.Request) -> web.StreamResponse:
        """Show a new secret for an authenticator app. It counts only once a code of it was entered."""
        holder, _ = await self.changing(request)
        secret = totp.new_secret(self._options.randomness(totp.SECRET_BYTES))
        enrolment = _Enrolment(session=holder.session.id, user_id=holder.user.id, secret=secret.reveal())
        name = await self._parts.store.once.put(_ENROL, msgspec.json.encode(enrolment), _ENROL_SECONDS)
        return self._enrol_page(request, holder, secret, name)

    async def confirm_enrol(self, request: web.Request) -> web.StreamResponse:
        """Store the authenticator app once it has shown the right code; that code is used up with it."""
        holder, form = await self.changing(request)
        name = form.get("enrolment", "")
        stored = await self._parts.store.once.peek(_ENROL, name)
        enrolment = msgspec.json.decode(stored, type=_Enrolment) if stored is not None else None
        if enrolment is None or not same(enrolment.session, holder.session.id) or enrolment.user_id != holder.user.id:
            raise Halt(410, "transaction_unknown")
        secret = Secret(enrolment.secret)
        step = totp.matching_step(secret, form.get("code", ""), self._parts.clock.now(), -1)
        if step is None:
            return self._enrol_page(request, holder, secret, name, status=403, error="enrol_code")
        if await self._parts.store.once.take(_ENROL, name) is None:
            raise Halt(410, "transaction_unknown")
        bind = await self._binder.may_add(holder.user, holder.session.events, self._fresh_since())
        await self._tell(request, "factor.registered", holder, {"kind": "otp"})
        await self._credentials.set_totp(
            TotpCredential(user_id=holder.user.id, secret=secret, created_at=self._checks.now(), last_step=step)
        )
        if bind:
            await self._binder.add(holder.user, "otp", self._parts.address_of(request))
        return self._home(saved=True)

    async def new_recovery(self, request: web.Request) -> web.StreamResponse:
        """Make ten new recovery codes and show them, this once."""
        holder, _ = await self.changing(request)
        codes = recovery.new_codes(self._options.randomness(recovery.COUNT * recovery.CODE_BYTES))
        hashes = tuple(hashed for code in codes if (hashed := recovery.code_hash(code.reveal())) is not None)
        await self._tell(request, "factor.registered", holder, {"kind": "recovery"})
        await self._credentials.set_recovery(RecoveryCodes(user_id=holder.user.id, hashes=hashes, created_at=self._checks.now()))
        return self._renderer.page(request, "recovery_codes.html", codes=[code.reveal() for code in codes])

    # ------------------------------------------------------------------

    async def holder(self, session: SsoSession) -> Holder:
        """Return whose page it is. Halt: nobody's any more."""
        user, account = await self._parts.store.users.get(session.user_id), await self._checks.account(session.user_id)
        if user is None or account is None or not user.active:
            raise Halt(403, "not_completed")
        fresh = is_fresh(account, session.events, self._checks.now(), self._options.fresh_seconds)
        return Holder(user=user, account=account, session=session, fresh=fresh)

    async def posted(self, request: web.Request) -> tuple[Holder, Mapping[str, str]]:
        """Return who posted a form of the account pages, and its fields. Halt unless it was theirs."""
        form = await read_form(request, self._parts.settings.issuer)
        session = await self._parts.store.sessions.resolve(session_of(request), self._checks.now())
        if session is None:
            raise Halt(403, "not_completed")
        check_token(request, form, self.scope(session))
        return await self.holder(session), form

    async def changing(self, request: web.Request) -> tuple[Holder, Mapping[str, str]]:
        """The same, of somebody who confirmed lately; anybody else is sent to the page that asks for it."""
        holder, form = await self.posted(request)
        if not holder.fresh:
            raise web.HTTPSeeOther("/account")  # which asks for the confirmation
        return holder, form

    async def _page(
        self, request: web.Request, holder: Holder, *, status: int = 200, error: str = "", wait: Wait | None = None,
        saved: bool = False, goal: str = "",
    ) -> web.Response:  # fmt: skip
        codes = await self._credentials.recovery(holder.user.id)
        proofing = await self._parts.store.proofing.latest(holder.user.id)
        bound = await self._parts.store.bindings.of(proofing.number) if proofing is not None else frozenset()
        response = self._renderer.page(
            request, "account.html", status, here="/account", goal=goal if goal in _GOALS else "", error=error, wait=wait,
            saved=saved, user=holder.user, account=holder.account, fresh=holder.fresh,
            keys=_oldest_first(await self._credentials.fido2(holder.user.id)),
            generator=await self._credentials.totp(holder.user.id), codes_left=len(codes.hashes) if codes else 0,
            proofing=proofing, proofing_over=proofing is not None and not proofing.in_force(self._checks.now()),
            bound={name.removeprefix(KEY) for name in bound}, offered=self._options.proofing is not None,
            invited=await self._parts.office.invitation_of(holder.user.id), confirms_with=holder.confirms_with,
            minutes=self._options.fresh_seconds // 60,
            csrf=form_token(request, self.scope(holder.session)),
        )  # fmt: skip
        if wait is not None:
            response.headers["Retry-After"] = str(wait.seconds)
        return response

    def _enrol_page(
        self, request: web.Request, holder: Holder, secret: Secret, name: str, *, status: int = 200, error: str = ""
    ) -> web.Response:
        url = totp.enrolment_url(secret, holder.user.login, self._options.service_name)
        return self._renderer.page(
            request, "enrol.html", status, error=error, wait=None, qr=totp.qr_svg(url), secret=totp.grouped(secret), name=name,
            csrf=form_token(request, self.scope(holder.session)),
        )  # fmt: skip

    async def _tell(self, request: web.Request, name: Any, holder: Holder, detail: dict[str, str]) -> None:
        await self._checks.tell(name, holder.user, self._parts.address_of(request), detail)

    def _fresh_since(self) -> int:
        return self._checks.now() - self._options.fresh_seconds

    def scope(self, session: SsoSession) -> str:
        """Return what the form tokens of the account pages are for."""
        return f"account\x00{session.id}"

    def _binding(self, request: web.Request, holder: Holder, what: str) -> str:
        return f"account\x00{what}\x00{holder.session.id}\x00{browser_of(request)}"

    def _home(self, *, saved: bool = False, at: str = "") -> web.Response:
        location = at or ("/account?saved" if saved else "/account")
        return web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})

    def sign_in(self) -> web.Response:
        """Send the browser through an ordinary sign-in. Nobody will redeem the code, so its PKCE verifier is thrown away."""
        client = self._parts.settings.client(CLIENT_ID)
        if client is None:
            raise Halt(403, "not_completed")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(new_token().encode()).digest()).rstrip(b"=").decode()
        query = urlencode({
            "response_type": "code", "client_id": CLIENT_ID, "redirect_uri": client.redirect_uris[0], "scope": "openid",
            "state": new_token(), "nonce": new_token(), "code_challenge": challenge, "code_challenge_method": "S256",
        })  # fmt: skip
        return web.Response(status=303, headers={"Location": f"/authorize?{query}", "Cache-Control": "no-store"})


def _oldest_first(keys: list[Fido2Credential]) -> list[Fido2Credential]:
    return sorted(keys, key=lambda key: (key.created_at, key.id))
