"""The mixture against a loop over tokens, transformers' Switch, the dense feed-forward and closed forms."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from scaling.config.model import DecoderConfig, Mixture
from scaling.estimate.counts import hardware_flops, tensors
from scaling.models.functional import ACTIVATIONS
from scaling.models.layers import FeedForward, Norm
from scaling.models.mixture import Losses, MixtureOfExperts, router_losses
from scaling.parallel.mesh import logical_axes
from scaling.parallel.program_costs import matmul_flops


def config(mixture: dict[str, Any] | None, **model: Any) -> DecoderConfig:
    shape = {"vocab_size": 8, "max_length": 32, "n_layers": 1, "d_model": 8, "n_heads": 2, "d_ff": 12}
    mixed = None if mixture is None else {"experts": 4, "every": 1, **mixture}
    return DecoderConfig(**shape | {"mixture": mixed, "init_std": 0.3} | model)


def module(mixture: dict[str, Any], **model: Any) -> MixtureOfExperts:
    """With biases that are not zero."""
    made = MixtureOfExperts(config(mixture, **model), jax.random.key(0))
    keys = iter(jax.random.split(jax.random.key(1), 8))
    is_bias = {"up_bias", "down_bias", "gate_bias"}
    for name in is_bias & {name for name in vars(made) if isinstance(getattr(made, name), nnx.Param)}:
        bias = getattr(made, name)
        bias[...] = 0.3 * jax.random.normal(next(keys), bias.shape)
    return made


def inputs(rows: int, length: int, width: int = 8, seed: int = 2) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), (rows, length, width))


apply = jax.jit(MixtureOfExperts.__call__)


def experts(made: MixtureOfExperts, x_BLD: jax.Array) -> jax.Array:
    """What every expert makes of every token: (B, L, X, D)."""

    def product(x: jax.Array, kernel: nnx.Param, bias: nnx.Param | None) -> jax.Array:
        y_BLXN = jnp.einsum("BLXK,XKN->BLXN", x, kernel[...])
        return y_BLXN if bias is None else y_BLXN + bias[...]

    x_BLXD = jnp.broadcast_to(x_BLD[:, :, None], (*x_BLD.shape[:2], made.mixture.experts, x_BLD.shape[2]))
    activation, up = ACTIVATIONS[made.activation], product(x_BLXD, made.up, made.up_bias)
    hidden = (
        activation(up) if made.gate is None else activation(product(x_BLXD, made.gate, made.gate_bias)) * up
    )
    return product(hidden, made.down, made.down_bias)


def places(mixture: Mixture, logits_BLX: Any, mask_BL: Any) -> tuple[Any, Any, Any]:
    """Token by token, choice by choice: what was chosen (K, B, L, X), and what found room."""
    B, L, X = logits_BLX.shape
    chosen, kept = np.zeros((2, mixture.top_k, B, L, X), bool)
    order = np.argsort(-np.asarray(logits_BLX), axis=-1, kind="stable")
    for b in range(B):
        taken = [0] * X
        for choice in range(mixture.top_k):
            for t in range(L):
                x = order[b, t, choice]
                if mask_BL[b, t]:
                    chosen[choice, b, t, x] = True
                    if taken[x] < mixture.capacity(L):
                        taken[x] += 1
                        kept[choice, b, t, x] = True
    return chosen, kept, mask_BL != 0


def by_hand(made: MixtureOfExperts, x_BLD: jax.Array, mask_BL: Any = None) -> tuple[jax.Array, Losses]:
    """The mixture from a loop's choices and all experts on all tokens; differentiable but for the choices."""
    mask_BL = np.ones(x_BLD.shape[:2]) if mask_BL is None else np.asarray(mask_BL)
    logits_BLX = jax.lax.stop_gradient(x_BLD @ made.router[...])
    return weighted(made, x_BLD, *places(made.mixture, logits_BLX, mask_BL))


@jax.jit
def weighted(
    made: MixtureOfExperts, x_BLD: jax.Array, chosen: jax.Array, kept: jax.Array, real_BL: jax.Array
) -> tuple[jax.Array, Losses]:
    mixture, logits_BLX = made.mixture, x_BLD @ made.router[...]
    gates_BLX = p_BLX = jax.nn.softmax(logits_BLX)
    if mixture.top_k == 2:
        gates_BLX = p_BLX / jnp.where(real_BL, (p_BLX * chosen.any(0)).sum(-1), 1.0)[..., None]
    y_BLD = jnp.einsum("BLX,BLXD->BLD", gates_BLX * kept.any(0), experts(made, x_BLD))
    balance = jnp.zeros(())
    for b in range(len(x_BLD)):
        f_X = chosen[0, b].sum(0) / jnp.maximum(1, real_BL[b].sum())
        balance += mixture.experts * (f_X * (p_BLX[b] * real_BL[b][:, None]).sum(0)).sum()
    total = jnp.maximum(1, real_BL.sum())
    return y_BLD, Losses(
        balance=balance / total,
        z=(jax.nn.logsumexp(logits_BLX, axis=-1) ** 2 * real_BL).sum() / total,
        dropped=(chosen & ~kept).sum() / (mixture.top_k * total),
    )


