// A key of this browser that can't be exported: made once at registration, used to recognise the device at each sign-in.
"use strict";
const NAME = "gateway-device", STORE = "keys", SLOT = "device";

function database() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE);
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function slot(mode, work) {
  const db = await database();
  try {
    return await new Promise((resolve, reject) => {
      const request = work(db.transaction(STORE, mode).objectStore(STORE));
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  } finally {
    db.close();
  }
}

function base64url(buffer) {
  return btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

async function sign(key, message) {
  const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, key, new TextEncoder().encode(message));
  return base64url(signature);
}

const register = document.getElementById("register");
if (register) {
  register.addEventListener("submit", async (event) => {
    event.preventDefault();
    register.querySelector("button").disabled = true;
    try {
      const pair = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign", "verify"]);
      const jwk = await crypto.subtle.exportKey("jwk", pair.publicKey);
      const signature = await sign(pair.privateKey, register.dataset.message);
      await slot("readwrite", (store) => store.put(pair.privateKey, SLOT));
      register.elements.key.value = JSON.stringify({ kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y });
      register.elements.signature.value = signature;
    } catch (error) {
      // A browser that can't keep a key registers with the cookie alone; policies see that as weaker evidence.
      console.warn("no device key:", error);
    }
    register.submit();
  });
}

const prove = document.getElementById("prove");
if (prove) {
  (async () => {
    const onward = document.getElementById("skip").href;
    try {
      const key = await slot("readonly", (store) => store.get(SLOT));
      if (!key) throw new Error("this browser has no device key");
      const signature = await sign(key, prove.dataset.message);
      const body = new URLSearchParams({ challenge: prove.dataset.challenge, signature, flow: prove.dataset.flow });
      const reply = await fetch("/.gateway/device/prove", { method: "POST", body, credentials: "same-origin" });
      const answer = await reply.json();
      location.replace(answer.next);
    } catch (error) {
      console.warn("device key not proved:", error);
      location.replace(onward);
    }
  })();
}
