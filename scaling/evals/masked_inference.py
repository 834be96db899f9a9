"""Inference with an encoder: an answer is scored by masking each of its tokens in turn."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from scaling.config.mesh import MeshConfig
from scaling.evals.inference import Request, Scored
from scaling.evals.prefix_groups import bucket, column, padded
from scaling.models.language_model import Batch, logits
from scaling.parallel.mesh import batch_sharding, make_mesh, placed, shardings
from scaling.runtime.errors import BadInputError

_ROWS = {"cpu": 32}  # elsewhere 256
_SCORES = 2**27  # attention scores of a batch in one layer, on each device


class MaskedEngine:
    """Scores answers with an encoder by their pseudo-log-likelihood, for choices and given answers.

    A token's log-probability is that of the model at its position, given the context and all other tokens of
    the answer (Salazar et al. 2020, arXiv:1910.14659, equation 2). Encoders do not generate.

    Raises:
        BadInputError: the model has no head over its vocabulary, or no mask token.
    """

    encoder_decoder = False

    def __init__(
        self, model: Any, start: int, mask: int, closing: tuple[int, ...], mesh: Mesh | None = None
    ) -> None:
        """`mask` is the id of [MASK]; `closing` follows the answer, as [SEP] does."""
        config = model.config
        if not config.has_vocabulary_head:
            raise BadInputError(f"model {config.name}: mlm_head=false: it has no head over the vocabulary")
        if not 0 <= mask < config.vocab_size:
            raise BadInputError(f"model {config.name}: its vocabulary has no mask token, which scoring needs")
        self.config, self.start, self.mesh = config, start, mesh or make_mesh(MeshConfig(), jax.devices()[:1])
        self.model = jax.device_put(model, shardings(model, self.mesh))
        self._mask, self._closing = mask, closing
        self._shards = int(np.prod([self.mesh.shape[axis] for axis in ("data", "fsdp", "expert")]))
        self._by_rows = batch_sharding((self._shards,), self.mesh)

    def fits(self, context: Sequence[int], answer_tokens: int) -> bool:
        """Whether a context and an answer of `answer_tokens` tokens fit the model's positions."""
        return len(context) + answer_tokens + len(self._closing) <= self.config.max_length

    def score(
        self, requests: Sequence[Request], advance: Callable[[int], None] = lambda count: None
    ) -> list[Scored]:
        """The scores of each answer, in order.

        Raises:
            BadInputError: an empty answer, ids outside the vocabulary, or more tokens than positions.
        """
        jobs = []
        for i, request in enumerate(requests):
            self._check(i, request)
            jobs += [(i, k) for k in range(len(request.answer))]
        log_probs: list[list[float]] = [[0.0] * len(request.answer) for request in requests]
        likeliest: list[list[bool]] = [[False] * len(request.answer) for request in requests]
        by_length: dict[int, list[tuple[int, int]]] = {}
        for i, k in jobs:
            length = len(requests[i].context) + len(requests[i].answer) + len(self._closing)
            by_length.setdefault(min(bucket(length), self.config.max_length), []).append((i, k))
        for length, some in sorted(by_length.items()):
            height = self._rows(length)
            for first in range(0, len(some), height):
                batch = some[first : first + height]
                done = self._batch([(requests[i], k) for i, k in batch], height, length)
                for (i, k), log_prob, best in zip(batch, *done, strict=False):
                    log_probs[i][k], likeliest[i][k] = float(log_prob), bool(best)
        advance(len(requests))
        return [Scored(tuple(p), tuple(best)) for p, best in zip(log_probs, likeliest, strict=True)]

    def _batch(self, jobs: list[tuple[Request, int]], height: int, length: int) -> Any:
        rows, at = [], []
        for request, k in jobs:
            answer = [*request.answer]
            answer[k] = self._mask
            rows.append([*request.context, *answer, *self._closing])
            at.append(len(request.context) + k)
        arrays = (
            padded(rows, height, length),
            padded([[1] * len(row) for row in rows], height, length),
            column(at, height),
            column([request.answer[k] for request, k in jobs], height),
        )
        with placed(self.mesh):
            return jax.device_get(_masked(self.model, *(jax.device_put(x, self._by_rows) for x in arrays)))

    def _rows(self, length: int) -> int:
        most = _ROWS.get(self.mesh.devices.flat[0].platform, 256)
        affordable = self._shards * _SCORES // (self.config.n_heads * length * length)
        rows = max(1, min(most, affordable))
        return -(-rows // self._shards) * self._shards

    def _check(self, i: int, request: Request) -> None:
        if not request.answer:
            raise BadInputError(f"request {i}: the answer has no token")
        if not self.fits(request.context, len(request.answer)):
            raise BadInputError(
                f"request {i}: a context of {len(request.context)} tokens and an answer of "
                f"{len(request.answer)}; the model has {self.config.max_length} positions"
            )
        ids = (*request.context, *request.answer)
        for id_ in (min(ids), max(ids)):
            if not 0 <= id_ < self.config.vocab_size:
                raise BadInputError(
                    f"request {i}: id {id_} is outside the vocabulary (0 to {self.config.vocab_size - 1})"
                )

    def generate(self, *_: Any, **__: Any) -> NoReturn:
        """Raises BadInputError: encoders do not generate."""
        raise BadInputError(f"model {self.config.name}: family=encoder does not generate text")

    def forget(self) -> None:
        """Nothing is cached."""


@partial(jax.jit)
def _masked(
    model: Any, inputs_BL: jax.Array, segments_BL: jax.Array, at_B: jax.Array, targets_B: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The log-probability of each target (B,) at its position, in nats, and whether it is the likeliest."""
    positions_BL = jnp.broadcast_to(jnp.arange(inputs_BL.shape[1], dtype=jnp.int32), inputs_BL.shape)
    batch: Batch = {"inputs": inputs_BL, "segment_ids": segments_BL, "positions": positions_BL}
    x_B1D = jnp.take_along_axis(model.states(batch), at_B[:, None, None], axis=1)
    logits_BV = logits(model, x_B1D)[:, 0]
    chosen_B = jnp.take_along_axis(logits_BV, targets_B[:, None], axis=-1)[:, 0]
    return chosen_B - jax.nn.logsumexp(logits_BV, axis=-1), jnp.argmax(logits_BV, axis=-1) == targets_B
