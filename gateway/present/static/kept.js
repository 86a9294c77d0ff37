// A form was stopped by the gateway. The entries stay on this page; the missing step opens in a window of its own and says
// here when it is done, on a channel that only this host's own pages can use.
"use strict";
const start = document.getElementById("start");
const form = document.getElementById("kept");
if (form && start) {
  const channel = new BroadcastChannel("gw-step");
  channel.addEventListener("message", (event) => {
    if (event.data !== "done") return;
    const button = document.getElementById("resend");
    button.classList.remove("secondary");
    start.hidden = true;
    button.focus();
  });
}
