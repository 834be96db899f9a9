"""A mixture of experts in place of a feed-forward: one expert per token (Switch) or two (GShard).

A row of the batch is a group (Lepikhin et al. 2020, arXiv:2006.16668, section 2.2): its tokens compete for
each expert's slots among themselves alone, so that routing needs no communication however the batch is
split. Tokens move to their experts' slots and back by gathers in both directions of both passes, and multiply
nothing on the way: a mixture executes the router and X * C slots of every row through an expert each.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from scaling.config.model import Mixture, TransformerConfig
from scaling.models.axes import constrain, param, platform
from scaling.models.functional import (
    ACTIVATIONS,
    LINEAR,
    fan_in,
    keeping_inputs,
    normal,
    output_std,
    residual_std,
    times,
)


class Losses(NamedTuple):
    """Losses of a router, float32: means over the real tokens, without coefficients."""

    balance: Array  # X * sum_i f_i P_i of a row (Fedus et al. 2021, equation 4), 1 where it is even
    z: Array  # (log sum exp)^2 of the router's logits (Zoph et al. 2022, equation 5)
    dropped: Array  # share of the choices that found their expert full; no gradient


class Routes(NamedTuple):
    """Where the choices of a row's tokens go: S = X * C slots, C per expert; Q = top_k * L choices.

    Choice j is the (j // L)-th of token j % L. An entry of Q, S or L means none.
    """

    slot_BQ: Array
    choice_BS: Array
    token_BS: Array


def no_losses() -> Losses:
    """The losses of a layer without a router, in a stack that has some."""
    zero = jnp.zeros((), jnp.float32)
    return Losses(zero, zero, zero)


def router_losses(
    mixture: Mixture | None, stacks: list[Losses | None]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """What routers add to the loss, with coefficients applied, and what is logged of them.

    Losses add up over layers; the share of dropped choices is their mean over mixtures.
    """
    found = [losses for losses in stacks if losses is not None]
    if mixture is None or not found:
        return {}, {}
    balance, z, dropped = (
        sum(parts) for parts in zip(*([a.sum() for a in each] for each in found), strict=True)
    )
    mixtures = sum(each.balance.size for each in found) // mixture.every
    auxiliary = {"balance_loss": mixture.balance_loss * balance, "router_z_loss": mixture.router_z_loss * z}
    return auxiliary, {"dropped_tokens": jax.lax.stop_gradient(dropped) / mixtures}


class MixtureOfExperts(nnx.Module):
    """Experts, each a feed-forward, and the router that chooses among them for every token.

    The router computes in float32 ("selective precision", Fedus et al. 2021, section 2.4). Its probability of
    the one expert scales that expert's output; of two, their probabilities do, made to add up to 1. An expert
    takes `Mixture.capacity` tokens of a row, in order of position, first choices before second ones; for
    those that find it full it adds nothing, and the residual beside the layer carries them. With two choices
    what a token gets may therefore depend on later tokens of its row, where an expert overflows.
    """

    def __init__(self, config: TransformerConfig, key: Array) -> None:
        assert config.mixture is not None
        X, D, F = config.mixture.experts, config.d_model, config.d_ff
        router_key, up_key, down_key, gate_key = jax.random.split(key, 4)
        std, out_std = fan_in(config, config.init_std, D), fan_in(config, residual_std(config), F)
        kind, inward = config.param_dtype, ("expert", "embed", "mlp")
        router_std = output_std(config, config.init_std)
        self.router = param(normal(router_key, (D, X), router_std, kind), "embed", "expert")
        self.up = param(normal(up_key, (X, D, F), std, kind), *inward)
        self.down = param(normal(down_key, (X, F, D), out_std, kind), "expert", "mlp", "embed")
        gated, biased = config.gated, config.bias
        self.gate = param(normal(gate_key, (X, D, F), std, kind), *inward) if gated else None
        self.up_bias = param(jnp.zeros((X, F), kind), "expert", "mlp") if biased else None
        self.down_bias = param(jnp.zeros((X, D), kind), "expert", "norm") if biased else None
        self.gate_bias = param(jnp.zeros((X, F), kind), "expert", "mlp") if biased and gated else None
        self.mixture = config.mixture
        self.activation = config.activation
        self.router_multiplier = config.output_multiplier

    def __call__(
        self, x_BLD: Array, key: Array | None = None, mask_BL: Array | None = None
    ) -> tuple[Array, Losses]:
        """What the experts add to the residual, in the type of `x_BLD`, and the router's losses.

        Args:
            x_BLD: the input, in the compute type.
            key: turns the router's jitter on.
            mask_BL: 0 or false where there is no token: padding takes no slot, counts in no loss and gets 0.
        """
        B, L, D = x_BLD.shape
        X, C = self.mixture.experts, self.mixture.capacity(L)
        counted_BL = jnp.ones((B, L), bool) if mask_BL is None else mask_BL != 0
        noisy_BLD = x_BLD
        if key is not None and self.mixture.jitter > 0:
            low, high = 1.0 - self.mixture.jitter, 1.0 + self.mixture.jitter
            noisy_BLD = x_BLD * jax.random.uniform(key, x_BLD.shape, jnp.float32, low, high)
        logits_BLX = checkpoint_name(_router_logits(noisy_BLD, self.router[...]), LINEAR)
        logits_BLX = times(logits_BLX, self.router_multiplier)
        routes, gates_BQ, losses = _route(self.mixture, logits_BLX, counted_BL, C)

        def to_experts(slots_BSK: Array) -> Array:
            """From slots that lie with their row to slots that lie with their expert."""
            slots_BSK = constrain(slots_BSK, "batch", None, None)
            slots_XBCK = slots_BSK.reshape(B, X, C, -1).transpose(1, 0, 2, 3)
            return constrain(slots_XBCK, "expert", "expert_batch", None, None)

        x_XBCD = to_experts(_moved(x_BLD, routes.token_BS[:, None], routes.slot_BQ.reshape(B, -1, L)))
        # A gate scales what its expert's last product takes instead of what it gives, which is the same and
        # leaves no use for the output in the backward pass. Empty slots have a gate of 0.
        gates_XBC1 = to_experts(
            _moved(gates_BQ[..., None], routes.choice_BS[:, None], routes.slot_BQ[:, None])
        )
        out_XBCD = constrain(self._experts(x_XBCD, gates_XBC1), "expert", "expert_batch", None, None)
        out_BSD = constrain(out_XBCD.transpose(1, 0, 2, 3).reshape(B, X * C, D), "batch", None, None)
        y_BLD = _moved(out_BSD, routes.slot_BQ.reshape(B, -1, L), routes.token_BS[:, None])
        return constrain(y_BLD, "batch", "length", "act_embed"), losses

    def _experts(self, x_XBCD: Array, gates_XBC1: Array) -> Array:
        """Each expert's feed-forward over its slots, times their gates."""

        def product(x: Array, kernel: nnx.Param, bias: nnx.Param | None) -> Array:
            y = checkpoint_name(_expert_linear(x, kernel[...].astype(x.dtype)), LINEAR)
            return y if bias is None else y + bias[...].astype(x.dtype)[:, None, None]

        inward = [product(x_XBCD, self.up, self.up_bias)]
        if self.gate is not None:
            inward.insert(0, product(x_XBCD, self.gate, self.gate_bias))
        inward = [constrain(h, "expert", "expert_batch", None, "mlp") for h in inward]
        hidden_XBCF = _hidden(ACTIVATIONS[self.activation])(gates_XBC1, *inward)
        out_XBCD = product(hidden_XBCF, self.down, None)
        if self.down_bias is not None:
            biases_XBCD = gates_XBC1 * self.down_bias[...].astype(jnp.float32)[:, None, None]
            out_XBCD = out_XBCD + biases_XBCD.astype(x_XBCD.dtype)
        return out_XBCD


def grouped(layers: Any, every: int) -> tuple[Any, Any, Any]:
    """Stacked layers of which the last of every `every` is a mixture, in groups: arrays lead with N / every.

    What all layers have and the feed-forwards of the others are stacked once more inside a group.
    """

    def groups(tree: Any, size: int) -> Any:
        return jax.tree.map(lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), tree)

    common = jax.tree.map(lambda leaf: leaf, layers)  # a copy, whose attributes are then set
    common.feed_forward = common.mixture = None
    return groups(common, every), groups(layers.feed_forward, every - 1), layers.mixture


