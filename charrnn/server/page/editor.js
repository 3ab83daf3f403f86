// A text area with colors behind its text, which shows a part of a text of any length.
//
// The browser lays out all of a text area at each change of it. So the area holds only as much as
// that takes little time for; all positions that others see are those of the whole text.

import { LongText, plainEnds } from "/long_text.js";
import { at, bits, element, level } from "/text.js";

export const SHOWN = 40_000; // characters in the area, at most
const KEPT = SHOWN / 2; // of those, when more are added than it holds
const PASTED = 1_000; // characters that a browser pastes fast: its time grows with the lines squared
const LINE = 2_000; // characters before a part in which a line end is looked for
const REST = 3; // times as long as showing what was written took, nothing more of it is shown
const LOW = 60; // pixels above the end at which a reader follows what is written

export class Editor {
  // `units` are parts of the text that have a surprise of their own, one behind the other.
  // `changing` and `changed` are called before and after a person's edit, `moved` when another
  // part is shown.
  constructor(place, { changing = () => {}, changed = () => {}, moved = () => {} } = {}) {
    this.area = place.querySelector("textarea");
    this.behind = place.querySelector(".behind");
    this.on = { changing, changed, moved };
    this.text = LongText.of(this.area.value);
    this.from = 0; // where the part begins that is shown
    this.size = this.text.length; // of that part
    this.known = this.text.length; // when the part was shown
    this.begin = this.text.length; // of what the model wrote last
    this.units = [];
    this.colored = false;
    this.waiting = false;
    this.rest = 0; // when what was written may be shown again
    this.held = false; // whether a pointer is down, which may drag the scroll bar or select
    this.makeSlider(place);
    this.listen();
  }

  get to() { return this.from + this.size; }

  get length() { return this.text.length; }

  get cursor() { return this.from + this.area.selectionStart; }

  // Whether all that is shown is selected, and more is not shown: that stands for the whole text.
  get all() {
    const { selectionStart, selectionEnd } = this.area;
    return this.size > 0 && this.size < this.length && selectionStart === 0 && selectionEnd === this.size;
  }

  get unitsEnd() {
    const last = this.units.at(-1);
    return last ? last.begin + last.text.length : 0;
  }

  makeSlider(place) {
    const id = `${this.area.id}-part`;
    this.said = element("label", { htmlFor: id });
    this.slider = element("input", { type: "range", id, min: "0", step: "1" });
    this.part = element("div", { className: "part", hidden: true }, this.said, this.slider);
    place.after(this.part);
    this.slider.addEventListener("input", () => {
      const steps = Number(this.slider.value);
      this.go(Math.min(steps * KEPT, this.length), steps === Number(this.slider.max));
    });
  }

  listen() {
    const area = this.area;
    area.addEventListener("scroll", () => { this.behind.scrollTop = area.scrollTop; this.slideIfNear(); });
    new ResizeObserver(() => { this.behind.scrollTop = area.scrollTop; }).observe(area);
    area.addEventListener("pointerdown", () => { this.held = true; });
    const released = () => {
      if (!this.held) return;
      this.held = false;
      this.slideIfNear();
    };
    for (const event of ["pointerup", "pointercancel", "keydown"]) document.addEventListener(event, released);
    document.addEventListener("pointermove", (event) => { if (!event.buttons) released(); });
    area.addEventListener("beforeinput", () => { this.replaces = this.all; this.on.changing(); });
    area.addEventListener("input", () => { this.edited(); this.on.changed(); });
    area.addEventListener("paste", (event) => this.paste(event));
    area.addEventListener("copy", (event) => this.copy(event));
    area.addEventListener("cut", (event) => { if (this.copy(event) && !area.readOnly) this.replace(0, this.length, ""); });
    area.addEventListener("keydown", (event) => {
      const ends = event.ctrlKey ? { Home: 0, End: this.length } : event.metaKey ? { ArrowUp: 0, ArrowDown: this.length } : {};
      if (event.shiftKey || !(event.key in ends) || this.size === this.length) return;
      event.preventDefault();
      this.go(ends[event.key], ends[event.key] > 0);
    });
    document.addEventListener("selectionchange", () => { if (document.activeElement === area) this.say(); });
  }

  // Show another text: from a position on if it is long, or else its end.
  set(text, begin = text.length, from = text.length) {
    this.text = LongText.of(text);
    this.begin = begin;
    this.units = [];
    this.show(Math.min(from, this.length - KEPT));
  }

