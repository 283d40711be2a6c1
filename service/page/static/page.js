// Keeps a page live: takes the fragments that changed and puts them in place, without losing focus, selection or scroll.
"use strict";

const state = document.getElementById("state");
const pause = document.getElementById("pause");
const announce = document.getElementById("announce");
const stream = document.body.dataset.stream;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat("sv-SE", { year: "numeric", month: "2-digit", day: "2-digit" });

// Times: the server writes UTC, the browser its own zone, which the foot of the page names.
function localise(root) {
  const today = day.format(new Date());
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    const date = day.format(at);
    time.textContent = (date === today ? "" : date + " ") + clock.format(at);
    time.title = time.dateTime;
  }
}

// Morphing: the new tree's attributes and texts go into the old one's elements.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || (old.id || "") !== (fresh.id || "")) {
    old.replaceWith(fresh);
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return;
  }
  if (old.nodeName === "svg") {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  morphChildren(old, fresh);
}

// A row keeps its element while it moves: what is found by its key is moved, not rewritten.
function key(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return null;
  if (node.id) return node.id;
  const link = node.nodeName === "TR" || node.nodeName === "LI" ? node.querySelector("a[href]") : null;
  return link ? node.nodeName + link.getAttribute("href") : null;
}

function morphChildren(old, fresh) {
  const known = new Map();
  for (const child of old.childNodes) {
    const name = key(child);
    if (name) known.set(name, child);
  }
  let place = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const name = key(child);
    const found = name ? known.get(name) : null;
    if (found) {
      known.delete(name);
      if (found === place) place = place.nextSibling;
      else old.insertBefore(found, place);
      morph(found, child);
    } else if (!name && place && !key(place) && place.nodeName === child.nodeName) {
      const next = place.nextSibling;
      morph(place, child);
      place = next;
    } else {
      old.insertBefore(child, place);
    }
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

function patch(fragments) {
  for (const [id, html] of Object.entries(fragments)) {
    const old = document.getElementById(id);
    if (!old) continue;
    const template = document.createElement("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    localise(template.content);
    const before = old.dataset.summary;
    const read = reading(old);
    morph(old, fresh);
    const now = document.getElementById(id);
    // Verdicts are announced when they change, figures are not: nobody can listen to a number a second.
    if (before !== undefined && now.dataset.summary !== before) announce.textContent = now.dataset.summary;
    if (read) show(read.figure, read.row);
  }
  finish();
}

// A call that is over changes no more, but for a last span or log line: then nothing is live, and nothing to pause.
let finishing = 0;

function finish() {
  if (finishing || !document.querySelector("[data-over]")) return;
  finishing = setTimeout(() => {
    close();
    ended = true;
    state.remove();
    pause.remove();
  }, 5000);
}

// The stream, and what the reader is told of it.
let source = null;
let retry = 0;
let ended = false;

function say(text, kind) {
  if (!state) return;
  state.textContent = text;
  state.className = "state" + (kind ? " " + kind : "");
}

function open() {
  close();
  if (ended) return;
  source = new EventSource(stream);
  source.addEventListener("patch", (event) => {
    say("Live", "");
    patch(JSON.parse(event.data));
  });
  source.addEventListener("error", async () => {
    say("Not connected", "lost");
    if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
    close();
    // An answer other than a stream: signed out, or too many pages are open.
    const enough = new AbortController();
    const answer = await fetch(stream, { signal: enough.signal }).catch(() => null);
    enough.abort();
    if (answer && answer.status === 401) location.reload();
    else retry = setTimeout(open, 5000);
  });
}

function close() {
  clearTimeout(retry);
  if (source) source.close();
  source = null;
}

function hold(still) {
  const url = new URL(location);
  if (still) url.searchParams.set("paused", "1");
  else url.searchParams.delete("paused");
  history.replaceState(null, "", url);
  pause.textContent = still ? "Go on" : "Pause";
  if (still) {
    close();
    say("Paused " + clock.format(new Date()), "still");
  } else {
    open();
  }
}

if (stream) {
  let still = "paused" in document.body.dataset;
  if (still) say("Paused " + clock.format(new Date()), "still");
  else open();
  pause.setAttribute("role", "button");
  pause.addEventListener("click", (event) => {
    event.preventDefault();
    still = !still;
    hold(still);
  });
  pause.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      event.preventDefault();
      pause.click();
    }
  });
  // A page nobody sees needs no stream: browsers open only some at once.
  document.addEventListener("visibilitychange", () => {
    if (still || ended) return;
    if (document.hidden) close();
    else open();
  });
  addEventListener("pagehide", close);
}

