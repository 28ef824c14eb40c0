// The reading page: draws 16-bit pixels by a table, keeps the reader's word until it is saved, and fetches what is next.
"use strict";
(() => {
  const room = document.getElementById("room");
  if (!room) return;
  const said = document.getElementById("said");
  const AHEAD_KEPT = 8, LEASE_SECONDS = 60, RETRY_SECONDS = 3;
  const WINDOW_NAMES = JSON.parse(room.dataset.windows), WORD_NAMES = JSON.parse(room.dataset.words);
  const query = room.dataset.query;
  const state = {
    sighting: Number(room.dataset.sighting), prediction: room.dataset.prediction,
    next: JSON.parse(room.dataset.next), earlier: JSON.parse(room.dataset.earlier),
    byFilter: room.dataset.byFilter, submission: token(), pending: null, saving: false, opening: null, stays: false, visited: [],
  };

  function token() {
    return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }
  function csrf() { return document.querySelector("meta[name=csrf]").content; }
  function tell(text, isUnsent = false) { said.textContent = text; said.classList.toggle("unsent", isUnsent); }

  async function send(address, fields = {}) {
    return fetch(address, {
      method: "POST", body: new URLSearchParams(fields), redirect: "manual",
      headers: { Accept: "application/json", "X-CSRF-Token": csrf() },
    });
  }

  // ---- pixels -----------------------------------------------------------------------------------------------------
  const kept = new Map();  // by address; the oldest goes first

  function fetchPixels(sighting, size = "2048", isAhead = false) {
    const key = `${sighting}/${size}`;
    if (!kept.has(key)) {
      const asked = askForPixels(sighting, size, isAhead);
      kept.set(key, asked);
      asked.catch(() => kept.delete(key));
      while (kept.size > AHEAD_KEPT) kept.delete(kept.keys().next().value);
    }
    return kept.get(key);
  }

  async function askForPixels(sighting, size, isAhead) {
    const address = `/images/${sighting}/pixels?size=${size}${isAhead ? "&ahead=1" : ""}`;
    const answer = await fetch(address, { headers: { Accept: "application/json" }, redirect: "manual" });
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `HTTP ${answer.status}`);
    const head = (name) => answer.headers.get(name);
    const data = new Uint16Array(await answer.arrayBuffer());
    return {
      data, width: Number(head("X-Width")), height: Number(head("X-Height")), windows: JSON.parse(head("X-Windows")),
      fullWidth: Number(head("X-Full-Width")), spacing: Number(head("X-Pixel-Spacing")) || null,
      about: JSON.parse(head("X-About") || "{}"),
    };
  }

  // ---- one canvas with a picture ----------------------------------------------------------------------------------
  class Picture {
    constructor(canvas) {
      this.canvas = canvas;
      this.source = document.createElement("canvas");
      this.table = new Uint32Array(65536);
      this.evidence = null;
      this.reset();
      new ResizeObserver(() => this.draw()).observe(canvas);
      this.listen();
    }

    reset() {
      Object.assign(this, { zoom: 1, panX: 0, panY: 0, turns: 0, flipX: false, flipY: false, inverted: false });
      if (this.image) this.choose(this.image.windows[0]);
    }

    show(sighting, image) {
      this.sighting = sighting; this.image = image; this.modelView = null; this.evidence = null; this.isFull = false;
      this.reset();
    }

    choose(window) {
      this.modelView = null; this.window = window.name; this.low = window.low; this.high = window.high;
      this.render();
    }

    render() {
      const { data, width, height } = this.image, { low, high, table } = this;
      const span = Math.max(1e-6, high - low);
      for (let value = 0; value < 65536; value += 1) {
        let grey = Math.max(0, Math.min(255, Math.round(255 * (value - low) / span)));
        if (this.inverted) grey = 255 - grey;
        table[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
      this.source.width = width; this.source.height = height;
      const context = this.source.getContext("2d"), pixels = context.createImageData(width, height);
      const words = new Uint32Array(pixels.data.buffer);
      for (let index = 0; index < data.length; index += 1) words[index] = table[data[index]];
      context.putImageData(pixels, 0, 0);
      this.draw();
    }

    fit() {
      const turned = this.turns % 2 === 1, { width, height } = this.image;
      const w = turned ? height : width, h = turned ? width : height;
      return Math.min(this.canvas.clientWidth / w, this.canvas.clientHeight / h);
    }

    draw() {
      const { canvas } = this, ratio = devicePixelRatio || 1;
      canvas.width = Math.round(canvas.clientWidth * ratio); canvas.height = Math.round(canvas.clientHeight * ratio);
      const context = canvas.getContext("2d");
      context.fillStyle = "#000"; context.fillRect(0, 0, canvas.width, canvas.height);
      if (!this.image || !canvas.clientWidth) return;
      const { width, height } = this.image, scale = this.fit() * this.zoom * ratio;
      context.translate(canvas.width / 2 + this.panX * ratio, canvas.height / 2 + this.panY * ratio);
      context.rotate(this.turns * Math.PI / 2);
      context.scale(this.flipX ? -scale : scale, this.flipY ? -scale : scale);
      context.imageSmoothingEnabled = scale < 2;
      context.drawImage(this.modelView || this.source, -width / 2, -height / 2, width, height);
      if (this.evidence) this.drawEvidence(context, width, height);
      context.setTransform(1, 0, 0, 1, 0, 0);
      this.drawRuler(context, scale, ratio);
      this.wantFull(scale / ratio);
      if (this.onchange) this.onchange();
    }

    drawEvidence(context, width, height) {  // its own cells: nothing is blurred between them
      const { rows, columns, values, most, opacity } = this.evidence;
      for (let row = 0; row < rows; row += 1) for (let column = 0; column < columns; column += 1) {
        const value = values[row * columns + column] / most;
        context.fillStyle = value > 0 ? `rgba(213,94,0,${Math.abs(value) * opacity})` : `rgba(0,114,178,${Math.abs(value) * opacity})`;
        const x = -width / 2 + column * width / columns, y = -height / 2 + row * height / rows;
        context.fillRect(x, y, width / columns, height / rows);
      }
    }

    drawRuler(context, scale, ratio) {
      this.ruler = null;
      if (!this.image.spacing) return;  // nobody knows how large anything is
      this.ruler = this.image.about.is_at_detector ? room.dataset.rulerAtDetector : room.dataset.ruler;
      const length = 50 / this.image.spacing * scale, x = 16 * ratio, y = 24 * ratio;
      context.fillStyle = context.strokeStyle = "#ffc861"; context.lineWidth = 2 * ratio; context.font = `${13 * ratio}px system-ui`;
      context.beginPath(); context.moveTo(x, y); context.lineTo(x + length, y); context.stroke();
      context.fillText(this.ruler, x, y - 6 * ratio);
    }

    async wantFull(scale) {
      if (this.isFull || this.isFetchingFull || scale <= 1 || this.image.fullWidth <= this.image.width) return;
      this.isFetchingFull = true;
      const before = this.sighting;
      try {
        const full = await fetchPixels(before, "full");
        if (this.sighting === before) { this.image = { ...full, windows: this.image.windows }; this.isFull = true; this.render(); }
      } catch { /* the smaller one stays */ } finally { this.isFetchingFull = false; }
    }

    zoomBy(factor, x = 0, y = 0) {
      const before = this.zoom;
      this.zoom = Math.max(0.2, Math.min(40, this.zoom * factor));
      const real = this.zoom / before;
      this.panX = x - (x - this.panX) * real; this.panY = y - (y - this.panY) * real;
      this.draw();
    }

    toggleZoom() { const natural = 1 / this.fit(); this.zoom = this.zoom === 1 ? natural : 1; this.panX = this.panY = 0; this.draw(); }
    fitAgain() { this.zoom = 1; this.panX = this.panY = 0; this.draw(); }
    turn(quarters) { this.turns = (this.turns + quarters + 4) % 4; this.draw(); }
    flip(axis) { const mine = this.turns % 2 ? (axis === "X" ? "Y" : "X") : axis; this[`flip${mine}`] = !this[`flip${mine}`]; this.draw(); }
    invert() { this.inverted = !this.inverted; this.render(); }

    drag(dx, dy) {
      const span = this.high - this.low, centre = (this.high + this.low) / 2;
      const width = Math.max(2, span * (1 + dx / 300)), level = centre + dy * span / 300;
      this.low = level - width / 2; this.high = level + width / 2; this.window = "own"; this.modelView = null;
      if (this.queued) return;
      this.queued = true;
      requestAnimationFrame(() => { this.queued = false; this.render(); });
    }

    at(event) {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    }

    listen() {
      const { canvas } = this, fingers = new Map();
      canvas.addEventListener("wheel", (event) => { event.preventDefault(); if (this.image) this.zoomBy(Math.exp(-event.deltaY / 400), ...this.at(event)); }, { passive: false });
      canvas.addEventListener("dblclick", () => { if (this.image) this.reset(); });
      canvas.addEventListener("mousedown", (event) => { if (event.button === 1) event.preventDefault(); });
      canvas.addEventListener("pointerdown", (event) => {
        canvas.setPointerCapture(event.pointerId);
        fingers.set(event.pointerId, { x: event.clientX, y: event.clientY, button: event.button });
      });
      canvas.addEventListener("pointermove", (event) => {
        const finger = fingers.get(event.pointerId);
        if (!finger || !this.image) return;
        const dx = event.clientX - finger.x, dy = event.clientY - finger.y;
        if (fingers.size >= 2) {
          const other = [...fingers.entries()].find(([id]) => id !== event.pointerId)[1];
          const before = Math.hypot(finger.x - other.x, finger.y - other.y), after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
          this.panX += dx / 2; this.panY += dy / 2;
          this.zoomBy(after / Math.max(1, before));
        } else if (finger.button === 1) { this.panX += dx; this.panY += dy; this.draw(); }
        else this.drag(dx, dy);
        finger.x = event.clientX; finger.y = event.clientY;
      });
      for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => fingers.delete(event.pointerId));
    }
  }

  const picture = new Picture(document.getElementById("picture"));
  let beside = null;
  const contrast = document.getElementById("contrast"), problem = document.getElementById("picture-problem");
  picture.onchange = () => {
    const { window, low, high, zoom, panX, panY, turns, flipX, flipY, inverted, isFull, ruler } = picture;
    room.dataset.view = JSON.stringify({ window: picture.modelView ? "model" : window, low, high, zoom, panX, panY, turns, flipX, flipY, inverted, isFull: Boolean(isFull), ruler, evidence: Boolean(picture.evidence) });
    if ([...contrast.options].some((option) => option.value === window)) contrast.value = picture.modelView ? "model" : window;
  };

  async function showPicture(sighting) {
    problem.hidden = true; delete room.dataset.ready; hideMap(); mapOf = null;
    let image;
    try { image = await fetchPixels(sighting); } catch (error) {
      if (sighting !== state.sighting) return;
      problem.textContent = error.message; problem.hidden = false; picture.image = null; picture.draw();
      return;
    }
    if (sighting !== state.sighting) return;
    picture.show(sighting, image);
    contrast.replaceChildren(...[...image.windows.map((window) => window.name), "model"].map((name) => new Option(WINDOW_NAMES[name] || name, name)));
    requestAnimationFrame(() => performance.mark("picture"));
  }

  function settle() {  // picture and panel are of one image: what its header says is told, and what is next fetched
    const { age_years: age, view, notes } = picture.image ? picture.image.about : {};
    const place = document.getElementById("age-view"), flags = document.getElementById("flags");
    if (place) place.textContent = [age == null ? "" : `${Math.round(age)} y`, view || ""].filter(Boolean).join(", ") || "-";
    if (flags && notes && notes.length) flags.textContent = [].concat(notes).join("; ");
    room.dataset.ready = String(state.sighting);
    for (const number of state.next) fetchPixels(number, "2048", true).catch(() => {});
  }

  async function chooseContrast(name) {
    if (!picture.image) return;
    if (name !== "model") { picture.choose(picture.image.windows.find((window) => window.name === name)); return; }
    const view = new Image();
    view.src = `/images/${state.sighting}/model-view`;
    try { await view.decode(); } catch { tell(`${WINDOW_NAMES.model}: -`); picture.choose(picture.image.windows[0]); return; }
    picture.modelView = view; picture.draw();
  }
  contrast.addEventListener("change", () => { chooseContrast(contrast.value); picture.canvas.focus(); });

  // ---- evidence map -----------------------------------------------------------------------------------------------
  const mapBox = document.getElementById("map-box"), mapButton = document.getElementById("map-button"), opacity = document.getElementById("opacity");
  let mapOf = null;

  async function showMap() {
    mapButton.setAttribute("aria-pressed", "true");
    const sighting = state.sighting;
    if (!mapOf || mapOf.sighting !== sighting || mapOf.hadWord !== room.dataset.hasWord) {
      document.getElementById("map-refusal").textContent = room.dataset.computing;
      document.getElementById("map-figures").hidden = true; mapBox.hidden = false;
      const answer = await fetch(`/read/${sighting}/map`, { headers: { Accept: "application/json" } });
      const found = await answer.json().catch(() => ({}));
      mapOf = { sighting, hadWord: room.dataset.hasWord, refusal: found.refusal || found.detail || "", ...found };
    }
    if (sighting !== state.sighting || mapButton.getAttribute("aria-pressed") !== "true") return;
    mapBox.hidden = false;
    document.getElementById("map-refusal").textContent = mapOf.refusal;
    document.getElementById("map-figures").hidden = Boolean(mapOf.refusal);
    if (mapOf.refusal) return;
    const most = Math.max(...mapOf.values.map(Math.abs)) || 1;
    picture.evidence = { ...mapOf, most, opacity: Number(opacity.value) / 100 };
    document.getElementById("map-range").textContent = `−${most.toFixed(2)} … +${most.toFixed(2)} (log-odds)`;
    document.getElementById("map-rim").textContent = mapOf.rim == null ? "-" : `${Math.round(100 * mapOf.rim)} %`;
    const scale = document.getElementById("map-scale").getContext("2d");
    for (let x = 0; x < 160; x += 1) {
      const value = x / 79.5 - 1;
      scale.fillStyle = value > 0 ? `rgba(213,94,0,${value})` : `rgba(0,114,178,${-value})`;
      scale.fillRect(x, 0, 1, 12);
    }
    picture.draw();
  }
  function hideMap() {
    mapButton.setAttribute("aria-pressed", "false"); mapBox.hidden = true;
    if (picture.evidence) { picture.evidence = null; picture.draw(); }
  }
  mapButton.addEventListener("click", () => (mapButton.getAttribute("aria-pressed") === "true" ? hideMap() : showMap()));
  opacity.addEventListener("input", () => { if (picture.evidence) { picture.evidence.opacity = Number(opacity.value) / 100; picture.draw(); } });

  // ---- side by side -----------------------------------------------------------------------------------------------
  const besideButton = document.getElementById("beside-button"), besidePane = document.getElementById("beside-pane");
  async function toggleBeside(number = state.earlier[0]) {
    const isOn = besideButton.getAttribute("aria-pressed") === "true";
    besideButton.setAttribute("aria-pressed", String(!isOn));
    besidePane.hidden = isOn;
    if (isOn) return;
    if (number === undefined) { besideButton.setAttribute("aria-pressed", "false"); besidePane.hidden = true; tell(room.dataset.noEarlier); return; }
    try { showBeside(number, await fetchPixels(number)); } catch (error) { tell(error.message); }
  }
  function showBeside(number, image) {
    besideButton.setAttribute("aria-pressed", "true"); besidePane.hidden = false;
    beside = beside || new Picture(document.getElementById("beside"));
    beside.show(number, image); room.dataset.beside = String(number);
  }
  besideButton.addEventListener("click", () => toggleBeside());
  function hideBeside() { if (besideButton.getAttribute("aria-pressed") === "true") toggleBeside(); delete room.dataset.beside; }

  // ---- the word ---------------------------------------------------------------------------------------------------
  const form = () => document.getElementById("word");
  function take(answer) {  // what the server says of an image
    state.prediction = answer.prediction == null ? "" : String(answer.prediction);
    state.next = answer.next; state.earlier = answer.earlier; state.byFilter = answer.by_filter ? "1" : "";
    room.dataset.hasWord = answer.has_word ? "1" : ""; room.dataset.sighting = String(answer.sighting);
    document.getElementById("panel").innerHTML = answer.panel;
  }

  function chosen() {
    const fields = new FormData(form());
    return fields.get("label") ? fields : null;
  }

  async function save() {
    if (state.saving) return;
    if (state.pending === null) {
      const fields = chosen();
      if (!fields) { if (state.stays || room.dataset.hasWord) go(); else tell(room.dataset.chooseFirst); return; }
      state.pending = {
        address: `/read/${state.sighting}/word${query}`, sighting: state.sighting,
        fields: { label: fields.get("label"), other_finding: fields.get("other_finding") || "", note: fields.get("note") || "", submission: state.submission, prediction: state.prediction, by_filter: state.byFilter, is_first: room.dataset.hasWord ? "" : "1" },
      };
    }
    state.saving = true;
    let answer = null, body = {};
    try {
      answer = await send(state.pending.address, state.pending.fields);
      body = await answer.json().catch(() => ({}));
    } catch { answer = null; }
    state.saving = false;
    if (answer === null || answer.status >= 500 || answer.status === 401 || answer.status === 403) {
      room.dataset.unsent = "1";
      tell(answer && answer.status === 401 ? room.dataset.loggedOut : room.dataset.notSaved, true);
      setTimeout(retry, 1000 * RETRY_SECONDS, answer ? answer.status : 0);
      return;
    }
    delete room.dataset.unsent;
    const word = state.pending;
    state.pending = null; state.submission = token();
    if (!answer.ok) { await refuse(body, word); return; }
    state.stays = body.stays; state.next = body.next;
    if (body.stays) { take(body); settle(); }
    tell(`${body.stays ? room.dataset.saved : room.dataset.savedBefore}: ${word.sighting} ${WORD_NAMES[body.label]}` + (body.model ? ` (${room.dataset.model}: ${WORD_NAMES[body.model]})` : ""));
    room.dataset.saved_review = String(body.review);
    if (!body.stays) await go();
  }

  async function retry(status) {
    if (state.pending === null || state.saving) return;
    if (status === 401 || status === 403) await renewToken();
    await save();
  }

  async function renewToken() {  // somebody may have logged in again, in another window
    try {
      const page = new DOMParser().parseFromString(await (await fetch("/worklist")).text(), "text/html");
      const fresh = page.querySelector("meta[name=csrf]")?.content;
      if (fresh) document.querySelector("meta[name=csrf]").content = fresh;
    } catch { /* still away */ }
  }

  async function refuse(body, word) {  // nothing was saved: the old picture stays beside the new one, and the note is kept
    tell(body.detail || "?", true);
    if (!body.changed) return;
    kept.delete(`${state.sighting}/2048`); kept.delete(`${state.sighting}/full`);
    const old = { sighting: state.sighting, image: picture.image };
    await open(body.newer || state.sighting, false);
    if (body.newer && old.image) showBeside(old.sighting, old.image);
    form().elements.note.value = word.fields.note;
    room.dataset.changed = "1";
    tell(body.detail, true);
  }

  async function open(sighting, remember = true) {
    if (remember) state.visited.push(state.sighting);
    state.sighting = sighting; state.submission = token(); state.stays = false;
    state.opening = show(sighting);
    await state.opening;
  }

  async function show(sighting) {  // what was fetched ahead is drawn at once; until its panel comes, there is none
    const panel = document.getElementById("panel");
    hideBeside();
    panel.inert = true;
    const drawn = showPicture(sighting);
    let answer;
    try { answer = await fetch(`/read/${sighting}/panel${query}`, { headers: { Accept: "application/json" }, redirect: "manual" }); } catch { answer = null; }
    if (!answer || !answer.ok) { location.href = `/read/${sighting}${query}`; return; }
    const body = await answer.json();
    await drawn;
    if (state.sighting !== sighting) return;
    take(body);
    document.getElementById("which").textContent = String(sighting);
    document.title = document.title.replace(/^\d+/, String(sighting));
    history.pushState({ sighting }, "", `/read/${sighting}${query}`);
    state.opening = null; panel.inert = false;
    settle();
  }

  async function go() {
    if (!state.next.length) { tell(room.dataset.listDone); location.href = `/worklist${query}`; return; }
    await open(state.next[0]);
  }
  async function back() { if (state.visited.length) await open(state.visited.pop(), false); }
  async function skip() {
    const answer = await send(`/read/${state.sighting}/skip${query}`).catch(() => null);
    if (answer && answer.ok) state.next = (await answer.json()).next;
    await go();
  }

  async function undo(address = "/words/last/undo", reason = "") {
    const answer = await send(address, { reason }).catch(() => null);
    if (!answer) { tell(room.dataset.notSaved, true); return; }
    const body = await answer.json().catch(() => ({}));
    if (answer.status === 400 && !reason) { askWhy(address, body.detail); return; }
    if (!answer.ok) { tell(body.detail || "?", true); return; }
    await open(body.sighting, false);
    tell(`${document.getElementById("undo-title").textContent}: ${body.sighting}`);
  }
  function askWhy(address, text) {
    const dialog = document.getElementById("undo"), field = document.getElementById("undo-reason");
    tell(text); field.value = ""; dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => { if (dialog.returnValue === "yes" && field.value.trim()) undo(address, field.value.trim()); }, { once: true });
  }

  document.addEventListener("submit", (event) => { if (event.target.id === "word") { event.preventDefault(); save(); } });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.id === "skip") skip();
    else if (button.id === "go-on") go();
    else if (button.id === "help-button") document.getElementById("help").showModal();
    else if (button.classList.contains("undo")) undo(`/words/${button.dataset.review}/undo`);
    else if (button.dataset.why) explain(button);
  });
  async function explain(button) {
    const box = button.closest("#disagreement");
    picture.canvas.focus({ preventScroll: true });  // else Enter would press the button again
    const answer = await send(`/words/${box.dataset.review}/disagreement`, { why: button.dataset.why }).catch(() => null);
    if (!answer || !answer.ok) { tell(room.dataset.notSaved, true); return; }
    for (const other of box.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button));
    tell(room.dataset.saved);
  }

  // ---- keys -------------------------------------------------------------------------------------------------------
  const PICTURE_KEYS = {
    "z": () => picture.toggleZoom(), "+": () => picture.zoomBy(1.25), "-": () => picture.zoomBy(0.8), "=": () => picture.fitAgain(),
    "i": () => picture.invert(), "r": () => picture.turn(1), "l": () => picture.turn(-1), "h": () => picture.flip("X"),
    "v": () => picture.flip("Y"), " ": () => picture.reset(),
    "w": () => { const names = [...contrast.options].map((option) => option.value); chooseContrast(names[(names.indexOf(contrast.value) + 1) % names.length]); },
  };
  const KEYS = {
    "1": () => pick(0), "2": () => pick(1), "3": () => pick(2), "4": () => pick(3),
    "5": () => { const tick = form().elements.other_finding; tick.checked = !tick.checked; },
    "n": () => document.getElementById("note").focus(), "Enter": save, "ArrowRight": go, "ArrowDown": go, "ArrowLeft": back, "ArrowUp": back,
    "k": skip, "u": () => undo(), "b": () => toggleBeside(), "/": () => { location.href = "/worklist#search"; },
    "?": () => document.getElementById("help").showModal(), "Escape": leave, "m": showMap,
  };
  function pick(index) { form().querySelectorAll("input[name=label]")[index].checked = true; }
  function leave() { send(`/read/${state.sighting}/skip${query}`).catch(() => {}).finally(() => { location.href = `/worklist${query}`; }); }

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey && key === "z") { event.preventDefault(); undo(); return; }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    if (target.id === "note") {
      if (key === "Escape") { target.blur(); picture.canvas.focus(); event.preventDefault(); }
      else if (key === "Enter" && !event.shiftKey) { event.preventDefault(); save(); }
      return;
    }
    if (target.matches("input[type=range], select") && key !== "Escape") return;
    if (target.matches("button, a") && (key === "Enter" || key === " ")) return;
    if (target.matches("input[type=checkbox]") && key === " ") return;
    if (target.matches("input[type=radio]") && (key.startsWith("Arrow") || key === " ")) return;
    if (key === "m" && event.repeat) return;
    const action = KEYS[key] || (picture.image && PICTURE_KEYS[key]);
    if (!action) return;
    event.preventDefault();
    if (state.opening && KEYS[key]) state.opening.then(action); else action();
  });
  document.addEventListener("keyup", (event) => { if (event.key.toLowerCase() === "m") hideMap(); });
  addEventListener("popstate", (event) => { const number = event.state?.sighting ?? Number(location.pathname.split("/")[2]); if (number && number !== state.sighting) location.reload(); });
  addEventListener("beforeunload", (event) => { if (state.pending) event.preventDefault(); });
  setInterval(async () => {  // the lease, and whether the image is still the one that was opened
    const sighting = state.sighting;
    const answer = await send(`/read/${sighting}/lease`).catch(() => null);
    if (!answer || !answer.ok || sighting !== state.sighting) return;
    const { reader, newer, prediction } = await answer.json();
    if (reader) tell(`${reader} ${room.dataset.readsNow}`);
    if (newer || String(prediction ?? "") !== state.prediction) tell(room.dataset.changedNow, true);
    room.dataset.takenBy = reader || "";
  }, 1000 * LEASE_SECONDS);

  history.replaceState({ sighting: state.sighting }, "", location.href);
  picture.canvas.focus({ preventScroll: true });
  showPicture(state.sighting).then(settle);
  room.dataset.started = "1";
})();
