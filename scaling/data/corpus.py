"""A corpus from a DataConfig: tokenizer, token store, training and validation batches, and what it holds."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scaling.config.data import DataConfig
from scaling.config.objective import CausalObjective, Objective
from scaling.config.record import PackingRecord
from scaling.data.batches import BatchIterator, BatchSchedule, StepBatches
from scaling.data.best_fit import BestFitRows
from scaling.data.rows import ObjectiveRows, PackedRows, Rows
from scaling.data.sequences import EpochSequence
from scaling.data.sources import TaskDocuments, open_source, split_rule
from scaling.data.store import Progress, TokenStore, content_order, open_store, shuffled_order
from scaling.data.tokenizers import Tokenizer, load_tokenizer
from scaling.data.validation import ValidationBatches, ValidationSet
from scaling.objectives.draws import mix_seed
from scaling.objectives.specials import Specials, specials_needed
from scaling.runtime.errors import BadInputError

_AT_ONCE = 1 << 20  # tokens


@dataclass(frozen=True)
class DataSummary:
    """What a corpus holds, demonstrations of tasks included.

    Tokens count the end-of-text before each document; bytes are of UTF-8 text.
    """

    documents: int
    tokens: int
    bytes: int
    tokens_per_epoch: int
    """Training tokens that one pass over the packed rows predicts."""
    vocab_size: int
    validation_documents: int
    validation_tokens: int
    validation_bytes: int
    bytes_per_token: float
    """Bytes of text per token, not counting end-of-text."""
    fingerprint: str
    split: str
    """How training and validation are split, in words."""


@dataclass(frozen=True)
class Corpus:
    """A tokenised corpus, ready to give batches. Made by `open_corpus`."""

    config: DataConfig
    tokenizer: Tokenizer
    store: TokenStore
    train_rows: Rows
    validation_rows: Rows
    objective: Objective
    specials: Specials

    @property
    def fingerprint(self) -> str:
        """Names the sequence of training rows: texts, tokenizer, split, row length, seed and objective."""
        config = self.config
        parts: tuple[object, ...] = (
            self.store.fingerprint,
            config.sequence_length,
            config.mask_documents,
            config.seed,
        )
        if config.packing != "cut":
            parts = (*parts, config.packing)
        if self.objective.name != "causal":
            parts = (*parts, self.objective.model_dump_json())
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    def train_batches(
        self,
        schedule: BatchSchedule,
        *,
        steps: int | None = None,
        host_index: int = 0,
        host_count: int = 1,
    ) -> BatchIterator:
        """Training batches from step 0. Those of one source do not depend on the `steps` of the run.

        Raises:
          ValueError: the hosts do not divide the batch.
        """
        config = self.config
        sequence = EpochSequence(self.train_rows, seed=config.seed, max_epochs=config.max_epochs)
        batches = StepBatches(sequence, schedule, host_index=host_index, host_count=host_count)
        return BatchIterator(batches, schedule, prefetch=config.prefetch, fingerprint=self.fingerprint)

    def validation_sets(
        self, batch_rows: int, *, tokens: int | None = None, host_index: int = 0, host_count: int = 1
    ) -> tuple[ValidationSet, ...]:
        """The one validation set of the corpus, as `validation_batches`."""
        hosts = {"host_index": host_index, "host_count": host_count}
        return (ValidationSet(None, 1.0, self.validation_batches(batch_rows, tokens=tokens, **hosts)),)

    def training_text(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `tokens` of the training documents in the order of their rows, and where each starts.

        Nothing is repeated: all tokens if there are fewer.
        """
        split = self.store.train
        order_D = shuffled_order(split.hashes, self.config.seed)
        lengths_D = np.diff(split.offsets)[order_D]
        ends_D = np.cumsum(lengths_D)
        taken = int(np.searchsorted(ends_D, min(tokens, split.tokens))) + 1
        begins_D = split.offsets[:-1][order_D[:taken]]
        parts = [split.ids[b : b + n] for b, n in zip(begins_D, lengths_D[:taken], strict=True)]
        return np.concatenate(parts)[:tokens], ends_D[:taken] - lengths_D[:taken]

    def validation_batches(
        self, batch_rows: int, *, tokens: int | None = None, host_index: int = 0, host_count: int = 1
    ) -> ValidationBatches:
        """The first `tokens` validation positions (None: all): the same for every seed and batch size.

        Raises:
          ValueError: the hosts do not divide the batch, or a size below 1.
        """
        byte_lengths_V = self.tokenizer.byte_lengths()
        added = max(0, self.specials.vocab_size - len(byte_lengths_V))
        return ValidationBatches(
            self.validation_rows,
            batch_rows,
            byte_lengths=np.pad(byte_lengths_V, (0, added)),
            bytes_scale=self._bytes_scale,
            tokens=tokens,
            host_index=host_index,
            host_count=host_count,
        )

    @cached_property
    def _bytes_scale(self) -> float:
        """Bytes of the validation texts per byte that `Tokenizer.byte_lengths` counts for their tokens.

        Tokenizers that normalise, as BERT's, count other bytes than the texts have: losses of all tokenizers
        are compared in bits per byte of the original text.
        """
        if self.tokenizer.lossless:
            return 1.0
        split, lengths_V = self.store.validation, self.tokenizer.byte_lengths()
        starts = range(0, split.tokens, _AT_ONCE)
        counted = sum(int(lengths_V[split.ids[i : i + _AT_ONCE]].sum(dtype=np.int64)) for i in starts)
        return split.text_bytes / counted if counted else 1.0

    def shares(self, rows: int, total: int) -> None:
        """None: it is one source, and no mixture."""

    def packing(self) -> PackingRecord | None:
        """How training rows hold documents; None where the objective makes examples of text."""
        shares = self.train_rows.shares
        return None if shares is None else PackingRecord(method=self.config.packing, **shares._asdict())

    def summary(self) -> DataSummary:
        """Counts of documents, tokens and bytes."""
        train, validation = self.store.train, self.store.validation
        documents = train.documents + validation.documents
        tokens = train.tokens + validation.tokens
        text_bytes = train.text_bytes + validation.text_bytes
        return DataSummary(
            documents=documents,
            tokens=tokens,
            bytes=text_bytes,
            tokens_per_epoch=self.train_rows.tokens_per_epoch,
            vocab_size=self.tokenizer.vocab_size,
            validation_documents=validation.documents,
            validation_tokens=validation.tokens,
            validation_bytes=validation.text_bytes,
            bytes_per_token=text_bytes / max(1, tokens - documents),
            fingerprint=self.fingerprint,
            split=split_rule(self.config),
        )