  // A person changed the text: what the model wrote last stays marked where it was not touched.
  edited() {
    const value = this.area.value, cursor = this.cursor, all = this.replaces;
    this.change(all ? 0 : this.from, all ? this.length : this.to, value, cursor - (all ? this.from : 0));
    if (this.size === this.length ? this.size > SHOWN : this.size > SHOWN || this.size < KEPT / 2) this.select(this.cursor, true);
    else this.draw();
  }

  change(begin, end, text, cursor) {
    const before = this.length, edit = this.text.edited(begin, end, text);
    this.text = edit.text;
    if (begin < this.from) this.from = begin;
    this.size = text.length;
    this.known = this.length;
    const grown = this.length - before;
    if (cursor <= this.begin + Math.max(grown, 0)) this.begin += grown;
    if (cursor === this.length || this.begin < 0) this.begin = this.length;
    this.units.length = this.firstFrom(edit.from); // what follows stands elsewhere, after another text
    if (this.unitsEnd > edit.from) this.units.pop();
  }

  // Replace a part of the text, as a person's edit.
  replace(begin, end, text) {
    this.on.changing(true);
    const cursor = begin + text.length;
    this.change(begin, end, text, cursor);
    this.select(cursor, true);
    this.on.changed();
  }

  // Paste a long text without the browser, and what is too long for the area only into the text.
  paste(event) {
    const text = plainEnds(event.clipboardData?.getData("text/plain") ?? "");
    const { selectionStart, selectionEnd, readOnly } = this.area;
    if (readOnly || (text.length <= PASTED && this.size + text.length <= SHOWN)) return;
    event.preventDefault();
    if (this.all) this.replace(0, this.length, text);
    else this.replace(this.from + selectionStart, this.from + selectionEnd, text);
  }

  copy(event) {
    if (!this.all) return false;
    event.clipboardData.setData("text/plain", this.text.toString());
    event.preventDefault();
    return true;
  }

  // The model wrote on, which is shown soon.
  add(piece) {
    this.text = this.text.added(plainEnds(piece));
    this.draw(this.rest - performance.now());
  }

  addUnits(texts, nats, begin = this.unitsEnd) {
    texts.forEach((text, n) => {
      this.units.push({ text, nats: nats[n], level: level(bits(nats[n]) / [...text].length), begin });
      begin += text.length;
    });
    this.draw(this.rest - performance.now());
  }

  // Show the part from about a position on.
  show(position) {
    const from = position <= 0 || this.length <= SHOWN ? 0 : this.text.lineStart(position, LINE);
    this.put(from, this.text.cut(Math.min(from + SHOWN, this.length)));
    this.drawNow();
    if (this.size < this.length) this.on.moved();
  }

  put(from, to) {
    this.from = from;
    this.size = to - from;
    this.known = this.length;
    this.area.value = this.text.slice(from, to);
  }

  // Show the end, where the model writes.
  follow() { if (this.to < this.length) this.go(this.length, true); }

  // Go to a position: at the top of the area, or at its end.
  go(position, end = false) {
    this.show(end ? this.length - KEPT : position);
    const cursor = end ? this.size : Math.min(position - this.from, this.size);
    this.area.setSelectionRange(cursor, cursor);
    this.area.scrollTop = end ? this.area.scrollHeight : this.heightOf(cursor);
  }

  // Put the cursor at a position, and show it; `anew` is for a part that became too long or short.
  select(position, anew = false) {
    if (anew || position < this.from || position > this.to) this.show(position - KEPT);
    else this.drawNow();
    const place = position - this.from, area = this.area, height = this.heightOf(place);
    area.focus();
    area.setSelectionRange(place, place);
    const line = parseFloat(getComputedStyle(area).lineHeight);
    if (height < area.scrollTop || height + line > area.scrollTop + area.clientHeight) area.scrollTop = height - 3 * line;
  }

  // Show more of the text before or after, before a reader's eyes come to the end of the area.
  slideIfNear() {
    const { scrollTop, clientHeight, scrollHeight } = this.area;
    if (this.held || this.size === this.length) return;
    if (scrollTop < clientHeight && this.from > 0) this.slide(this.from - KEPT);
    else if (scrollHeight - scrollTop < 2 * clientHeight && this.to < this.known) this.slide(this.from + KEPT);
  }

