// Live decisions over server-sent events. Everything received is put in as text; nothing is ever treated as markup.
"use strict";
(() => {
  const live = document.getElementById("live");
  const part = (name) => live.querySelector(`[data-${name}]`);
  const [decisions, happenings, state, lag, counter, empty, toggle, filters] =
    ["decisions", "happenings", "state", "lag", "counter", "empty", "toggle", "filters"].map(part);
  const most = Number(live.dataset.rows);
  const mostHappenings = 30;
  const rows = []; // newest first: { data, element }
  let waiting = []; // arrived while paused, oldest first
  let paused = false;
  let missed = 0;

  const looks = { allow: "ok", success: "ok", challenge: "warn", deny: "bad", refuse: "bad", unavailable: "bad", failure: "bad" };

  const make = (name, text, look) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (look) element.className = look;
    return element;
  };
  const cell = (...content) => {
    const element = make("td"), inside = make("div");
    inside.append(...content);
    element.append(inside);
    return element;
  };
  const small = (text, look) => make("small", text, look);
  const add = (element, ...content) => element.firstChild.append(...content);
  const when = (at) => { const [day, time] = at.split(" "); const element = cell(time ?? at); if (time) add(element, small(day)); return element; };
  const label = (row, table) => { // for narrow screens, where a row becomes a card
    table.closest("table").querySelectorAll("th").forEach((head, at) => { row.children[at].dataset.label = head.textContent; });
    return row;
  };
  const tag = (data) => make("span", data.outcome_text, `tag ${looks[data.outcome] ?? ""}`);

  const decisionRow = (data) => {
    const row = make("tr", undefined, data.outcome);
    const person = cell(data.person || live.dataset.nobody);
    if (data.login && data.login !== data.person) add(person, small(data.login, "mono"));
    const app = cell(data.app || data.host);
    if (data.route) add(app, small(data.action ? `${data.route} (${data.action})` : data.route));
    const request = cell(make("span", `${data.method} ${data.path}`, "mono"));
    if (data.stream) add(request, " ", make("span", live.dataset.stream, "tag"));
    if (data.glass) add(request, " ", make("span", live.dataset.glass, "tag bad"));
    add(request, small(data.address, "mono"));
    const why = cell(data.reason || data.policies.join(", "));
    if (data.reason && data.policies.length) add(why, small(data.policies.join(", "), "mono"));
    for (const error of data.errors) add(why, small(error, "mono"));
    if (data.remedy.length) add(why, small(`${live.dataset.remedy} ${data.remedy.join(" / ")}`));
    const link = make("a", data.id); // why it was decided so
    link.href = `/policies/explain?decision=${encodeURIComponent(data.id)}`;
    const id = small(undefined, "mono id");
    id.append(link);
    add(why, id);
    row.append(when(data.at), cell(tag(data)), person, app, request, why);
    return label(row, decisions);
  };

  const happeningRow = (data) => {
    const row = make("tr", undefined, data.outcome);
    row.append(when(data.at), cell(data.event), cell(tag(data)), cell(data.person), cell(make("span", data.target, "mono")), cell(make("span", data.address, "mono")));
    return label(row, happenings);
  };

  const wanted = (data) => {
    const { outcome, person, app, quiet } = filters.elements;
    const text = person.value.trim().toLowerCase();
    return (!outcome.value || data.outcome === outcome.value)
      && (!app.value || data.app === app.value)
      && !(quiet.checked && data.outcome === "allow" && data.route.endsWith(".static"))
      && (!text || `${data.person}\n${data.login}`.toLowerCase().includes(text));
  };

  const count = () => {
    const shown = rows.filter((row) => !row.element.hidden).length;
    counter.textContent = live.dataset.count.replace("{shown}", String(shown)).replace("{kept}", String(rows.length))
      + (waiting.length ? ` (+${waiting.length})` : "");
    empty.hidden = shown > 0;
  };

  const know = (app) => {
    const known = filters.elements.app;
    if (app && ![...known.options].some((option) => option.value === app)) known.add(new Option(app, app));
  };

  const put = (data) => {
    const element = decisionRow(data);
    element.hidden = !wanted(data);
    rows.unshift({ data, element });
    decisions.prepend(element);
    know(data.app);
    while (rows.length > most) rows.pop().element.remove();
  };

  const receive = (event) => {
    const data = JSON.parse(event.data);
    if (paused) { waiting.push(data); if (waiting.length > most) waiting.shift(); } else put(data);
    count();
  };

  const say = (name) => { live.dataset.now = name; state.textContent = live.dataset[name]; };

  // The browser reconnects by itself, and gives up (CLOSED) when the answer is no event stream: then this page may not be this
  // person's any more, and asking for it again says so.
  const refused = async () => {
    say("refused");
    const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
    if (!answer.ok) location.reload();
  };

  filters.addEventListener("input", () => {
    for (const row of rows) row.element.hidden = !wanted(row.data);
    count();
  });
  filters.addEventListener("submit", (event) => event.preventDefault());
  toggle.addEventListener("click", () => {
    paused = !paused;
    toggle.setAttribute("aria-pressed", String(paused));
    toggle.textContent = paused ? live.dataset.resume : live.dataset.pause;
    if (!paused) { for (const data of waiting) put(data); waiting = []; }
    say(paused ? "paused" : "on");
    count();
  });

  const source = new EventSource(live.dataset.source);
  source.addEventListener("open", () => say(paused ? "paused" : "on"));
  source.addEventListener("decision", receive);
  source.addEventListener("happening", (event) => {
    happenings.prepend(happeningRow(JSON.parse(event.data)));
    while (happenings.children.length > mostHappenings) happenings.lastElementChild.remove();
  });
  source.addEventListener("skipped", (event) => {
    missed += JSON.parse(event.data).count;
    lag.textContent = live.dataset.skipped.replace("{n}", String(missed));
    lag.hidden = false;
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) { say("lost"); return; }
    refused().catch(() => say("lost"));
  });
  addEventListener("pagehide", () => source.close());
  count();
})();
