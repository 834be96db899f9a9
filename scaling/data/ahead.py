"""What a run would read, before it reads it: whether the data exist, and how many epochs a budget takes.

Only a sample is tokenised, and nothing is downloaded: counts are estimated from the sizes of files.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from scaling.config.data import DataConfig
from scaling.config.objective import Objective
from scaling.data.corpus import vocabulary
from scaling.data.sources import Sample, Sampled, Source, Tally, TaskDocuments, open_source, split_rule
from scaling.data.tokenizers import Tokenizer


@dataclass(frozen=True)
class DataAhead:
    """An estimate of a corpus, from a sample of it and the sizes of its files.

    Null if nothing is known yet, as of a TFDS dataset that is not prepared.
    """

    source: str
    documents: int | None
    bytes: int | None  # of UTF-8 text
    tokens_per_epoch: int | None  # on the training side, demonstrations of tasks included
    split: str

    def epochs(self, tokens: int) -> float | None:
        """Passes over the training side that a budget takes."""
        return None if self.tokens_per_epoch is None else tokens / max(1, self.tokens_per_epoch)

    def as_dict(self, tokens: int) -> dict[str, Any]:
        """Plain JSON, with the epochs of a budget."""
        return {**asdict(self), "epochs": self.epochs(tokens), "estimated": True}


def data_ahead(
    config: DataConfig, objective: Objective | None = None, vocab_size: int | None = None
) -> DataAhead:
    """Estimate the data of a config without reading all of them.

    Raises:
        BadInputError: the source is missing, unreadable or not of its format, the tokenizer is missing, or
            the vocabulary is too small.
    """
    tokenizer, _ = vocabulary(config, objective, vocab_size)
    if config.tasks is not None:
        TaskDocuments(config.tasks)
    sample = _sample_of(config)
    if sample is None:
        return DataAhead(config.source, None, None, None, split_rule(config))
    share = 1.0
    if config.max_documents is not None and sample.documents:
        share = min(1.0, config.max_documents / sample.documents)
    documents, text_bytes = share * sample.documents, share * sample.bytes
    if sample.tokens is None:
        tokens = documents + text_bytes * _tokens_per_byte(sample.texts, tokenizer)
    else:
        tokens = documents + share * sample.tokens
    train = tokens * (1 - config.validation_fraction)
    if config.tasks is not None:
        train /= 1 - config.tasks.share
    return DataAhead(config.source, round(documents), round(text_bytes), round(train), split_rule(config))


def _tokens_per_byte(texts: Sequence[str | np.ndarray], tokenizer: Tokenizer) -> float:
    strings = [text for text in texts if isinstance(text, str)]
    read = sum(len(text.encode()) for text in strings)
    return sum(len(tokenizer.encode(text)) for text in strings) / max(1, read)


def _sample_of(config: DataConfig) -> Sample | None:
    """None for a dataset that would have to be downloaded or prepared first."""
    kind, _, rest = config.source.partition(":")
    if kind == "tfds":
        from scaling.data.sources.tfds import is_prepared

        if not is_prepared(rest, config.data_dir):
            return None
    if kind == "hf":
        from scaling.data.sources.hub import is_local

        if not is_local(rest):
            return None
    source = open_source(config)
    if hasattr(source, "sample"):
        return cast(Sampled, source).sample()
    return _of_parts(source)


def _of_parts(source: Source, most: int = 1 << 20) -> Sample:
    """From the first parts of a source that has no estimate of its own, and the sizes of all parts."""
    texts: list[str | np.ndarray] = []
    read, text_bytes = 0, 0
    parts = source.parts(most)
    for part in parts:
        tally = Tally()
        texts += tally.kept(part.documents())
        read += part.size
        text_bytes = sum(len(text.encode()) for text in texts if isinstance(text, str))
        if text_bytes >= most:
            break
    scale = sum(part.size for part in parts) / max(1, read)
    return Sample(texts, scale * len(texts), scale * text_bytes)
