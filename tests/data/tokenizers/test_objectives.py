"""Objectives mask, mark and corrupt with the tokenizer's own special tokens."""

import numpy as np
import pytest

from scaling.config.data import DataConfig
from scaling.config.objective import MaskedObjective, SpansObjective
from scaling.data.batches import BatchSchedule
from scaling.data.corpus import open_corpus
from scaling.runtime.errors import BadInputError


def first_batch(folder, jsonl, objective, vocab_size=None, length=64):
    config = DataConfig(
        source=jsonl, tokenizer=f"hf:{folder}", sequence_length=length, prefetch=0, validation_fraction=0.2
    )
    corpus = open_corpus(config, objective, vocab_size=vocab_size)
    return corpus, next(corpus.train_batches(BatchSchedule.constant(8)))


def test_bert(folders, jsonl):
    objective = MaskedObjective(sentences="next", whole_words=True)
    size = 900  # the tokenizer's: nothing is added
    corpus, batch = first_batch(folders["bert-uncased"], jsonl, objective, size)
    special = corpus.tokenizer.special
    assert (batch["inputs"][:, 0] == special.cls).all()
    assert (batch["inputs"] == special.sep).sum() >= 2 * 8
    masked = batch["inputs"] == special.mask
    assert masked.any() and batch["weights"][masked].all()
    assert not np.isin(batch["targets"][masked], [special.mask, special.cls, special.sep]).any()
    assert batch["inputs"].max() < size
    with pytest.raises(BadInputError, match=r"model.vocab_size=899 is smaller .*: give at least 900"):
        first_batch(folders["bert-uncased"], jsonl, objective, size - 1)


def test_t5(folders, jsonl):
    corpus, batch = first_batch(folders["t5"], jsonl, SpansObjective(), length=32)
    sentinels = corpus.tokenizer.special.sentinels
    assert corpus.specials.vocab_size == corpus.tokenizer.vocab_size  # 10 sentinels are enough for 32 tokens
    for row, target in zip(batch["inputs"], batch["targets"], strict=True):
        found = [i for i in row.tolist() if i in sentinels]
        assert found == list(sentinels[: len(found)]) and found
        assert [i for i in target.tolist() if i in sentinels] == found
        assert row[-1] == corpus.tokenizer.special.eos


def test_gpt2_has_none_and_they_are_added(folders, jsonl):
    corpus, batch = first_batch(folders["gpt2"], jsonl, MaskedObjective())
    assert corpus.specials.vocab_size == 901
    assert (batch["inputs"] == 900).any()


def test_documents_end_with_the_tokenizers_token(folders, jsonl):
    for kind, end in (("gpt2", "<|endoftext|>"), ("bert-cased", "[SEP]"), ("t5", "</s>")):
        corpus, _ = first_batch(folders[kind], jsonl, None)
        split, tokenizer = corpus.store.train, corpus.tokenizer
        ids = split.ids[0 : split.tokens]
        assert (ids == tokenizer.end_of_text).sum() == split.documents, end
