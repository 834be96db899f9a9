"""The LSTM against torch's own, its gradients against autodiff's, and documents kept apart."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.model import ModelConfig
from scaling.models.cross_entropy import cross_entropy
from scaling.models.language_model import logits
from scaling.models.lstm import LSTM, document_starts, lstm

torch = pytest.importorskip("torch")

TREE = {"family": "lstm", "vocab_size": 29, "max_length": 32, "n_layers": 2, "d_model": 12, "init_std": 0.3}


def new(**changes: Any) -> LSTM:
    return LSTM(validate(ModelConfig, TREE | changes), jax.random.key(1))


states_of = jax.jit(lambda model, batch, key=None: model.states(batch, key))


def peer(model: LSTM) -> Any:
    """torch's LSTM with the same weights; it has its gates in the same order, and two biases."""
    d, n = model.config.d_model, model.config.n_layers
    module = torch.nn.LSTM(d, d, n, batch_first=True)
    with torch.no_grad():
        for layer in range(n):
            for theirs, ours in (("weight_ih", "input"), ("weight_hh", "state"), ("bias_ih", "bias")):
                weight = torch.tensor(np.asarray(getattr(model.layers, ours)[...][layer]).T)
                getattr(module, f"{theirs}_l{layer}").copy_(weight)
            getattr(module, f"bias_hh_l{layer}").zero_()
    return module


