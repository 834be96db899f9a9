"""The parts of a Transformer: norm, attention, feed-forward, and the layer that they form.

Encoders, decoders and encoder-decoders, training and decoding over a cache all run this code. What a layer
reads besides the residual stream x_BLD is `LayerInputs`, the same at every depth, and `LayerState`, its own.
"""

from functools import partial
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config.model import TransformerConfig
from scaling.models.attention import attention, cached_attention
from scaling.models.axes import constrain, param, platform, tap
from scaling.models.functional import (
    ACTIVATIONS,
    fan_in,
    layer_norm,
    linear,
    normal,
    output_std,
    residual_std,
    rms_norm,
    rotate,
    times,
)
from scaling.models.mixture import Losses, MixtureOfExperts, no_losses


class LayerInputs(NamedTuple):
    """What all layers of a stack read besides x_BLD. Each may be None.

    All but the bias lead with B and follow their rows through the stages of a pipeline.
    """

    segment_ids_BL: jax.Array | None = None  # attention stays within a segment; 0 is padding
    positions_BL: jax.Array | None = None  # None counts from the start of the row
    prefix_BL: jax.Array | None = None  # non-zero at tokens that all of their segment sees
    memory_BMD: jax.Array | None = None  # the encoder's output, for cross-attention
    memory_segment_ids_BM: jax.Array | None = None
    bias: jax.Array | None = None  # of relative positions: (H, L, M), over a cache (B, H, L, M)


class LayerCache(NamedTuple):
    """Keys and values (B, M, K, E) of earlier positions and of a source, for one layer."""

    keys: jax.Array
    values: jax.Array
    source_keys: jax.Array | None = None
    source_values: jax.Array | None = None


class LayerState(NamedTuple):
    """What belongs to one layer; stacked, every array leads with N."""

    dropout_key: jax.Array | None = None  # turns dropout on
    cache: LayerCache | None = None  # turns decoding over a cache on


class LayerOutputs(NamedTuple):
    """What a layer returns besides x_BLD; stacked, every array leads with N."""

    router: Losses | None  # None in a stack without mixtures
    cache: LayerCache | None


class Bands(NamedTuple):
    """The kinds of attention in a stack, and which of them each layer has: an index into `widths`.

    A width is how many positions a query sees, its own the last of them; None sees all.
    """

    widths: tuple[int | None, ...]
    of_layer: tuple[int, ...]


def cast(parameter: nnx.Param, like: jax.Array) -> jax.Array:
    """A parameter's value in the compute type, which is the type of `like`."""
    return parameter[...].astype(like.dtype)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Inverted dropout; the identity without a key (Srivastava et al. 2014)."""
    if rate == 0.0 or key is None:
        return x
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


class Norm(nnx.Module):
    """Layer normalisation (Ba et al. 2016) or RMS normalisation over the last axis, computed in float32."""

    def __init__(self, config: TransformerConfig, width: int | None = None) -> None:
        shape = (width or config.d_model,)
        biased = config.bias and config.norm_kind == "layer"
        self.scale = param(jnp.ones(shape, config.param_dtype), "norm")
        self.bias = param(jnp.zeros(shape, config.param_dtype), "norm") if biased else None
        self.kind, self.epsilon = config.norm_kind, config.norm_epsilon

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Normalise; the result has the type of `x_BLD`."""
        if self.kind == "rms":
            return rms_norm(self.epsilon)(x_BLD, self.scale[...])
        return layer_norm(self.epsilon)(x_BLD, self.scale[...], None if self.bias is None else self.bias[...])


