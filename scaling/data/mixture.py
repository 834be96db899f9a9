"""A mixture of corpora from a DataConfig: one sequence of training rows, and a validation set per source."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.config.data import DataConfig
from scaling.config.objective import Objective
from scaling.config.record import PackingRecord, SourceShare
from scaling.data.batches import BatchIterator, BatchSchedule, StepBatches
from scaling.data.corpus import Corpus, DataSummary, open_corpus
from scaling.data.sequences import MixtureSequence
from scaling.data.store import Progress
from scaling.data.tokenizers import Tokenizer
from scaling.data.validation import ValidationSet
from scaling.runtime.errors import BadInputError

COUNTS = (
    "documents", "tokens", "bytes", "tokens_per_epoch", "validation_documents", "validation_tokens",
    "validation_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class MixtureCorpus:
    """Several corpora with one tokenizer and rows of one length. Made by `open_mixture`."""

    config: DataConfig
    sources: Mapping[str, Corpus]

    def parts(self) -> dict[str, Any]:
        """What the sequence of training rows depends on, as JSON by the name of the setting."""
        mixture = self.config.mixture
        assert mixture is not None
        found: dict[str, Any] = {}
        for name, corpus in self.sources.items():
            one, key = mixture[name], f"data.mixture.{name}"
            found[f"{key} (its texts, or how they are read)"] = corpus.fingerprint
            found[f"{key}.weight"] = one.weight
            if one.exhausted == "cap":
                found[f"{key}.max_epochs"] = one.max_epochs
        if self.config.mixture_schedule:
            found["data.mixture_schedule"] = [change.model_dump() for change in self.config.mixture_schedule]
        return found

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer, which all sources share."""
        return next(iter(self.sources.values())).tokenizer

    @property
    def fingerprint(self) -> str:
        """Names the sequence of training rows."""
        text = json.dumps(self.parts(), sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def sequence(self, rows: int | None = None) -> MixtureSequence:
        """The training rows of a run that reads so many in all; None stays with the first weights."""
        mixture = self.config.mixture
        assert mixture is not None
        return MixtureSequence(
            list(self.sources),
            [corpus.train_rows for corpus in self.sources.values()],
            [
                (at, [weights.get(name, 0.0) for name in self.sources])
                for at, weights in self.config.mixture_phases()
            ],
            seed=self.config.seed,
            max_epochs=[mixture[name].max_epochs for name in self.sources],
            capped=[mixture[name].exhausted == "cap" for name in self.sources],
            run_rows=rows,
        )

    def train_batches(
        self,
        schedule: BatchSchedule,
        *,
        steps: int | None = None,
        host_index: int = 0,
        host_count: int = 1,
    ) -> BatchIterator:
        """Training batches from step 0, of a run of so many steps.

        Raises:
          ValueError: the hosts do not divide the batch.
        """
        sequence = self.sequence(None if steps is None else schedule.rows_before(steps))
        batches = StepBatches(sequence, schedule, host_index=host_index, host_count=host_count)
        return BatchIterator(
            batches,
            schedule,
            prefetch=self.config.prefetch,
            fingerprint=self.fingerprint,
            parts=self.parts(),
        )

    def shares(self, rows: int, total: int) -> dict[str, SourceShare]:
        """What the first `rows` of a run of `total` rows read of each source."""
        sequence = self.sequence(total)
        mixture, length = self.config.mixture, self.config.sequence_length
        assert mixture is not None
        counts = sequence.apportionment.counts(min(rows, sequence.length))
        return {
            name: SourceShare(
                source=mixture[name].source,
                weight=mixture[name].weight,
                tokens=count * length,
                epochs=round(count / len(corpus.train_rows), 6),
            )
            for (name, corpus), count in zip(self.sources.items(), counts, strict=True)
        }

    def packing(self) -> PackingRecord | None:
        """How training rows hold documents, by the shares that sources have at the start."""
        found = [
            (weight, one)
            for name, weight in self.config.mixture_phases()[0][1].items()
            if (one := self.sources[name].packing()) is not None
        ]
        if not found:
            return None
        return PackingRecord(
            method=self.config.packing,
            padding=math.fsum(weight * one.padding for weight, one in found),
            split_documents=math.fsum(weight * one.split_documents for weight, one in found),
        )

    def validation_sets(
        self, batch_rows: int, *, tokens: int | None = None, host_index: int = 0, host_count: int = 1
    ) -> tuple[ValidationSet, ...]:
        """The first `tokens` validation positions of each source: those that a run of the source alone has.

        The weights are those that the mixture begins with. Raises ValueError as `Corpus.validation_batches`.
        """
        weights = self.config.mixture_phases()[0][1]
        hosts = {"host_index": host_index, "host_count": host_count}
        return tuple(
            ValidationSet(
                name, weights.get(name, 0.0), corpus.validation_batches(batch_rows, tokens=tokens, **hosts)
            )
            for name, corpus in self.sources.items()
        )

    def training_text(self, tokens: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Corpus.training_text`: of each source, the first tokens in its share of a run of so many."""
        length = self.config.sequence_length
        rows = -(-tokens // length)
        sequence = self.sequence(rows)
        counts = sequence.apportionment.counts(min(rows, sequence.length))
        texts, starts, before = [], [], 0
        for corpus, count in zip(self.sources.values(), counts, strict=True):
            if count:
                ids, starts_D = corpus.training_text(count * length)
                texts.append(ids)
                starts.append(starts_D + before)
                before += len(ids)
        return np.concatenate(texts), np.concatenate(starts)

    def summary(self) -> DataSummary:
        """The sums over the sources; bytes per token are of all of their text."""
        parts = [corpus.summary() for corpus in self.sources.values()]
        sums = {name: sum(getattr(one, name) for one in parts) for name in COUNTS}
        return DataSummary(
            **sums,
            vocab_size=parts[0].vocab_size,
            bytes_per_token=sums["bytes"] / max(1, sums["tokens"] - sums["documents"]),
            fingerprint=self.fingerprint,
            split=self._split([one.split for one in parts]),
        )

    def _split(self, rules: list[str]) -> str:
        """The rules of the split, each with the sources that have it."""
        names: dict[str, list[str]] = {}
        for name, rule in zip(self.sources, rules, strict=True):
            names.setdefault(rule, []).append(name)
        if len(names) == 1:
            return rules[0]
        return "; ".join(f"{', '.join(own)}: {rule}" for rule, own in names.items())


def open_mixture(
    config: DataConfig,
    objective: Objective | None = None,
    *,
    vocab_size: int | None = None,
    progress: Progress | None = None,
) -> MixtureCorpus:
    """Open each source of `config.mixture` as `open_corpus` does.

    Raises:
      BadInputError: as `open_corpus`; the message begins with the name of the source.
    """
    assert config.mixture is not None
    sources = {}
    for name in config.mixture:
        try:
            sources[name] = open_corpus(
                config.of_source(name), objective, vocab_size=vocab_size, progress=progress
            )
        except BadInputError as error:
            raise BadInputError(f"data.mixture.{name}: {error}") from error
    return MixtureCorpus(config, sources)


def open_data(
    config: DataConfig,
    objective: Objective | None = None,
    *,
    vocab_size: int | None = None,
    progress: Progress | None = None,
) -> Corpus | MixtureCorpus:
    """The corpus or the mixture of a config. Raises what `open_corpus` and `open_mixture` raise."""
    opens = open_corpus if config.mixture is None else open_mixture
    return opens(config, objective, vocab_size=vocab_size, progress=progress)