def vocabulary(
    config: DataConfig, objective: Objective | None = None, vocab_size: int | None = None
) -> tuple[Tokenizer, Specials]:
    """The tokenizer of a config, and the ids of the tokens that an objective adds.

    Raises:
      BadInputError: the tokenizer cannot be used, or the vocabulary has no room for its tokens and these.
    """
    objective = objective or CausalObjective()
    tokenizer = load_tokenizer(config.tokenizer)
    needed = tokenizer.vocab_size + specials_needed(objective, config.sequence_length, tokenizer.special)
    specials = Specials(vocab_size or needed, tokenizer.vocab_size, tokenizer.end_of_text, tokenizer.special)
    specials.check(objective, config)
    return tokenizer, specials


def open_corpus(
    config: DataConfig,
    objective: Objective | None = None,
    *,
    vocab_size: int | None = None,
    progress: Progress | None = None,
) -> Corpus:
    """Opens a corpus, tokenising it first unless it is in the cache.

    Args:
      config: what to read.
      objective: what batches are made for; None is causal.
      vocab_size: the model's vocabulary, from whose top sentinels are counted down; None is the least.
      progress: called with documents done and documents in all while tokenising.

    Raises:
      BadInputError: the source, tokenizer, split or cache cannot be used, the vocabulary has no room for the
        tokens of the tokenizer and the objective, or a side is shorter than one row.
    """
    if config.mixture is not None:
        raise BadInputError("data.mixture: one corpus is read here; give it as data.source")
    objective = objective or CausalObjective()
    tokenizer, specials = vocabulary(config, objective, vocab_size)
    store = open_store(
        open_source(config),
        tokenizer,
        validation_fraction=config.validation_fraction,
        max_documents=config.max_documents,
        added=None if config.tasks is None else TaskDocuments(config.tasks),
        progress=progress,
    )
    train_order_D = shuffled_order(store.train.hashes, config.seed)
    validation_order_D = content_order(store.validation.hashes)
    train_rows: Rows
    validation_rows: Rows
    if objective.name != "causal":
        # Validation is the same for every seed, its noise too.
        train_rows, validation_rows = (
            ObjectiveRows(split, order_D, config, objective, specials, tokenizer, seed=seed)
            for split, order_D, seed in (
                (store.train, train_order_D, mix_seed(config.seed, stream=3)),
                (store.validation, validation_order_D, mix_seed(0, stream=4)),
            )
        )
        return Corpus(config, tokenizer, store, train_rows, validation_rows, objective, specials)
    L, mask = config.sequence_length, config.mask_documents
    if config.packing == "cut" and store.train.tokens < L:
        raise BadInputError(
            f"data.sequence_length={L}: the training side has only {store.train.tokens} "
            "tokens, less than one row; shorten it or give data.source more text"
        )
    if config.packing == "best_fit":
        train_rows = BestFitRows(store.train, train_order_D, L, mask_documents=mask)
    else:
        train_rows = PackedRows(store.train, train_order_D, L, mask_documents=mask, pad=False)
    # Validation does not depend on the packing, so that losses of both can be compared.
    validation_rows = PackedRows(store.validation, validation_order_D, L, mask_documents=mask, pad=True)
    return Corpus(config, tokenizer, store, train_rows, validation_rows, objective, specials)


def describe(config: DataConfig, *, progress: Progress | None = None) -> DataSummary:
    """What the corpus of a config holds. Raises what `open_corpus` raises."""
    return open_corpus(config, progress=progress).summary()
