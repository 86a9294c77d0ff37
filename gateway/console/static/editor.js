// The policy editor: a text area with a coloured layer below it. Without this script it is a plain text area that saves.
"use strict";
(() => {
  const form = document.getElementById("editor");
  const area = form.elements.text;
  const [code, shown, numbers] = [".code", ".shown", ".numbers"].map((name) => form.querySelector(name));
  const [said, list] = ["[data-said]", "[data-list]"].map((name) => document.querySelector(name));
  const dirty = form.querySelector("[data-dirty]");
  const words = Object.fromEntries(["error", "warning", "case"].map((name) => [name, document.querySelector(`template[data-${name}]`).content.textContent]));
  const file = form.elements.file.value;
  const { language } = form.dataset;
  const editable = form.dataset.editable === "yes";
  const debounce = 500; // milliseconds of silence before a check
  let kept = area.value; // what the gateway has
  let composing = false;
  let leaving = false; // Escape was pressed: Tab goes on to the next control
  let sending = false;
  let asked = 0; // the number of the newest check
  let timer;
  let asking; // the check under way
  let marks = new Map(); // line -> { severity, text } of this file

  const make = (name, text, look) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    if (look) element.className = look;
    return element;
  };
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

  // ---- colours and numbers

  const paint = () => {
    const lines = globalThis.highlight(area.value, language);
    const digits = [];
    lines.forEach((line, at) => {
      const mark = marks.get(at + 1);
      line.className = mark ? `line ${mark.severity}` : "line";
      const number = make("span", String(at + 1), mark ? `number ${mark.severity}` : "number");
      if (mark) { line.append(make("span", `  ◂ ${mark.text}`, "aside")); number.title = mark.text; }
      digits.push(number);
    });
    shown.replaceChildren(...lines);
    numbers.replaceChildren(...digits);
    area.rows = Math.max(lines.length + 1, 24);
  };

  const lineHeight = () => parseFloat(getComputedStyle(area).lineHeight);
  const goTo = (line) => {
    const lines = area.value.split("\n");
    const at = Math.min(Math.max(line, 1), lines.length) - 1;
    const start = lines.slice(0, at).reduce((sum, one) => sum + one.length + 1, 0);
    area.focus({ preventScroll: true });
    area.setSelectionRange(start, start + lines[at].length);
    code.scrollTo({ top: Math.max(0, at * lineHeight() - code.clientHeight / 3), left: 0 });
    code.scrollIntoView({ block: "nearest" });
  };
  const hash = () => { const found = /^#L(\d{1,6})$/.exec(location.hash); if (found) goTo(Number(found[1])); };

  // ---- what the validator says

  const entry = (severity, name, where, line, ...texts) => {
    const item = make("li", undefined, severity === "warning" ? "warning" : "error");
    const head = make("p");
    const link = make("a", line ? `${where}:${line}` : where, "mono");
    link.href = `${form.dataset.edit}${where}#L${line}`;
    if (where === file) link.addEventListener("click", (event) => { event.preventDefault(); goTo(line); });
    head.append(make("span", name, severity === "warning" ? "tag warn" : "tag bad"), " ", link);
    item.append(head, ...texts);
    return item;
  };
  const show = (found) => {
    marks = new Map();
    const items = [];
    const here = (one) => one.file === file;
    for (const one of [...found.problems].sort((a, b) => here(b) - here(a))) {
      items.push(entry(one.severity, words[one.severity], one.file, one.line, make("p", one.what), make("p", one.todo, "muted")));
      if (here(one) && one.line && !marks.has(one.line)) marks.set(one.line, { severity: one.severity, text: one.what });
    }
    for (const one of [...found.failed].sort((a, b) => here(b) - here(a))) {
      const differences = one.differences.map(([what, expected, got]) => make("p", fill(form.dataset.expected, { what, expected, got }), "muted mono"));
      items.push(entry("error", words.case, one.file, one.line, make("p", one.name), ...differences));
      if (here(one) && !marks.has(one.line)) marks.set(one.line, { severity: "error", text: one.differences.map((what) => what.join(" ")).join("; ") });
    }
    list.replaceChildren(...items);
    const errors = found.problems.filter((one) => one.severity === "error").length;
    const texts = [];
    if (errors) texts.push(fill(form.dataset.problems, { count: errors }));
    if (found.failed.length) texts.push(fill(form.dataset.failed, { count: found.failed.length }));
    if (found.good) texts.push(fill(form.dataset.good, { passed: found.passed }));
    if (found.problems.length > errors) texts.push(fill(form.dataset.warnings, { count: found.problems.length - errors }));
    const first = found.problems.find((one) => here(one) && one.severity === "error");
    if (first) texts.push(`${fill(form.dataset.line, { line: first.line })} ${first.what}`);
    said.textContent = texts.join(" ");
    said.dataset.look = found.good ? "ok" : "bad";
    paint();
  };

  const post = (path, extra) => fetch(path, {
    method: "POST", redirect: "manual", cache: "no-store", headers: { Accept: "application/json" },
    body: new URLSearchParams({ file, was: form.elements.was.value, text: area.value }), ...extra,
  });

  const check = async () => {
    const number = ++asked;
    asking?.abort();
    asking = new AbortController();
    said.textContent = form.dataset.checking;
    said.dataset.look = "";
    try {
      const answer = await post(form.dataset.check, { signal: asking.signal });
      if (number !== asked || answer.status === 204) return; // newer text is being checked
      if (!answer.ok) throw new Error(String(answer.status));
      const found = await answer.json();
      if (number === asked) show(found);
    } catch (error) {
      if (number !== asked || error.name === "AbortError") return;
      said.textContent = form.dataset.unreachable;
      said.dataset.look = "bad";
    }
  };
  const later = () => { clearTimeout(timer); timer = setTimeout(check, debounce); };

  const changed = () => {
    const differs = area.value !== kept;
    if (dirty) dirty.textContent = differs ? form.dataset.unsaved : "";
    return differs;
  };

  // ---- typing

  area.addEventListener("input", () => {
    paint();
    changed();
    if (composing) clearTimeout(timer); else later(); // half a word of an input method is no text yet
  });
  area.addEventListener("compositionstart", () => { composing = true; clearTimeout(timer); });
  area.addEventListener("compositionend", () => { composing = false; paint(); changed(); later(); });

  const insert = (text) => {
    // The one way that keeps the browser's own undo; elsewhere the text is set.
    if (!document.execCommand("insertText", false, text)) {
      area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
      area.dispatchEvent(new Event("input"));
    }
  };
  const indent = (back) => {
    const from = area.value.lastIndexOf("\n", area.selectionStart - 1) + 1;
    const to = area.selectionEnd;
    const before = area.value.slice(from, to);
    const after = before.split("\n").map((line) => (back ? line.replace(/^ {1,2}/, "") : `  ${line}`)).join("\n");
    if (after === before) return;
    area.setSelectionRange(from, to);
    insert(after);
    area.setSelectionRange(from, from + after.length);
  };

  area.addEventListener("keydown", (event) => {
    if (event.isComposing || event.keyCode === 229) return; // the key belongs to the input method
    if ((event.ctrlKey || event.metaKey) && event.key === "s") { event.preventDefault(); if (editable) save(); return; }
    if (event.key === "Escape") { leaving = true; return; }
    if (event.key === "Tab" && editable && !leaving) {
      event.preventDefault();
      const several = area.value.slice(area.selectionStart, area.selectionEnd).includes("\n");
      if (event.shiftKey || several) indent(event.shiftKey); else insert("  ");
    } else if (event.key === "Enter" && editable && !event.ctrlKey && !event.metaKey) {
      const from = area.value.lastIndexOf("\n", area.selectionStart - 1) + 1;
      const space = /^ */.exec(area.value.slice(from, area.selectionStart))[0];
      if (space) { event.preventDefault(); insert(`\n${space}`); }
    }
    if (!["Shift", "Control", "Alt", "Meta"].includes(event.key)) leaving = false;
  });
  area.addEventListener("blur", () => { leaving = false; });

  // ---- saving

  const save = async () => {
    if (sending) return;
    sending = true;
    const sent = area.value;
    if (dirty) dirty.textContent = form.dataset.saving;
    try {
      const answer = await post(form.action);
      if (!answer.ok || !(answer.headers.get("Content-Type") ?? "").startsWith("application/json")) throw new Error(String(answer.status));
      const found = await answer.json();
      kept = sent;
      form.elements.was.value = found.was;
      asked += 1;
      clearTimeout(timer);
      show(found);
      if (!changed() && dirty) dirty.textContent = form.dataset.saved;
      if (area.value !== sent) later();
      sending = false;
    } catch {
      // A page says why, and keeps the text: somebody else saved, the sign-in is over, the store is down.
      kept = area.value;
      form.submit();
    }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); save(); });
  addEventListener("beforeunload", (event) => { if (editable && area.value !== kept) event.preventDefault(); });
  addEventListener("hashchange", hash);
  addEventListener("pageshow", () => { if (changed()) later(); }); // the browser brought back what was typed before

  code.classList.add("on");
  for (const link of list.querySelectorAll("a")) {
    const [, where, line] = /\/edit\/([^#]+)#L(\d+)$/.exec(link.getAttribute("href")) ?? [];
    if (!where || decodeURIComponent(where) !== file) continue;
    link.addEventListener("click", (event) => { event.preventDefault(); goTo(Number(line)); });
    const item = link.closest("li");
    if (!marks.has(Number(line))) marks.set(Number(line), { severity: item.className, text: item.children[1].textContent });
  }
  paint();
  hash();
})();
