// Characters and numbers in words, and elements that show them. Text is never read as HTML.

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
