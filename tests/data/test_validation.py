import numpy as np
import pytest

from scaling.config.data import DataConfig
from scaling.data.corpus import open_corpus
from scaling.data.tokenizer_training import train_sentencepiece


@pytest.fixture
def corpus(jsonl):
    def open_with(**options):
        options = {"sequence_length": 32, "validation_fraction": 0.2, **options}
        return open_corpus(DataConfig(source=jsonl, **options))

    return open_with


def counted(batches):
    """Targets that count, in order."""
    return np.concatenate([batch["targets"][batch["weights"] > 0] for batch in batches])


def test_the_whole_side_counts_once(corpus):
    corpus = corpus()
    validation = corpus.validation_batches(8)
    split = corpus.store.validation
    targets = counted(validation)
    assert len(targets) == validation.tokens == split.tokens
    assert np.array_equal(np.sort(targets), np.sort(split.ids))
    assert validation.text_bytes == split.text_bytes
    assert {batch["inputs"].shape for batch in validation} == {(8, 32)}
    assert len(list(validation)) == len(validation)


@pytest.mark.parametrize("tokens", [1, 32, 33, 700])
def test_it_is_the_same_for_every_batch_size_seed_and_number_of_hosts(corpus, tokens):
    reference = counted(corpus().validation_batches(1, tokens=tokens))
    assert len(reference) == tokens
    for seed, batch_rows in ((1, 8), (2, 64)):
        validation = corpus(seed=seed).validation_batches(batch_rows, tokens=tokens)
        assert np.array_equal(counted(validation), reference)
        assert np.array_equal(counted(validation), reference)  # a second time too
        assert validation.text_bytes == (reference != 256).sum()
    hosts = [
        list(corpus().validation_batches(8, tokens=tokens, host_index=h, host_count=4)) for h in range(4)
    ]
    assert {len(batches) for batches in hosts} == {-(-tokens // (8 * 32))}
    together = [
        {key: np.concatenate([share[key] for share in shares]) for key in shares[0]}
        for shares in zip(*hosts, strict=True)
    ]
    assert np.array_equal(counted(together), reference)


def test_more_than_there_is_takes_all(corpus):
    corpus = corpus()
    assert corpus.validation_batches(4, tokens=10**9).tokens == corpus.store.validation.tokens


def test_padding_is_whole(corpus):
    *_, last = corpus().validation_batches(64)
    assert set(last) == {"inputs", "targets", "segment_ids", "positions", "weights"}
    assert last["weights"].dtype == np.float32
    assert last["weights"].min() == 0
    assert set(np.unique(last["weights"])) <= {0, 1}


def test_bytes_of_subword_tokens(corpus, jsonl, tmp_path):
    from scaling.data.sources import open_source

    documents = open_source(DataConfig(source=jsonl))
    train_sentencepiece(documents, tmp_path / "m", vocab_size=320)
    bytes_ = corpus().validation_batches(8)
    pieces = corpus(tokenizer=f"sentencepiece:{tmp_path / 'm'}").validation_batches(8)
    assert pieces.text_bytes == bytes_.text_bytes
    assert pieces.tokens < 0.8 * bytes_.tokens


@pytest.mark.parametrize(
    "options",
    [
        {"batch_rows": 8, "host_count": 3},
        {"batch_rows": 0},
        {"batch_rows": 8, "tokens": 0},
        {"batch_rows": 8, "host_index": 1},
    ],
)
def test_refusals(corpus, options):
    with pytest.raises(ValueError):
        corpus().validation_batches(**options)


def test_bytes_are_those_of_the_original_text(corpus, tmp_path):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{c}" for c in letters)]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    lossy = corpus(tokenizer=f"hf:{tmp_path}")  # no spaces, and the colon of each document is unknown
    everything = lossy.validation_batches(8)
    assert (
        everything.text_bytes
        == corpus().validation_batches(8).text_bytes
        == lossy.store.validation.text_bytes
    )
    half = lossy.validation_batches(8, tokens=everything.tokens // 2)
    assert half.text_bytes == pytest.approx(everything.text_bytes / 2, rel=0.05)
    assert lossy.tokenizer.byte_lengths()[lossy.store.validation.ids].sum() < 0.8 * everything.text_bytes
