"""The engine with its cache, its batches and its meshes gives what the plain model gives, row by row."""

from typing import Any

import jax
import numpy as np
import pytest

from scaling.config.load import validate
from scaling.config.mesh import MeshConfig
from scaling.config.model import DecoderConfig, EncoderConfig, EncoderDecoderConfig
from scaling.evals.inference import InferenceEngine, Request
from scaling.models.build import new_model
from scaling.models.generate import Sampling, generate
from scaling.models.score import score
from scaling.parallel.mesh import make_mesh
from scaling.runtime.errors import BadInputError

TINY = {"vocab_size": 40, "max_length": 64, "n_layers": 2, "d_model": 32, "n_heads": 4, "init_std": 0.3}
LLAMA = {"positions": "rotary", "n_kv_heads": 2, "norm_kind": "rms", "gated": True, "activation": "silu"}
BANDED = {"layer_pattern": ["dense", "banded"], "band_width": 8}


def made(config: Any, seed: int) -> Any:
    """In one program: drawing its parameters one by one would compile each draw."""
    return jax.jit(lambda: new_model(config, jax.random.key(seed)))()


def decoder(**changes: Any) -> Any:
    return made(validate(DecoderConfig, TINY | changes), 1)


def encoder_decoder(**changes: Any) -> Any:
    return made(validate(EncoderDecoderConfig, TINY | {"init_std": 0.4} | changes), 2)


def requests_of(seed: int = 0, shared: int = 20) -> list[Request]:
    """Nine contexts of many lengths with one to three answers each; six begin alike, two otherwise."""
    rng = np.random.default_rng(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.integers(0, 40, count).tolist())

    common, other = ids(shared), ids(shared)
    begins = [common] * 6 + [other] * 2 + [ids(shared)]
    requests = []
    for i, begin in enumerate(begins):
        context = begin + ids(1 + i)  # of few buckets: each would be a program to compile
        requests += [Request(context, ids(1 + (i + j) % 4), shared) for j in range(1 + i % 3)]
    return requests


def plainly(model: Any, requests: list[Request], start: int = 0) -> list[np.ndarray]:
    """Each whole text run by itself, without a cache."""
    if model.config.family == "encoder_decoder":
        given = ([r.context for r in requests], [(start, *r.answer) for r in requests])
    else:
        given = ([r.context + r.answer for r in requests], None)
    rows = score(model, *given).log_probs
    return [np.array(row[-len(r.answer) :]) for row, r in zip(rows, requests, strict=True)]


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        (decoder, {}),
        *(pytest.param(decoder, changes, marks=pytest.mark.slow) for changes in (LLAMA, BANDED)),
        (encoder_decoder, {}),
    ],
    ids=["gpt", "llama", "banded", "t5"],
)
def test_cached_and_batched_log_probs_are_the_plain_ones(build: Any, changes: dict[str, Any]) -> None:
    model, requests = build(**changes), requests_of()
    scored = InferenceEngine(model, start=0, rows=4).score(requests)
    for got, want in zip(scored, plainly(model, requests), strict=True):
        np.testing.assert_allclose(got.log_probs, want, atol=1e-5)
        assert len(got.likeliest) == len(want)


def test_the_likeliest_tokens_are_those_that_greedy_writing_writes() -> None:
    model = decoder()
    engine = InferenceEngine(model, start=0)
    contexts = [request.context for request in requests_of()]
    written = engine.generate(contexts, new_tokens=5, ended=lambda ids: False, shared=[20] * len(contexts))
    requests = [Request(c, tuple(ids), 20) for c, (ids,) in zip(contexts, written, strict=True)]
    assert all(all(scored.likeliest) for scored in engine.score(requests))
    wrong = [Request(r.context, (r.answer[0], (r.answer[1] + 1) % 40), 20) for r in requests]
    assert all(scored.likeliest == (True, False) for scored in engine.score(wrong))


@pytest.mark.parametrize(
    "build", [decoder, pytest.param(encoder_decoder, marks=pytest.mark.slow)], ids=["gpt", "t5"]
)
def test_greedy_writing_is_generates(build: Any) -> None:
    model = build()
    contexts = list(dict.fromkeys(request.context for request in requests_of()))
    written = InferenceEngine(model, start=3, rows=4).generate(
        contexts, new_tokens=11, ended=lambda ids: False, shared=[20] * len(contexts)
    )
    plain = generate(model, [list(c) for c in contexts], new_tokens=11, sampling=Sampling(0.0), start=3)
    limits = [min(11, 65 - len(context)) for context in contexts]
    assert [len(ids) for (ids,) in written] == ([11] * 9 if build is encoder_decoder else limits)
    assert [ids for (ids,) in written] == plain