def members(group: tuple[Any, Any, Any], every: int) -> list[Any]:
    """The layers of one of the groups of `grouped`."""
    common, feed_forwards, mixture = group
    layers = unstack(common, every)
    for layer, feed_forward in zip(layers, unstack(feed_forwards, every - 1), strict=False):
        layer.feed_forward = feed_forward
    layers[-1].mixture = mixture
    return layers


def unstack(tree: Any, count: int) -> list[Any]:
    """The `count` entries along the leading axis of a stacked tree.

    By `lax.split`, whose transpose is one concatenation: indexing would make the backward pass add up
    `count` padded copies of the whole stack.
    """
    leaves, structure = jax.tree.flatten(tree)
    split = [jax.lax.split(leaf, [1] * count, axis=0) for leaf in leaves]
    return [
        jax.tree.unflatten(structure, [parts[i].reshape(parts[i].shape[1:]) for parts in split])
        for i in range(count)
    ]


def _hidden(activation: Callable[[Array], Array]) -> Callable[..., Array]:
    """What an expert's last product takes: of (gates, up), or of (gates, gate, up) where it is gated."""

    def function(gates_XBC1: Array, *inward: Array) -> Array:
        h_XBCF = activation(inward[0])
        for other in inward[1:]:
            h_XBCF = h_XBCF * other
        return (h_XBCF * gates_XBC1).astype(inward[0].dtype)

    return keeping_inputs(function)