  // Show another part; the lines that are in both stay where they are seen.
  slide(position) {
    const { scrollTop, selectionStart, selectionEnd } = this.area, before = this.from;
    this.drawNow();
    const target = Math.min(position, this.length - KEPT);
    const from = target <= 0 ? 0 : this.text.lineStart(target, LINE);
    if (from === before) return;
    const above = from > before ? this.heightOf(from - before) : 0;
    this.show(from);
    const shift = before - this.from;
    this.area.setSelectionRange(Math.max(0, selectionStart + shift), Math.max(0, selectionEnd + shift));
    this.area.scrollTop = scrollTop - above + (shift > 0 ? this.heightOf(shift) : 0);
    this.behind.scrollTop = this.area.scrollTop;
  }

  // How many pixels below the first line a character of the shown part stands.
  heightOf(place) {
    const texts = document.createTreeWalker(this.behind, NodeFilter.SHOW_TEXT), range = document.createRange();
    const top = (node, begin) => {
      range.setStart(node, begin);
      range.setEnd(node, begin + 1);
      return range.getBoundingClientRect().top;
    };
    let node = texts.nextNode();
    const first = top(node, 0);
    while (place >= node.length) {
      place -= node.length;
      node = texts.nextNode();
    }
    return top(node, place) - first;
  }

  // The number of the first unit that begins at or after a position.
  firstFrom(position) {
    let low = 0, high = this.units.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.units[middle].begin < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  // The unit that a position lies in, with its number.
  unitAt(position) {
    const number = this.firstFrom(position + 1) - 1, unit = this.units[number];
    return unit && position < unit.begin + unit.text.length ? { ...unit, number } : null;
  }

  draw(milliseconds = 0) {
    if (this.waiting) return;
    this.waiting = true;
    const begin = () => requestAnimationFrame(() => { if (this.waiting) this.drawNow(); });
    if (milliseconds > 0) setTimeout(begin, milliseconds);
    else begin();
  }

  drawNow() {
    const began = performance.now();
    this.waiting = false;
    this.showAdded();
    this.behind.replaceChildren(...this.parts(this.text.slice(this.from, this.to)), "\n");
    this.behind.scrollTop = this.area.scrollTop;
    this.say();
    const now = performance.now();
    this.rest = now + REST * (now - began);
  }

  // Who reads the end sees what is added; where somebody reads elsewhere, nothing moves.
  showAdded() {
    if (this.length === this.known) return;
    const area = this.area, { scrollTop } = area;
    const low = area.scrollHeight - scrollTop - area.clientHeight < LOW;
    const atEnd = this.to === this.known;
    this.known = this.length;
    if (!atEnd || (!low && this.size >= SHOWN)) return;
    const from = low && this.length - this.from > SHOWN ? this.text.lineStart(this.length - KEPT, LINE) : this.from;
    this.put(from, this.text.cut(Math.min(from + SHOWN, this.length)));
    if (low) area.scrollTop = area.scrollHeight;
    this.units.splice(0, this.firstFrom(from)); // they are asked for again where they are shown again
  }

  // The colored parts of what is shown.
  parts(text) {
    const parts = [], begin = Math.min(text.length, Math.max(0, this.begin - this.from));
    let end = 0, run = "", of = -1;
    const put = () => { if (run) parts.push(element("span", { className: `level${of}`, textContent: run })); };
    if (this.colored) {
      const first = this.firstFrom(this.from);
      if (this.units[first]?.begin > this.from) {
        end = Math.min(this.units[first].begin - this.from, text.length);
        parts.push(text.slice(0, end));
      }
      for (const unit of this.units.slice(first, first + text.length)) {
        if (end >= text.length || !text.startsWith(unit.text, end)) break;
        if (unit.level !== of) { put(); run = ""; of = unit.level; }
        run += unit.text;
        end += unit.text.length;
      }
      put();
    }
    if (end < begin) { parts.push(text.slice(end, begin)); end = begin; }
    if (end < text.length) parts.push(element("span", { className: "written", textContent: text.slice(end) }));
    return parts;
  }

  // Say which part is shown.
  say() {
    this.part.hidden = this.size === this.length;
    if (this.part.hidden) return;
    const number = (value) => value.toLocaleString("en");
    const said = this.all ? `All ${number(this.length)} characters are selected`
      : `Characters ${number(this.from + 1)} to ${number(this.to)} of ${number(this.length)} are shown`;
    if (this.said.textContent !== said) this.said.textContent = said;
    const steps = Math.ceil((this.length - KEPT) / KEPT);
    this.slider.setAttribute("aria-valuetext", said);
    this.slider.max = steps;
    this.slider.value = this.to === this.length ? steps : Math.round(this.from / KEPT);
  }
}
