// The Training tab: how a run trains, while it does.

import { json } from "/api.js";
import { draw } from "/charts.js";
import { numbers } from "/score.js";
import { at, count } from "/text.js";

const PERIOD = 2000; // milliseconds between two looks
const SAMPLE = 400; // characters

let page;
let watching = false, timer = 0;
let sampled = ""; // which state of which run the sample is of

const STATES = {
  running: "is training", stopped: "was stopped and can be resumed", finished: "has finished", diverged: "diverged",
};
const shown = new Map(); // what each place shows, which stays as it is while nothing is new: it may be selected

function renew(place, content, show) {
  const key = JSON.stringify(content);
  if (shown.get(place) === key) return;
  shown.set(place, key);
  show();
}

const say = (place, text) => renew(place, text, () => { place.textContent = text; });
const number = (value, digits) => (value === null ? "unknown" : digits === undefined ? value.toLocaleString("en") : value.toFixed(digits));

async function look() {
  clearTimeout(timer);
  if (!watching) return;
  try {
    const runs = (await json("/v1/runs")).data;
    page.fill(at("run"), runs.map((run) => run.name));
    if (runs.length) await showRun(at("run").value);
    else say(at("run-status"), "There is no run in ./runs yet: ‘charrnn train TEXT’ starts one.");
    at("use-run").disabled = !runs.length;
    page.say(null);
  } catch (error) {
    page.say(error);
  }
  clearTimeout(timer);
  if (watching && at("live").checked) timer = setTimeout(look, PERIOD);
}

function size(run) {
  const each = `${run.num_layers} × ${run.hidden_size / (run.ensemble ?? 1)}`;
  return run.ensemble ? `${run.ensemble} networks of ${each}` : each;
}

async function showRun(name) {
  const run = await json(`/v1/runs/${encodeURIComponent(name)}`);
  if (at("run").value !== name) return;
  const said = `${run.name} ${STATES[run.state]}` + (run.steps === null ? "." : ` after ${count(run.steps, "step")}.`);
  say(at("run-status"), said);
  const speed = run.curves.chars_per_second.at(-1) ?? null;
  const account = [
    ["text", run.text ?? "unknown"],
    ["network", run.cell ? `${run.cell}, ${size(run)}` : "unknown"],
    ["parameters", number(run.parameters)],
    ["best loss, validation", number(run.valid_nats, 4)],
    ["loss, training", number(run.train_nats, 4)],
    ["epochs", number(run.epochs, 2)],
    ["minutes", run.seconds === null ? "unknown" : (run.seconds / 60).toFixed(1)],
    ["characters per second", number(speed === null ? null : Math.round(speed))],
  ];
  renew(at("run-numbers"), account, () => numbers(at("run-numbers"), account));
  renew(at("chart"), [at("chart").clientWidth, run.curves], () => draw(at("chart"), run.curves));
  at("use-run").disabled = !run.has_model;
  await showSample(run);
}

// The newest sample is the training's own, or else one that the best model so far writes.
async function showSample(run) {
  if (run.sample) {
    say(at("sample"), run.sample.text);
    say(at("sample-said"), `The training wrote this after ${count(run.sample.step, "step")}.`);
    sampled = "";
    return;
  }
  const state = `${run.name} ${run.valid_nats}`;
  if (!run.has_model) {
    say(at("sample"), "");
    say(at("sample-said"), "The first model comes with the first validation.");
  } else if (sampled !== state) {
    sampled = state;
    try {
      const found = await json("/v1/completions", { model: run.name, max_tokens: SAMPLE });
      say(at("sample"), found.choices[0].text);
      say(at("sample-said"), "The best model so far wrote this now.");
    } catch (error) {
      say(at("sample"), "");
      say(at("sample-said"), error.message);
    }
  }
}

export function watch(on) {
  watching = on;
  if (page) look();
}

export function begin(offered) {
  page = offered;
  at("run").addEventListener("change", look);
  at("live").addEventListener("change", look);
  at("use-run").addEventListener("click", () => {
    const name = at("run").value;
    page.fill(at("model"), [...new Set([...[...at("model").options].map((option) => option.value), name])]);
    page.choose(name);
    page.show("write");
    at("tab-write").focus();
  });
}