def _route(
    mixture: Mixture, logits_BLX: Array, counted_BL: Array, capacity: int
) -> tuple[Routes, Array, Losses]:
    """Every token's experts and slots, the gates (B, Q) of its choices, and the router's losses."""
    B, L, X = logits_BLX.shape
    probabilities_BLX = jax.nn.softmax(logits_BLX, axis=-1)
    left_BLX, chosen = logits_BLX, []
    for _ in range(mixture.top_k):
        chosen.append(jax.nn.one_hot(jnp.argmax(left_BLX, axis=-1), X, dtype=bool))
        left_BLX = jnp.where(chosen[-1], -jnp.inf, left_BLX)
    chosen_BKLX = jnp.stack(chosen, axis=1)
    gates_BKL = jnp.where(chosen_BKLX, probabilities_BLX[:, None], 0.0).sum(-1)
    if mixture.top_k > 1:
        gates_BKL = gates_BKL / gates_BKL.sum(1, keepdims=True)

    chosen_BKLX = chosen_BKLX & counted_BL[:, None, :, None]
    chosen_BQX = chosen_BKLX.reshape(B, -1, X)
    place_BQX = jnp.cumsum(chosen_BQX.astype(jnp.int32), axis=1) - 1
    kept_BQX = chosen_BQX & (place_BQX < capacity)
    slot_BQX = jnp.arange(X) * capacity + place_BQX
    slot_BQ = jnp.where(kept_BQX, slot_BQX, 0).sum(-1) + jnp.where(kept_BQX.any(-1), 0, X * capacity)
    Q = slot_BQ.shape[1]
    choice_BS = jax.vmap(lambda slot_Q: jnp.full(X * capacity, Q).at[slot_Q].set(jnp.arange(Q), mode="drop"))(
        slot_BQ
    )
    routes = Routes(slot_BQ, choice_BS, jnp.where(choice_BS < Q, choice_BS % L, L))

    tokens_B = jnp.maximum(counted_BL.sum(-1), 1).astype(jnp.float32)
    tokens = jnp.maximum(counted_BL.sum(), 1).astype(jnp.float32)
    f_BX = chosen_BKLX[:, 0].sum(1) / tokens_B[:, None]
    summed_BX = jnp.where(counted_BL[..., None], probabilities_BLX, 0.0).sum(1)
    squared_BL = jnp.square(jax.nn.logsumexp(logits_BLX, axis=-1))
    losses = Losses(
        balance=X * (f_BX * summed_BX).sum() / tokens,  # rows count as their tokens do
        z=jnp.where(counted_BL, squared_BL, 0.0).sum() / tokens,
        dropped=(chosen_BQX & ~kept_BQX).sum() / (mixture.top_k * tokens),
    )
    return routes, gates_BKL.reshape(B, Q), losses


