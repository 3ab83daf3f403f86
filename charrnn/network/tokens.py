"""The part of a layer's input that follows from the token alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Tokens and their vectors, which a layer reads behind the rest of its input.

    What a vector adds to a layer's sums is the same at every step: so a function that runs a layer
    may compute it once for each token of the vocabulary.

    Attributes:
        ids: (T, B).
        vectors: by token (V, E).
    """

    ids: Tensor
    vectors: Tensor

    def behind(self, x: Tensor) -> Tensor:
        """Return the whole input (T, B, X + E), of which `x` (T, B, X) is the rest."""
        return torch.cat([x, F.embedding(self.ids, self.vectors)], -1)
