"""A page of a text that is painted by the unit which its reader chooses; it needs nothing else.

The activations are in the page, a byte for each unit and symbol.
"""

from __future__ import annotations

import base64
import html
import json
from typing import TYPE_CHECKING, Any

from charrnn.cli.display.activation_text import colour, form

if TYPE_CHECKING:
    from charrnn.cli.commands.inspect_cells import Looked, Unit

MOST_BYTES = 6_000_000  # of activations
LEVELS = 256

_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>__TITLE__</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #000; background: #fff; margin: 1.5em auto;
 max-width: 60em; padding: 0 1em; }
header { position: sticky; top: 0; background: #fff; padding: .5em 0;
 border-bottom: 1px solid #ccc; }
select, input, button { font: inherit; }
input { width: 5em; }
#scale { display: inline-block; width: 10em; height: 1em; vertical-align: middle; }
#all { overflow: auto; max-height: 24em; }
canvas { image-rendering: pixelated; cursor: crosshair; }
#text { font: 15px/1.7 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; } td { padding: 0 .8em 0 0; }
</style>
<h1>__TITLE__</h1>
<details open><summary>units that track something</summary>
<p>Chosen on the first half of the text, scored on the second: 1 and &minus;1 are best, 0 is chance.
<table id="found"></table></details>
<details open><summary>all units, one below the other, over the text: a click chooses one</summary>
<div id="all"><canvas id="map"></canvas></div></details>
<header>
<label>layer <select id="layer"></select></label>
<label>part <select id="part"></select></label>
<label>unit <input id="unit" type="number" min="1" value="1"></label>
<button id="before">&larr;</button> <button id="next">&rarr;</button>
<span id="low"></span> <span id="scale"></span> <span id="high"></span> <b id="value"></b>
</header>
<p id="text"></p>
<script id="data" type="application/json">__DATA__</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = name => document.getElementById(name);
const parts = Object.keys(data.parts);
const bytes = {};
function levels(part) {
  if (!bytes[part]) bytes[part] = Uint8Array.from(atob(data.parts[part]), c => c.charCodeAt(0));
  return bytes[part];
}
const number = x => x.toPrecision(3);
const marks = data.symbols.map((shown, i) => {
  const mark = document.createElement("span");
  mark.textContent = shown;
  mark.dataset.at = i;
  at("text").append(mark);
  return mark;
});
for (let i = 1; i <= data.layers; i++) at("layer").append(new Option(i));
for (const part of parts) at("part").append(new Option(part));
at("unit").max = data.units;
at("scale").style.background = "linear-gradient(to right," + data.colours.join(",") + ")";
const colours = data.colours.map(name => parseInt(name.slice(1), 16));
const zoom = Math.max(1, Math.floor(900 / data.symbols.length));
let values = [], scale = [0, 1], drawn = "";
function drawAll(layer, part) {
  if (drawn === layer + part) return;
  drawn = layer + part;
  const map = at("map"), width = data.symbols.length, size = width * data.units;
  [map.width, map.height] = [width, data.units];
  [map.style.width, map.style.height] = [width * zoom + "px", data.units * zoom + "px"];
  const image = new ImageData(width, data.units), all = levels(part).subarray(layer * size);
  for (let i = 0; i < size; i++) {
    const colour = colours[all[i]];
    image.data.set([colour >> 16, colour >> 8 & 255, colour & 255, 255], 4 * i);
  }
  map.getContext("2d").putImageData(image, 0, 0);
}
at("map").onclick = event => {
  const box = at("map").getBoundingClientRect();
  at("unit").value = 1 + Math.floor((event.clientY - box.top) / box.height * data.units);
  paint();
};
function paint() {
  const unit = Math.min(Math.max(1, at("unit").valueAsNumber || 1), data.units) - 1;
  const layer = at("layer").selectedIndex, part = at("part").value;
  drawAll(layer, part);
  const first = (layer * data.units + unit) * data.symbols.length;
  values = levels(part).subarray(first, first + data.symbols.length);
  const end = data.ends[part][layer][unit];
  scale = end === null ? [0, 1] : [-end, end];
  at("low").textContent = number(scale[0]);
  at("high").textContent = number(scale[1]);
  marks.forEach((mark, i) => { mark.style.background = data.colours[values[i]]; });
}
function choose(layer, part, unit) {
  at("layer").selectedIndex = layer - 1;
  at("part").value = part;
  at("unit").value = unit;
  paint();
}
for (const [name, layer, part, unit, score] of data.found) {
  const row = at("found").insertRow(), button = document.createElement("button");
  row.insertCell().textContent = name;
  button.textContent = `${layer}.${part}.${unit}`;
  button.onclick = () => choose(layer, part, unit);
  row.insertCell().append(button);
  row.insertCell().textContent = score.toFixed(3);
}
for (const name of ["layer", "part", "unit"]) at(name).oninput = paint;
function move(by) {
  const unit = (at("unit").valueAsNumber || 1) - 1 + by;
  at("unit").value = (unit + data.units) % data.units + 1;
  paint();
}
at("before").onclick = () => move(-1);
at("next").onclick = () => move(1);
at("text").onmouseover = event => {
  const i = event.target.dataset.at;
  if (i !== undefined) {
    const value = scale[0] + (scale[1] - scale[0]) * values[i] / 255;
    at("value").textContent = number(value);
  }
};
choose(...data.first);
</script>
</html>
"""


def shown(looked: Looked) -> int:
    """How many symbols of the text a page has room for."""
    of_each: int = sum(values.shape[0] * values.shape[2] for values in looked.found.parts.values())
    return min(len(looked.symbols), max(1, MOST_BYTES // of_each))


def cells(looked: Looked, painted: Unit | None) -> str:
    """The page of a text that was looked at; it begins with `painted`, or with the best unit."""
    import numpy as np

    from charrnn.cli.commands.inspect_cells import EXTREME

    found, length = looked.found, shown(looked)
    layers, _, units = next(iter(found.parts.values())).shape
    parts: dict[str, str] = {}
    ends: dict[str, Any] = {}
    for name, values in found.parts.items():
        if name in found.gates:
            share, ends[name] = values, [[None] * units] * layers
        else:
            most = np.quantile(np.abs(values), EXTREME, axis=1)  # (L, H)
            most = np.where(most > 0, most, 1.0)
            share, ends[name] = (values / most[:, None] + 1) / 2, most.tolist()
        whole = np.clip(np.rint(share[:, :length] * (LEVELS - 1)), 0, LEVELS - 1).astype(np.uint8)
        parts[name] = base64.b64encode(whole.transpose(0, 2, 1).tobytes()).decode()
    best = [
        (name, unit.layer, unit.part, unit.number, one.score)
        for name, several in looked.trackers.items()
        for unit, one in several[:1]
    ]
    first = (painted.layer, painted.part, painted.number) if painted else None
    data = {
        "symbols": [form(symbol) for symbol in looked.symbols[:length]],
        "layers": layers,
        "units": units,
        "parts": parts,
        "ends": ends,
        "colours": [colour(level / (LEVELS - 1)) for level in range(LEVELS)],
        "found": best,
        "first": first or (best[0][1:4] if best else (1, found.states[-1], 1)),
    }
    # No text can end the script: a tag in JSON is spelled without its bracket.
    script = json.dumps(data).replace("<", "\\u003c")
    title = html.escape(f"{looked.name}: what its units do")
    return _PAGE.replace("__TITLE__", title).replace("__DATA__", script)
