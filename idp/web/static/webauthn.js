// Passkeys and security keys: asks the provider what to sign, has the key sign it, and sends the answer as an ordinary form.
// A form with data-webauthn="get" or "create" posts its fields to `<action>/begin` first and gets {ceremony, options} as JSON.
"use strict";
(() => {
  const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (letter) => letter.charCodeAt(0));
  const text = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  const ids = (list) => (list || []).map((item) => ({ ...item, id: bytes(item.id) }));

  function creation(options) {
    if (PublicKeyCredential.parseCreationOptionsFromJSON) return PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return { ...options, challenge: bytes(options.challenge), user: { ...options.user, id: bytes(options.user.id) },
      excludeCredentials: ids(options.excludeCredentials) };
  }

  function request(options) {
    if (PublicKeyCredential.parseRequestOptionsFromJSON) return PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return { ...options, challenge: bytes(options.challenge), allowCredentials: ids(options.allowCredentials) };
  }

  function answer(credential) {
    if (credential.toJSON) return credential.toJSON();
    const { response } = credential;
    const fields = { clientDataJSON: text(response.clientDataJSON) };
    if (response.attestationObject) {
      fields.attestationObject = text(response.attestationObject);
    } else {
      fields.authenticatorData = text(response.authenticatorData);
      fields.signature = text(response.signature);
      if (response.userHandle) fields.userHandle = text(response.userHandle);
    }
    return { id: credential.id, rawId: text(credential.rawId), type: credential.type, clientExtensionResults: {}, response: fields };
  }

  async function begin(form, pressed) {
    const fields = new URLSearchParams();
    for (const name of ["tx", "csrf"]) if (form.elements[name]) fields.set(name, form.elements[name].value);
    const reply = await fetch(`${form.getAttribute("action")}/begin`, { method: "POST", body: fields, credentials: "same-origin" });
    if (reply.ok) return reply.json();
    if (!pressed) throw new Error(`${reply.status}`);
    location.reload();  // this page is out of date: the next one says what is due
    return null;
  }

  async function run(form, pressed) {
    const button = form.querySelector("button");
    const problem = form.querySelector("[data-problem]");
    const label = button.textContent;
    problem.hidden = true;
    button.disabled = true;
    button.textContent = form.dataset.working;
    try {
      const begun = await begin(form, pressed);
      if (!begun) return;
      const create = form.dataset.webauthn === "create";
      const credential = create
        ? await navigator.credentials.create({ publicKey: creation(begun.options) })
        : await navigator.credentials.get({ publicKey: request(begun.options) });
      form.elements.ceremony.value = begun.ceremony;
      form.elements.response.value = JSON.stringify(answer(credential));
      form.submit();
    } catch (error) {
      const known = { NotAllowedError: "cancelled", AbortError: "cancelled", InvalidStateError: "duplicate", NotSupportedError: "unsupported" };
      problem.textContent = form.dataset[known[error.name] || "failed"];
      problem.hidden = false;
      button.disabled = false;
      button.textContent = label;
      button.focus();
    }
  }

  for (const form of document.querySelectorAll("form[data-webauthn]")) {
    if (!window.PublicKeyCredential) {
      form.querySelector("button").disabled = true;
      const problem = form.querySelector("[data-problem]");
      problem.textContent = form.dataset.unsupported;
      problem.hidden = false;
      continue;
    }
    form.addEventListener("submit", (event) => { event.preventDefault(); if (!form.querySelector("button").disabled) run(form, true); });
    if ("auto" in form.dataset) run(form, false);
  }
})();