CASES = {
    "switch, overflow": ({"capacity_factor": 0.6}, {}),
    "switch, room": ({"capacity_factor": 4.0}, {"activation": "relu"}),
    "two, overflow": ({"top_k": 2, "capacity_factor": 0.7}, {}),
    "two, room": ({"top_k": 2, "capacity_factor": 4.0, "experts": 3}, {"bias": False}),
    "two, gated, overflow": ({"top_k": 2, "capacity_factor": 0.9}, {"gated": True}),
    "gated, overflow": ({"capacity_factor": 0.8, "experts": 8}, {"gated": True, "bias": False}),
}


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "padded"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_losses_and_gradients_of_a_loop_over_tokens(case: str, masked: bool) -> None:
    made = module(CASES[case][0], **CASES[case][1])
    x_BLD = inputs(3, 10)
    # Segments of a packed row: padding at the end, in the middle, and a row of nothing but padding.
    mask = [[1] * 7 + [0] * 3, [1, 1, 0, 0, 2, 2, 2, 2, 2, 2], [0] * 10] if masked else None
    mask_BL = None if mask is None else jnp.array(mask)

    def total(function: Any, made: MixtureOfExperts, x_BLD: jax.Array) -> Any:
        y_BLD, losses = function(made, x_BLD, mask_BL)
        loss = (y_BLD * jnp.cos(jnp.arange(y_BLD.size)).reshape(y_BLD.shape)).sum()
        return loss + 3 * losses.balance + losses.z, (y_BLD, losses)

    def of(function: Any) -> Any:
        return jax.value_and_grad(partial(total, function), (0, 1), has_aux=True)

    ours = jax.jit(of(lambda made, x_BLD, mask_BL: made(x_BLD, None, mask_BL)))(made, x_BLD)
    want = of(by_hand)(made, x_BLD)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5, rtol=2e-5), ours, want)
    (_, (y_BLD, losses)), (gradients, _) = ours
    assert ("overflow" in case) == (losses.dropped > 0) or masked
    assert jnp.abs(gradients.router[...]).max() > 1e-3
    if masked:
        assert not y_BLD[jnp.array(mask) == 0].any()


@pytest.mark.slow
@settings(max_examples=4, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 9),
    st.integers(2, 6),
    st.sampled_from([1, 2]),
    st.floats(0.1, 8.0),
    st.integers(0, 2**16),
)
def test_any_shape(rows: int, length: int, experts: int, top_k: int, factor: float, seed: int) -> None:
    made = module({"experts": experts, "top_k": top_k, "capacity_factor": factor})
    x_BLD = inputs(rows, length, seed=seed)
    mask_BL = np.random.default_rng(seed).integers(0, 2, (rows, length))
    ours = apply(made, x_BLD, None, mask_BL)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5), ours, by_hand(made, x_BLD, mask_BL))