def test_writing_ends_where_it_is_told_and_at_the_last_position() -> None:
    model = decoder()
    ended = InferenceEngine(model, start=0).generate(
        [(1, 2, 3)], new_tokens=30, ended=lambda ids: len(ids) >= 4
    )
    assert 4 <= len(ended[0][0]) < 30
    full = InferenceEngine(model, start=0).generate([tuple([7] * 60)], new_tokens=30, ended=lambda ids: False)
    assert len(full[0][0]) == 5  # 60 read, the last of them with the first new one: 64 positions


def test_draws_depend_on_the_item_and_not_on_its_neighbours() -> None:
    engine = InferenceEngine(decoder(), start=0, rows=4)
    contexts = [(1, 2, 3), (4, 5), (6, 7, 8, 9)]
    how = {"new_tokens": 6, "ended": lambda ids: False, "sampling": Sampling(1.0), "samples": 3, "seed": 5}
    together = engine.generate(contexts, **how)
    assert engine.generate(contexts[:1], **how)[0] == together[0]
    assert len({tuple(ids) for each in together for ids in each}) == 9
    assert engine.generate(contexts, **how | {"seed": 6}) != together


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        pytest.param(decoder, {"fsdp": 8}, marks=pytest.mark.slow),
        pytest.param(decoder, {"fsdp": 2, "tensor": 4}, marks=pytest.mark.slow),
        pytest.param(decoder, {"data": 2, "fsdp": 2, "tensor": 2}, marks=pytest.mark.slow),
        (encoder_decoder, {"data": 2, "fsdp": 2, "tensor": 2}),
    ],
)
def test_eight_devices_give_the_scores_of_one(build: Any, sizes: dict[str, int]) -> None:
    model, requests = build(), requests_of()
    engine = InferenceEngine(model, start=0, mesh=make_mesh(MeshConfig(**sizes)))
    assert len(jax.tree.leaves(engine.model)[0].sharding.device_set) == 8
    for got, want in zip(engine.score(requests), plainly(model, requests), strict=True):
        np.testing.assert_allclose(got.log_probs, want, atol=1e-5)


@pytest.mark.slow
def test_eight_devices_write_what_one_does() -> None:
    model, contexts = decoder(), [request.context for request in requests_of()][:6]
    how = {"new_tokens": 6, "ended": lambda ids: False, "sampling": Sampling(1.0), "samples": 2}
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2))
    assert InferenceEngine(model, 0, mesh).generate(contexts, **how) == InferenceEngine(model, 0).generate(
        contexts, **how
    )


def test_what_is_shared_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One reading of each prefix that two contexts have, and none of the prefix of one alone."""
    engine = InferenceEngine(decoder(), start=0)
    read: list[int] = []
    plain = engine._programs.read_prefix

    def counted(model: Any, tokens: np.ndarray, length: int) -> Any:
        read.append(tokens.shape[1])
        return plain(model, tokens, length=length)

    monkeypatch.setattr(engine._programs, "read_prefix", counted)
    engine.score(requests_of())
    assert sorted(read) == [0, 32, 32]
    engine.score(requests_of())
    assert len(read) == 3  # kept for the next call


@pytest.mark.parametrize(
    ("context", "answer", "said"),
    [
        ((), (1,), "context has no token"),
        ((1,), (), "answer has no token"),
        ((1, 40), (1,), "id 40 is outside the vocabulary"),
        (tuple([1] * 64), (1, 2), "the model has 64 positions"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    context: tuple[int, ...], answer: tuple[int, ...], said: str
) -> None:
    with pytest.raises(BadInputError, match=said):
        InferenceEngine(decoder(), start=0).score([Request(context, answer)])


def test_an_encoder_is_refused() -> None:
    config = validate(EncoderConfig, {**TINY, "family": "encoder"})
    model = jax.eval_shape(lambda: new_model(config, jax.random.key(0)))
    with pytest.raises(BadInputError, match="family=encoder cannot be evaluated"):
        InferenceEngine(model, start=0)
