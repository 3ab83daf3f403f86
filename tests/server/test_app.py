"""Completions, scores and lists over a real socket."""

from __future__ import annotations

import dataclasses
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.config import SampleConfig
from charrnn.generator import Generator

from .conftest import Running


@pytest.fixture(scope="module")
def model(folder: Path) -> Generator:
    return charrnn.load(folder / "runs" / "first", threads=1)


def test_models_are_the_given_one_and_the_runs(server: Running) -> None:
    found = server.ask("/v1/models").json
    assert found["object"] == "list"
    assert [each["id"] for each in found["data"]] == ["first", "second"]
    assert server.ask("/v1/models/second").json["id"] == "second"
    missing = server.ask("/v1/models/secand")
    assert missing.status == 404
    assert missing.error == "the model 'secand' is not known: did you mean second?"


SETTINGS: list[dict[str, Any]] = [
    {"max_tokens": 30, "seed": 5},
    {"length": 40, "seed": 1, "temperature": 1.4, "top_p": 0.8},
    {"max_tokens": 25, "seed": 2, "top_k": 4, "presence_penalty": 0.5, "n": 3},
    {"max_tokens": 25, "seed": 2, "regex": "[a-z ]+", "mirostat_ent": 2, "num_samples": 2},
    {"max_tokens": 20, "temperature": 0, "no_repeat_ngram_size": 3},
    {"max_tokens": 300, "seed": 9, "stop": ["e", "th"], "keep_stop": True},
    {"max_tokens": 40, "seed": 3, "logit_bias": {"e": -100, "a": 2}, "forbid": "z"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_completion_is_the_text_of_the_command_line(
    server: Running, model: Generator, settings: dict[str, Any]
) -> None:
    found = server.complete(model="first", prompt="the ", **settings)
    names = {"max_tokens": "length", "n": "num_samples"}
    wanted = model.samples(
        "the ", SampleConfig(**{names.get(name, name): v for name, v in settings.items()})
    )
    assert found["object"] == "text_completion"
    assert [choice["text"] for choice in found["choices"]] == [each.text for each in wanted]
    for index, (choice, sample) in enumerate(zip(found["choices"], wanted, strict=True)):
        assert choice["index"] == index
        assert choice["seed"] == sample.seed
        assert choice["finish_reason"] == ("length" if sample.finished_by == "length" else "stop")
        assert math.isclose(choice["log_prob"], sample.log_prob, abs_tol=1e-9)
    assert found["usage"]["completion_tokens"] == sum(len(each.text) for each in wanted)


def test_every_setting_of_the_command_line_is_taken_by_its_name(server: Running) -> None:
    for field in dataclasses.fields(SampleConfig):
        if field.name == "unique":  # others would have to be written in place of what was sent
            assert server.ask("/v1/completions", {"unique": True}).status == 400
            continue
        value = getattr(SampleConfig(), field.name)
        given = (
            value if not isinstance(value, tuple) else ({} if field.name == "logit_bias" else [])
        )
        fields = {field.name: given, **({} if field.name == "length" else {"max_tokens": 2})}
        assert len(server.complete(**fields)["choices"][0]["text"]) >= 2


def test_a_seed_gives_the_same_text_alone_and_in_a_crowd(server: Running, model: Generator) -> None:
    found: dict[int, str] = {}

    def ask(seed: int) -> None:
        more = [{}, {"top_k": 5}, {"stream": True}][seed % 3]
        answer = server.ask("/v1/completions", {"max_tokens": 300, "seed": seed, **more})
        choices = answer.events if "stream" in more else [answer.json]
        found[seed] = "".join(each["choices"][0]["text"] for each in choices)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, text in found.items():
        filters = {"top_k": 5} if seed % 3 == 1 else {}
        assert text == model.sample("", length=300, seed=seed, **filters).text
    assert len(found) == 24


def test_a_stream_has_the_text_in_pieces(server: Running, model: Generator) -> None:
    asked = {"prompt": "a", "max_tokens": 3000, "seed": 4, "n": 2, "stream": True}
    answer = server.ask("/v1/completions", {**asked, "stream_options": {"include_usage": True}})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *events, usage = answer.events
    texts = ["", ""]
    for event in events:
        (choice,) = event["choices"]
        texts[choice["index"]] += choice["text"]
    wanted = model.samples("a", length=3000, seed=4, num_samples=2)
    assert texts == [each.text for each in wanted]
    assert len(events) > 6
    assert [e["choices"][0]["finish_reason"] for e in events[-2:]] == ["length", "length"]
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 1,
        "completion_tokens": 6000,
        "total_tokens": 6001,
    }


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_are_those_of_scoring(server: Running, model: Generator, stream: bool) -> None:
    asked = {"prompt": "the ", "max_tokens": 50, "seed": 1, "logprobs": 3, "echo": True}
    answer = server.ask("/v1/completions", {**asked, "stream": stream})
    events = answer.events if stream else [answer.json]
    text, tokens, nats, offsets, likely = "", [], [], [], []
    for event in events:
        choice = event["choices"][0]
        text += choice["text"]
        if choice["logprobs"]:
            tokens += choice["logprobs"]["tokens"]
            nats += choice["logprobs"]["token_logprobs"]
            offsets += choice["logprobs"]["text_offset"]
            likely += choice["logprobs"]["top_logprobs"]
    assert text.startswith("the ")
    assert "".join(tokens) == text
    assert len(text) == 54
    assert offsets == list(range(54))
    score = model.score(text, exact=True)
    assert score.surprise is not None
    assert [-each for each in nats] == pytest.approx(score.surprise.nats.tolist(), rel=1e-3)
    for token, logprob, best in zip(tokens, nats, likely, strict=True):
        assert len(best) == 3
        assert logprob <= max(best.values()) + 1e-5
        assert best.get(token, logprob) == pytest.approx(logprob, rel=1e-3)


def test_echo_of_no_new_characters_scores_a_prompt(server: Running, model: Generator) -> None:
    found = server.complete(prompt="hello", max_tokens=0, echo=True, logprobs=0)
    (choice,) = found["choices"]
    assert choice["text"] == "hello"
    assert choice["finish_reason"] == "length"
    total = -sum(choice["logprobs"]["token_logprobs"])
    assert total == pytest.approx(model.score("hello", exact=True).total_nats, rel=1e-4)


def test_several_prompts_are_continued(server: Running, model: Generator) -> None:
    found = server.complete(prompt=["a", "be"], n=2, max_tokens=9, seed=3, model="second")
    second = charrnn.load(server.folder / "runs" / "second", threads=1)
    wanted = [
        sample.text
        for prompt in ("a", "be")
        for sample in second.samples(prompt, length=9, seed=3, num_samples=2)
    ]
    assert [choice["text"] for choice in found["choices"]] == wanted
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]


