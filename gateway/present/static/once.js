// A form whose answer brings a new session cookie is sent once: sent again at once, its first answer would be thrown away, and the
// cookie with it. It can be sent anew where the page is shown again, and after a while, when no answer came.
"use strict";
const AGAIN_MS = 10000;
for (const form of document.querySelectorAll("form[data-once]")) {
  let sent = false, timer = 0;
  const mark = (now) => {
    sent = now;
    clearTimeout(timer);
    if (now) timer = setTimeout(() => mark(false), AGAIN_MS);
    for (const button of form.querySelectorAll("button")) button.disabled = now;
  };
  form.addEventListener("submit", (event) => {
    if (sent) event.preventDefault();
    else mark(true);
  });
  window.addEventListener("pageshow", (event) => {
    if (event.persisted || !sent) mark(false);
  });
}
