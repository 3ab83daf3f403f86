// The curves of a training, as SVG.

import { element } from "/text.js";

const HEIGHT = 320, LEFT = 50, RIGHT = 15, TOP = 30, BOTTOM = 45;
const MIN_WIDTH = 280; // also where the place is not shown

function svg(tag, properties, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(properties)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Round numbers from low to high, about so many.
export function ticks(low, high, about) {
  const rough = (high - low) / about || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + step / 1e6; n++) found.push(n * step);
  return found;
}

function short(value) {
  if (Math.abs(value) >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  return Math.abs(value) >= 1e4 ? `${+(value / 1e3).toPrecision(3)} k` : `${+value.toPrecision(4)}`;
}

export function draw(place, curves) {
  const series = ["train_nats", "valid_nats"].map((name) =>
    curves.step.map((step, n) => [step, curves[name][n]]).filter(([, value]) => value !== null));
  const points = series.flat();
  if (!points.length) {
    place.replaceChildren(element("p", { className: "hint", textContent: "no report yet" }));
    return;
  }
  const WIDTH = Math.max(MIN_WIDTH, place.clientWidth);
  const last = Math.max(1, ...points.map(([step]) => step));
  // The first losses are so high that the others would lie on one line.
  const values = points.map(([, value]) => value).sort((a, b) => a - b);
  const low = values[0], high = Math.max(low + 0.01, values[Math.floor(0.97 * (values.length - 1))]);
  const margin = 0.06 * (high - low), bottom = low - margin, top = high + margin;
  const x = (step) => LEFT + (WIDTH - LEFT - RIGHT) * (step / last);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - (Math.min(value, top) - bottom) / (top - bottom));
  const parts = [];
  for (const value of ticks(bottom, top, 5)) {
    parts.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }));
    parts.push(svg("text", { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" }, short(value)));
  }
  for (const step of ticks(0, last, WIDTH / 110)) {
    parts.push(svg("text", { x: x(step), y: HEIGHT - BOTTOM + 20, "text-anchor": "middle" }, short(step)));
  }
  parts.push(svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM }));
  parts.push(svg("text", { x: (WIDTH + LEFT) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, "step"));
  series.forEach((found, n) => {
    const line = found.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    parts.push(svg("polyline", { class: ["train", "valid"][n], points: line }));
  });
  for (const [step, value] of series[1]) parts.push(svg("circle", { cx: x(step), cy: y(value), r: 2.5 }));
  parts.push(svg("text", { class: "key-train", x: LEFT, y: 18 }, "- - training text"));
  parts.push(svg("text", { class: "key-valid", x: LEFT + 140, y: 18 }, "—•— validation text"));
  const valid = series[1].at(-1);
  const said = valid
    ? `Loss on the validation text: ${valid[1].toFixed(3)} nats per character after ${valid[0]} steps`
    : `Loss on the training text: ${series[0].at(-1)[1].toFixed(3)} nats per character`;
  place.replaceChildren(svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said }, ...parts));
}
