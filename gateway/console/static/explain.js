// Copies a ticket's text, and puts the roles aside where a person is chosen. Everything works without it.
"use strict";
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    text.focus();
    text.select();
    try {
      await navigator.clipboard.writeText(text.value);
    } catch {
      if (!document.execCommand("copy")) return; // selected all the same: Ctrl+C
    }
    button.nextElementSibling.textContent = button.dataset.done;
  });
}
const person = document.querySelector("[data-person]");
if (person) {
  const fields = ["f-roles", "f-organization"].map((id) => document.getElementById(id));
  const follow = () => { for (const field of fields) field.disabled = person.value !== ""; };
  person.addEventListener("change", follow);
  follow();
}
