// Small helps for people who sign in forty times a day. Everything works without it, but for keys.
"use strict";
(() => {
  for (const form of document.forms) {
    // A double click or a second Enter must not spend a code twice.
    form.addEventListener("submit", (event) => {
      if (event.defaultPrevented || "webauthn" in form.dataset) return;
      if ("sent" in form.dataset) { event.preventDefault(); return; }
      form.dataset.sent = "";
    });
  }
  addEventListener("pageshow", () => { for (const form of document.forms) delete form.dataset.sent; });

  // Six digits are all there is to type.
  const code = document.querySelector("input[data-code]");
  if (code) {
    code.addEventListener("input", () => {
      const digits = code.value.normalize("NFKC").replace(/\s/g, "");
      if (/^[0-9]{6}$/.test(digits)) code.form.requestSubmit();
    });
  }

  // Signed in meanwhile in another tab? Then this page has nothing to ask, and goes on to where it was to lead.
  const tx = document.querySelector('input[name="tx"]')?.value;
  let leaving = false;
  const look = async () => {
    if (leaving || document.hidden) return;
    const address = `?tx=${encodeURIComponent(tx)}`;
    try {
      const reply = await fetch(`/login/elsewhere${address}`, { cache: "no-store" });
      leaving = reply.ok && (await reply.json()).elsewhere === true;
    } catch {
      return;  // no network: the next look will tell
    }
    // The other tab first: the portal has to hear of the sign-in before this one asks.
    if (leaving) setTimeout(() => location.replace(`/login${address}`), 1000);
  };
  if (tx) {
    document.addEventListener("visibilitychange", look);
    setTimeout(look, 500);
    setInterval(look, 3000);
  }

  // Enter on the empty sign-in form asks for a passkey.
  const either = document.querySelector("form[data-or-key]");
  const key = document.querySelector('form[data-webauthn="get"]');
  if (either && key && window.PublicKeyCredential) {
    either.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing || either.elements.login.value || either.elements.password.value) return;
      event.preventDefault();
      key.requestSubmit();
    });
  }
})();
