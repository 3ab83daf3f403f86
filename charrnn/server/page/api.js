// Requests to the server that this page came from.

import { at } from "/text.js";

const TOKEN = "charrnn-token";

const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname);
}

export class Refused extends Error {
  constructor(error) {
    super(error.message);
    this.param = error.param;
  }
}

async function refusal(answer) {
  try {
    return new Refused((await answer.json()).error);
  } catch {
    return new Refused({ message: `the server answered ${answer.status} ${answer.statusText}` });
  }
}

let asking = null; // only one question for the token at a time

function askToken() {
  asking ??= new Promise((done) => {
    const dialog = at("ask-token");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem(TOKEN, at("token").value.trim());
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

// Returns an answer; asks for the token where the server wants one.
export async function ask(path, body, signal) {
  for (;;) {
    const headers = {};
    const token = sessionStorage.getItem(TOKEN);
    if (token) headers.Authorization = `Bearer ${token}`;
    if (body) headers["Content-Type"] = "application/json";
    let answer;
    try {
      answer = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Refused({ message: "the server does not answer: is 'charrnn serve' still running?" });
    }
    if (answer.status === 401) await askToken();
    else if (answer.ok) return answer;
    else throw await refusal(answer);
  }
}

export const json = async (...request) => (await ask(...request)).json();

// Yields the events of a stream.
export async function* stream(path, body, signal) {
  const answer = await ask(path, { ...body, stream: true }, signal);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let waiting = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refused({ message: "the server ended before the text did" });
    const events = (waiting + value).split("\n\n");
    waiting = events.pop();
    for (const event of events) {
      const content = event.replace(/^data: /, "");
      if (content === "[DONE]") return;
      const found = JSON.parse(content);
      if (found.error) throw new Refused(found.error);
      yield found;
    }
  }
}