// Theme: the system's, light or dark.
const theme = document.getElementById("theme");
if (theme) {
  const names = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const show = () => (theme.textContent = names[document.documentElement.dataset.theme || "system"]);
  theme.hidden = false;
  show();
  theme.addEventListener("click", () => {
    const order = ["system", "light", "dark"];
    const next = order[(order.indexOf(document.documentElement.dataset.theme || "system") + 1) % order.length];
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("callscope-theme", next);
    } catch {
      // Storage may be forbidden; the choice then lasts as long as the page.
    }
    show();
  });
}

// Charts: a cursor that reads the table behind the picture, with the pointer or with arrow keys.
const LEFT = 64; // as the server draws them

function rows(figure) {
  return [...figure.querySelectorAll("tbody tr")];
}

function reading(root) {
  const shown = root.querySelector && root.querySelector(".reading:not([hidden])");
  return shown ? { figure: shown.closest("figure"), row: Number(shown.dataset.row) } : null;
}

function show(figure, index) {
  const all = rows(figure);
  const row = all[Math.max(0, Math.min(all.length - 1, index))];
  const note = figure.querySelector(".reading");
  const svg = figure.querySelector("svg");
  svg.querySelector(".cursor")?.remove();
  if (!row) return;
  const heads = [...figure.querySelectorAll("thead th")].slice(1);
  const values = [...row.querySelectorAll("td")];
  const from = new Date(Date.now() - row.dataset.start * 1000);
  note.textContent = clock.format(from) + "  " + heads.map((head, i) => head.textContent + " " + values[i].textContent.trim()).join(", ");
  note.dataset.row = all.indexOf(row);
  note.hidden = false;
  const { width, height } = svg.viewBox.baseVal;
  const window_ = Number(figure.dataset.seconds);
  const middle = (Number(row.dataset.start) + Number(row.dataset.end)) / 2;
  const x = LEFT + (width - LEFT) * (1 - Math.min(middle, window_) / window_);
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("class", "cursor");
  line.setAttribute("d", `M${x} 10V${height - 20}`);
  svg.append(line);
}

function hide(figure) {
  figure.querySelector(".reading").hidden = true;
  figure.querySelector(".cursor")?.remove();
}

document.addEventListener("pointermove", (event) => {
  const svg = event.target.closest?.("figure[data-chart] svg");
  for (const figure of document.querySelectorAll("figure[data-chart]")) {
    if (!svg || !figure.contains(svg)) {
      if (figure !== document.activeElement) hide(figure);
    }
  }
  if (!svg) return;
  const figure = svg.closest("figure");
  const box = svg.getBoundingClientRect();
  const scale = svg.viewBox.baseVal.width / box.width;
  const share = ((event.clientX - box.left) * scale - LEFT) / (svg.viewBox.baseVal.width - LEFT);
  const ago = Number(figure.dataset.seconds) * (1 - share);
  const index = rows(figure).findIndex((row) => ago <= row.dataset.start && ago >= row.dataset.end);
  if (index >= 0) show(figure, index);
});
document.addEventListener("keydown", (event) => {
  const figure = document.activeElement?.closest?.("figure[data-chart]");
  if (!figure || figure !== document.activeElement) return;
  const step = { ArrowLeft: 1, ArrowRight: -1 }[event.key];
  if (event.key === "Escape") hide(figure);
  if (!step) return;
  event.preventDefault();
  const note = figure.querySelector(".reading");
  show(figure, note.hidden ? 0 : Number(note.dataset.row) + step);
  announce.textContent = note.textContent;
});
document.addEventListener("focusout", (event) => {
  if (event.target.matches?.("figure[data-chart]")) hide(event.target);
});

document.getElementById("zone")?.replaceChildren(zone);
localise(document);
