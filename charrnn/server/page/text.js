// A text area with colors behind its text, and characters in words. Text is never read as HTML.

const NAMES = new Map([["\n", "↵ line end"], [" ", "␣ space"], ["\t", "→ tab"], ["", "nothing"]]);
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;

export const BOUNDS = [1, 2, 4, 6, 8]; // bits per character at which the next level begins

export const at = (name) => document.getElementById(name);

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export const code = (symbol) => `U+${symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

// What may hide in a line, or turn it round, is shown as its code.
export const visible = (text) => text.replace(HIDDEN, (symbol) => NAMES.get(symbol)?.[0] ?? `<${code(symbol)}>`);

export const named = (symbol) => NAMES.get(symbol) ?? visible(symbol);

// A symbol on a button, where there is little space.
export const brief = (symbol) => (NAMES.has(symbol) ? NAMES.get(symbol)[0] : visible(symbol));

export const percent = (p) => (p >= 0.0995 ? (100 * p).toFixed(0) : p >= 0.00095 ? (100 * p).toFixed(1) : "<0.1") + " %";

// The same for what is seldom, where differences of small numbers are of interest.
export const finePercent = (p) => (p >= 0.00095 ? percent(p) : p >= 1e-7 ? `${(100 * p).toFixed(-Math.floor(Math.log10(100 * p)))} %` : "<0.00001 %");

// Spaces at the ends of a piece of text are seen, too.
export const edged = (text) => visible(text).replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

export const bits = (nats) => nats / Math.LN2;

export const level = (value) => BOUNDS.filter((bound) => value >= bound).length;

export function legend(place) {
  const words = ["under 1", "1 to 2", "2 to 4", "4 to 6", "6 to 8", "8 bits or more"];
  const keys = words.map((word, n) => element("span", { className: `level${n}`, textContent: word }));
  place.replaceChildren("Surprise of a character: ", ...keys);
}

export class Editor {
  // `units` are the parts of the text that have a surprise of their own, from the beginning on.
  constructor(place) {
    this.area = place.querySelector("textarea");
    this.behind = place.querySelector(".behind");
    this.length = this.area.value.length;
    this.begin = this.length; // of what the model wrote last
    this.units = [];
    this.colored = false;
    this.waiting = false;
    this.area.addEventListener("scroll", () => { this.behind.scrollTop = this.area.scrollTop; });
    new ResizeObserver(() => { this.behind.scrollTop = this.area.scrollTop; }).observe(this.area);
  }

  get text() { return this.area.value; }

  get cursor() { return this.area.selectionStart; }

  set(text, begin = text.length) {
    this.begin = begin;
    this.area.value = text;
    this.length = text.length;
    this.units = [];
    this.draw();
  }

  // A person changed the text: what the model wrote last stays marked where it was not touched.
  edited() {
    const grown = this.text.length - this.length;
    if (this.cursor <= this.begin + Math.max(grown, 0)) this.begin += grown;
    if (this.cursor === this.text.length || this.begin < 0) this.begin = this.text.length;
    this.length = this.text.length;
    this.draw();
  }

  add(piece) {
    const low = this.area.scrollHeight - this.area.scrollTop - this.area.clientHeight < 60;
    this.area.value += piece;
    this.length = this.text.length;
    if (low) this.area.scrollTop = this.area.scrollHeight;
    this.draw();
  }

  addUnits(texts, nats) {
    texts.forEach((text, n) => this.units.push({ text, nats: nats[n], level: level(bits(nats[n]) / [...text].length) }));
    this.draw();
  }

  select(position) {
    this.area.focus();
    this.area.setSelectionRange(position, position);
    const line = this.text.slice(0, position).split("\n").length;
    const height = parseFloat(getComputedStyle(this.area).lineHeight);
    if (line * height > this.area.scrollTop + this.area.clientHeight) this.area.scrollTop = (line - 3) * height;
  }

  // The unit that begins at or before a position, and where it begins.
  unitAt(position) {
    let begin = 0;
    for (const [number, unit] of this.units.entries()) {
      if (begin + unit.text.length > position) return { ...unit, begin, number };
      begin += unit.text.length;
    }
    return null;
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      const text = this.text;
      const parts = [];
      let end = 0;
      if (this.colored) {
        let run = "", of = -1;
        const put = () => { if (run) parts.push(element("span", { className: `level${of}`, textContent: run })); };
        for (const unit of this.units) {
          if (!text.startsWith(unit.text, end)) break; // the text was changed from here on
          if (unit.level !== of) { put(); run = ""; of = unit.level; }
          run += unit.text;
          end += unit.text.length;
        }
        put();
      }
      if (end < this.begin) { parts.push(text.slice(end, this.begin)); end = this.begin; }
      if (end < text.length) parts.push(element("span", { className: "written", textContent: text.slice(end) }));
      this.behind.replaceChildren(...parts, "\n");
      this.behind.scrollTop = this.area.scrollTop;
    });
  }
}
