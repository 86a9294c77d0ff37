// Hospital notices over server-sent events. Text only: nothing received is ever treated as markup.
"use strict";
(() => {
  const panel = document.getElementById("notices");
  const list = panel.querySelector("[data-list]");
  const state = panel.querySelector("[data-state]");
  const shown = 20;

  const say = (text) => { state.textContent = text; state.hidden = text === ""; };

  const add = (event) => {
    const notice = JSON.parse(event.data);
    const item = document.createElement("li");
    const time = document.createElement("time");
    const at = new Date(notice.at * 1000);
    time.dateTime = at.toISOString();
    time.textContent = at.toLocaleTimeString(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", hour12: false, timeZone: "Asia/Tokyo" });
    item.append(time, " ", notice.text);
    list.prepend(item);
    while (list.children.length > shown) list.lastElementChild.remove();
  };

  // The browser reconnects by itself after a cut, and gives up (CLOSED) when the answer is no event stream: then either this
  // person's session has ended, and the page must not go on showing a record, or only the notices are not for them.
  const refused = async () => {
    say(panel.dataset.refused);
    const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) location.reload();
  };

  const source = new EventSource(panel.dataset.source);
  source.addEventListener("open", () => say(""));
  source.addEventListener("notice", add);
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) { say(panel.dataset.lost); return; }
    refused().catch(() => say(panel.dataset.lost));
  });
  addEventListener("pagehide", () => source.close());
})();
