"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);

function make(tag, text, name) {
  const node = document.createElement(tag);
  if (text !== undefined && text !== null) node.textContent = text;
  if (name) node.className = name;
  return node;
}

// ---- theme: the system's until the button is pressed
$("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// ---- tables: sort by a column, filter by words
function valueOf(row, column) {
  const raw = row.cells[column] && row.cells[column].dataset.v;
  if (raw === undefined) return null;
  return raw !== "" && isFinite(raw) ? Number(raw) : raw;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b);
  return typeof a === "number" ? -1 : 1;
}

function sort(table, head) {
  const order = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
  const column = head.cellIndex, body = table.tBodies[0];
  for (const other of table.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
  const rows = [...body.rows];
  rows.forEach((row, at) => { row.dataset.at ??= at; });
  rows.sort((a, b) => a.dataset.at - b.dataset.at);
  delete table.dataset.sorted;
  if (order !== "none") {
    head.setAttribute("aria-sort", order);
    table.dataset.sorted = order;
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const x = valueOf(a, column), y = valueOf(b, column);
      if (x === null || y === null) return (x === null) - (y === null);
      return sign * compare(x, y);
    });
  }
  body.append(...rows);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".sort");
  if (button) sort(button.closest("table"), button.closest("th"));
});

document.addEventListener("input", (event) => {
  const id = event.target.dataset.filter;
  if (!id) return;
  const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...$(id).querySelectorAll("tbody tr")];
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    shown += !row.hidden;
    const link = id.startsWith("index") && row.querySelector("a");
    const section = link && $(decodeURIComponent(link.hash.slice(1)));
    if (section) section.hidden = row.hidden;
  }
  $(id).querySelector(".count").textContent = words.length ? `${shown} of ${rows.length} rows` : "";
});

// ---- clipboard
function say(words) {
  $("said").textContent = words;
  $("said").classList.add("on");
  setTimeout(() => $("said").classList.remove("on"), 1500);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page opened from disk may have no clipboard of its own
    const area = make("textarea", text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied");
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(data.copies[button.dataset.copy]);
});

// ---- viewer
const viewer = $("viewer"), stage = viewer.querySelector(".stage");
let scale = 1, fit = 1;

function resize() {
  const big = stage.firstElementChild;
  big.style.width = `${big.dataset.w * scale}px`;
  big.style.height = `${big.dataset.h * scale}px`;
}

function zoom(factor) {
  scale = factor ? Math.min(20, Math.max(0.1, scale * factor)) : fit;
  resize();
}

function enlarge(source) {
  const big = make("div", null, "big"), image = source.querySelector("img").cloneNode();
  big.append(image);
  const outlines = source.querySelector("svg");
  if (outlines) big.append(outlines.cloneNode(true));
  if (source.closest(".no-truth")) big.classList.add("no-truth");
  if (source.closest(".no-pred")) big.classList.add("no-pred");
  big.dataset.w = image.naturalWidth;
  big.dataset.h = image.naturalHeight;
  stage.replaceChildren(big);
  viewer.showModal();
  fit = Math.min((stage.clientWidth - 16) / image.naturalWidth, (stage.clientHeight - 16) / image.naturalHeight);
  zoom(0);
  stage.focus();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest(".zoom");
  if (button && button.querySelector("img")) enlarge(button);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer || event.target.closest(".close")) viewer.close();
  const button = event.target.closest("[data-zoom]");
  if (button) zoom(Number(button.dataset.zoom));
});
viewer.addEventListener("keydown", (event) => {
  const factor = { "+": 1.25, "=": 1.25, "-": 0.8, 0: 0 }[event.key];
  if (factor !== undefined) zoom(factor);
});

// ---- predictions
const number = (value, digits) => value === null || value === undefined ? "–" : value.toFixed(digits);

function panel(one, pred, name, words) {
  const node = $("panel").content.firstElementChild.cloneNode(true);
  const image = node.querySelector("img"), svg = node.querySelector("svg"), paths = svg.children;
  image.src = one.image;
  image.alt = `${one.id}, ${name}`;
  node.querySelector("button").setAttribute("aria-label", `Enlarge ${one.id}, ${name}`);
  svg.setAttribute("viewBox", `0 0 ${one.size[1]} ${one.size[0]}`);
  if (pred === undefined) svg.remove();
  else [one.target, one.target, pred, pred].forEach((path, at) => paths[at].setAttribute("d", path));
  const caption = node.querySelector("figcaption");
  caption.append(make("b", name));
  for (const line of words) caption.append(make("i", line));
  return node;
}

function empty(name) {
  const node = make("figure", null, "panel"), caption = make("figcaption");
  caption.append(make("b", name));
  node.append(make("div", "no image or prediction", "empty"), caption);
  return node;
}

function scored(line, at) {
  return [`DSC ${number(line.dsc[at], 1)} %`, `rank ${line.rank[at] ?? "–"} of ${line.n} cases, 1 is worst`];
}

function showCase(gallery, at) {
  const one = gallery.cases[at];
  const panels = [panel(one, undefined, "Image", [one.id])];
  gallery.lines.forEach((line, place) => {
    const pred = one.preds[place];
    panels.push(pred === null ? empty(line.label) : panel(one, pred, line.label, scored(line, at)));
  });
  return [panels, `${one.id}: ${one.why.join("; ")}.`];
}

