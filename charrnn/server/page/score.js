// The Score tab: how well the model predicts a text, and where it is surprised.

import { json } from "/api.js";
import { Editor } from "/editor.js";
import { at, bits, brief, count, element, legend, named, percent, visible } from "/text.js";
import { written } from "/write.js";

const EXPECTED = 5; // likely characters that are named for each place
const PLACES = 10;
const SCORED = 100_000; // characters of a text at most, as the server has it

const editor = new Editor(at("score-editor"), { changed: () => { editor.begin = editor.length; editor.draw(); } });
let page;
let likeliest = [];
let scoring = false; // the button stays enabled: a disabled one would lose the focus

export function numbers(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value]) =>
    element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
}

// What is wrong with a text before the server is asked: it counts characters, a browser their halves.
function fault(text) {
  if (!text.length) return "Paste or type a text first.";
  if (text.length <= SCORED) return null;
  const characters = text.length > 2 * SCORED ? text.length : [...text.toString()].length;
  if (characters <= SCORED) return null;
  return `This text is too long: at most ${count(SCORED, "character")} are scored here. Use ‘charrnn score FILE’, or a part of it.`;
}

async function score(notice = "") {
  if (scoring) return;
  page.say(null);
  const text = editor.text, wrong = fault(text);
  if (wrong) {
    at("score-status").textContent = wrong;
    return editor.area.focus();
  }
  at("score-status").textContent = "Scoring …";
  scoring = true;
  try {
    const found = await json("/v1/score", { model: page.model(), text: text.toString(), logprobs: EXPECTED });
    const read = found.units.join("");
    if (read !== editor.text.toString()) editor.set(read); // as the model reads it
    editor.begin = read.length;
    editor.units = [];
    editor.addUnits(found.units, found.unit_nats);
    likeliest = found.likeliest;
    numbers(at("score-numbers"), [
      ["nats per character", found.nats.toFixed(4)],
      ["bits per character", found.bpc.toFixed(4)],
      ["bits per byte", found.bits_per_byte.toFixed(4)],
      ["perplexity", Math.exp(found.nats).toPrecision(4)],
      ["characters", found.characters.toLocaleString("en")],
      ["bytes in UTF-8", found.bytes.toLocaleString("en")],
    ]);
    at("score-status").textContent = [`Scored ${count(found.characters, "character")}: ${found.bpc.toFixed(2)} bits per character.`, ...found.notices, notice].join(" ").trim();
    showPlaces();
    showUnit();
  } catch (error) {
    at("score-status").textContent = "";
    page.say(error);
  }
  scoring = false;
}

function showPlaces() {
  const most = [...editor.units].sort((a, b) => b.nats - a.nats).slice(0, PLACES);
  at("places").replaceChildren(...most.map((place) => {
    const before = editor.text.slice(Math.max(0, place.begin - 20), place.begin);
    const after = editor.text.slice(place.begin + place.text.length, place.begin + 20);
    const shown = [visible(before), element("mark", { className: `level${place.level}`, textContent: brief(place.text) }), visible(after)];
    const button = element("button", { type: "button" },
      element("span", { className: "bits", textContent: `${bits(place.nats).toFixed(1)} bits` }),
      element("span", { className: "symbol" }, ...shown));
    button.addEventListener("click", () => { editor.select(place.begin); showUnit(); });
    return element("li", {}, button);
  }));
}

function showUnit() {
  const unit = editor.unitAt(editor.cursor);
  if (!unit) return;
  const expected = Object.entries(likeliest[unit.number] ?? {}).sort((a, b) => a[1] - b[1]).map(([symbol, nats]) => `“${named(symbol)}” ${percent(Math.exp(-nats))}`);
  at("score-said").textContent = `“${named(unit.text)}”: ${bits(unit.nats).toFixed(2)} bits, ${percent(Math.exp(-unit.nats))}. Expected: ${expected.join(", ")}.`;
}

function takeWritten() {
  const whole = written(), taken = whole.before(whole.length, SCORED);
  editor.set(taken);
  score(taken.length < whole.length ? `This is the end of the text, which has ${count(whole.length, "character")}.` : "");
}

export function begin(offered) {
  page = offered;
  editor.colored = true;
  legend(at("score-legend"));
  at("score-go").addEventListener("click", () => score());
  at("score-written").addEventListener("click", takeWritten);
  at("model").addEventListener("change", () => { if (!at("score").hidden && editor.length) score(); });
  editor.area.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") { event.preventDefault(); score(); }
  });
  document.addEventListener("selectionchange", () => { if (document.activeElement === editor.area) showUnit(); });
}
