"""Generation with a cache equals generation without one; sampling draws from what it says it does."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.model import DecoderConfig, EncoderDecoderConfig
from scaling.models.decoder import Decoder
from scaling.models.encoder_decoder import EncoderDecoder
from scaling.models.generate import Beams, Sampling, empty_cache, extend, generate, sample
from scaling.models.language_model import logits
from scaling.runtime.errors import BadInputError


def _model(**changes: Any) -> Decoder:
    fields = {"vocab_size": 37, "max_length": 32, "n_layers": 4, "d_model": 32, "n_heads": 4, "init_std": 0.3}
    return Decoder(validate(DecoderConfig, fields | changes), jax.random.key(3))


def _greedy_without_cache(model: Decoder, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    # One program for every length: what stands after a token changes nothing that is computed before it.
    run = jax.jit(lambda model, tokens_BL: logits(model, model(tokens_BL)))
    for _ in range(count):
        padded = tokens + [0] * (len(prompt) + count - len(tokens))
        tokens.append(int(jnp.argmax(run(model, jnp.asarray([padded]))[0, len(tokens) - 1])))
    return tokens[len(prompt) :]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        pytest.param({"norm": "post"}, marks=pytest.mark.slow),
        pytest.param({"layer_pattern": ["dense", "banded"], "band_width": 4}, marks=pytest.mark.slow),
        {
            "layer_pattern": ["dense", "banded"],
            "band_width": 4,
            "scan_layers": True,
            "attention_soft_cap": 0.5,
        },
        pytest.param({"tie_embeddings": False, "scan_layers": True}, marks=pytest.mark.slow),
        {"positions": "rotary", "n_kv_heads": 2, "norm_kind": "rms", "gated": True, "activation": "silu"},
        pytest.param(
            {"positions": "rotary", "bias": False, "qkv_bias": True, "qk_norm": True}, marks=pytest.mark.slow
        ),
    ],
)
def test_greedy_with_cache_equals_greedy_without(changes: dict[str, Any]) -> None:
    """Also for prompts of different lengths in one batch."""
    model = _model(**changes)
    prompts = [[5, 9, 2, 30, 7, 1], [3, 14], [8, 8, 8]]
    got = generate(model, prompts, new_tokens=10, sampling=Sampling(temperature=0))
    assert got == [_greedy_without_cache(model, prompt, 10) for prompt in prompts]


def _seq2seq(**changes: Any) -> EncoderDecoder:
    fields = {"vocab_size": 7, "max_length": 16, "n_layers": 2, "d_model": 32, "n_heads": 4, "init_std": 0.4}
    return EncoderDecoder(validate(EncoderDecoderConfig, fields | changes), jax.random.key(5))


@jax.jit
def _decoded(model: EncoderDecoder, source_BL: jax.Array, target_BT: jax.Array) -> jax.Array:
    return logits(model, model.decode(target_BT, model.encode(source_BL)))


def _target_logits(model: EncoderDecoder, source: list[int], target: list[int]) -> jax.Array:
    padded = target + [0] * (12 - len(target))  # one program for every length
    return _decoded(model, jnp.asarray([source]), jnp.asarray([padded]))[0, : len(target)]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"norm_kind": "rms", "bias": False, "scale_attention": False}, marks=pytest.mark.slow),
        pytest.param(
            {"positions": "sinusoidal", "norm": "post", "scan_layers": True, "n_decoder_layers": 3},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_an_encoder_decoder_writes_what_it_writes_without_a_cache(changes: dict[str, Any]) -> None:
    """Greedy, from sources of different lengths in one batch: padding is not looked at."""
    model = _seq2seq(**changes)
    sources = [[5, 2, 3, 1, 6], [4, 4], [1, 2, 3]]
    got = generate(model, sources, new_tokens=8, sampling=Sampling(temperature=0), start=0)
    for source, row in zip(sources, got, strict=True):
        target = [0]
        for _ in range(8):
            target.append(int(jnp.argmax(_target_logits(model, source, target)[-1])))
        assert row == target[1:]


@pytest.mark.parametrize("alpha", [0.6, *(pytest.param(a, marks=pytest.mark.slow) for a in (0.0, 2.0))])
def test_wide_beams_find_the_best_of_all_continuations(alpha: float) -> None:
    """With a beam for every continuation the search is exhaustive: held against trying all of them."""
    model, source, stop, steps = _seq2seq(vocab_size=4), [1, 2, 3], 0, 3

    def score(target: tuple[int, ...]) -> float:
        """Of a target that ends with `stop`, or is as long as allowed."""
        logp = jax.nn.log_softmax(_target_logits(model, source, [0, *target[:-1]]))
        total = sum(float(logp[i, token]) for i, token in enumerate(target))
        return total / ((5 + len(target)) / 6) ** alpha

    def all_targets(length: int) -> list[tuple[int, ...]]:
        if length == 0:
            return [()]
        longer = [(first, *rest) for first in range(1, 4) for rest in all_targets(length - 1)]
        return [(stop,), *longer]

    best = max(all_targets(steps), key=score)
    want = list(best[:-1] if best[-1] == stop else best)
    beams = Beams(width=64, length_penalty=alpha)
    assert generate(model, [source], new_tokens=steps, sampling=beams, stops=(stop,)) == [want]


def test_the_cache_gives_the_hidden_states_of_the_whole_sequence() -> None:
    model = _model()
    tokens_BL = jax.random.randint(jax.random.key(0), (2, 20), 0, 37)
    positions_BL = jnp.broadcast_to(jnp.arange(20), (2, 20))
    cache, run = empty_cache(model, 2, 20), jax.jit(extend)
    parts = []
    for start, stop in ((0, 7), (7, 8), (8, 20)):
        x, cache = run(model, cache, tokens_BL[:, start:stop], positions_BL[:, start:stop])
        parts.append(x)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), model(tokens_BL), atol=2e-4)


def test_stop_ends_a_row() -> None:
    model = _model()
    free = generate(model, [[1, 2, 3]], new_tokens=8, sampling=Sampling(temperature=0))[0]
    stopped = generate(
        model, [[1, 2, 3]], new_tokens=8, sampling=Sampling(temperature=0), stops=(36, free[3])
    )[0]
    assert stopped == free[: free.index(free[3])]


def test_top_k_and_top_p_cut_the_tail_and_keep_the_rest_in_proportion() -> None:
    probabilities = np.array([0.5, 0.25, 0.15, 0.1])
    logits_BV = jnp.log(jnp.broadcast_to(jnp.asarray(probabilities), (20_000, 4)))

    def frequencies(sampling: Sampling) -> np.ndarray:
        drawn = sample(logits_BV, sampling, jax.random.key(0))
        return np.bincount(np.asarray(drawn), minlength=4) / 20_000

    np.testing.assert_allclose(frequencies(Sampling()), probabilities, atol=0.015)
    np.testing.assert_allclose(frequencies(Sampling(top_k=2)), [2 / 3, 1 / 3, 0, 0], atol=0.015)
    np.testing.assert_allclose(frequencies(Sampling(top_p=0.8)), [5 / 9, 2.5 / 9, 1.5 / 9, 0], atol=0.015)
    np.testing.assert_allclose(frequencies(Sampling(top_p=0.3)), [1, 0, 0, 0], atol=0)
    np.testing.assert_allclose(frequencies(Sampling(temperature=0)), [1, 0, 0, 0], atol=0)
    squared = probabilities**2 / (probabilities**2).sum()
    np.testing.assert_allclose(frequencies(Sampling(temperature=0.5)), squared, atol=0.015)


@pytest.mark.parametrize(
    ("prompts", "new_tokens", "says"),
    [
        ([[]], 3, "empty"),
        ([], 3, "empty"),
        ([[1] * 30], 3, "positions"),
        ([[40]], 3, "vocabulary"),
        ([[-1]], 3, "vocabulary"),
        ([[1]], 0, "positive"),
    ],
)
def test_bad_prompts(prompts: list[list[int]], new_tokens: int, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        generate(_model(), prompts, new_tokens=new_tokens)


@pytest.mark.parametrize("sampling", [Sampling(temperature=-1), Sampling(top_k=0), Sampling(top_p=0.0)])
def test_bad_sampling(sampling: Sampling) -> None:
    with pytest.raises(BadInputError):
        sampling.check()
