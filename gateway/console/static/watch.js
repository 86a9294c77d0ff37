// What would have happened, live: counts and the newest samples. Everything received is put in as text.
"use strict";
(() => {
  const watch = document.getElementById("watch");
  const state = watch.querySelector("[data-state]");
  const looked = watch.querySelector("[data-looked]");
  const lag = watch.querySelector("[data-lag]");
  const most = 8; // of one list
  const mostRows = 100;
  let missed = 0;

  const make = (name, text, look) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (look) element.className = look;
    return element;
  };
  const cell = (label, ...content) => {
    const element = make("td"), inside = make("div");
    inside.append(...content);
    element.append(inside);
    element.dataset.label = label;
    return element;
  };
  const small = (text, look) => make("small", text, look);
  const say = (name) => { watch.dataset.now = name; state.textContent = watch.dataset[name]; };

  const parts = new Map();
  for (const section of watch.querySelectorAll("[data-kind]")) {
    const by = Object.fromEntries([...section.querySelectorAll("[data-by]")].map((list) => [list.dataset.by, { list, counts: new Map() }]));
    parts.set(section.dataset.kind, {
      section, by, all: 0, rows: section.querySelector("[data-rows]"), total: section.querySelector("[data-total]"),
      counts: section.querySelector("[data-counts]"), samples: section.querySelector("[data-samples]"),
      heads: [...section.querySelectorAll("th")].map((head) => head.textContent),
    });
  }

  const clear = () => {
    for (const part of parts.values()) {
      part.all = 0;
      part.total.textContent = "0";
      part.rows.replaceChildren();
      for (const { list, counts } of Object.values(part.by)) { counts.clear(); list.replaceChildren(); }
      part.counts.hidden = part.samples.hidden = true;
    }
    missed = 0;
    lag.hidden = true;
  };

  const count = ({ counts }, key, text, href) => {
    const known = counts.get(key) ?? { text, href, n: 0 };
    known.n += 1;
    counts.set(key, known);
  };
  const draw = ({ list, counts }) => {
    const sorted = [...counts.values()].sort((a, b) => b.n - a.n);
    const top = sorted[0]?.n ?? 1;
    const items = sorted.slice(0, most).map(({ text, href, n }) => {
      const item = make("li");
      const name = href ? make("a", text) : make("span", text);
      if (href) name.href = href;
      const bar = make("meter");
      Object.assign(bar, { min: 0, max: top, value: n });
      bar.setAttribute("aria-hidden", "true");
      item.append(name, make("span", watch.dataset.times.replace("{n}", String(n)), "n"), bar);
      return item;
    });
    if (sorted.length > most) items.push(make("li", watch.dataset.more.replace("{n}", String(sorted.length - most)), "muted"));
    list.replaceChildren(...items);
  };

  const waiting = new Set();
  const redraw = () => {
    for (const part of waiting) {
      for (const one of Object.values(part.by)) draw(one);
      part.total.textContent = String(part.all);
      part.counts.hidden = part.samples.hidden = !part.all;
    }
    waiting.clear();
  };

  const sample = (part, data) => {
    const [at, person, request, change, policy] = part.heads;
    const row = make("tr", undefined, data.kind);
    const [day, time] = data.at.split(" ");
    const when = cell(at, time ?? data.at);
    when.className = "when";
    if (time) when.firstChild.append(small(day));
    const who = make("a", data.person);
    who.href = `/people/${encodeURIComponent(data.subject)}`;
    const why = make("a", watch.dataset.why);
    why.href = `/policies/explain?decision=${encodeURIComponent(data.id)}`;
    const change_ = cell(change, make("span", data.now, data.now_code === "allow" ? "tag ok" : "tag bad"));
    if (data.kind !== "denied") change_.firstChild.append(" → ", make("span", data.then, data.then_code === "allow" ? "tag ok" : "tag bad"));
    else change_.firstChild.append(small(data.reason));
    row.append(
      when, cell(person, who, small(data.roles.join(", "))), cell(request, make("span", `${data.method} ${data.path}`, "mono"), small(data.route)), change_,
      cell(policy, ...data.policies.map(({ id, title }) => { const one = make("div", title || id); one.append(small(id, "mono")); return one; }), ...data.errors.map((error) => small(error, "mono")), small(""), why),
    );
    part.rows.prepend(row);
    while (part.rows.children.length > mostRows) part.rows.lastElementChild.remove();
  };

  const take = (data) => {
    const part = parts.get(data.kind);
    if (!part) return;
    part.all += 1;
    for (const { id, title } of data.policies) count(part.by.policy, id, title ? `${title} (${id})` : id);
    if (!data.policies.length) count(part.by.policy, "", watch.dataset.none);
    count(part.by.person, data.subject, data.person, `/people/${encodeURIComponent(data.subject)}`);
    count(part.by.route, data.route, data.action ? `${data.route} (${data.action})` : data.route);
    sample(part, data);
    if (!waiting.size) setTimeout(redraw, 120);
    waiting.add(part);
  };

  const refused = async () => {
    say("refused");
    const answer = await fetch(location.href, { redirect: "manual", cache: "no-store" });
    if (!answer.ok) location.reload();
  };

  const source = new EventSource(watch.dataset.source);
  source.addEventListener("open", () => say("on"));
  source.addEventListener("begin", clear); // after a broken connection everything is sent again
  source.addEventListener("would", (event) => take(JSON.parse(event.data)));
  source.addEventListener("published", () => setTimeout(() => location.assign(location.pathname), 2000)); // by somebody else
  source.addEventListener("seen", (event) => { looked.textContent = watch.dataset.looked.replace("{n}", String(JSON.parse(event.data).all)); });
  source.addEventListener("skipped", (event) => {
    missed += JSON.parse(event.data).count;
    lag.textContent = watch.dataset.skipped.replace("{n}", String(missed));
    lag.hidden = false;
  });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) { say("lost"); return; }
    refused().catch(() => say("lost"));
  });
  addEventListener("pagehide", () => source.close());
})();
