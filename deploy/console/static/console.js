// Small helps; every page works without them: copying SQL, keys that open pages, forms that ask before they act.
"use strict";

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  event.preventDefault();
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const range = document.createRange();
    range.selectNodeContents(document.getElementById(button.dataset.copy));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    button.textContent = "Selected: copy it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

// Parts of a page that take longer than the page.
async function load(part) {
  try {
    const answer = await fetch(part.dataset.load, { credentials: "same-origin" });
    const text = await answer.text();
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    part.innerHTML = text;
    if (location.hash === `#${part.id}`) part.scrollIntoView();
  } catch {
    part.querySelector(".none").textContent = "This part cannot be shown now: reload the page.";
  }
}
for (const part of document.querySelectorAll("[data-load]")) load(part);

// A page with figures that are still computed asks again until all are there.
async function complete() {
  const main = document.querySelector("main[data-waits]");
  if (!main) return;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin" });
    if (answer.ok && !answer.redirected) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      main.replaceWith(page.querySelector("main"));
      for (const part of document.querySelectorAll("[data-load]")) load(part);
      document.dispatchEvent(new Event("completed"));
    }
  } catch { /* the next time */ }
  setTimeout(complete, 1500);
}
setTimeout(complete, 700);

let waitsForKey = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, [contenteditable]")) return;
  const find = document.querySelector("form.find input");
  if (event.key === "/" && find) {
    event.preventDefault();
    find.focus();
    find.select();
  } else if (waitsForKey) {
    waitsForKey = false;
    const link = document.querySelector(`nav.side a[data-key="${CSS.escape(event.key)}"]`);
    if (link) location.assign(link.href);
  } else if (event.key === "g") {
    waitsForKey = true;
    setTimeout(() => { waitsForKey = false; }, 1500);
  }
});
