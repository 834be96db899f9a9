"""Every objective through the whole pipeline: seekable, the same on any hosts, static or dynamic, counted."""

import json

import numpy as np
import pytest

from scaling.config.data import DataConfig, batch_arrays
from scaling.config.objective import (
    CausalObjective,
    ContinuationObjective,
    DenoisingObjective,
    MaskedObjective,
    PrefixObjective,
    SpanNoise,
    SpansObjective,
)
from scaling.data.batches import BatchSchedule
from scaling.data.corpus import open_corpus
from scaling.data.tokenizer_training import train_sentencepiece
from scaling.runtime.errors import BadInputError

SCHEDULE = BatchSchedule(((0, 4), (2, 8)))
OBJECTIVES = {
    "causal": CausalObjective(),
    "prefix": PrefixObjective(),
    "masked": MaskedObjective(),
    "masked-static": MaskedObjective(dynamic=False),
    "masked-words": MaskedObjective(whole_words=True),
    "masked-next": MaskedObjective(sentences="next"),
    "masked-order": MaskedObjective(sentences="order", dynamic=False),
    "spans": SpansObjective(),
    "spans-iid": SpansObjective(iid=True),
    "denoising": DenoisingObjective(mixture=(SpanNoise(), SpanNoise(rate=0.5, mean_length=None))),
    "continuation": ContinuationObjective(target_length=8),
}
every_objective = pytest.mark.parametrize("name", OBJECTIVES)
noisy = pytest.mark.parametrize(
    "name", [name for name in OBJECTIVES if name not in ("causal", "continuation")]
)


@pytest.fixture
def corpus(jsonl):
    def open_with(name, **options):
        options = {"sequence_length": 32, "validation_fraction": 0.2, **options}
        return open_corpus(DataConfig(source=jsonl, **options), OBJECTIVES[name], vocab_size=400)

    return open_with


def equal(left, right):
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


def join(shares):
    return {key: np.concatenate([share[key] for share in shares]) for key in shares[0]}


@every_objective
@pytest.mark.parametrize("mask_documents", [True, False])
def test_batches_are_of_the_arrays_that_the_config_foretells(corpus, name, mask_documents):
    corpus = corpus(name, mask_documents=mask_documents)
    batch = next(corpus.train_batches(BatchSchedule.constant(8)))
    expected = batch_arrays(OBJECTIVES[name], corpus.config, 8)
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == expected
    weighted = {**expected, "weights": (expected["targets"][0], "float32")}
    for batch in corpus.validation_batches(8):
        assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == weighted


@every_objective
def test_a_step_is_the_same_again_after_seeking_and_on_any_number_of_hosts(corpus, name):
    corpus = corpus(name)
    batches = corpus.train_batches(SCHEDULE)
    straight = [next(batches) for _ in range(6)]
    again = corpus.train_batches(SCHEDULE)
    again.seek(4)
    assert equal(next(again), straight[4])
    hosts = [corpus.train_batches(SCHEDULE, host_index=h, host_count=4) for h in range(4)]
    for step in range(6):
        assert equal(join([next(host) for host in hosts]), straight[step])


@every_objective
def test_a_row_alone_is_the_row_in_its_batch(corpus, name):
    rows = corpus(name).train_rows
    indices, numbers = np.arange(9) % len(rows), np.array([0, 10**12, 5, 6, 7, 8, 9, 3, 2])
    together = rows.take(indices, numbers)
    for b in range(9):
        assert equal(
            rows.take(indices[b : b + 1], numbers[b : b + 1]), {k: v[b : b + 1] for k, v in together.items()}
        )


@noisy
def test_noise_is_new_each_epoch_unless_static_and_another_for_another_seed(corpus, name):
    rows = corpus(name).train_rows
    indices = np.arange(6)
    first, second = rows.take(indices, indices), rows.take(indices, indices + len(rows))
    assert equal(first, second) == (not getattr(OBJECTIVES[name], "dynamic", True))
    assert not equal(first, corpus(name, seed=1).train_rows.take(indices, indices))


