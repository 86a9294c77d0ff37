// A form was stopped by the gateway. The entries stay on this page; the missing step opens in a window of its own and says
// here when it is done, on a channel that only this host's own pages can use. Sending stays the person's own act: one key.
"use strict";
const form = document.getElementById("kept");
const after = document.getElementById("after");
if (form && after) {
  const channel = new BroadcastChannel("gw-step");
  channel.addEventListener("message", (event) => {
    if (event.data !== "done" || !after.hidden) return;
    document.getElementById("before").hidden = true;
    form.querySelector("[data-waiting]").hidden = true;
    after.hidden = false;
    document.title = after.querySelector("h1").textContent;
    const button = document.getElementById("resend");
    button.classList.remove("secondary");
    button.focus();
  });
}