function showPicks(gallery) {
  const panels = [];
  gallery.lines.forEach((line, place) => {
    const head = make("div", null, "rowhead");
    head.append(make("b", line.label));
    panels.push(head);
    ["worst", "median", "best"].forEach((word, column) => {
      const at = line.picks[column], one = gallery.cases[at];
      const known = one && one.preds[place] !== null;
      panels.push(known ? panel(one, one.preds[place], word, [one.id, `DSC ${number(line.dsc[at], 1)} %`]) : empty(word));
    });
  });
  return [panels, "Each method's own worst, median and best case by DSC, first seed."];
}

function draw() {
  const gallery = data.galleries[$("gallery").value], picks = $("mode").value === "picks";
  const [panels, words] = picks ? showPicks(gallery) : showCase(gallery, Number($("case").value));
  for (const id of ["casebox", "before", "after"]) $(id).hidden = picks;
  $("panels").classList.toggle("rows", picks);
  $("panels").replaceChildren(...panels);
  $("gallerynote").textContent = [words, gallery.note].filter(Boolean).join(" ");
}

function listCases() {
  const gallery = data.galleries[$("gallery").value];
  $("case").replaceChildren(...gallery.cases.map((one, at) => {
    const more = one.why.length > 1 ? `, and ${one.why.length - 1} more` : "";
    const option = make("option", `${one.id} (${one.why[0]}${more})`);
    option.value = at;
    return option;
  }));
  draw();
}

function step(by) {
  const chosen = $("case"), count = chosen.options.length;
  chosen.selectedIndex = (chosen.selectedIndex + by + count) % count;
  draw();
}

if ($("chooser")) {
  $("chooser").addEventListener("submit", (event) => event.preventDefault());
  $("gallery").addEventListener("change", listCases);
  $("mode").addEventListener("change", draw);
  $("case").addEventListener("change", draw);
  $("before").addEventListener("click", () => step(-1));
  $("after").addEventListener("click", () => step(1));
  $("truth").addEventListener("change", (event) => $("panels").classList.toggle("no-truth", !event.target.checked));
  $("predicted").addEventListener("change", (event) => $("panels").classList.toggle("no-pred", !event.target.checked));
  listCases();
}

// ---- cells: filled when they are opened
function described(value) {
  if (value === null || value === undefined || value === "") return make("span", "–");
  if (Array.isArray(value)) return make("span", value.length ? value.map((x) => typeof x === "object" ? JSON.stringify(x) : x).join(", ") : "–");
  if (typeof value !== "object") return make("span", String(value));
  const list = make("dl");
  for (const [name, inner] of Object.entries(value)) {
    const at = make("dd");
    at.append(described(inner));
    list.append(make("dt", name.replaceAll("_", " ")), at);
  }
  return list;
}

function caseTable(test) {
  const heads = ["Case", "DSC (%)", "IoU (%)", "HD95 (px)", "Empty masks"];
  const ids = data.pool[test.cases], empties = data.pool[test.empty];
  const box = make("div", null, "cases"), table = make("table"), head = make("tr");
  box.tabIndex = 0;
  heads.forEach((words, at) => {
    const cell = make("th", null, at ? "n" : ""), button = make("button", words, "sort");
    button.type = "button";
    cell.scope = "col";
    cell.append(button);
    head.append(cell);
  });
  table.createTHead().append(head);
  const body = table.createTBody();
  ids.forEach((id, row) => {
    const line = body.insertRow(), values = test.scores.map((column) => column[row]);
    const words = [id, number(values[0] === null ? null : 100 * values[0], 2), number(values[1] === null ? null : 100 * values[1], 2), number(values[2], 2), empties[row]];
    [id, ...values, empties[row]].forEach((value, at) => {
      const cell = line.insertCell();
      cell.textContent = words[at];
      if (at) cell.className = "n";
      if (value !== null) cell.dataset.v = value;
    });
  });
  box.append(table);
  return box;
}

function fill(section) {
  const target = section.querySelector(".fill"), cell = data.cells[section.dataset.cell];
  if (target.childElementCount) return;
  const facts = make("div", null, "facts");
  for (const [title, place] of Object.entries(cell.facts)) {
    const group = make("details");
    group.open = ["Cell", "Settings", "Changed settings", "Remarks"].includes(title);
    group.append(make("summary", title), described(data.pool[place]));
    facts.append(group);
  }
  target.append(facts);
  for (const test of cell.tests) {
    const group = make("details");
    group.open = cell.tests.length === 1;
    group.append(make("summary", `Scores of every case: ${test.title}`), caseTable(test));
    target.append(group);
  }
}

document.addEventListener("toggle", (event) => {
  if (event.target.classList && event.target.classList.contains("cell") && event.target.open) fill(event.target);
}, true);

function follow() {
  const section = location.hash && $(decodeURIComponent(location.hash.slice(1)));
  if (!section) return;
  for (let node = section; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  section.hidden = false;
  section.scrollIntoView();
  const summary = section.querySelector(":scope > summary");
  if (summary) summary.focus({ preventScroll: true });
}
addEventListener("hashchange", follow);
follow();
