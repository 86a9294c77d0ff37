"""A person at a real Chromium with a key in their pocket, in front of a running demo. Synchronous Playwright."""

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from playwright.sync_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Page,
    Playwright,
    ViewportSize,
    WebError,
    expect,
)
from playwright.sync_api import (
    TimeoutError as NotInTime,
)

from tests.support.chromium import find_chromium
from tests.support.demo import Demo

ARTEFACTS: Final = Path(__file__).parents[2] / "test-artefacts" / "story"
ARGUMENTS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDE: Final[ViewportSize] = {"width": 1280, "height": 860}
PHONE: Final[ViewportSize] = {"width": 390, "height": 844}
LOCALES: Final = {"ja": "ja-JP", "en": "en-GB"}
PATIENCE: Final = 15_000

# What a refused request leaves in the console is no defect of a page.
_EXPECTED: Final = re.compile(
    r"Failed to load resource: the server responded with a status of [45]\d\d"
    r"|WebSocket connection to .* failed"
    r"|EventSource's response has a status 4\d\d"
    r"|net::ERR_(INCOMPLETE_CHUNKED_ENCODING|NETWORK_IO_SUSPENDED|CONNECTION_RESET|CONNECTION_REFUSED)"
)

_WITHOUT_A_NAME: Final = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")]
  .filter((each) => each.checkVisibility())
  .filter((each) => !(each.labels?.length || each.ariaLabel || each.getAttribute("aria-labelledby") || each.textContent.trim()))
  .map((each) => each.outerHTML.slice(0, 120))"""

_TOO_WIDE: Final = """() => {
  const root = document.documentElement;
  if (root.scrollWidth <= root.clientWidth) return [];
  return [...document.querySelectorAll("body *")].filter((each) => each.getBoundingClientRect().right > root.clientWidth + 1)
    .slice(0, 5).map((each) => each.outerHTML.slice(0, 120));
}"""


_OPEN_STREAM: Final = """(path) => new Promise((opened, failed) => {
  const socket = new WebSocket(new URL(path, location.href.replace(/^http/, "ws")));
  window.ended = new Promise((ended) => { socket.onclose = (event) => ended({ at: Date.now(), code: event.code }); });
  socket.onmessage = () => opened(true);
  socket.onerror = () => failed(new Error("the stream was refused"));
})"""


class Arrive(Protocol):
    """Opens a browser for a person; at the test's end it is closed, and what went wrong in its pages is counted."""

    def __call__(self, login: str, at: Demo | None = None, **options: Any) -> "Visitor":
        """Return the person at the shared demo, or at another one."""
        ...


