// Rows of events as they arrive; the newest are above, the oldest beyond 200 leave.
"use strict";

let source = null;

function say(text) {
  document.getElementById("state").textContent = text;
}

function connect() {
  const rows = document.getElementById("rows");
  if (!rows) return;
  source = new EventSource(rows.dataset.stream);
  source.onopen = () => say("Connected: what arrives appears here.");
  source.onerror = () => say("The connection is lost: trying again …");
  source.onmessage = (message) => {
    const body = document.getElementById("rows");
    const holder = document.createElement("tbody");
    holder.innerHTML = message.data;
    for (const row of holder.rows) row.classList.add("live-new");
    body.prepend(...holder.rows);
    while (body.rows.length > 200) body.deleteRow(-1);
  };
}

document.addEventListener("click", (event) => {
  const pause = event.target.closest("#pause");
  if (!pause) return;
  if (source) {
    source.close();
    source = null;
    say("Paused.");
    pause.textContent = "Go on";
  } else {
    connect();
    pause.textContent = "Pause";
  }
  pause.setAttribute("aria-pressed", String(source === null));
});

// The rows may come after the page, once they are computed.
document.addEventListener("completed", () => { if (!source) connect(); });
connect();
