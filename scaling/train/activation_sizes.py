"""Sizes of a model's activations before training and after each of its first steps: what the coordinate check
compares between widths."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config.run import RunConfig
from scaling.models.axes import listening
from scaling.models.language_model import Batch, LanguageModel, logits
from scaling.parallel.mesh import make_mesh
from scaling.train.step import TrainStep

LAYERS = (  # in the order in which a model computes them
    "embedding",
    "attention logits",
    "attention output",
    "cross-attention logits",
    "cross-attention output",
    "feed-forward output",
    "residual stream",
    "head logits",
)
STACKS = ("", "encoder", "decoder")


class Place(NamedTuple):
    """One activation of a model. Depth counts from 1, and is 0 outside the layers; the stack is named in
    encoder-decoders only."""

    stack: str
    depth: int
    layer: str

    def __str__(self) -> str:
        where = f"{self.stack} layer {self.depth}" if self.depth else self.stack
        return f"{self.layer}, {where.strip()}" if where else self.layer

    @property
    def order(self) -> tuple[int, int, int]:
        """By kind of activation, then from the input to the output."""
        return LAYERS.index(self.layer), STACKS.index(self.stack), self.depth


class Sizes(NamedTuple):
    """Root mean squares over the coordinates, positions and sequences of a batch.

    A logit is an inner product over a width. Its terms have random signs at first, so it scales with the
    square root of the width; once training has aligned the two vectors, it scales with the width itself. muP
    keeps the aligned size constant (Yang et al. 2022, arXiv:2203.03466, definition 4.1), but a few steps
    align little. Logits are therefore measured as if they were aligned: |q| |k| in place of q k.
    `raw_activation` and `raw_change` are those of the logits themselves, and None of other activations.
    """

    activation: float
    change: float
    raw_activation: float | None = None
    raw_change: float | None = None


def sizes_in_training(
    run: RunConfig, seeds: Sequence[int], batches: Sequence[Sequence[Any]], looked_at: Any
) -> Iterator[list[dict[Place, Sizes]]]:
    """Of each seed, the sizes before training and after each step; one compiled step serves all seeds.

    Args:
        run: its layers are unrolled; every step has its learning rate in full.
        seeds: of the initial weights.
        batches: of each seed, a batch per step.
        looked_at: the batch whose activations are measured.
    """
    functions = TrainStep(run, make_mesh(run.mesh))
    rate, batch = np.float32(run.train.learning_rate), functions.place(looked_at)
    look, compared = jax.jit(_activations), jax.jit(_compared)
    for seed, own in zip(seeds, batches, strict=True):
        state = functions.init(seed)
        start = look(state.model, batch)
        found = [compared(start, start)]
        for number, step_batch in enumerate(own):
            state, _ = functions.step(state, functions.place(step_batch), rate, np.int32(number))
            found.append(compared(look(state.model, batch), start))
        yield [{place: Sizes(*map(float, sizes)) for place, sizes in one.items()} for one in found]


def _activations(model: LanguageModel, batch: Batch) -> dict[Place, tuple[jax.Array, ...]]:
    """Every activation that the model taps, and its logits; of logits also the two factors."""
    with listening() as seen:
        terms = model.terms(batch)
    found: dict[Place, tuple[jax.Array, ...]] = {}
    embeddings = sum(name == "embedding" for name, _ in seen)
    stack, depth, attention = 0, 0, "attention logits"
    for name, value in seen:
        if name == "embedding":
            stack, depth = stack + 1, 0
        logit = name in ("attention logits", "scaled queries", "scaled keys")
        place = Place(STACKS[stack] if embeddings > 1 else "", depth, attention if logit else name)
        found[place] = (*found.get(place, ()), value.astype(jnp.float32))
        if name == "attention output":
            attention = "cross-attention logits"  # if the layer has any
        elif name in ("embedding", "residual stream"):
            depth, attention = depth + 1, "attention logits"
    head = logits(model, terms.x_BLD), terms.x_BLD, model.head_VD()
    return found | {Place("", 0, LAYERS[-1]): tuple(x.astype(jnp.float32) for x in head)}


def _compared(
    now: dict[Place, tuple[jax.Array, ...]], start: dict[Place, tuple[jax.Array, ...]]
) -> dict[Place, tuple[jax.Array, ...]]:
    """The fields of `Sizes`."""
    return {place: _sizes(now[place], start[place]) for place in now}


def _sizes(now: tuple[jax.Array, ...], start: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    raw = _rms(now[0]), _rms(now[0] - start[0])
    if len(now) == 1:
        return raw
    # Of an inner product a b: |a| |b|, and |a - a0| |b| + |a0| |b - b0|.
    (_, a, b), (_, a0, b0) = now, start
    width = a.shape[-1]
    return width * _rms(a) * _rms(b), width * (_rms(a - a0) * _rms(b) + _rms(a0) * _rms(b - b0)), *raw


def _rms(x: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.mean(jnp.square(x)))
