"""The interface between models of any family and the trainer."""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

Batch = dict[str, jax.Array]


class Terms(NamedTuple):
    """What the loss of a batch is computed from.

    Logits are `x_BLD . head_VD() + head_bias_V()`; the token loss is their weighted cross-entropy with the
    targets. `auxiliary` holds further losses by name, each a mean with its coefficient applied (routers of
    experts, sentence heads): the loss is the sum of the mean token loss and all of them. `observed` holds
    means that are logged but not trained on.
    """

    x_BLD: jax.Array
    targets_BL: jax.Array
    weights_BL: jax.Array | None
    auxiliary: dict[str, jax.Array] = {}  # noqa: RUF012 (never changed)
    observed: dict[str, jax.Array] = {}  # noqa: RUF012


class LanguageModel(Protocol):
    """A network with a head over a vocabulary; every module of `scaling.models.build` is one.

    A batch contains int32 arrays (B, L): `inputs`, `targets`; and depending on the objective `weights`
    (float32, 0 where a position has no loss), `segment_ids` (attention stays within a segment; 0 is padding),
    `positions`, `prefix` (1 at keys that all of their segment sees), `token_types`, `sentence_targets` (B,).
    An encoder-decoder reads the source from `inputs` and the target from `decoder_inputs` (B, T), with
    `targets` and `weights` (B, T).
    """

    config: Any

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from; `dropout_key` turns dropout on."""

    def states(self, batch: Batch) -> jax.Array:
        """What the head multiplies, at every position that can be scored: (B, L, D), or (B, T, D)."""

    def head_VD(self) -> jax.Array:
        """The output head in the compute type."""

    def head_bias_V(self) -> jax.Array | None:
        """The bias of the logits, or None."""


def logits(model: LanguageModel, x_BLD: jax.Array) -> jax.Array:
    """Logits (B, L, V) in float32 of what the head multiplies; training never forms all of them at once."""
    logits_BLV = jnp.einsum("BLD,VD->BLV", x_BLD, model.head_VD(), preferred_element_type=jnp.float32)
    bias_V = model.head_bias_V()
    return logits_BLV if bias_V is None else logits_BLV + bias_V.astype(jnp.float32)