@pytest.mark.parametrize("factor", [0.5, 1.25, 8.0])
def test_transformers_switch(factor: float) -> None:
    """transformers' SwitchTransformersSparseMLP and its two losses; it too counts capacity by sequence."""
    torch = pytest.importorskip("torch")
    switch = pytest.importorskip("transformers.models.switch_transformers.modeling_switch_transformers")
    from transformers import SwitchTransformersConfig

    made = module({"capacity_factor": factor}, bias=False, activation="relu")
    x_BLD = inputs(3, 16)
    capacity = made.mixture.capacity(16)
    theirs_config = SwitchTransformersConfig(
        d_model=8, d_ff=12, num_experts=4, expert_capacity=capacity, router_jitter_noise=0.0, dropout_rate=0.0
    )
    theirs = switch.SwitchTransformersSparseMLP(theirs_config).eval()
    with torch.no_grad():
        theirs.router.classifier.weight.copy_(torch.tensor(np.asarray(made.router[...]).T))
        for x in range(4):
            one = theirs.experts[f"expert_{x}"]
            one.wi.weight.copy_(torch.tensor(np.asarray(made.up[x]).T))
            one.wo.weight.copy_(torch.tensor(np.asarray(made.down[x]).T))
        x = torch.tensor(np.asarray(x_BLD))
        want = theirs(x).numpy()
        kept, _, logits = theirs.router(x)
        probabilities = torch.softmax(logits, -1)
        balance = switch.load_balancing_loss_func(probabilities, probabilities.argmax(-1))
        z = switch.router_z_loss_func(logits)
    y_BLD, losses = apply(made, x_BLD)
    np.testing.assert_allclose(y_BLD, want, atol=1e-5)
    np.testing.assert_allclose(losses.balance, float(balance), rtol=1e-5)
    np.testing.assert_allclose(losses.z, float(z), rtol=1e-5)
    np.testing.assert_allclose(losses.dropped, 1 - float(kept.sum()) / 48, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("gated", [False, True])
def test_identical_experts_are_the_dense_feed_forward(gated: bool) -> None:
    made = module({"experts": 5, "top_k": 2, "capacity_factor": 5.0}, gated=gated)
    dense_config = config(None)
    for name in ("up", "down", "up_bias", "down_bias", "gate", "gate_bias"):
        if (stacked := getattr(made, name)) is not None:
            stacked[...] = jnp.broadcast_to(stacked[0], stacked.shape)
    x_BLD = inputs(2, 9)
    y_BLD, losses = apply(made, x_BLD)
    assert losses.dropped == 0
    if gated:
        want = experts(made, x_BLD)[:, :, 0]
    else:
        dense = FeedForward(dense_config, jax.random.key(0))
        for name in ("up", "down", "up_bias", "down_bias"):
            getattr(dense, name)[...] = getattr(made, name)[0]
        want = dense(x_BLD)
    np.testing.assert_allclose(y_BLD, want, atol=1e-5)


@pytest.mark.slow
def test_two_of_two_experts_are_their_weighted_sum() -> None:
    made = module({"experts": 2, "top_k": 2, "capacity_factor": 1.0})  # an even share each is every token
    x_BLD = inputs(2, 9)
    y_BLD, losses = apply(made, x_BLD)
    gates_BLX = jax.nn.softmax(x_BLD @ made.router[...])
    want = (gates_BLX[..., None] * experts(made, x_BLD)).sum(2)
    np.testing.assert_allclose(y_BLD, want, atol=1e-5)
    assert losses.dropped == 0


@pytest.mark.parametrize("top_k", [1, 2])
def test_balance_is_one_where_it_is_even_and_the_experts_where_it_is_not(top_k: int) -> None:
    made = module({"experts": 4, "top_k": top_k}, d_model=4)
    tokens_LD = jnp.tile(jnp.eye(4), (3, 1))[None]
    for scale, router, want in (
        (0.0, jnp.eye(4), 1.0),
        (60.0, jnp.eye(4), 1.0),
        (60.0, jnp.eye(4)[:, :1], 4.0),
    ):
        made.router[...] = scale * jnp.broadcast_to(router, (4, 4)) * (jnp.arange(4) < router.shape[1])
        x_BLD = jnp.ones((1, 12, 4)) if want == 4.0 else tokens_LD
        assert apply(made, x_BLD)[1].balance == pytest.approx(want, abs=1e-5)
    made.router[...] = jnp.zeros((4, 4))
    assert apply(made, tokens_LD)[1].z == pytest.approx(np.log(4) ** 2, rel=1e-6)


def test_losses_come_with_their_coefficients_and_layers_add_up() -> None:
    mixture = Mixture(experts=4, balance_loss=0.5, router_z_loss=0.1)
    # Of two layers each, the second of which is a mixture; two stacks.
    each = Losses(jnp.array([0.0, 2.0]), jnp.array([0.0, 4.0]), jnp.array([0.0, 0.5]))
    said, seen = router_losses(mixture, [each, each, None])
    assert {name: float(value) for name, value in said.items()} == pytest.approx(
        {"balance_loss": 2.0, "router_z_loss": 0.8}
    )
    assert float(seen["dropped_tokens"]) == pytest.approx(0.5)
    assert router_losses(None, [None]) == ({}, {})


def test_rows_are_groups_of_their_own() -> None:
    """What a row gets and what it is told does not depend on the rows beside it."""
    made = module({"capacity_factor": 0.5})
    x_BLD = inputs(4, 8)
    y_BLD, losses = apply(made, x_BLD)
    alone = [apply(made, x_BLD[i : i + 1]) for i in range(4)]
    np.testing.assert_allclose(y_BLD, jnp.concatenate([y for y, _ in alone]), atol=1e-6)
    for together, apart in zip(losses, zip(*(each for _, each in alone), strict=True), strict=True):
        np.testing.assert_allclose(together, np.mean(apart), rtol=1e-5)


def test_one_choice_looks_only_back() -> None:
    """Earlier tokens come first: what follows a token does not change what it gets, full experts or not."""
    made = module({"capacity_factor": 0.5})
    x_BLD = inputs(2, 12)
    other = x_BLD.at[:, 7:].set(inputs(2, 5, seed=5))
    np.testing.assert_allclose(apply(made, x_BLD)[0][:, :7], apply(made, other)[0][:, :7], atol=1e-6)


def test_jitter_is_the_routers_alone_and_only_with_a_key() -> None:
    made, still = module({"jitter": 0.3}), module({})
    x_BLD = inputs(2, 8)
    np.testing.assert_array_equal(apply(made, x_BLD)[0], apply(still, x_BLD)[0])
    np.testing.assert_array_equal(apply(still, x_BLD, jax.random.key(3))[0], apply(still, x_BLD)[0])
    noisy = apply(made, x_BLD, jax.random.key(3))[1].z
    assert noisy != apply(made, x_BLD)[1].z and noisy == pytest.approx(
        float(apply(made, x_BLD)[1].z), rel=0.3
    )
    made.router[...] = jnp.zeros_like(made.router[...])  # then noise has nothing to act on
    np.testing.assert_array_equal(apply(made, x_BLD, jax.random.key(3))[0], apply(made, x_BLD)[0])


def test_the_router_stays_in_float32() -> None:
    made = module({"top_k": 2})
    x_BLD = inputs(2, 8).astype(jnp.bfloat16)
    y_BLD, losses = apply(made, x_BLD)
    wide, wide_losses = apply(made, x_BLD.astype(jnp.float32))
    assert y_BLD.dtype == jnp.bfloat16 and all(loss.dtype == jnp.float32 for loss in losses)
    np.testing.assert_allclose(y_BLD.astype(jnp.float32), wide, atol=0.05, rtol=0.05)
    jax.tree.map(np.testing.assert_array_equal, losses, wide_losses)


@pytest.mark.parametrize(("gated", "bias"), [(True, True), (True, False), (False, True), (False, False)])
def test_tensors_equal_the_module(gated: bool, bias: bool) -> None:
    model = config({}, gated=gated, bias=bias)
    stated = {
        t.name.removeprefix("layers.mixture."): (t.shape[1:], t.axes[1:])
        for t in tensors(model)
        if ".mixture." in t.name
    }
    made = MixtureOfExperts(model, jax.random.key(0))
    found = {
        name: (value.get_value().shape, logical_axes(value))
        for name, value in vars(made).items()
        if isinstance(value, nnx.Param)
    }
    assert found == stated


@pytest.mark.parametrize("remat", ["none", "dots", "full"])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("mixture", [{}, {"top_k": 2, "experts": 6}], ids=["one", "two"])
@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
def test_executed_flops_equal_the_jaxpr(remat: Any, norm: Any, mixture: dict[str, Any], gated: bool) -> None:
    """Of a layer's mixture with norm and residual: forward, backward, and what is computed again."""
    from scaling.models.stack import REMAT_POLICIES

    model = config(mixture, remat=remat, norm=norm, gated=gated)
    made, layer_norm, x_BLD = module(mixture, gated=gated), Norm(model), inputs(3, 20)

    def layer(made: MixtureOfExperts, x_BLD: jax.Array) -> Any:
        y_BLD, losses = made(layer_norm(x_BLD) if norm == "pre" else x_BLD)
        out_BLD = x_BLD + y_BLD
        return (out_BLD if norm == "pre" else layer_norm(out_BLD)), losses

    def loss(made: MixtureOfExperts, x_BLD: jax.Array) -> jax.Array:
        one = layer if remat == "none" else jax.checkpoint(layer, policy=REMAT_POLICIES[remat])
        y_BLD, losses = one(made, x_BLD)
        return (y_BLD**3).sum() + losses.balance + losses.z

    counted = matmul_flops(jax.make_jaxpr(jax.grad(loss, (0, 1)))(made, x_BLD))
    # What the rest of the model executes is the same in a model whose feed-forward is as good as none.
    free = config(None, remat=remat, norm=norm, d_ff=1)
    bare = 3 * 20 * (2 * 2 * 8)
    again = {"none": 0, "dots": 0, "full": 20 * 2 * 8 * (1 if norm == "pre" else 2)}[remat]
    executed = hardware_flops(model, 20) - hardware_flops(free, 20) + bare + again
    assert 3 * executed == pytest.approx(counted, rel=1e-3)


@pytest.mark.parametrize(
    ("mixture", "tokens", "capacity"),
    [
        ({"experts": 8}, 512, 80),
        ({"experts": 8, "top_k": 2}, 512, 160),
        ({"experts": 10, "capacity_factor": 1.1}, 100, 11),
        ({"experts": 128}, 1, 1),
        ({"experts": 2, "top_k": 2, "capacity_factor": 3.0}, 7, 7),
    ],
)
def test_capacity(mixture: dict[str, Any], tokens: int, capacity: int) -> None:
    assert Mixture(**mixture).capacity(tokens) == capacity


@pytest.mark.parametrize(
    "bad", [{"balance_loss": -1}, {"jitter": 1.0}, {"top_k": 3}, {"router_z_loss": -0.1}]
)
def test_bad_mixtures(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(bad))):
        Mixture(experts=4, **bad)
