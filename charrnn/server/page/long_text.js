// A text of any length that never changes: an edit makes another text, which shares with it all
// pieces but the edited ones. So each edit takes little time, and hundreds of versions little space.

const PIECE = 2 ** 14; // characters of a piece, at most

const isLow = (code) => code >= 0xdc00 && code <= 0xdfff;
const isHigh = (code) => code >= 0xd800 && code <= 0xdbff;

// Line ends are those of a text area.
export const plainEnds = (text) => (text.includes("\r") ? text.replace(/\r\n?/g, "\n") : text);

// Where a string can be cut, at or after a position: not between the halves of a character.
const cutOf = (text, position) =>
  position + (isLow(text.charCodeAt(position)) && isHigh(text.charCodeAt(position - 1)) ? 1 : 0);

// Pieces of equal length, so that there is room in each for what is typed there later.
function split(text) {
  const pieces = [], size = Math.ceil(text.length / Math.ceil(text.length / PIECE));
  for (let begin = 0, end; begin < text.length; begin = end) {
    end = cutOf(text, Math.min(begin + size, text.length));
    pieces.push(text.slice(begin, end));
  }
  return pieces;
}

export class LongText {
  constructor(pieces = []) {
    this.pieces = pieces;
    this.starts = [];
    this.length = 0;
    for (const piece of pieces) {
      this.starts.push(this.length);
      this.length += piece.length;
    }
  }

  static of(text) { return text instanceof LongText ? text : new LongText(split(text)); }

  toString() { return this.pieces.join(""); }

  equals(other) {
    if (this.length !== other.length) return false;
    const shared = this.pieces.length === other.pieces.length;
    return (shared && this.pieces.every((piece, n) => piece === other.pieces[n])) || `${this}` === `${other}`;
  }

  // The number of the piece that holds a position; for the end, of the last one.
  at(position) {
    let low = 0, high = this.pieces.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.starts[middle] <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  slice(begin = 0, end = this.length) {
    begin = Math.max(0, begin);
    end = Math.min(end, this.length);
    if (begin >= end) return "";
    const first = this.at(begin), start = this.starts[first];
    return this.pieces.slice(first, this.at(end) + 1).join("").slice(begin - start, end - start);
  }

  // Where the text can be cut, at or after a position.
  cut(position) {
    const around = this.slice(position - 1, position + 1);
    return position > 0 ? position - 1 + cutOf(around, 1) : 0;
  }

  // The same before a position, behind a line end if there is one so many characters before it.
  lineStart(position, reach) {
    const begin = Math.max(0, position - reach);
    const found = this.slice(begin, position).lastIndexOf("\n");
    return found < 0 ? this.cut(Math.min(position, this.length)) : begin + found + 1;
  }

  // The end of what stands before a position: at most so many characters.
  before(position, limit) { return this.slice(this.cut(Math.max(0, position - limit)), position); }

  replaced(begin, end, text) {
    if (!this.length) return LongText.of(text);
    const first = this.at(begin), last = this.at(end);
    const start = this.starts[first], stop = this.starts[last] + this.pieces[last].length;
    const made = split(this.slice(start, begin) + text + this.slice(end, stop));
    return new LongText([...this.pieces.slice(0, first), ...made, ...this.pieces.slice(last + 1)]);
  }

  added(text) { return this.replaced(this.length, this.length, text); }

  // The text in which something stands from begin to end; only what differs is replaced. Returns
  // where it begins to differ, too.
  edited(begin, end, text) {
    const old = this.slice(begin, end), shorter = Math.min(old.length, text.length);
    let same = 0, tail = 0;
    while (same < shorter && old.charCodeAt(same) === text.charCodeAt(same)) same++;
    while (tail < shorter - same && old.charCodeAt(old.length - 1 - tail) === text.charCodeAt(text.length - 1 - tail)) tail++;
    const made = this.replaced(begin + same, end - tail, text.slice(same, text.length - tail));
    return { text: made, from: begin + same };
  }
}
