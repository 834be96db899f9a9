"""The decoder against transformers' GPT-2, and against itself computed another way."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import load_model, validate
from scaling.config.model import DecoderConfig
from scaling.models.cross_entropy import cross_entropy
from scaling.models.decoder import Decoder
from scaling.models.language_model import logits as logits_of


def _config(**changes: Any) -> DecoderConfig:
    fields = {"vocab_size": 61, "max_length": 24, "n_layers": 4, "d_model": 32, "n_heads": 4}
    return validate(DecoderConfig, fields | changes)


def _tokens(config: DecoderConfig, batch: int = 2, length: int = 24) -> jax.Array:
    return jax.random.randint(jax.random.key(7), (batch, length), 0, config.vocab_size)


def _loss(model: Decoder, tokens_BL: jax.Array) -> jax.Array:
    x_BLD = model(tokens_BL[:, :-1])
    total, sums = cross_entropy(x_BLD, model.head_VD(), tokens_BL[:, 1:])
    return total / sums["weight_sum"]


def test_gpt2_agrees_with_transformers() -> None:
    """Logits to 1e-4 and gradients of the loss to 1e-4 relative, in fp32, from the same random weights."""
    torch = pytest.importorskip("torch", reason="torch is the peer; pip install 'scaling-lab[test]'")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = load_model("gpt2-124m", ["n_layers=3", "d_model=96", "n_heads=6", "vocab_size=503", "d_ff=384"])
    config = config.model_copy(update={"max_length": 64, "d_head": 16, "dropout": 0.0})
    peer_config = transformers.GPT2Config(
        vocab_size=503, n_positions=64, n_embd=96, n_layer=3, n_head=6, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, initializer_range=0.15,
    )  # fmt: skip
    peer = transformers.GPT2LMHeadModel(peer_config)
    for parameter in peer.parameters():  # biases and norms away from 0 and 1, so that each is tested
        parameter.data += 0.05 * torch.randn_like(parameter)
    state = {name: value.detach().numpy() for name, value in peer.state_dict().items()}
    D, H, E, N = 96, 6, 16, 3

    def stack(name: str) -> np.ndarray:
        return np.stack([state[f"transformer.h.{i}.{name}"] for i in range(N)])

    qkv, qkv_bias = stack("attn.c_attn.weight"), stack("attn.c_attn.bias")
    ours = jax.tree_util.tree_flatten_with_path(Decoder(config, jax.random.key(0)))
    weights = {
        "token_embedding": state["transformer.wte.weight"],
        "position_embedding": state["transformer.wpe.weight"],
        "final_norm.scale": state["transformer.ln_f.weight"],
        "final_norm.bias": state["transformer.ln_f.bias"],
        "layers.attention_norm.scale": stack("ln_1.weight"),
        "layers.attention_norm.bias": stack("ln_1.bias"),
        "layers.feed_forward_norm.scale": stack("ln_2.weight"),
        "layers.feed_forward_norm.bias": stack("ln_2.bias"),
        "layers.attention.out": stack("attn.c_proj.weight").reshape(N, H, E, D),
        "layers.attention.out_bias": stack("attn.c_proj.bias"),
        "layers.feed_forward.up": stack("mlp.c_fc.weight"),
        "layers.feed_forward.up_bias": stack("mlp.c_fc.bias"),
        "layers.feed_forward.down": stack("mlp.c_proj.weight"),
        "layers.feed_forward.down_bias": stack("mlp.c_proj.bias"),
    }
    for i, part in enumerate(("query", "key", "value")):
        weights[f"layers.attention.{part}"] = qkv[:, :, i * D : (i + 1) * D].reshape(N, D, H, E)
        weights[f"layers.attention.{part}_bias"] = qkv_bias[:, i * D : (i + 1) * D].reshape(N, H, E)

    def name(path: Any) -> str:
        return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")

    assert {name(path) for path, _ in ours[0]} == set(weights)
    model = jax.tree.unflatten(ours[1], [jnp.asarray(weights[name(path)]) for path, _ in ours[0]])

    tokens_BL = np.random.default_rng(0).integers(0, 503, (2, 64))
    out = peer(input_ids=torch.tensor(tokens_BL), labels=torch.tensor(tokens_BL))
    logits = logits_of(model, model(jnp.asarray(tokens_BL)))
    np.testing.assert_allclose(logits, out.logits.detach().numpy(), atol=1e-4)

    out.loss.backward()
    loss, gradients = jax.value_and_grad(_loss)(model, jnp.asarray(tokens_BL))
    assert float(loss) == pytest.approx(out.loss.item(), rel=1e-5)
    got = {name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(gradients)[0]}
    grads = {n: p.grad.numpy() for n, p in peer.named_parameters()}

    def stacked(part: str) -> np.ndarray:
        return np.stack([grads[f"transformer.h.{i}.{part}"] for i in range(N)])

    qkv_grad = stacked("attn.c_attn.weight")
    expected = {
        "token_embedding": grads["transformer.wte.weight"],
        "position_embedding": grads["transformer.wpe.weight"],
        "final_norm.scale": grads["transformer.ln_f.weight"],
        "layers.attention.query": qkv_grad[:, :, :D].reshape(N, D, H, E),
        "layers.attention.key": qkv_grad[:, :, D : 2 * D].reshape(N, D, H, E),
        "layers.attention.value": qkv_grad[:, :, 2 * D :].reshape(N, D, H, E),
        "layers.attention.out": stacked("attn.c_proj.weight").reshape(N, H, E, D),
        "layers.feed_forward.up": stacked("mlp.c_fc.weight"),
        "layers.feed_forward.down_bias": stacked("mlp.c_proj.bias"),
        "layers.attention_norm.scale": stacked("ln_1.weight"),
    }
    for part, value in expected.items():
        error = np.linalg.norm(got[part] - value) / np.linalg.norm(value)
        assert error < 1e-4, (part, error)


BANDS = {"layer_pattern": ["dense", "banded"], "band_width": 5}


@pytest.mark.parametrize(
    ("norm", "pattern"),
    [
        ("pre", BANDS),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("pre", {}), ("post", {}), ("post", BANDS))
        ),
    ],
)
def test_scanned_unrolled_and_rematerialised_agree(norm: str, pattern: dict[str, Any]) -> None:
    plain = _config(norm=norm, **pattern)
    model = Decoder(plain, jax.random.key(1))
    leaves = jax.tree.leaves(model)
    tokens_BL = _tokens(plain)
    loss, gradients = jax.jit(jax.value_and_grad(_loss))(model, tokens_BL)
    for changes in ({"scan_layers": True}, {"remat": "full"}, {"scan_layers": True, "remat": "dots"}):
        twin = jax.tree.unflatten(
            jax.tree.structure(Decoder(_config(norm=norm, **pattern, **changes), jax.random.key(2))), leaves
        )
        twin_loss, twin_gradients = jax.jit(jax.value_and_grad(_loss))(twin, tokens_BL)
        assert float(twin_loss) == pytest.approx(float(loss), abs=1e-6)
        for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(twin_gradients), strict=True):
            np.testing.assert_allclose(a, b, atol=2e-6)


def test_no_token_sees_the_future_and_a_band_forgets() -> None:
    config = _config(layer_pattern=["banded"], band_width=3, n_layers=1)
    model = Decoder(config, jax.random.key(0))
    tokens_BL = _tokens(config, batch=1)
    x_BLD = model(tokens_BL)
    changed = model(tokens_BL.at[0, 10].add(1) % config.vocab_size)
    moved = jnp.any(jnp.abs(x_BLD - changed) > 1e-7, axis=(0, 2))
    assert moved.tolist() == [10 <= i < 13 for i in range(24)]


def test_packed_documents_do_not_see_each_other() -> None:
    """A packed row gives each document the hidden states that it has alone."""
    config = _config()
    model = Decoder(config, jax.random.key(0))
    tokens_BL = _tokens(config, batch=1)
    segment_ids_BL = jnp.array([[1] * 9 + [2] * 15])
    positions_BL = jnp.array([[*range(9), *range(15)]])
    packed = model(tokens_BL, segment_ids_BL=segment_ids_BL, positions_BL=positions_BL)
    np.testing.assert_allclose(packed[:, :9], model(tokens_BL[:, :9]), atol=1e-5)
    np.testing.assert_allclose(packed[:, 9:], model(tokens_BL[:, 9:]), atol=1e-5)


def test_initialisation_is_the_published_one() -> None:
    config = load_model(
        "gpt2-124m", ["n_layers=8", "d_model=256", "n_heads=4", "vocab_size=512", "d_ff=1024"]
    )
    config = config.model_copy(update={"d_head": 64})
    model = Decoder(config, jax.random.key(0))
    assert float(model.token_embedding[...].std()) == pytest.approx(0.02, rel=0.02)
    assert float(model.position_embedding[...].std()) == pytest.approx(0.01, rel=0.02)
    assert float(model.layers.attention.query[...].std()) == pytest.approx(0.02, rel=0.02)
    # Radford et al. 2019, section 2.3: residual projections by 1 / sqrt of the number of residual layers.
    assert float(model.layers.attention.out[...].std()) == pytest.approx(0.02 / 16**0.5, rel=0.02)
    assert float(model.layers.feed_forward.down[...].std()) == pytest.approx(0.02 / 16**0.5, rel=0.02)
    first_loss = _loss(model, _tokens(config, 4, 128))
    assert float(first_loss) == pytest.approx(np.log(512), rel=0.02)


def test_dropout_acts_in_training_only_and_keeps_the_mean() -> None:
    config = _config(dropout=0.5)
    model = Decoder(config, jax.random.key(0))
    tokens_BL = _tokens(config)
    still = model(tokens_BL)
    assert jnp.array_equal(still, model(tokens_BL))
    one = model(tokens_BL, dropout_key=jax.random.key(1))
    two = model(tokens_BL, dropout_key=jax.random.key(2))
    assert not jnp.allclose(one, two)
    assert jnp.array_equal(one, model(tokens_BL, dropout_key=jax.random.key(1)))


@pytest.mark.slow
def test_bfloat16_stays_near_float32() -> None:
    config = _config()
    model = Decoder(config, jax.random.key(0))
    half = jax.tree.unflatten(
        jax.tree.structure(Decoder(_config(compute_dtype="bfloat16"), jax.random.key(0))),
        jax.tree.leaves(model),
    )
    tokens_BL = _tokens(config)
    assert half(tokens_BL).dtype == jnp.bfloat16
    assert float(_loss(half, tokens_BL)) == pytest.approx(float(_loss(model, tokens_BL)), rel=5e-3)
