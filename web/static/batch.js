// The grid: how long each picture was in sight is measured here, and the service asks for it.
"use strict";
(() => {
  const grid = document.getElementById("grid");
  if (!grid) return;
  const NEEDED = 1000, STEP = 100;
  const save = document.getElementById("batch-save"), said = document.getElementById("batch-said");
  const tiles = [...grid.querySelectorAll("li")];
  const seen = new Map(tiles.map((tile) => [tile, 0])), inSight = new Set();
  const eye = new IntersectionObserver((entries) => {
    for (const entry of entries) (entry.isIntersecting ? inSight.add(entry.target) : inSight.delete(entry.target));
  }, { threshold: 0.9 });
  tiles.forEach((tile) => eye.observe(tile));
  const isOut = (tile) => tile.querySelector("button").getAttribute("aria-pressed") === "true";

  let last = performance.now();
  setInterval(() => {
    const now = performance.now(), span = Math.min(now - last, 2 * STEP);
    last = now;
    if (document.hidden) return;
    for (const tile of inSight) {
      const picture = tile.querySelector("img");
      if (picture.complete && picture.naturalWidth) seen.set(tile, seen.get(tile) + span);
      if (seen.get(tile) >= NEEDED) tile.classList.add("seen");
    }
    const wanted = tiles.filter((tile) => !isOut(tile));
    const isReady = wanted.length > 0 && wanted.every((tile) => seen.get(tile) >= NEEDED);
    if (!save.dataset.sent && save.disabled === isReady) { save.disabled = !isReady; said.textContent = isReady ? "" : grid.dataset.wait; }
  }, STEP);

  grid.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    button.querySelector("em").hidden = button.getAttribute("aria-pressed") !== "true";
  });

  save.addEventListener("click", async () => {
    save.disabled = true; save.dataset.sent = "1";
    const fields = new URLSearchParams({ submission: grid.dataset.submission });
    for (const tile of tiles) if (!isOut(tile)) fields.append("seen", `${tile.dataset.sighting}:${Math.round(seen.get(tile))}`);
    let answer = null, body = {};
    try {
      answer = await fetch("/batch", { method: "POST", body: fields, headers: { Accept: "application/json", "X-CSRF-Token": document.querySelector("meta[name=csrf]").content } });
      body = await answer.json();
    } catch { /* told below */ }
    said.textContent = answer && answer.ok ? body.text : (body.detail || "?");
    if (answer && answer.ok) { grid.dataset.done = "1"; setTimeout(() => location.reload(), 1500); } else { delete save.dataset.sent; }
  });
})();
