"""Label texts by counts of character n-grams and logistic regression, for comparison.

    charrnn train PAIRS.tsv --pairs --test-fraction 0.2 --valid-fraction 0.05 --minutes 2 --out RUN
    charrnn eval --model RUN --part test
    python tests/benchmarks/labels.py PAIRS.tsv

It needs scikit-learn, trains on the same part (with the validation part, of which it makes no other
use), and is measured on the same test part.
"""

from __future__ import annotations

import sys

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from sklearn.pipeline import make_pipeline

from charrnn.config import TextOptions
from charrnn.text.dataset import Dataset
from charrnn.text.open import dataset_of
from charrnn.text.pairs import PairPart

SPLIT = TextOptions(pairs=True, valid_fraction=0.05, test_fraction=0.2)


def texts(data: Dataset, part: str) -> tuple[list[str], list[str]]:
    """Return the sources and the targets of a part."""
    pairs = PairPart(getattr(data, part), data.documents[part])
    decode = data.tokenizer.decode
    numbers = range(len(pairs))
    return [decode(pairs.source(i)) for i in numbers], [decode(pairs.target(i)) for i in numbers]


def main(file: str) -> None:
    """Print accuracy and balanced accuracy for several lengths of n-grams."""
    data = dataset_of([file], SPLIT)
    train, valid, test = (texts(data, part) for part in ("train", "valid", "test"))
    known = train[0] + valid[0], train[1] + valid[1]
    for longest in (3, 4, 5):
        for balance in (None, "balanced"):
            grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, longest), sublinear_tf=True)
            model = make_pipeline(
                grams, LogisticRegression(C=10, max_iter=1000, class_weight=balance)
            )
            model.fit(*known)
            found = model.predict(test[0])
            print(
                f"n-grams of 1 to {longest}, {balance or 'plain'} classes: accuracy "
                f"{accuracy_score(test[1], found):.4f}, balanced "
                f"{balanced_accuracy_score(test[1], found):.4f} ({len(np.unique(test[1]))} labels, "
                f"{len(found):,} pairs)"
            )


if __name__ == "__main__":
    main(sys.argv[1])
