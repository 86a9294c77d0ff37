// Narrows long lists of policies while something is typed. Without this script the form asks the server.
"use strict";
(() => {
  for (const form of document.querySelectorAll("form[data-search]")) {
    const field = form.querySelector("input[type=search]");
    const found = form.querySelector("[data-found]");
    const items = [...document.querySelectorAll("[data-group] li[data-item]")];
    const narrow = () => {
      const words = field.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const item of items) {
        const text = item.textContent.toLowerCase();
        item.hidden = !words.every((word) => text.includes(word));
        shown += item.hidden ? 0 : 1;
      }
      for (const group of document.querySelectorAll("[data-group]")) group.hidden = !group.querySelector("li[data-item]:not([hidden])");
      if (found) found.textContent = found.dataset.text.replace("{shown}", String(shown)).replace("{all}", String(items.length));
    };
    field.addEventListener("input", narrow);
    form.addEventListener("submit", (event) => { event.preventDefault(); narrow(); });
    for (const button of form.querySelectorAll("button")) button.hidden = true;
  }
})();