class Visitor:
    """One browser profile and the person at it. Their security key is the one that they used at this demo before, if any."""

    def __init__(
        self,
        browser: Browser,
        demo: Demo,
        login: str,
        *,
        language: str = "ja",
        folder: str = "",
        desk: str = "3階東病棟 1番",
        **options: Any,
    ) -> None:
        self.demo: Final = demo
        self.login: Final = login
        self.language = language
        self.desk: Final = desk
        self.problems: Final[list[str]] = []
        self._folder: Final = ARTEFACTS / (folder or f"{login}-{language}")
        self._shots = 0
        self._keys: Final[dict[Page, tuple[CDPSession, str]]] = {}
        self.context: Final[BrowserContext] = browser.new_context(locale=LOCALES[language], viewport=WIDE, **options)
        self.context.set_default_timeout(PATIENCE)
        self.context.on("console", self._heard)
        self.context.on("weberror", self._threw)
        self.page: Final = self.context.new_page()
        self.hold_key(self.page)

    # ---- the key

    @property
    def key(self) -> dict[str, Any] | None:
        """What the person's key holds for this demo; None before anything was registered on it."""
        return self.demo.keys.get(self.login)

    def hold_key(self, page: Page) -> None:
        """Bring the person's key to a page: a virtual authenticator that has what the key has (WebAuthn §11, over CDP)."""
        if page not in self._keys:
            session = self.context.new_cdp_session(page)
            session.send("WebAuthn.enable")
            options = {
                "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                "isUserVerified": True, "automaticPresenceSimulation": True,
            }  # fmt: skip
            found = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
            self._keys[page] = (session, str(found["authenticatorId"]))
            session.on("WebAuthn.credentialAdded", self._kept)
            session.on("WebAuthn.credentialAsserted", self._kept)
        session, authenticator = self._keys[page]
        session.send("WebAuthn.clearCredentials", {"authenticatorId": authenticator})
        if self.key is not None:
            session.send("WebAuthn.addCredential", {"authenticatorId": authenticator, "credential": self.key})

    def _kept(self, event: dict[str, Any]) -> None:
        self.demo.keys[self.login] = dict(event["credential"])

    # ---- looking

    def look(self, name: str, page: Page | None = None) -> None:
        """Keep screenshots at desk and phone width, and assert what every page owes its reader."""
        page = page or self.page
        self._folder.mkdir(parents=True, exist_ok=True)
        self._shots += 1
        assert page.locator("html").get_attribute("lang") == self.language, f"{name}: {page.url} speaks another language"
        assert page.title().strip(), f"{name}: no title"
        assert page.locator("h1:visible").count() == 1, f"{name}: one heading"
        assert page.evaluate(_WITHOUT_A_NAME) == [], f"{name}: controls without a name"
        for size, suffix in ((PHONE, "-phone"), (WIDE, "")):
            page.set_viewport_size(size)
            page.screenshot(path=self._folder / f"{self._shots:02d}-{name}{suffix}.png", full_page=True)
            assert page.evaluate(_TOO_WIDE) == [], f"{name}: wider than {size['width']} px"

    def text(self) -> str:
        """The visible text of the page's main part."""
        return self.page.locator("main").inner_text()

    def heading(self) -> str:
        """The page's heading."""
        return self.page.locator("h1:visible").inner_text()

    def host(self) -> str:
        """Which of the demo's hosts the page is of."""
        return (urlsplit(self.page.url).hostname or "").split(".")[0]

    # ---- doing

    def open(self, name: str, path: str = "/") -> None:
        """Go to an address of one of the hosts, by name."""
        self.page.goto(f"{self.demo.urls[name]}{path}", wait_until="load")
        self._passing()

    def act(self, what: Callable[[], object]) -> None:
        """Do what navigates, and wait for where it ends."""
        with self.page.expect_navigation(wait_until="load"):
            what()
        self._passing()

    def press(self, selector: str) -> None:
        """Click what navigates."""
        where = self.page.locator(selector).first
        try:
            where.wait_for()
        except NotInTime as error:
            raise AssertionError(f"there is no {selector} on {self.page.url}:\n{self.text()}") from error
        self.act(where.click)

    def _passing(self) -> None:
        # Pages that go on by themselves.
        self.page.wait_for_url(lambda url: "/device/prove" not in url and "/.gateway/sign-out" not in url, wait_until="load")

    def switch_language(self) -> None:
        """Use the page's own link."""
        self.press(".langs a, a.langs")
        self.language = "en" if self.language == "ja" else "ja"

    def type_password(self) -> None:
        """Name and password, Enter."""
        self.page.fill("input[name=login]", self.login)
        self.page.fill("input[name=password]", self.demo.password(self.login))
        self.act(lambda: self.page.keyboard.press("Enter"))

    def type_code(self, page: Page | None = None) -> None:
        """Six digits: the page goes on by itself."""
        page = page or self.page
        field = page.locator("input[data-code]")
        field.wait_for()
        code = self.demo.code(self.login)
        with page.expect_navigation(wait_until="load"):
            field.press_sequentially(code)

    def sign_in(self) -> None:
        """From the sign-in page: with the passkey alone where there is one, else with password and code."""
        if self.key is not None:
            self.hold_key(self.page)
            self.press("form[action='/login/key'] button")
            return
        self.type_password()
        self.type_code()
        self._passing()

    def register_device(self) -> None:
        """Fill in the registration page and send it."""
        self.page.fill("input[name=label]", self.desk)
        self.page.check("input[name=attested]")
        self.press("#register button")

    def prove_identity(self) -> None:
        """The card step, with the outcome that lets in."""
        self.press("form[action='/login/proofing'] button")
        self.press("button[value=success]")
        self.press("main a.button")

    def register_key(self, page: Page | None = None) -> None:
        """Register a key and touch it: from the page that asks for it to wherever that leads."""
        page = page or self.page
        page.fill("input[name=label]", "名札のキー")
        page.click("form[data-webauthn=create] button")

    def own_a_key(self) -> None:
        """Have a key registered, on the person's own page at the provider; nothing to do for whoever has one."""
        if self.key is None:
            self.open("id", "/account")
            if self.page.locator("input[name=login]").count():
                self.sign_in()
            self.page.fill("form[action='/account/keys'] input[name=label]", "名札のキー")
            self.press("form[action='/account/keys'] button")
        assert self.key is not None

    def reach(self, name: str, path: str = "/") -> None:
        """Open an address and do every step that its pages ask for."""
        self.open(name, path)
        for _ in range(12):
            where = self.host()
            if where == "id":
                self._provider_step()
            elif "/.gateway/device" in self.page.url:
                self.register_device()
            elif self.page.locator("#start").count():
                self.press("#start")
            else:
                assert where == name, f"{self.login} came to {self.page.url}: {self.text()}"
                return
        raise AssertionError(f"{self.login} does not get to {name}{path}: {self.page.url}\n{self.text()}")

    def _provider_step(self) -> None:
        page = self.page
        if page.locator("input[name=login]").count():
            self.sign_in()
        elif page.locator("input[data-code]").count():
            self.type_code()
        elif page.locator("form[data-webauthn=create]").count():
            self.register_key()
            self._leave_provider()
        elif page.locator("form[data-webauthn=get][data-auto]").count():
            self._leave_provider()
        elif page.locator("form[action='/login/proofing']").count():
            self.prove_identity()
        else:
            raise AssertionError(f"what is this page? {page.url}\n{self.text()}")

    def _leave_provider(self) -> None:
        away = re.compile(r"^https?://(?!id\.)")
        self.page.wait_for_url(away, wait_until="load")
        self._passing()

    def open_stream(self, path: str) -> Page:
        """Open a WebSocket of the EHR in a tab of its own and hear its first message.

        `window.ended` there resolves to when it closed (epoch milliseconds) and its code. Nothing in that tab reconnects.
        """
        page = self.context.new_page()
        page.goto(f"{self.demo.urls['ehr']}/static/ehr.css")
        assert page.evaluate(_OPEN_STREAM, path)
        return page

    @contextlib.contextmanager
    def step_window(self) -> Iterator[Page]:
        """The window in which the missing step of a stopped form runs: begin it inside `with`; at the end it has closed itself.

        It is opened empty beforehand, so that the person's key is there when the first page in it asks for one.
        """
        with self.page.expect_popup() as opened:
            self.page.evaluate("() => { window.open('about:blank', 'gw-step'); }")
        window = opened.value
        self.hold_key(window)
        self.page.click("#start")
        yield window
        if not window.is_closed():
            window.wait_for_event("close", timeout=PATIENCE)

    def sign_out(self) -> None:
        """Use the page's own button."""
        self.press("#sign-out, form[action='/.gateway/sign-out'] button")
        expect(self.page).to_have_url(re.compile("/.gateway/signed-out"))

    def close(self) -> None:
        """End, and assert that no page broke its own rules on the way."""
        self.context.close()
        assert self.problems == []

    # ------------------------------------------------------------------

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not _EXPECTED.search(message.text):
            self.problems.append(f"{message.page.url if message.page else ''}: {message.text}")

    def _threw(self, error: WebError) -> None:
        self.problems.append(f"{error.page.url if error.page else ''}: {error.error}")


def launch(playwright: Playwright, **options: Any) -> Browser:
    """Start the machine's Chromium."""
    return playwright.chromium.launch(executable_path=find_chromium(), args=[*ARGUMENTS], **options)
