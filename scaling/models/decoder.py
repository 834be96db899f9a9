"""The decoder: GPT-1 (post-norm), GPT-2 and GPT-3 (pre-norm, dense and banded layers), LLaMA's shapes."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import DecoderConfig
from scaling.models.attention import attention
from scaling.models.axes import constrain, param
from scaling.models.language_model import Batch, Terms
from scaling.models.layers import Attend, Norm, dropout, normal, times
from scaling.models.mixture import Losses, router_losses
from scaling.models.positions import rotate
from scaling.models.stack import Around, Layer, layer_kinds, run_layers, stacked_layers
from scaling.models.taps import tap


class _Rows(NamedTuple):
    """Of each row, what attention reads beside it; each may be None."""

    segment_ids_BL: jax.Array | None
    positions_BL: jax.Array | None
    prefix_BL: jax.Array | None


class Decoder(nnx.Module):
    """A decoder-only language model. Layers are stored stacked: every layer parameter leads with N.

    Build it under `jax.eval_shape` for shapes alone, or under `jax.jit` with output shardings.
    """

    def __init__(self, config: DecoderConfig, key: jax.Array) -> None:
        token_key, position_key, layers_key, head_key = jax.random.split(key, 4)
        V, D, kind = config.vocab_size, config.d_model, config.param_dtype
        self.token_embedding = param(normal(token_key, (V, D), config.init_std, kind), "vocab", "embed")
        table = None
        if config.positions == "learned":
            table = normal(position_key, (config.max_length, D), config.position_init_std, kind)
        self.position_embedding = None if table is None else param(table, "position", "embed")
        self.layers = stacked_layers(config, layers_key, config.n_layers, kv_heads=config.n_kv_heads)
        self.final_norm = Norm(config) if config.norm == "pre" else None
        head = None if config.tie_embeddings else normal(head_key, (V, D), config.init_std, kind)
        self.untied_head = None if head is None else param(head, "vocab", "embed")
        self.config = config

    def head_VD(self) -> jax.Array:
        """The output head in the compute type: the token embedding where it is tied."""
        head = self.token_embedding if self.untied_head is None else self.untied_head
        return head[...].astype(self.config.compute_dtype)

    def head_bias_V(self) -> None:
        """Decoders have none."""
        return None

    def embed(self, tokens_BL: jax.Array, positions_BL: jax.Array | None) -> jax.Array:
        """Token plus learned position embeddings, (B, L, D) in the compute type."""
        dtype = self.config.compute_dtype
        x_BLD = self.token_embedding[...].astype(dtype)[tokens_BL]
        if self.position_embedding is not None:
            position_MD = self.position_embedding[...].astype(dtype)
            x_BLD += position_MD[: tokens_BL.shape[1]] if positions_BL is None else position_MD[positions_BL]
        tap("embedding", lambda: x_BLD)
        return constrain(x_BLD, "batch", "length", "act_embed")

    def __call__(
        self,
        tokens_BL: jax.Array,
        *,
        segment_ids_BL: jax.Array | None = None,
        positions_BL: jax.Array | None = None,
        prefix_BL: jax.Array | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Final hidden states (B, L, D) of tokens (B, L); `head_VD` turns them into logits.

        `segment_ids_BL` keeps attention within a document of a packed row; `positions_BL` counts from the
        start of the row where it is not given; `prefix_BL` is non-zero where a token is seen by all of its
        segment; `dropout_key` turns dropout on.
        """
        return self._run(tokens_BL, segment_ids_BL, positions_BL, prefix_BL, dropout_key)[0]

    def _run(
        self,
        tokens_BL: jax.Array,
        segment_ids_BL: jax.Array | None,
        positions_BL: jax.Array | None,
        prefix_BL: jax.Array | None,
        dropout_key: jax.Array | None,
    ) -> tuple[jax.Array, Losses | None]:
        """Final hidden states, and the routers' losses of each layer."""
        config = self.config
        keys = None
        x_BLD = self.embed(tokens_BL, positions_BL)
        if dropout_key is not None and config.dropout > 0:
            embedding_key, layers_key = jax.random.split(dropout_key)
            x_BLD = dropout(x_BLD, config.dropout, embedding_key)
            keys = jax.random.split(layers_key, config.n_layers)

        def attend_as(kind: str, key: jax.Array | None, rows: _Rows) -> Attend:
            return self.turned(
                partial(
                    attention,
                    segment_ids_BL=rows.segment_ids_BL,
                    prefix_BM=rows.prefix_BL,
                    band=config.band_width if kind == "banded" else None,
                    scale=config.score_scale,
                    dropout_rate=config.dropout if key is not None else 0.0,
                    key=key,
                ),
                rows.positions_BL,
            )

        def apply(
            kind: str | jax.Array, layer: Layer, x_BLD: jax.Array, key: jax.Array | None, around: Around
        ) -> tuple[jax.Array, Losses | None]:
            rows: _Rows = around.rows
            segment_ids_BL = None if config.mixture is None else rows.segment_ids_BL
            real_BL = None if segment_ids_BL is None else segment_ids_BL != 0
            attention_key = residual_key = None
            if key is not None:
                attention_key, residual_key = jax.random.split(key)
            if isinstance(kind, str):
                return layer(x_BLD, attend_as(kind, attention_key, rows), residual_key, real_BL=real_BL)
            branches = [attend_as(name, attention_key, rows) for name in layer_kinds(config.layer_pattern)]
            return layer(
                x_BLD, lambda q, k, v: jax.lax.switch(kind, branches, q, k, v), residual_key, real_BL=real_BL
            )

        x_BLD, losses = run_layers(
            config,
            apply,
            self.layers,
            x_BLD,
            keys,
            Around(_Rows(segment_ids_BL, positions_BL, prefix_BL)),
            count=config.n_layers,
            pattern=config.layer_pattern,
        )
        return self.finish(x_BLD), losses

    def turned(self, attend: Attend, positions_BL: jax.Array | None) -> Attend:
        """`attend`, with queries and keys turned by their positions first where those are rotary."""
        config = self.config
        if config.positions != "rotary":
            return attend

        def turn(q_BLHE: jax.Array, k_BLKE: jax.Array, v_BLKE: jax.Array) -> jax.Array:
            at_BL = jnp.arange(q_BLHE.shape[1])[None] if positions_BL is None else positions_BL
            q_BLHE, k_BLKE = (rotate(x, at_BL, config.rotary_base) for x in (q_BLHE, k_BLKE))
            return attend(q_BLHE, k_BLKE, v_BLKE)

        return turn

    def finish(self, x_BLD: jax.Array) -> jax.Array:
        """What the head multiplies: after the final norm of a pre-norm model, times muP's multiplier."""
        x_BLD = x_BLD if self.final_norm is None else self.final_norm(x_BLD)
        return times(x_BLD, self.config.output_multiplier)

    def states(self, batch: Batch) -> jax.Array:
        """Final hidden states (B, L, D) of a batch, without dropout."""
        return self._of_batch(batch, None)[0]

    def terms(self, batch: Batch, dropout_key: jax.Array | None = None) -> Terms:
        """What the loss of a batch is computed from."""
        x_BLD, losses = self._of_batch(batch, dropout_key)
        routers = router_losses(self.config.mixture, [losses])
        return Terms(x_BLD, batch["targets"], batch.get("weights"), *routers)

    def _of_batch(self, batch: Batch, dropout_key: jax.Array | None) -> tuple[jax.Array, Losses | None]:
        return self._run(
            batch["inputs"],
            batch.get("segment_ids"),
            batch.get("positions"),
            batch.get("prefix"),
            dropout_key,
        )
