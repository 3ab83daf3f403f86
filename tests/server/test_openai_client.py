"""The official client of OpenAI's protocol, against our server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import Running


@pytest.fixture
def openai() -> Any:
    """Return the client's module, which takes a second to import."""
    return pytest.importorskip("openai", reason="the openai client is not installed")


@pytest.fixture
def client(openai: Any, server: Running) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_models_are_listed(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["first", "second"]
    assert client.models.retrieve("second").owned_by == "charrnn"


def test_a_completion_and_its_stream_are_the_same_text(client: Any) -> None:
    asked = {"model": "first", "prompt": "the ", "max_tokens": 500, "seed": 3, "temperature": 1}
    whole = client.completions.create(**asked, logprobs=2, stop=["q"], echo=True)
    text = whole.choices[0].text
    assert text.startswith("the ")
    assert whole.usage.completion_tokens == len(text) - 4
    assert "".join(whole.choices[0].logprobs.tokens) == text
    assert len(whole.choices[0].logprobs.top_logprobs[0]) == 2
    pieces = list(client.completions.create(**asked, stop=["q"], echo=True, stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == text
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_our_settings_go_by_their_names(client: Any) -> None:
    found = client.completions.create(
        model="first", prompt="", max_tokens=30, extra_body={"regex": "[ab]+", "top_k": 5}
    )
    assert set(found.choices[0].text) <= {"a", "b"}


def test_errors_are_those_of_the_client(openai: Any, client: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="`top_p` must be a number") as refused:
        client.completions.create(model="first", prompt="", top_p=3)
    assert refused.value.param == "top_p"
    with pytest.raises(openai.NotFoundError, match="did you mean first"):
        client.completions.create(model="frist", prompt="")


def test_leaving_a_stream_frees_its_place(client: Any, server: Running) -> None:
    from waiting import wait_until

    stream = client.completions.create(model="first", prompt="", max_tokens=90_000, stream=True)
    next(iter(stream))
    stream.close()
    wait_until(lambda: not server.models._loaded["first"].worker.busy)