def test_unknown_characters_are_said(server: Running) -> None:
    found = server.complete(prompt="naïve 漢", max_tokens=3, echo=True)
    assert found["choices"][0]["text"].startswith("naive ")
    (notice,) = found["notices"]
    assert notice.startswith("unknown characters: ")
    refused = server.ask("/v1/completions", {"prompt": "漢", "unknown": "error"})
    assert refused.status == 400
    assert "the model has never seen '漢' (U+6F22)" in refused.error
    assert refused.json["error"]["param"] == "prompt"


def test_a_score_is_that_of_the_command_line(server: Running, model: Generator) -> None:
    text = "the café.\nis near, the sea."
    found = server.ask("/v1/score", {"text": text, "logprobs": 2}).json
    wanted = model.score(text, exact=True)
    assert found["total_nats"] == pytest.approx(wanted.total_nats)
    assert found["nats"] == pytest.approx(wanted.nats)
    assert found["bits_per_byte"] == pytest.approx(wanted.bits_per_byte)
    assert (found["characters"], found["bytes"]) == (len(text), len(text.encode()))
    assert "".join(found["units"]) == text
    assert sum(found["unit_nats"]) == pytest.approx(found["total_nats"])
    assert all(len(each) == 2 for each in found["likeliest"])


WRONG = [
    (b"{", "the body is not JSON"),
    (b"[" * 100_000, "the body is not JSON: it is nested too deeply"),
    (b'{"seed": 1, "seed": 2}', "the body is not JSON: 'seed' is there twice"),
    (b"[]", "the body must be a JSON object"),
    ({"temprature": 1}, "'temprature' is not known: did you mean temperature?"),
    ({"prompt": [1, 2]}, "prompt must be a string or a list of strings"),
    ({"prompt": []}, "prompt has 0 texts"),
    ({"max_tokens": 10**9}, "max_tokens 1000000000 is too many"),
    ({"max_tokens": 5, "length": 5}, "max_tokens and length are the same"),
    ({"n": 300, "max_tokens": 100_000}, "n is too many"),
    (
        {"n": 400, "prompt": "a" * 100_000, "max_tokens": 1, "echo": True},
        "an answer in which so many texts begin with so long a prompt is too long",
    ),
    ({"top_p": 1.5}, "`top_p` must be a number above 0 and at most 1, not 1.5"),
    ({"temperature": "hot"}, "`temperature` must be a number of at least 0, not hot"),
    ({"stop": 3}, "stop must be a string or a list of strings"),
    ({"stop": "x" * 9999}, "stop is too long"),
    ({"logit_bias": [1]}, "logit_bias must be an object"),
    ({"logit_bias": {"the": 1}}, "`logit_bias` 'the' is 3 tokens of this model"),
    ({"regex": "("}, "`regex` '(' is not a valid pattern"),
    ({"regex": "漢+"}, "`regex` '漢+' cannot match"),
    ({"stream": "yes"}, "stream must be true or false"),
    ({"logprobs": 101}, "logprobs must be a whole number from 0 to 100, not 101"),
    ({"model": 3}, "model must be a string"),
    ({"suffix": "end"}, "suffix is not possible"),
    ({"best_of": 4}, "best_of must be n"),
    ({"unknown": "maybe"}, "`unknown` 'maybe' is not known"),
    ({"keep_stop": True}, "`keep_stop` has no effect without `stop`: give both"),
]


