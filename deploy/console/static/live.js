// Rows of events as they arrive; the newest are above, the oldest beyond 200 leave.
"use strict";

const state = document.getElementById("state");
const pause = document.getElementById("pause");
let source = null;

function connect() {
  const rows = document.getElementById("rows");
  if (!rows) return;
  source = new EventSource(rows.dataset.stream);
  source.onopen = () => { state.textContent = "Connected: what arrives appears here."; };
  source.onerror = () => { state.textContent = "The connection is lost: trying again …"; };
  source.onmessage = (message) => {
    const body = document.getElementById("rows");
    const holder = document.createElement("tbody");
    holder.innerHTML = message.data;
    for (const row of holder.rows) row.classList.add("live-new");
    body.prepend(...holder.rows);
    while (body.rows.length > 200) body.deleteRow(-1);
  };
}

pause.addEventListener("click", () => {
  if (source) {
    source.close();
    source = null;
    state.textContent = "Paused.";
    pause.textContent = "Go on";
  } else {
    connect();
    pause.textContent = "Pause";
  }
  pause.setAttribute("aria-pressed", String(source === null));
});
connect();