@every_objective
def test_validation_is_fixed_counted_and_the_same_for_any_batch_seed_and_hosts(corpus, name):
    reference = list(corpus(name).validation_batches(1, tokens=200))
    validation = corpus(name, seed=1).validation_batches(4, tokens=200)
    batches = list(validation)
    shares = [
        list(corpus(name).validation_batches(4, tokens=200, host_index=h, host_count=2)) for h in (0, 1)
    ]
    assert equal(join(batches), join([join(pair) for pair in zip(*shares, strict=True)]))
    rows = len(reference)
    assert rows == validation.rows == 7  # positions of inputs, in whole rows
    whole = join(batches)
    assert equal(join(reference), {key: value[:rows] for key, value in whole.items()})
    assert not whole["weights"][rows:].any()
    if "sentence_targets" in whole:
        assert (whole["sentence_targets"][rows:] == -1).all()
    counted = whole["targets"][whole["weights"] > 0]
    assert validation.tokens == len(counted) > 0
    assert validation.text_bytes == (counted < 256).sum()  # a byte each; specials stand for no text


def test_the_targets_of_encoder_decoders_are_the_text_that_follows(corpus):
    rows = corpus("continuation").train_rows
    causal = corpus("causal", sequence_length=40, mask_documents=False).train_rows
    made, text = rows.take(np.arange(3)), causal.take(np.arange(3))["inputs"]
    assert np.array_equal(np.concatenate([made["inputs"], made["targets"]], axis=1), text)


def test_fingerprints_tell_objectives_apart_and_causal_keeps_its_own(corpus, jsonl):
    prints = {corpus(name).fingerprint for name in OBJECTIVES}
    assert len(prints) == len(OBJECTIVES)
    data = DataConfig(source=jsonl, sequence_length=32, validation_fraction=0.2)
    assert open_corpus(data).fingerprint == corpus("causal").fingerprint
    state = corpus("masked").train_batches(SCHEDULE).get_state()
    with pytest.raises(BadInputError, match="or the objective, differ"):
        corpus("masked-static").train_batches(SCHEDULE).set_state(state)


def test_whole_words_of_sentencepiece(jsonl, tmp_path):
    from scaling.data.sources import open_source

    path = tmp_path / "m"
    train_sentencepiece(open_source(DataConfig(source=jsonl)), path, vocab_size=320)
    config = DataConfig(source=jsonl, tokenizer=f"sentencepiece:{path}", sequence_length=64)
    corpus = open_corpus(config, MaskedObjective(whole_words=True, rate=0.3))
    batch = corpus.train_rows.take(np.arange(len(corpus.train_rows)))
    tokenizer = corpus.tokenizer
    cut = whole = 0
    for tokens, chosen in zip(batch["targets"], batch["weights"] > 0, strict=True):
        for at in range(1, len(tokens)):
            piece = tokenizer.decode(tokens[at : at + 1])
            before = tokenizer.decode(tokens[at - 1 : at])
            if piece and before and not piece.startswith(" "):
                cut += chosen[at] != chosen[at - 1]
                whole += chosen[at]
    assert cut == 0 and whole > 100


def test_refusals(corpus, tmp_path):
    with pytest.raises(BadInputError, match=r"model.vocab_size=257 .* and 1 more that objective masked"):
        open_corpus(DataConfig(), MaskedObjective(), vocab_size=257)
    with pytest.raises(BadInputError, match=r"objective continuation reads 9008 tokens per row, .* has only"):
        corpus("continuation", sequence_length=9000)
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps({"text": f"document {n}"}) + "\n" for n in range(4)))
    config = DataConfig(source=f"jsonl:{path}", sequence_length=16, validation_fraction=0.5)
    with pytest.raises(BadInputError, match=r"objective.sentences=next takes segments from"):
        open_corpus(config, MaskedObjective(sentences="next"))