def test_outputs_and_gradients_equal_torch() -> None:
    model = new()
    B, L, V = 3, 11, 29
    rng = np.random.default_rng(0)
    inputs, targets = rng.integers(0, V, (2, B, L), np.int32)
    weights = rng.random((B, L), np.float32)
    batch = {"inputs": jnp.array(inputs), "targets": jnp.array(targets)}

    def loss(model: LSTM) -> jax.Array:
        logp = jax.nn.log_softmax(logits(model, model.states(batch)))
        picked = jnp.take_along_axis(logp, batch["targets"][..., None], axis=-1)[..., 0]
        return -(weights * picked).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(model)

    module = peer(model)
    embedding = torch.tensor(np.asarray(model.token_embedding[...]), requires_grad=True)
    head = torch.tensor(np.asarray(model.untied_head[...]), requires_grad=True)
    bias = torch.tensor(np.asarray(model.head_bias[...]), requires_grad=True)
    states = module(embedding[torch.tensor(inputs)])[0]
    logp = torch.log_softmax(states @ head.T + bias, dim=-1)
    picked = logp.gather(-1, torch.tensor(targets.astype(np.int64))[..., None])[..., 0]
    want = -(torch.tensor(weights) * picked).sum()
    want.backward()

    np.testing.assert_allclose(states_of(model, batch), states.detach().numpy(), atol=1e-5)
    assert float(value) == pytest.approx(want.item(), rel=1e-5)
    pairs = [
        (gradient.token_embedding[...], embedding.grad),
        (gradient.untied_head[...], head.grad),
        (gradient.head_bias[...], bias.grad),
    ]
    for layer in range(2):
        for theirs, ours in (("weight_ih", "input"), ("weight_hh", "state"), ("bias_ih", "bias")):
            theirs_grad = getattr(module, f"{theirs}_l{layer}").grad
            pairs.append((getattr(gradient.layers, ours)[...][layer].T, theirs_grad))
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("documents", [False, True])
def test_gradients_equal_autodiff_of_the_steps(documents: bool) -> None:
    """The hand-written backward pass against autodiff of the same equations, with documents that start."""
    L, B, D = 9, 3, 5
    keys = jax.random.split(jax.random.key(0), 3)
    gates_LBG, state_DG = jax.random.normal(keys[0], (L, B, 4 * D)), jax.random.normal(keys[1], (D, 4 * D))
    dh_LBD = jax.random.normal(keys[2], (L, B, D))
    segments_BL = jnp.array([[1] * 4 + [2] * 5, [1] * 9, [1, 2, 3, 4, 5, 6, 0, 0, 0]])
    starts_LB = document_starts(segments_BL if documents else None)

    def plain(gates_LBG: jax.Array, state_DG: jax.Array) -> jax.Array:
        h_BD = c_BD = jnp.zeros((B, D))
        out = []
        for t in range(L):
            if starts_LB is not None:
                h_BD, c_BD = (jnp.where(starts_LB[t][:, None], 0.0, x) for x in (h_BD, c_BD))
            i, f, g, o = jnp.split(gates_LBG[t] + h_BD @ state_DG, 4, axis=-1)
            c_BD = jax.nn.sigmoid(f) * c_BD + jax.nn.sigmoid(i) * jnp.tanh(g)
            h_BD = jax.nn.sigmoid(o) * jnp.tanh(c_BD)
            out.append(h_BD)
        return jnp.stack(out)

    want, want_back = jax.vjp(plain, gates_LBG, state_DG)
    got, got_back = jax.vjp(lambda g, s: lstm(g, s, starts_LB), gates_LBG, state_DG)
    np.testing.assert_allclose(got, want, atol=1e-6)
    for ours, theirs in zip(got_back(dh_LBD), want_back(dh_LBD), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_a_document_starts_from_nothing() -> None:
    """A packed row is its documents one by one."""
    model = new()
    tokens = np.random.default_rng(0).integers(0, 29, (1, 10), np.int32)
    packed = {"inputs": jnp.array(tokens), "segment_ids": jnp.array([[1] * 4 + [2] * 6])}
    apart = [states_of(model, {"inputs": jnp.array(part)}) for part in (tokens[:, :4], tokens[:, 4:])]
    np.testing.assert_allclose(states_of(model, packed), jnp.concatenate(apart, axis=1), atol=1e-6)


def test_gates_start_as_published() -> None:
    bias = np.asarray(new().layers.bias[...]).reshape(2, 4, 12)
    assert (bias[:, 1] == 1).all() and (np.delete(bias, 1, axis=1) == 0).all()


def test_dropout_falls_on_the_last_layer_too() -> None:
    """Half of what leaves the last layer is zero; the same key gives the same numbers."""
    model = new(dropout=0.5, d_model=64)
    batch = {"inputs": jnp.zeros((64, 3), jnp.int32)}
    plain = states_of(model, batch)
    assert (plain == plain[:1]).all()
    dropped = states_of(model, batch, jax.random.key(0))
    assert 0.45 < float((dropped == 0).mean()) < 0.55  # the last layer's output is dropped too
    assert not (dropped[0] == dropped[1]).all()
    np.testing.assert_array_equal(dropped, states_of(model, batch, jax.random.key(0)))


def test_bfloat16_stays_near_float32() -> None:
    batch = {"inputs": jnp.array(np.random.default_rng(0).integers(0, 29, (2, 30), np.int32))}
    narrow = states_of(new(compute_dtype="bfloat16"), batch)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), states_of(new(), batch), atol=0.02)


def test_loss_falls_on_a_repeated_text() -> None:
    optax = pytest.importorskip("optax")
    model = new(d_model=16, n_layers=1, init_std=0.1)
    ids = jnp.array(np.tile(np.arange(7), 6)[None, :33].astype(np.int32))
    batch = {"inputs": ids[:, :-1], "targets": ids[:, 1:]}
    optimizer = optax.adam(0.02)

    def loss(model: LSTM) -> jax.Array:
        terms = model.terms(batch)
        return cross_entropy(terms.x_BLD, model.head_VD(), terms.targets_BL)[0] / 32

    @jax.jit
    def step(carry: Any, _: None) -> Any:
        model, state = carry
        value, gradient = jax.value_and_grad(loss)(model)
        updates, state = optimizer.update(gradient, state, model)
        return (optax.apply_updates(model, updates), state), value

    losses = jax.lax.scan(step, (model, optimizer.init(model)), None, length=80)[1]
    assert losses[0] > 3.2 and losses[-1] < 0.2