class Linear(nnx.Module):
    """A linear map outside the layers, from `into` features to `out`; `output` marks an output head."""

    def __init__(
        self, config: TransformerConfig, into: int, out: int, key: jax.Array, *, output: bool = False
    ) -> None:
        std = output_std(config, config.init_std) if output else fan_in(config, config.init_std, into)
        kind = config.param_dtype
        self.kernel = param(normal(key, (into, out), std, kind), "embed", None if output else "mlp")
        self.bias = param(jnp.zeros((out,), kind), "norm") if config.bias else None
        self.multiplier = config.output_multiplier if output else 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        """(..., into) to (..., out)."""
        x = times(x, self.multiplier)
        return linear(x, cast(self.kernel, x), None if self.bias is None else cast(self.bias, x))


class Attention(nnx.Module):
    """Multi-head attention (Vaswani et al. 2017, section 3.2), over its own sequence or over another.

    `kv_heads` below the number of heads shares each key and value head between several query heads (Ainslie
    et al. 2023). `scale` multiplies the scores; None is 1 / sqrt(E). `rotary_base` turns rotary positions on.
    """

    def __init__(
        self,
        config: TransformerConfig,
        key: jax.Array,
        *,
        causal: bool,
        kv_heads: int | None = None,
        rotary_base: float | None = None,
    ) -> None:
        D, H, E = config.d_model, config.n_heads, config.d_head
        K = kv_heads or H
        q_key, k_key, v_key, o_key = jax.random.split(key, 4)
        std, kind = fan_in(config, config.init_std, D), config.param_dtype
        out_std = fan_in(config, residual_std(config), H, E)
        # If scores are not scaled by 1 / sqrt(E), the initial queries are (T5: Raffel et al. 2019).
        unscaled = config.init == "fan_in" and not getattr(config, "scale_attention", True)
        q_std = std * (config.base_d_head or E) ** -0.5 if unscaled else std
        self.query = param(normal(q_key, (D, H, E), q_std, kind), "embed", "heads", "head")
        self.key = param(normal(k_key, (D, K, E), std, kind), "embed", "heads", "head")
        self.value = param(normal(v_key, (D, K, E), std, kind), "embed", "heads", "head")
        self.out = param(normal(o_key, (H, E, D), out_std, kind), "heads", "head", "embed")
        biases = config.bias or config.qkv_bias
        self.query_bias = param(jnp.zeros((H, E), kind), "heads", "head") if biases else None
        self.key_bias = param(jnp.zeros((K, E), kind), "heads", "head") if biases else None
        self.value_bias = param(jnp.zeros((K, E), kind), "heads", "head") if biases else None
        self.out_bias = param(jnp.zeros((D,), kind), "norm") if config.bias else None
        self.query_norm = Norm(config, E) if config.qk_norm else None
        self.key_norm = Norm(config, E) if config.qk_norm else None
        self.causal, self.scale, self.rotary_base = causal, config.score_scale, rotary_base
        self.soft_cap, self.dropout = config.attention_soft_cap, config.dropout

    def __call__(
        self,
        x_BLD: jax.Array,
        inputs: LayerInputs,
        cache: LayerCache | None = None,
        dropout_key: jax.Array | None = None,
        band_widths: tuple[int | None, ...] = (None,),
        band: int | jax.Array = 0,
    ) -> tuple[jax.Array, LayerCache | None]:
        """Self-attention: (B, L, D), and the cache with the keys and values of `x_BLD` written to it.

        `band` is an index into `band_widths`; in a scan over layers it is known only at run time.
        """
        q_BLHE, k_BMKE, v_BMKE = self.project(x_BLD, "query", "key", "value")
        if self.rotary_base is not None:
            positions = inputs.positions_BL
            at_BL = jnp.arange(x_BLD.shape[1])[None] if positions is None else positions
            q_BLHE, k_BMKE = (rotate(a, at_BL, self.rotary_base) for a in (q_BLHE, k_BMKE))
        if cache is None:
            attend = partial(
                attention,
                causal=self.causal,
                segment_ids_BL=inputs.segment_ids_BL,
                prefix_BM=inputs.prefix_BL,
                bias_HLM=inputs.bias,
                scale=self.scale,
                soft_cap=self.soft_cap,
                dropout_rate=0.0 if dropout_key is None else self.dropout,
                dropout_key=dropout_key,
            )
        else:
            assert inputs.positions_BL is not None
            write = jax.vmap(partial(jax.lax.dynamic_update_slice_in_dim, axis=0))
            start_B = inputs.positions_BL[:, 0]
            k_BMKE, v_BMKE = write(cache.keys, k_BMKE, start_B), write(cache.values, v_BMKE, start_B)
            cache = LayerCache(k_BMKE, v_BMKE)
            attend = partial(
                cached_attention,
                positions_BL=inputs.positions_BL,
                bias_BHLM=inputs.bias,
                scale=self.scale,
                soft_cap=self.soft_cap,
            )
        branches = [partial(attend, band=width) for width in band_widths]
        if isinstance(band, int):
            mixed_BLHE = branches[band](q_BLHE, k_BMKE, v_BMKE)
        else:
            mixed_BLHE = jax.lax.switch(band, branches, q_BLHE, k_BMKE, v_BMKE)
        return self.project_out(mixed_BLHE), cache

    def cross(
        self,
        x_BLD: jax.Array,
        inputs: LayerInputs,
        cache: LayerCache | None = None,
        dropout_key: jax.Array | None = None,
    ) -> jax.Array:
        """Cross-attention (B, L, D): queries of x_BLD over keys and values of the encoder's output."""
        (q_BLHE,) = self.project(x_BLD, "query")
        memory_ids_BM = inputs.memory_segment_ids_BM
        if cache is not None:
            assert cache.source_keys is not None and cache.source_values is not None
            mixed_BLHE = cached_attention(
                q_BLHE,
                cache.source_keys,
                cache.source_values,
                real_BM=memory_ids_BM,
                scale=self.scale,
                soft_cap=self.soft_cap,
            )
            return self.project_out(mixed_BLHE)
        assert inputs.memory_BMD is not None
        k_BMKE, v_BMKE = self.project(inputs.memory_BMD, "key", "value")
        segment_ids_BL = None if memory_ids_BM is None else inputs.segment_ids_BL
        if memory_ids_BM is not None and segment_ids_BL is None:
            segment_ids_BL = jnp.ones(x_BLD.shape[:2], memory_ids_BM.dtype)
        mixed_BLHE = attention(
            q_BLHE,
            k_BMKE,
            v_BMKE,
            causal=False,
            segment_ids_BL=segment_ids_BL,
            key_segment_ids_BM=memory_ids_BM,
            scale=self.scale,
            soft_cap=self.soft_cap,
            dropout_rate=0.0 if dropout_key is None else self.dropout,
            dropout_key=dropout_key,
        )
        return self.project_out(mixed_BLHE)

    def project(self, x_BLD: jax.Array, *names: str) -> list[jax.Array]:
        """Queries (B, L, H, E), keys and values (B, L, K, E), those that `names` names.

        Queries and keys are normalised where the model says so. One product computes all of them, except on
        TPU: joining the weights, and the gradients, costs more there than three products do (docs/log.md).
        """
        together = len(names) > 1 and platform() != "tpu"
        heads = self._joined(x_BLD, names) if together else [self._one(x_BLD, name) for name in names]
        norms = {"query": self.query_norm, "key": self.key_norm}
        return [
            part if (norm := norms.get(name)) is None else norm(part)
            for name, part in zip(names, heads, strict=True)
        ]

    def _one(self, x_BLD: jax.Array, name: str) -> jax.Array:
        """(B, L, H or K, E) of a single projection."""
        kernel_DHE, bias_HE = getattr(self, name), getattr(self, f"{name}_bias")
        D, *heads = kernel_DHE.shape
        bias = None if bias_HE is None else cast(bias_HE, x_BLD).reshape(-1)
        y_BLF = linear(x_BLD, cast(kernel_DHE, x_BLD).reshape(D, -1), bias)
        return constrain(y_BLF.reshape(*x_BLD.shape[:2], *heads), "batch", "length", "heads", "head")

    def _joined(self, x_BLD: jax.Array, names: tuple[str, ...]) -> list[jax.Array]:
        """Several projections in one product.

        Key heads are outermost, with the queries that they serve: tensor parallelism splits those.
        """
        B, L, D = x_BLD.shape
        K, E = self.key.shape[1:]

        def joined(parameters: list[nnx.Param], *lead: int) -> jax.Array:
            return jnp.concatenate([cast(p, x_BLD).reshape(*lead, K, -1, E) for p in parameters], axis=-2)

        kernel_DKRE = joined([getattr(self, name) for name in names], D)
        biases = [getattr(self, f"{name}_bias") for name in names]
        bias = None if biases[0] is None else joined(biases).reshape(-1)
        y_BLKRE = linear(x_BLD, kernel_DKRE.reshape(D, -1), bias).reshape(B, L, K, -1, E)
        y_BLKRE = constrain(y_BLKRE, "batch", "length", "heads", None, "head")
        per_key_head = [getattr(self, name).shape[1] // K for name in names]
        ends = list(accumulate(per_key_head))
        parts = [y_BLKRE[:, :, :, end - r : end] for end, r in zip(ends, per_key_head, strict=True)]
        return [part.reshape(B, L, -1, E) for part in parts]

    def project_out(self, mixed_BLHE: jax.Array) -> jax.Array:
        """The output projection, (B, L, D)."""
        B, L, H, E = mixed_BLHE.shape
        out_bias = None if self.out_bias is None else cast(self.out_bias, mixed_BLHE)
        out_FD = cast(self.out, mixed_BLHE).reshape(H * E, self.out.shape[-1])
        return linear(mixed_BLHE.reshape(B, L, H * E), out_FD, out_bias)


class FeedForward(nnx.Module):
    """Two projections with an activation between them; gated, the activation of a third multiplies the first
    (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: TransformerConfig, key: jax.Array) -> None:
        D, F, kind = config.d_model, config.d_ff, config.param_dtype
        up_key, down_key = jax.random.split(key)
        std = fan_in(config, config.init_std, D)
        out_std = fan_in(config, residual_std(config), F)
        self.up = param(normal(up_key, (D, F), std, kind), "embed", "mlp")
        gate_key = jax.random.fold_in(up_key, 1)
        self.gate = param(normal(gate_key, (D, F), std, kind), "embed", "mlp") if config.gated else None
        self.down = param(normal(down_key, (F, D), out_std, kind), "mlp", "embed")
        self.up_bias = param(jnp.zeros((F,), kind), "mlp") if config.bias else None
        self.gate_bias = param(jnp.zeros((F,), kind), "mlp") if config.bias and config.gated else None
        self.down_bias = param(jnp.zeros((D,), kind), "norm") if config.bias else None
        self.activation = config.activation

    def __call__(self, x_BLD: jax.Array) -> jax.Array:
        """Up to the feed-forward width, activate, down."""
        activate = ACTIVATIONS[self.activation]
        up_bias = None if self.up_bias is None else cast(self.up_bias, x_BLD)
        y_BLF = linear(x_BLD, cast(self.up, x_BLD), up_bias)
        if self.gate is None:
            y_BLF = activate(y_BLF)
        else:
            gate_bias = None if self.gate_bias is None else cast(self.gate_bias, x_BLD)
            y_BLF = activate(linear(x_BLD, cast(self.gate, x_BLD), gate_bias)) * y_BLF
        y_BLF = constrain(y_BLF, "batch", "length", "mlp")
        down_bias = None if self.down_bias is None else cast(self.down_bias, x_BLD)
        return linear(y_BLF, cast(self.down, x_BLD), down_bias)


class Layer(nnx.Module):
    """Self-attention, in some decoders cross-attention, and a feed-forward, each in a residual branch."""

    def __init__(
        self,
        config: TransformerConfig,
        key: jax.Array,
        *,
        causal: bool,
        cross: bool = False,
        kv_heads: int | None = None,
        rotary_base: float | None = None,
    ) -> None:
        attention_key, feed_forward_key = jax.random.split(key)
        cross_key = jax.random.fold_in(key, 2)
        self.attention_norm = Norm(config)
        self.attention = Attention(
            config, attention_key, causal=causal, kv_heads=kv_heads, rotary_base=rotary_base
        )
        self.cross_norm = Norm(config) if cross else None
        self.cross_attention = Attention(config, cross_key, causal=False) if cross else None
        self.feed_forward_norm = Norm(config)
        # In a stack with mixtures only some layers have one, so the two are stacked apart (`stacked_layers`).
        feed_forward = FeedForward(config, feed_forward_key) if config.mixture is None else None
        self.feed_forward: FeedForward | None = nnx.data(feed_forward)
        self.mixture: MixtureOfExperts | None = nnx.data(None)
        self.among_mixtures = config.mixture is not None
        self.pre_norm = config.norm == "pre"
        self.dropout = config.dropout
        self.residual_multiplier = config.residual_multiplier

    def __call__(
        self,
        x_BLD: jax.Array,
        inputs: LayerInputs,
        state: LayerState,
        band_widths: tuple[int | None, ...] = (None,),
        band: int | jax.Array = 0,
    ) -> tuple[jax.Array, LayerOutputs]:
        """x_BLD after this layer. `band` is an index into `band_widths`."""
        attention_key = residual_key = cross_key = keys = None
        if state.dropout_key is not None:
            attention_key, residual_key, cross_key = jax.random.split(state.dropout_key, 3)
            keys = jax.random.split(residual_key, 3)

        def key(i: int) -> jax.Array | None:
            return None if keys is None else keys[i]

        x = self._normed(self.attention_norm, x_BLD)
        y, cache = self.attention(x, inputs, state.cache, attention_key, band_widths, band)
        x_BLD = self._residual("attention", self.attention_norm, x_BLD, y, key(0))

        if self.cross_attention is not None and self.cross_norm is not None:
            x = self._normed(self.cross_norm, x_BLD)
            y = self.cross_attention.cross(x, inputs, state.cache, cross_key)
            x_BLD = self._residual("cross-attention", self.cross_norm, x_BLD, y, key(2))

        x = self._normed(self.feed_forward_norm, x_BLD)
        router = no_losses() if self.among_mixtures else None
        if self.mixture is not None:
            segment_ids_BL = inputs.segment_ids_BL  # padding takes no slot of an expert
            y, router = self.mixture(x, key(1), None if segment_ids_BL is None else segment_ids_BL != 0)
        else:
            assert self.feed_forward is not None
            y = self.feed_forward(x)
        x_BLD = self._residual("feed-forward", self.feed_forward_norm, x_BLD, y, key(1))
        tap("residual stream", lambda: x_BLD)
        return x_BLD, LayerOutputs(router, cache)

    def _normed(self, norm: Norm, x_BLD: jax.Array) -> jax.Array:
        """What enters a branch: normalised first in a pre-norm model."""
        return norm(x_BLD) if self.pre_norm else x_BLD

    def _residual(
        self, name: str, norm: Norm, x_BLD: jax.Array, y_BLD: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        """A branch's output added to the residual stream, which a post-norm model then normalises."""
        y_BLD = times(y_BLD, self.residual_multiplier)
        tap(f"{name} output", lambda: y_BLD)
        x_BLD = x_BLD + dropout(y_BLD, self.dropout, key)
        if not self.pre_norm:
            x_BLD = norm(x_BLD)
        return constrain(x_BLD, "batch", "length", "act_embed")
