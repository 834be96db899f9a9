"""What the data of a config hold: counts, lengths of documents, packing, epochs of a budget, a packed row."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scaling.config.data import DataConfig
from scaling.config.record import PackingRecord
from scaling.data.corpus import Corpus, DataSummary
from scaling.data.mixture import MixtureCorpus, open_data
from scaling.data.mixture_ahead import SourceAhead, reads
from scaling.data.rows import Batch
from scaling.data.sequences import EpochSequence, RowSequence
from scaling.data.store import Progress
from scaling.data.tokenizers import Tokenizer

_EXAMPLES = 32  # rows among which the example is chosen
ONE = "corpus"  # the name of a source that is not one of a mixture
QUANTILES = {"shortest": 0.0, "p10": 0.1, "median": 0.5, "p90": 0.9, "p99": 0.99, "longest": 1.0}


@dataclass(frozen=True)
class SourceDescription:
    """One corpus: what it holds, and what a budget reads of it."""

    source: str
    weight: float | None
    """Share of the training tokens at the start of a run; null where only the schedule reads it."""
    summary: DataSummary
    empty: int
    malformed: int
    duplicates: int
    lengths: dict[str, float]
    """Quantiles and mean of the lengths of all documents, in tokens, the end-of-text before each included."""
    packing: PackingRecord | None
    rows_per_epoch: int
    max_epochs: int | None
    exhausted: str | None
    """Null without a mixture."""
    read: SourceAhead | None
    """Input positions and epochs of the budget; null without a budget."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        tree = asdict(self)
        summary, read, _ = tree.pop("summary"), tree.pop("read"), tree.pop("packing")
        return {
            **tree,
            **summary,
            "packing": None if self.packing is None else self.packing.model_dump(),
            "budget_tokens": read and read["tokens"],
            "epochs": read and read["epochs"],
        }


@dataclass(frozen=True)
class Piece:
    """A document, or a part of one, in a row. `text` is null where tokens have no text."""

    tokens: int
    begins: bool
    ends: bool
    text: str | None


@dataclass(frozen=True)
class ExampleRow:
    """An early row of training, if possible one with several documents; `number` counts from 0."""

    number: int
    source: str
    length: int
    pieces: tuple[Piece, ...]
    padding: int


@dataclass(frozen=True)
class DataDescription:
    """The data of a config."""

    config: DataConfig
    summary: DataSummary
    packing: PackingRecord | None
    sources: Mapping[str, SourceDescription]
    example: ExampleRow
    budget_tokens: int | None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: totals, each source, and the first row."""
        return {
            **asdict(self.summary),
            "packing": None if self.packing is None else self.packing.model_dump(),
            "budget_tokens": self.budget_tokens,
            "sources": {name: one.as_dict() for name, one in self.sources.items()},
            "example": asdict(self.example),
        }


def describe_data(
    config: DataConfig,
    *,
    vocab_size: int | None = None,
    tokens: int | None = None,
    progress: Progress | None = None,
) -> DataDescription:
    """Describe the data of a config as rows for the causal objective, reading all of them once.

    Args:
        config: what to read.
        vocab_size: the model's vocabulary; None is the least.
        tokens: a budget of training tokens, for the epochs that it takes.
        progress: as `open_corpus`.

    Raises:
        BadInputError: as `open_corpus`.
    """
    # Segments show where documents of the example meet; rows are the same without them.
    masked = config.model_copy(update={"mask_documents": True})
    shown = open_data(masked, vocab_size=vocab_size, progress=progress)
    opened = open_data(config, vocab_size=vocab_size)
    corpora = {ONE: opened} if isinstance(opened, Corpus) else dict(opened.sources)
    budget: dict[str, SourceAhead] = {}
    if tokens is not None:
        sizes = {name: len(corpus.train_rows) for name, corpus in corpora.items()}
        budget = reads(config, sizes, tokens)
    sources = {name: _source(config, name, corpus, budget.get(name)) for name, corpus in corpora.items()}
    return DataDescription(
        config,
        opened.summary(),
        opened.packing(),
        sources,
        _example(shown),
        tokens,
    )


def _source(config: DataConfig, name: str, corpus: Corpus, read: SourceAhead | None) -> SourceDescription:
    one = None if config.mixture is None else config.mixture[name]
    records = corpus.store.records
    lengths_D = np.concatenate(
        [np.diff(side.offsets) for side in (corpus.store.train, corpus.store.validation)]
    )
    found = np.quantile(lengths_D, list(QUANTILES.values()), method="inverted_cdf")
    return SourceDescription(
        source=corpus.config.source,
        weight=1.0 if one is None else one.weight,
        summary=corpus.summary(),
        empty=records.empty,
        malformed=records.malformed,
        duplicates=records.duplicates,
        lengths={**dict(zip(QUANTILES, map(int, found), strict=True)), "mean": float(lengths_D.mean())},
        packing=corpus.packing(),
        rows_per_epoch=len(corpus.train_rows),
        max_epochs=corpus.config.max_epochs,
        exhausted=None if one is None else one.exhausted,
        read=read,
    )


def _example(opened: Corpus | MixtureCorpus) -> ExampleRow:
    """The first row of the training sequence with several pieces; among its first rows."""
    corpora = {ONE: opened} if isinstance(opened, Corpus) else dict(opened.sources)
    sequence: RowSequence
    if isinstance(opened, Corpus):
        sequence = EpochSequence(opened.train_rows, seed=opened.config.seed)
    else:
        sequence = opened.sequence()
    numbers_B = np.arange(min(_EXAMPLES, sequence.length))
    sources_B = np.zeros(len(numbers_B), np.int64)
    if isinstance(opened, MixtureCorpus):
        sources_B, _ = opened.sequence().apportionment.locate(numbers_B)
    batch = sequence.take(numbers_B)
    several = np.flatnonzero(batch["segment_ids"].max(axis=1) > 1)
    at = int(several[0]) if len(several) else 0
    name = list(corpora)[int(sources_B[at])]
    row = {key: array[at] for key, array in batch.items()}
    pieces = _pieces(row, corpora[name].tokenizer)
    return ExampleRow(at, name, len(row["inputs"]), pieces, int((row["segment_ids"] == 0).sum()))


def _pieces(row: Batch, tokenizer: Tokenizer) -> tuple[Piece, ...]:
    """The documents, or their parts, of a row of (L,) arrays."""
    inputs, targets, segments = row["inputs"], row["targets"], row["segment_ids"]
    end = tokenizer.end_of_text
    pieces = []
    for segment in range(1, int(segments.max(initial=0)) + 1):
        at = np.flatnonzero(segments == segment)
        text = None if tokenizer.identity == "ids" else tokenizer.decode(inputs[at].tolist())
        begins, ends = int(inputs[at[0]]) == end, int(targets[at[-1]]) == end
        pieces.append(Piece(len(at), begins, ends, text))
    return tuple(pieces)
