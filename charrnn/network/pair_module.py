"""The network of pairs as a torch module: source -> encoder -> decoder -> logits of the target.

    encoder     each layer reads the one below forwards, and backwards if it is bidirectional; the
                outputs of both directions beside each other are the layer's H outputs
    last        the forward output at the source's last token and the backward output at its first
    context     linear maps of `last`: the decoder's initial state, and what is added to its input
                at every step (the fixed vector C of Goodfellow et al. 2016, chapter 10.4)
    attention   the decoder's first layer runs over the whole target; its outputs y_t are compared
                with the encoder's outputs m_s by (W y_t) . m_s / sqrt(H), and the mean of m_s with
                the softmax of that as weights goes to all that is above (as in Wu et al. 2016, so
                that no loop over time is needed)
    decoder     the layers of a text model

Shapes: S steps of the sources, T of the targets, B pairs, H hidden units.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from charrnn.model import parameters
from charrnn.network import loss
from charrnn.network import noise as noises
from charrnn.network.layers import Sequence, State
from charrnn.network.module import CharRNN, Outputs
from charrnn.network.noise import Noise, OwnStreams
from charrnn.network.source import Reversal, Source, beside
from charrnn.text.pair_order import PairBatch
from charrnn.text.streams import IGNORED


class PairRNN(CharRNN):
    """A network that writes a target for a source; see `CharRNN` for its arguments."""

    def run_pairs(
        self,
        batch: PairBatch,
        *,
        sequence: Sequence | None = None,
        streams: OwnStreams | None = None,
    ) -> Outputs:
        """Return the outputs of the decoder over the targets of a batch.

        Args:
            batch: the pairs.
            sequence: runs a layer, instead of the usual function.
            streams: which pairs of a larger batch these are, if they are not all.
        """
        sources, lengths, inputs = (
            torch.from_numpy(ids).to(self.device)
            for ids in (batch.sources, batch.lengths, batch.inputs)
        )
        source = self.encode(sources, lengths, sequence=sequence, streams=streams)
        count = streams.count if streams else len(lengths)
        noise = self.draw(count, streams) if self.training else Noise()
        return self.run(inputs, source.start, noise, sequence=sequence, source=source)[0]

    @torch.no_grad()
    def pair_nats(self, batch: PairBatch, *, quick: bool = False) -> NDArray[np.float32]:
        """Return -ln p of every target (T, B) without dropout, and 0 where it is padding.

        With `quick` the layers run as in training, perhaps in bfloat16.
        """
        read = self._scored(batch, quick)
        wanted = torch.from_numpy(batch.targets).to(self.device)
        nats = loss.nats(read, wanted.flatten(), *self._output())
        return nats.view(wanted.shape).cpu().numpy()

    @torch.no_grad()
    def pair_results(self, batch: PairBatch) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what `pair_nats` does, and whether greedy writing gives each target (B,).

        It does if the most likely token after the first tokens of the target is always the next
        one. The layers run as in training.
        """
        read = self._scored(batch, quick=True)
        wanted = torch.from_numpy(batch.targets).to(self.device)
        nats, best = loss.nats_and_likeliest(read, wanted.flatten(), *self._output())
        right = (best.view(wanted.shape) == wanted) | (wanted == IGNORED)
        return nats.view(wanted.shape).cpu().numpy(), right.all(0).cpu().numpy()

    def _scored(self, batch: PairBatch, quick: bool) -> Tensor:
        """Return what the output map reads at every step of the targets, (T*B, Y)."""
        was_training = self.training
        self.eval()
        outputs = self.run_pairs(batch, sequence=self._sequence if quick else None)
        self.train(was_training)
        return outputs.read.flatten(0, 1)

    def encode(
        self,
        ids: Tensor,
        lengths: Tensor,
        *,
        sequence: Sequence | None = None,
        streams: OwnStreams | None = None,
    ) -> Source:
        """Read sources (S, B), padded at their ends, of the given lengths (B,)."""
        config, weights = self.config, self.weights()
        prefixes = [
            f"encoder.layers.{index}.{direction}."
            for index in range(config.num_layers)
            for direction in config.directions
        ]
        count = streams.count if streams else len(lengths)
        noise = self._draw(count, prefixes, streams) if self.training else Noise()
        turned = Reversal(lengths, len(ids))
        x = outputs = tokens = self._seen(ids, streams)
        zero = tokens.new_zeros(len(lengths), config.encoder_size)
        start = tuple(zero for _ in self.layer.cell.states)
        layers = (
            noise.masked(number, parameters.within(weights, prefix))
            for number, prefix in enumerate(prefixes)
        )
        for index in range(config.num_layers):
            parts = [self._run_layer(next(layers), x, start, noise, sequence=sequence)[0]]
            if config.encoder == "bidirectional":
                y, _ = self._run_layer(next(layers), turned(x), start, noise, sequence=sequence)
                parts.append(turned(y))
            outputs = self._drop(beside(*parts), noise, index)
            x = beside(outputs, *[tokens] * config.skip_connections)
        return self._source(outputs, lengths)

    def _seen(self, ids: Tensor, streams: OwnStreams | None = None) -> Tensor:
        """Return the embeddings of a source's tokens; in training zeros for those hidden."""
        tokens, rate = self._embedded(ids), self.regularizers.source_dropout or 0.0
        if not (self.training and rate):
            return tokens
        return tokens * noises.hidden(ids, rate, streams, self.generator)

    def _source(self, outputs: Tensor, lengths: Tensor) -> Source:
        """Return what the decoder sees, from the top layer's outputs (S, B, H)."""
        config, weights = self.config, self.weights()
        last = outputs[lengths - 1, torch.arange(len(lengths), device=lengths.device)]
        if config.encoder == "bidirectional":
            size = config.encoder_size
            last = beside(last[:, :size], outputs[0, :, size:])

        def parts(name: str) -> tuple[Tensor, ...]:
            """Return a part of the initial state of every layer."""
            prefix = f"context.start.{name}."
            values = F.linear(last, weights[f"{prefix}weight"], weights[f"{prefix}bias"])
            return values.chunk(config.num_layers, -1)

        start: State = tuple(zip(*map(parts, self.layer.cell.states), strict=True))
        added = F.linear(last, weights["context.input.weight"])
        padded = torch.arange(len(outputs), device=lengths.device) >= lengths[:, None]
        if config.context == "fixed":
            return Source(start, added, None, None, padded)
        memory = outputs.transpose(0, 1)
        # (W y) . m = y . (W^T m): keys, unlike queries, are the same at every step of a target.
        query = weights["attention.query.weight"]
        keys = loss.product(memory, query.T, self._bf16 and self.training)
        return Source(start, added, memory, keys, padded)