@pytest.mark.parametrize(("body", "sentence"), WRONG, ids=[each[1][:30] for each in WRONG])
def test_a_wrong_request_is_refused_in_words(server: Running, body: Any, sentence: str) -> None:
    answer = server.ask("/v1/completions", body)
    assert answer.status == 400
    assert answer.error.startswith(sentence)
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert server.faults == []


def test_errors_name_the_field(server: Running) -> None:
    refused = server.ask("/v1/completions", {"top_p": 2})
    assert refused.json["error"]["param"] == "top_p"


def test_other_addresses_and_methods_are_refused(server: Running) -> None:
    chat = server.ask("/v1/chat/completions", {"messages": []})
    assert chat.status == 404
    assert "these models continue texts: use /v1/completions" in chat.error
    assert server.ask("/v1/completions").status == 405
    assert server.ask("/v1/models", {}).status == 405


def test_no_address_is_a_path_of_the_disk(server: Running) -> None:
    (server.folder / "secret.txt").write_text("secret")
    (server.folder / "runs" / "elsewhere").mkdir(exist_ok=True)
    (server.folder / "runs" / "elsewhere" / "config.json").write_text("{}")
    up = ("..", "%2e%2e", "..%2f..", "%2e%2e%2f", "....//", "..\\", "..%5c", "%252e%252e")
    inside = [f"{step}/{name}" for step in up for name in ("secret.txt", "etc/passwd", "first")]
    inside += [str(server.folder / "secret.txt"), "/etc/passwd", "%00", "first%00", "first/."]
    for base in ("", "page/", "v1/models/", "v1/models/first/", "v1/runs/", "v1/runs/first/"):
        for path in inside:
            answer = server.ask(f"/{base}{path}")
            assert answer.status == 404, path
            assert b"root:" not in answer.body
    for path in ("/page/../app.py", "/../pyproject.toml", "/runs/first", "//etc", "/app.py"):
        assert server.ask(path).status == 404
    for name in ("../secret.txt", str(server.folder / "secret.txt"), "runs/first", "first/"):
        for asked in ("/v1/completions", "/v1/score", "/v1/next"):
            text = {"text": "a"} if asked.endswith("score") else {}
            assert server.ask(asked, {"model": name, **text}).status == 404


def test_score_needs_a_text(server: Running) -> None:
    for body in ({}, {"text": ""}, {"text": "x" * 100_001}):
        assert server.ask("/v1/score", body).status == 400
    assert server.ask("/v1/score", {"text": "漢"}).status == 400


def test_the_first_event_comes_before_the_text_is_written(server: Running) -> None:
    with server.connect() as client:
        body = json.dumps({"max_tokens": 100_000, "stream": True, "seed": 1}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: {len(body)}"
        head = head.replace("x.localhost", f"127.0.0.1:{server.port}")
        client.sendall(f"{head}\r\nContent-Type: application/json\r\n\r\n".encode() + body)
        received = b""
        while b"data: " not in received:
            received += client.recv(4096)
        assert b"[DONE]" not in received


def test_the_next_character_is_that_of_the_command_line(server: Running, model: Generator) -> None:
    from charrnn.config.inspection import NextOptions
    from charrnn.inspection import next_token

    asked = {"prompt": "the ", "temperature": 0.5, "top_k": 3, "width": 3, "length": 4}
    found = server.ask("/v1/next", {**asked, "symbols": 5}).json
    read = model.read("the ")
    wanted = next_token.choices(read, next_token.settings({"temperature": 0.5, "top_k": 3}))
    names = model.tokenizer.token_names
    assert list(found["choices"]) == ["model", "temperature 0.5", "top-k 3", "together"]
    for name, choice in wanted.items():
        got = found["choices"][name]
        assert got["entropy"] == pytest.approx(choice.entropy)
        assert len(got["probabilities"]) == min(5, choice.possible)
        for symbol, probability in got["probabilities"]:
            assert choice.probabilities[names.index(symbol)] == pytest.approx(probability)
    tree = next_token.beam_tree(model, read, NextOptions(width=3, length=4).beam)
    assert json.dumps(found["beam"])[:40] == json.dumps(tree.to_json())[:40]
    assert len(found["beam"]["children"]) == len(tree.children)
    refused = server.ask("/v1/next", {"width": 10_000})
    assert refused.status == 400
    assert "is too large to show" in refused.error
