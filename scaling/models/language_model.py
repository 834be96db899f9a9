"""What the trainer asks of a model, whatever its family."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Batch = dict[str, jax.Array]


class Terms(NamedTuple):
    """What the loss of a batch is computed from.

    Logits are `x_BLD . head_VD() + head_bias_V()`; the token loss is their cross-entropy with the targets,
    weighted. `auxiliary` holds further losses by name, each a mean with its coefficient applied (routers of
    experts, sentence heads): the loss is the mean token loss and all of them added up. `observed` holds means
    that are logged and not trained on.
    """

    x_BLD: jax.Array
    targets_BL: jax.Array
    weights_BL: jax.Array | None
    auxiliary: dict[str, jax.Array] = {}  # noqa: RUF012 (never changed)
    observed: dict[str, jax.Array] = {}  # noqa: RUF012


class LanguageModel(Protocol):
    """A network with a head over a vocabulary; every module of `scaling.models.build` is one.

    A batch holds int32 arrays (B, L): `inputs`, `targets`; and where the objective gives them `weights`
    (float32, 0 where a position is no token of loss), `segment_ids` (attention stays inside a segment; 0 is
    padding), `positions`, `prefix` (1 where the keys of a prefix are seen by all of its segment),
    `token_types`, `sentence_targets` (B,). An encoder-decoder reads the source from `inputs` and the target
    side from `decoder_inputs` (B, T), with `targets` and `weights` (B, T).
    """

    config: Any

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from; `dropout_key` turns dropout on."""

    def states(self, batch: Batch) -> jax.Array:
        """Of every position that could be scored, what the head multiplies: (B, L, D), or (B, T, D)."""

    def head_VD(self) -> jax.Array:
        """The output head in the compute type."""

    def head_bias_V(self) -> jax.Array | None:
        """What is added to the logits; None for nothing."""


def logits(model: LanguageModel, x_BLD: jax.Array) -> jax.Array:
    """Logits (B, L, V) in float32 of what the head multiplies; training never holds them whole."""
    logits_BLV = jnp.einsum("BLD,VD->BLV", x_BLD, model.head_VD(), preferred_element_type=jnp.float32)
    bias_V = model.head_bias_V()
    return logits_BLV if bias_V is None else logits_BLV + bias_V.astype(jnp.float32)
