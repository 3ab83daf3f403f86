// The Write tab: a text that a person and a model write in turns.

import { json, stream } from "/api.js";
import { Editor } from "/editor.js";
import { at, bits, brief, count, edged, element, finePercent, legend, named, percent } from "/text.js";

const PREVIEWED = ["temperature", "top_k", "top_p", "typical_p", "min_p"];
const TREE = { width: 4, length: 16 };
const CHOICES = 20; // likely characters that are shown
const BYTE = /^<0x[0-9A-F]{2}>$/; // a part of a character, by which no text can go on
const PAUSE = 200; // milliseconds without a key before the model is asked about the cursor
const COLORING = 600; // the same, before it is asked for the colors
const VERSIONS = 500; // that can be undone
// Characters that a request has of a longer text: its end, since the server refuses long bodies and
// reads all of them each time. With 5,000 of 120,000 characters no probability of the base model
// differs by a millionth, with 2,000 by a thousandth.
const READ = 100_000; // to write on
const READ_NEXT = 5_000; // to show what may come next, with each move of the cursor
const READ_COLORS = 2_000; // before a part that is colored

const editor = new Editor(at("write-editor"), { changing, changed, moved: recolorSoon });
const past = [], future = []; // texts, with where the model's part begins, and which part was shown
let page; // what the other files offer: model(), say()
let running = null; // stops what is being written
let last = null; // the beginning and the seed of what was written last
let typed = 0; // when a key was pressed last

const settings = () => [...at("settings").querySelectorAll("input[name]")];
const neutral = (input) => input.value === "" || input.value === input.dataset.neutral;

// "\n" and the like, as the command line reads them.
const unescape = (text) => text.replace(/\\(n|t|r|\\)/g, (_, c) => ({ n: "\n", t: "\t", r: "\r", "\\": "\\" })[c]);

function asked() {
  const found = { model: page.model() };
  for (const input of settings()) {
    const always = ["length", "temperature"].includes(input.name);
    if (neutral(input) && !always) continue;
    found[input.name] = input.name === "stop" ? unescape(input.value) : input.type === "number" ? Number(input.value) : input.value;
  }
  return found;
}

// Show an error under the setting that it is about, or above the text.
function refuse(error) {
  const input = settings().find((each) => each.name === error.param) ?? (error.param === "max_tokens" ? at("length") : null);
  if (!input) return page.say(error);
  const said = element("p", { className: "error", id: `${input.id}-error`, textContent: error.message });
  input.closest("details")?.setAttribute("open", "");
  input.parentElement.append(said);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", said.id);
  at("status").textContent = error.message;
}

