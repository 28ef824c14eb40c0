// The worklist refreshes itself: rows change where they stand, none moves, and new ones are announced.
"use strict";
(() => {
  const live = document.getElementById("live");
  const news = document.getElementById("news");
  const address = () => "/worklist/rows" + location.search;

  async function refresh() {
    if (document.hidden) return;
    let answer;
    try { answer = await fetch(address(), { headers: { Accept: "text/html" }, redirect: "manual" }); } catch { return; }
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const summary = fresh.getElementById("summary");
    if (summary) document.getElementById("summary").replaceWith(document.importNode(summary, true));
    const theirs = new Map();
    for (const row of fresh.querySelectorAll("tr[data-sighting]")) theirs.set(row.dataset.sighting, row);
    let known = 0;
    for (const row of document.querySelectorAll("#list tr[data-sighting]")) {
      const now = theirs.get(row.dataset.sighting);
      if (!now) {
        row.classList.add("gone");
        row.querySelector(".reading").textContent = live.dataset.done;
        continue;
      }
      known += 1;
      row.classList.remove("gone");
      for (let i = 1; i < row.cells.length; i += 1) {  // the picture's link stays, and with it the focus
        if (row.cells[i].innerHTML !== now.cells[i].innerHTML) row.cells[i].innerHTML = now.cells[i].innerHTML;
        row.cells[i].className = now.cells[i].className;
      }
    }
    const added = theirs.size - known;
    news.hidden = added === 0;
    document.getElementById("news-count").textContent = String(added);
  }

  if (live.dataset.refresh) setInterval(refresh, 1000 * Number(live.dataset.refresh));
  window.refreshList = refresh;

  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
    const links = [...document.querySelectorAll("#list tbody a")];
    const here = links.indexOf(document.activeElement);
    if (event.key === "/") { document.getElementById("search").focus(); }
    else if (event.key === "ArrowDown" && links.length) { links[Math.min(here + 1, links.length - 1)].focus(); }
    else if (event.key === "ArrowUp" && links.length) { links[Math.max(here - 1, 0)].focus(); }
    else return;
    event.preventDefault();
  });
})();
