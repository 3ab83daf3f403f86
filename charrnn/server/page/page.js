// The page: its tabs, the choice of a model, and what goes wrong.

import { json } from "/api.js";
import { at, element } from "/text.js";
import * as score from "/score.js";
import * as training from "/training.js";
import * as write from "/write.js";

export const model = () => at("model").value || undefined;

export function say(error) {
  at("alert").textContent = error ? error.message : "";
  at("alert").hidden = !error;
}

const tabs = [...document.querySelectorAll('[role="tab"]')];

export function show(name) {
  for (const tab of tabs) {
    const chosen = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    at(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  training.watch(name === "training");
  say(null);
}

for (const [number, tab] of tabs.entries()) {
  tab.addEventListener("click", () => show(tab.id.slice(4)));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const next = { Home: 0, End: tabs.length - 1 }[event.key] ?? (step && (number + step + tabs.length) % tabs.length);
    if (next === undefined) return;
    event.preventDefault();
    tabs[next].focus();
    show(tabs[next].id.slice(4));
  });
}

// Fill a list of choices and keep the chosen one.
export function fill(list, names) {
  const before = list.value;
  if (names.join("\n") === [...list.options].map((option) => option.value).join("\n")) return;
  list.replaceChildren(...names.map((name) => element("option", { value: name, textContent: name })));
  if (names.includes(before)) list.value = before;
}

async function models() {
  try {
    fill(at("model"), (await json("/v1/models")).data.map((each) => each.id));
  } catch (error) {
    say(error);
  }
}

export function choose(name) {
  at("model").value = name;
  at("model").dispatchEvent(new Event("change"));
}

write.begin({ model, say });
score.begin({ model, say });
training.begin({ say, fill, choose, show });
at("model").addEventListener("focus", models);
await models();
write.cursorMoved();