@jax.custom_vjp
def _moved(rows_BSK: Array, at_BJT: Array, back_BIS: Array) -> Array:
    """For each target the sum of the rows at its J places; a place past the end is nothing.

    `back_BIS` are the targets of each row in turn: the backward pass gathers by them, and scatters nothing.
    """
    y_BJTK = jax.vmap(lambda rows_SK, at_JT: rows_SK.at[at_JT].get(mode="fill", fill_value=0))(
        rows_BSK, at_BJT
    )
    if at_BJT.shape[1] == 1:
        return y_BJTK[:, 0]
    return y_BJTK.sum(1, dtype=jnp.float32).astype(rows_BSK.dtype)


def _moved_forward(rows_BSK: Array, at_BJT: Array, back_BIS: Array) -> tuple[Array, tuple[Array, Array]]:
    return _moved(rows_BSK, at_BJT, back_BIS), (at_BJT, back_BIS)


def _moved_backward(saved: tuple[Array, Array], dy_BTK: Array) -> tuple[Array, None, None]:
    at_BJT, back_BIS = saved
    return _moved(dy_BTK, back_BIS, at_BJT), None, None


_moved.defvjp(_moved_forward, _moved_backward)


@jax.custom_vjp
def _router_logits(x_BLD: Array, router_DX: Array) -> Array:
    """Logits in float32. Accelerators would round the operands of a plain float32 product."""
    return _exact("BLD,DX->BLX", x_BLD, router_DX)


def _router_forward(x_BLD: Array, router_DX: Array) -> tuple[Array, tuple[Array, Array]]:
    return _router_logits(x_BLD, router_DX), (x_BLD, router_DX)  # x not in float32: that is twice the memory


def _router_backward(saved: tuple[Array, Array], dlogits_BLX: Array) -> tuple[Array, Array]:
    x_BLD, router_DX = saved
    dx_BLD = _exact("BLX,DX->BLD", dlogits_BLX, router_DX).astype(x_BLD.dtype)
    return dx_BLD, _exact("BLD,BLX->DX", x_BLD, dlogits_BLX).astype(router_DX.dtype)


_router_logits.defvjp(_router_forward, _router_backward)


def _exact(equation: str, a: Array, b: Array) -> Array:
    return jnp.einsum(
        equation, a.astype(jnp.float32), b.astype(jnp.float32), precision=jax.lax.Precision.HIGHEST
    )


@jax.custom_vjp
def _expert_linear(x_XBCK: Array, kernel_XKN: Array) -> Array:
    """Each expert's product, in the compute type; accumulated in float32."""
    return _product(x_XBCK, kernel_XKN, (3,), (1,))


def _expert_forward(x_XBCK: Array, kernel_XKN: Array) -> tuple[Array, tuple[Array, Array]]:
    return _expert_linear(x_XBCK, kernel_XKN), (x_XBCK, kernel_XKN)


def _expert_backward(saved: tuple[Array, Array], dy_XBCN: Array) -> tuple[Array, Array]:
    x_XBCK, kernel_XKN = saved
    return _product(dy_XBCN, kernel_XKN, (3,), (2,)), _product(x_XBCK, dy_XBCN, (1, 2), (1, 2))


_expert_linear.defvjp(_expert_forward, _expert_backward)


def _product(a: Array, b: Array, a_axes: tuple[int, ...], b_axes: tuple[int, ...]) -> Array:
    # Accelerators accumulate in fp32 and write the compute type at once; a CPU only on request.
    wide = jnp.float32 if platform() == "cpu" else a.dtype
    y = jax.lax.dot_general(a, b, ((a_axes, b_axes), ((0,), (0,))), preferred_element_type=wide)
    return y.astype(a.dtype)