function forgetErrors() {
  page.say(null);
  for (const input of settings()) {
    at(`${input.id}-error`)?.remove();
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
}

const snapshot = () => ({ text: editor.text, begin: editor.begin, from: editor.from });

function remember(state = snapshot()) {
  if (!past.at(-1)?.text.equals(state.text)) past.push(state);
  if (past.length > VERSIONS) past.shift();
  future.length = 0;
}

function buttons() {
  at("go").disabled = running !== null;
  at("stop").disabled = running === null;
  at("again").disabled = at("another").disabled = running !== null || last === null;
  at("undo").disabled = running !== null || !past.length;
  at("redo").disabled = running !== null || !future.length;
  at("copy").disabled = at("save").disabled = running === null && !editor.length;
  editor.area.readOnly = running !== null;
}

function travel(from, to) {
  if (running || !from.length) return;
  to.push(snapshot());
  const state = from.pop();
  editor.set(state.text, state.begin, state.from);
  if (!from.length) editor.area.focus(); // the button that was pressed is about to be disabled
  buttons();
  recolor();
  cursorMoved();
}

// Go on from a beginning; a seed of null is what the settings say.
async function go(beginning, seed = null) {
  if (running) return;
  forgetErrors();
  const prompt = beginning.before(beginning.length, READ);
  const request = { ...asked(), prompt };
  if (seed !== null) request.seed = seed;
  if (editor.colored) request.logprobs = 0;
  remember();
  running = new AbortController();
  buttons();
  if (editor.text !== beginning) editor.set(beginning);
  editor.follow();
  editor.begin = beginning.length;
  at("status").textContent = "Writing …";
  last = { beginning, seed: request.seed ?? null };
  let written = 0, end = null;
  let notices = prompt.length < beginning.length ? [`The model read the last ${count(READ, "character")} before that.`] : [];
  const aligned = editor.unitsEnd === beginning.length;
  try {
    for await (const event of stream("/v1/completions", request, running.signal)) {
      notices = notices.concat(event.notices ?? []);
      const [choice] = event.choices;
      if (choice.text) editor.add(choice.text);
      written += [...choice.text].length;
      if (choice.logprobs && aligned) editor.addUnits(choice.logprobs.tokens, choice.logprobs.token_logprobs.map((p) => -p));
      if (choice.finish_reason) end = choice;
    }
    const seedWords = end.seed === null ? "" : `, seed ${end.seed}`;
    const why = { stop: ", ended by a stop string or the end of a document", constraint: ", as it must match", time: ", when the time was over" }[end.finished_by] ?? "";
    at("status").textContent = [`Wrote ${count(written, "character")}${seedWords}${why}.`, ...notices].join(" ");
    last.seed = end.seed;
  } catch (error) {
    if (error.name === "AbortError") at("status").textContent = `Stopped after ${count(written, "character")}.`;
    else {
      at("status").textContent = "";
      refuse(error);
    }
    if (!written) past.pop();
  }
  running = null;
  editor.drawNow();
  buttons();
  recolor();
  // Some browsers take the focus from a disabled button only later.
  if (document.activeElement === document.body || document.activeElement.disabled) editor.area.focus();
  if (document.activeElement === editor.area) editor.area.setSelectionRange(editor.size, editor.size);
  cursorMoved();
}

// Write the same again, or another: after Stop, too.
function again(seed) {
  if (last && !running) go(last.beginning, seed);
}

let coloring = 0;

// Ask how surprising each character is that is shown.
async function recolor() {
  const number = ++coloring, { text, from, to } = editor;
  if (!editor.colored || !text.length || running) return editor.draw();
  const before = text.before(from, READ_COLORS), sent = before + text.slice(from, to);
  try {
    const found = await json("/v1/score", { model: page.model(), text: sent });
    if (number !== coloring || text !== editor.text) return;
    let skipped = 0, first = 0;
    while (skipped < before.length && first < found.units.length) skipped += found.units[first++].length;
    editor.units = [];
    editor.addUnits(found.units.slice(first), found.unit_nats.slice(first), from - before.length + skipped);
    if (found.units.join("") !== sent) at("status").textContent = ["The model reads this text otherwise.", ...found.notices].join(" ");
  } catch (error) {
    page.say(error);
  }
}

function recolorSoon() {
  const number = ++coloring;
  setTimeout(() => { if (number === coloring) recolor(); }, COLORING);
}

let moved = 0, question = null;

// Show what the model expects at the cursor.
export async function cursorMoved() {
  const number = ++moved;
  question?.abort();
  if (running || at("write").hidden) return;
  await new Promise((done) => setTimeout(done, PAUSE));
  if (number !== moved || running) return;
  const position = editor.cursor, { text } = editor, prompt = text.before(position, READ_NEXT);
  question = new AbortController();
  try {
    const request = { model: page.model(), prompt, symbols: CHOICES, ...TREE };
    for (const name of PREVIEWED) if (name === "temperature" || !neutral(at(name))) request[name] = Number(at(name).value);
    const found = await json("/v1/next", request, question.signal);
    if (number !== moved) return;
    showNext(text, position, found.choices);
    renew(at("tree"), found.beam.children.map((node) => branchOf(node, text, position, "")));
  } catch (error) {
    if (error.name !== "AbortError" && number === moved) {
      at("next").replaceChildren();
      at("next-said").textContent = error.message;
    }
  }
}

// Replace the items of a list; if one of its buttons has the focus, the one in its place gets it.
function renew(list, items) {
  const enabled = () => [...list.querySelectorAll("button:enabled")];
  const held = enabled().indexOf(document.activeElement);
  list.replaceChildren(...items);
  if (held >= 0) (enabled()[held] ?? enabled().at(-1) ?? editor.area).focus();
}

// A symbol as it is shown; a screen reader says the name of one that has no letter.
function spoken(symbol, shown) {
  const sign = element("span", { className: "symbol", textContent: shown });
  if (named(symbol) === shown) return sign;
  sign.setAttribute("aria-hidden", "true");
  return element("span", {}, sign, element("span", { className: "unseen", textContent: named(symbol) }));
}

function showNext(text, position, choices) {
  const likely = choices.model.probabilities, atEnd = position >= text.length;
  const mine = new Map(Object.values(choices).at(-1).probabilities); // all settings together
  const found = likely.find(([symbol]) => !atEnd && text.slice(position, position + symbol.length) === symbol);
  const here = found?.[0] ?? [...text.slice(position, position + 2)][0] ?? "";
  const unit = editor.colored ? editor.unitAt(position) : null;
  let said = `“${named(here)}” stands here, which is not among the likely ones.`;
  if (atEnd) said = "At the end of the text, the model expects:";
  else if (found) said = `“${named(here)}” stands here: ${percent(found[1])}, a surprise of ${bits(-Math.log(found[1])).toFixed(1)} bits.`;
  else if (unit) said = `“${named(here)}” stands here, a surprise of ${bits(unit.nats).toFixed(1)} bits.`;
  at("next-said").textContent = said;
  renew(at("next"), likely.map(([symbol, p]) => {
    const share = element("span", { className: "share" }), set = mine.get(symbol) ?? 0;
    share.style.width = `${100 * p}%`;
    const words = `${percent(p)} → ${set ? percent(set) : "0"}`;
    const title = "Write on with it; the model's probability → with these settings";
    const button = element("button", { type: "button", title }, share, spoken(symbol, brief(symbol)), " ",
      element("span", { className: "percent", textContent: words }));
    if (!atEnd && symbol === here) button.setAttribute("aria-current", "true");
    button.disabled = BYTE.test(symbol);
    button.addEventListener("click", () => branch(position, symbol));
    return element("li", {}, button);
  }));
}

// A branch of the beam tree: what has only one way on is joined.
function branchOf(node, before, position, above) {
  let text = node.symbol, last = node, whole = !BYTE.test(node.symbol);
  while (last.children.length === 1) {
    [last] = last.children;
    text += last.symbol;
    whole &&= !BYTE.test(last.symbol);
  }
  const probability = finePercent(Math.exp(last.log_prob));
  const button = element("button", { type: "button", title: "Add it to the text" },
    element("span", { className: last.rank && !last.children.length ? "symbol found" : "symbol", textContent: edged(text) }), " ",
    element("span", { className: "percent", textContent: probability }));
  button.disabled = !whole;
  button.addEventListener("click", () => {
    if (running) return;
    remember();
    editor.set(before.replaced(position, before.length, above + text), position + above.length);
    buttons();
    editor.select(editor.length);
    recolor();
    cursorMoved();
  });
  const below = last.children.map((child) => branchOf(child, before, position, above + text));
  return element("li", {}, button, ...(below.length ? [element("ul", {}, ...below)] : []));
}

// Take another way at a position: what follows is written anew.
function branch(position, symbol) {
  if (running) return;
  editor.area.focus();
  go(editor.text.replaced(position, editor.length, symbol));
}

// Copy the whole text, also where a page may not use the clipboard by itself.
function copy() {
  const give = (event) => {
    event.clipboardData.setData("text/plain", editor.text.toString());
    event.preventDefault();
    event.stopImmediatePropagation();
  };
  document.addEventListener("copy", give, { capture: true, once: true });
  const copied = document.execCommand("copy");
  document.removeEventListener("copy", give, { capture: true });
  at("status").textContent = copied ? `Copied ${count(editor.length, "character")}.` : "The browser does not let this page copy: use Save.";
}

function save() {
  const file = URL.createObjectURL(new Blob(editor.text.pieces, { type: "text/plain;charset=utf-8" }));
  element("a", { href: file, download: "charrnn.txt" }).click();
  setTimeout(() => URL.revokeObjectURL(file), 60_000); // it may be asked where to
  at("status").textContent = `Saved ${count(editor.length, "character")} as charrnn.txt.`;
}

// Before a person changes the text; what is typed fast is undone together.
function changing(much = editor.all) {
  if (much || Date.now() - typed > 1000) remember();
  typed = Date.now();
}

function changed() {
  cursorMoved();
  buttons();
  recolorSoon();
}

function connectSliders() {
  for (const slider of at("settings").querySelectorAll("input[data-for]")) {
    const input = at(slider.dataset.for);
    const mark = () => { input.parentElement.classList.toggle("changed", !neutral(input)); if (PREVIEWED.includes(input.name)) cursorMoved(); };
    slider.value = input.value;
    slider.addEventListener("input", () => { input.value = slider.value; mark(); });
    input.addEventListener("input", () => { slider.value = input.value; mark(); });
    slider.addEventListener("dblclick", () => { input.value = slider.value = input.dataset.neutral; mark(); });
  }
}

function reset() {
  for (const input of settings()) {
    input.value = input.dataset.neutral ?? "";
    input.dispatchEvent(new Event("input"));
  }
  forgetErrors();
}

export function begin(offered) {
  page = offered;
  connectSliders();
  legend(at("legend"));
  at("go").addEventListener("click", () => go(editor.text));
  at("stop").addEventListener("click", () => running?.abort());
  at("again").addEventListener("click", () => again(last.seed));
  at("another").addEventListener("click", () => again(Math.floor(Math.random() * 2 ** 32)));
  at("undo").addEventListener("click", () => travel(past, future));
  at("redo").addEventListener("click", () => travel(future, past));
  at("clear").addEventListener("click", () => {
    if (running) return;
    remember();
    editor.set("");
    buttons();
    editor.area.focus();
    cursorMoved();
  });
  at("copy").addEventListener("click", copy);
  at("save").addEventListener("click", save);
  at("reset").addEventListener("click", reset);
  at("settings").addEventListener("submit", (event) => { event.preventDefault(); go(editor.text); });
  at("color").addEventListener("change", () => {
    editor.colored = at("color").checked;
    at("legend").hidden = !editor.colored;
    recolor();
  });
  at("model").addEventListener("change", () => { editor.units = []; recolor(); cursorMoved(); });
  document.addEventListener("selectionchange", () => { if (document.activeElement === editor.area) cursorMoved(); });
  document.addEventListener("keydown", (event) => {
    if (at("write").hidden || document.querySelector("dialog[open]")) return;
    const control = event.ctrlKey || event.metaKey, key = event.key.toLowerCase();
    if (event.key === "Escape" && running) running.abort();
    else if (control && event.key === "Enter") go(editor.text);
    else if (control && key === "z" && document.activeElement === editor.area) travel(...(event.shiftKey ? [future, past] : [past, future]));
    else if (control && key === "y" && document.activeElement === editor.area) travel(future, past);
    else return;
    event.preventDefault();
  });
  editor.set(editor.text); // a browser may have kept it
  buttons();
}

export const written = () => editor.text;
