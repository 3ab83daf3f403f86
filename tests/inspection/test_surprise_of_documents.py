from __future__ import annotations

from collections.abc import Callable

import pytest

from charrnn.generator import Generator
from charrnn.inspection import surprise
from charrnn.inspection.surprise import score_documents
from charrnn.model.model_file import Model


@pytest.mark.parametrize("pairs", [False, True])
def test_scores_alone_are_found_some_documents_at_a_time(
    pairs: bool,
    make_model: Callable[..., Model],
    make_pair_model: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = Generator((make_pair_model if pairs else make_model)())
    texts = ["ab", "c", "abcab", "b", "a" * 30, "cc", "b"][: 6 if pairs else 7]
    documents = [(text, generator.tokenizer.encode(text)) for text in texts]
    whole = score_documents(documents, generator, 0, lambda done: None)
    sizes: list[int] = []
    made = surprise._surprises

    def counted(some: list[object], *given: object) -> object:
        sizes.append(len(some))
        return made(some, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(surprise, "_surprises", counted)
    monkeypatch.setattr(surprise, "PORTION", 4)
    seen: list[int] = []
    found = score_documents(documents, generator, None, seen.append)
    assert sizes == ([4, 2] if pairs else [4, 2, 1])
    assert [text.name for text in found] == [text.name for text in whole]
    for text, one in zip(found, whole, strict=True):
        assert text.score.total_nats == pytest.approx(one.score.total_nats, rel=1e-6)
        assert text.score.characters == one.score.characters
    assert pairs or seen[-1] == sum(map(len, texts))
    assert seen == sorted(seen)
