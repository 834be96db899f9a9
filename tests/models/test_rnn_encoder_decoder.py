"""The recurrent encoder-decoder against its paper's equations in NumPy, and what attention must do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scaling.config.load import validate
from scaling.config.model import ModelConfig
from scaling.models.cross_entropy import cross_entropy
from scaling.models.rnn_encoder_decoder import RNNEncoderDecoder

TREE = {
    "family": "rnn_encoder_decoder",
    "vocab_size": 13,
    "max_length": 16,
    "d_embedding": 4,
    "d_model": 5,
    "d_attention": 6,
    "d_readout": 3,
    "init_std": 0.5,
}


def new(**changes: Any) -> RNNEncoderDecoder:
    model = RNNEncoderDecoder(validate(ModelConfig, TREE | changes), jax.random.key(1))
    # Biases start at zero; others must matter too.
    return jax.tree.map(
        lambda leaf: (
            0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape, leaf.dtype)
            if not leaf.any()
            else leaf
        ),
        model,
    )


# Compiled, a scan is one program; op by op every piece of it would be compiled for itself.
states_of = jax.jit(lambda model, batch, key=None: model.states(batch, key))
alignment_of = jax.jit(lambda model, batch: model.alignment(batch))


def example(B: int = 3, L: int = 6, T: int = 4) -> dict[str, jax.Array]:
    rng = np.random.default_rng(0)
    real = np.arange(L) < np.array([[L], [L - 2], [1]])[:B]
    return {
        "inputs": jnp.array(rng.integers(0, 13, (B, L), np.int32)),
        "segment_ids": jnp.array(real.astype(np.int32)),
        "decoder_inputs": jnp.array(rng.integers(0, 13, (B, T), np.int32)),
        "targets": jnp.array(rng.integers(0, 13, (B, T), np.int32)),
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def reference(tree: dict[str, Any], source: list[int], target: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """States (T, R) and attention (T, L) of one example, equation by equation (appendix A)."""

    def step(name: str, x: np.ndarray, s: np.ndarray, more: np.ndarray | None = None) -> np.ndarray:
        w = tree[name]
        wr, wz, wc = np.split(x @ w["input"] + w["bias"] + (0 if more is None else more), 3)
        ur, uz, uc = np.split(w["state"], 3, axis=1)
        r, z = sigmoid(wr + s @ ur), sigmoid(wz + s @ uz)
        return (1 - z) * s + z * np.tanh(wc + (r * s) @ uc)

    n = tree["start"].shape[0]
    xs = [tree["source_embedding"][t] for t in source]
    ahead, back = [np.zeros(n)], [np.zeros(n)]
    for x in xs:
        ahead.append(step("forwards", x, ahead[-1]))
    for x in reversed(xs):
        back.append(step("backwards", x, back[-1]))
    h = np.array([np.concatenate(pair) for pair in zip(ahead[1:], reversed(back[1:]), strict=True)])
    s = np.tanh(back[-1] @ tree["start"] + tree["start_bias"])
    a = tree["attention"]
    states, alignment = [], []
    for token in target:
        y = tree["target_embedding"][token]
        e = np.tanh(s @ a["query"] + h @ a["key"] + a["bias"]) @ a["score"]
        alpha = np.exp(e) / np.exp(e).sum()
        c = alpha @ h
        s = step("decoder", y, s, c @ tree["context"])
        t = np.concatenate([s, y, c]) @ tree["readout"] + tree["readout_bias"]
        states.append(t.reshape(-1, 2).max(axis=1))
        alignment.append(alpha)
    return np.array(states), np.array(alignment)


def weights_of(model: Any) -> dict[str, Any]:
    """The parameters as nested dicts of float64 arrays."""
    tree: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(model)[0]:
        *outer, last = (
            jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value").split(".")
        )
        inner = tree
        for part in outer:
            inner = inner.setdefault(part, {})
        inner[last] = np.asarray(leaf, np.float64)
    return tree


def test_states_and_attention_equal_the_equations() -> None:
    model, batch = new(), example()
    states, alignment = states_of(model, batch), alignment_of(model, batch)
    tree = weights_of(model)
    for row in range(3):
        real = np.asarray(batch["segment_ids"][row], bool)
        source = np.asarray(batch["inputs"][row])[real].tolist()
        want_states, want_alignment = reference(tree, source, batch["decoder_inputs"][row].tolist())
        np.testing.assert_allclose(states[row], want_states, atol=2e-6)
        np.testing.assert_allclose(alignment[row][:, real], want_alignment, atol=2e-6)


def test_attention_sums_to_one_over_what_is_there() -> None:
    model, batch = new(), example()
    alignment = np.asarray(alignment_of(model, batch))
    np.testing.assert_allclose(alignment.sum(-1), 1, atol=1e-6)
    hidden = np.broadcast_to(np.asarray(batch["segment_ids"])[:, None] == 0, alignment.shape)
    assert (alignment[hidden] == 0).all()


def test_padding_of_the_source_has_no_effect() -> None:
    """Neither its tokens nor how much of it there is, in values and in gradients."""
    model, batch = new(), example()
    padding = batch["segment_ids"] == 0
    other = batch | {"inputs": jnp.where(padding, 12 - batch["inputs"], batch["inputs"])}
    longer = {key: jnp.pad(batch[key], ((0, 0), (0, 5))) for key in ("inputs", "segment_ids")}

    def loss(model: RNNEncoderDecoder, batch: dict[str, jax.Array]) -> jax.Array:
        return jnp.square(model.states(batch)).sum()

    value_and_gradient = jax.jit(jax.value_and_grad(loss))
    want, gradient = value_and_gradient(model, batch)
    for changed in (other, batch | longer):
        got, its_gradient = value_and_gradient(model, changed)
        assert float(got) == pytest.approx(float(want), rel=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), gradient, its_gradient)


@pytest.mark.slow
def test_gradients_equal_finite_differences() -> None:
    """Along a random direction of every parameter by itself, in float64 of the NumPy reference."""
    model, batch = new(), example(B=1)
    factor = np.random.default_rng(1).normal(size=(4, 3))
    gradient = jax.jit(jax.grad(lambda m: (m.states(batch)[0] * factor).sum()))(model)
    source, target = batch["inputs"][0].tolist(), batch["decoder_inputs"][0].tolist()
    tree, ours = weights_of(model), weights_of(gradient)
    rng, step, checked = np.random.default_rng(2), 1e-6, 0

    def visit(values: dict[str, Any], slopes: dict[str, Any]) -> None:
        nonlocal checked
        for name, value in values.items():
            if isinstance(value, dict):
                visit(value, slopes[name])
            elif name not in ("head_bias", "untied_head"):
                direction = rng.normal(size=value.shape)
                ends = []
                for sign in (1, -1):
                    values[name] = value + sign * step * direction
                    ends.append((reference(tree, source, target)[0] * factor).sum())
                values[name] = value
                want = (ends[0] - ends[1]) / (2 * step)
                assert (slopes[name] * direction).sum() == pytest.approx(want, rel=2e-4, abs=2e-5), name
                checked += 1

    visit(tree, ours)
    assert checked == 2 + 3 * 3 + 4 + 2 + 1 + 2


@pytest.mark.slow
def test_it_learns_to_reverse() -> None:
    """Four digits backwards: without looking at the right place it cannot."""
    config = TREE | {"d_model": 32, "d_embedding": 16, "d_attention": 32, "d_readout": 16, "init_std": 0.1}
    model = RNNEncoderDecoder(validate(ModelConfig, config), jax.random.key(0))
    optimizer = optax.adam(1e-2)

    def batch_of(key: jax.Array) -> dict[str, jax.Array]:
        source = jax.random.randint(key, (32, 4), 1, 9)
        target = source[:, ::-1]
        begun = jnp.pad(target[:, :-1], ((0, 0), (1, 0)))
        return {"inputs": source, "decoder_inputs": begun, "targets": target}

    def loss(model: RNNEncoderDecoder, batch: dict[str, jax.Array]) -> jax.Array:
        terms = model.terms(batch)
        return cross_entropy(terms.x_BLD, model.head_VD(), terms.targets_BL)[0] / terms.targets_BL.size

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        model, state = carry
        value, gradient = jax.value_and_grad(loss)(model, batch_of(key))
        updates, state = optimizer.update(gradient, state, model)
        return (optax.apply_updates(model, updates), state), value

    start = (model, optimizer.init(model))
    keys = jax.random.split(jax.random.key(1), 400)
    (model, _), losses = jax.jit(lambda c, k: jax.lax.scan(step, c, k))(start, keys)
    assert losses[0] > 2.2 and float(losses[-20:].mean()) < 0.15
    looked = np.asarray(model.alignment(batch_of(jax.random.key(2)))).mean(axis=0)
    assert (looked.argmax(-1) == np.arange(4)[::-1]).mean() >= 0.6


@pytest.mark.slow
def test_dropout_and_bfloat16() -> None:
    batch = example()
    model = new(dropout=0.5)
    states = states_of(model, batch)
    dropped = states_of(model, batch, jax.random.key(0))
    assert 0.2 < float((dropped == 0).mean()) < 0.8 and not (states == 0).any()
    narrow = states_of(new(compute_dtype="bfloat16"), batch)
    assert narrow.dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.astype(jnp.float32), states, atol=0.05)
