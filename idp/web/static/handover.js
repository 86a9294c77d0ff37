// A terminal that waits for a phone. Without it there is a button, and the page comes anew by itself.
"use strict";
(() => {
  const part = document.querySelector("[data-look]");
  if (!part) return;
  const show = (name, yes) => { for (const one of part.querySelectorAll(`[data-${name}]`)) one.hidden = !yes; };
  let state = part.dataset.state;
  const look = async () => {
    let now;
    try {
      const reply = await fetch(part.dataset.look, { cache: "no-store" });
      if (reply.status >= 500) return;  // the next look will tell
      // Signed out, or over: the page itself says what there is.
      now = reply.ok && !reply.redirected ? (await reply.json()).state : "over";
    } catch {
      return;  // no network: the next look will tell
    }
    if (now === "over") { clearInterval(timer); location.replace(part.dataset.then); return; }
    if (now === "taken" && state !== "taken") {
      state = now;
      show("open", false); show("waiting", false); show("taken", true);
    }
  };
  const timer = setInterval(look, 2000);
})();
