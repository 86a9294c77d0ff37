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
