"""What a run would read, before it reads it: whether the data exist, and how many epochs a budget takes.

Only a sample is tokenised, and nothing is downloaded: counts are estimated from the sizes of files.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scaling.config.data import DataConfig
from scaling.config.objective import Objective
from scaling.data.compressed import estimated_sizes, open_plain
from scaling.data.corpus import vocabulary
from scaling.data.sources import Documents, JsonLines, TaskDocuments, files_of, open_source, split_rule
from scaling.data.tokenizers import Tokenizer
from scaling.runtime.errors import BadInputError

_SAMPLE = 1 << 20  # bytes of text that are read from the source
_DOCUMENTS = 64  # of a source that is not made of files, spread over it


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


@dataclass(frozen=True)
class _Sample:
    """Some texts of a source, and the estimated size of the complete source."""

    texts: Sequence[str]
    documents: float  # in the source
    bytes: float  # of text in the source


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
    tokens = documents + text_bytes * _tokens_per_byte(sample.texts, tokenizer)
    train = tokens * (1 - config.validation_fraction)
    if config.tasks is not None:
        train /= 1 - config.tasks.share
    return DataAhead(config.source, round(documents), round(text_bytes), round(train), split_rule(config))


def _tokens_per_byte(texts: Sequence[str], tokenizer: Tokenizer) -> float:
    read = sum(len(text.encode()) for text in texts)
    return sum(len(tokenizer.encode(text)) for text in texts) / max(1, read)


def _sample_of(config: DataConfig) -> _Sample | None:
    """None for a TFDS dataset that would have to be prepared first."""
    kind, _, rest = config.source.partition(":")
    if kind == "tfds":
        from scaling.data.tfds_source import is_prepared

        if not is_prepared(rest, config.data_dir):
            return None
    files = files_of(config)
    if files is None:
        return _of_documents(open_source(config))
    try:
        sizes = estimated_sizes(files)
        total = float(sum(sizes))
        if total == 0:
            raise BadInputError(f"data.source={config.source}: the files are empty")
        if kind == "jsonl":
            return _of_lines(config, files[sizes.index(max(sizes))], total)
        texts: list[str] = []
        for path, size in sorted(zip(files, sizes, strict=True), key=lambda one: -one[1])[:16]:
            if sum(len(text) for text in texts) < _SAMPLE and size:
                texts.append(_text(path, skip=kind == "python-stdlib"))
    except OSError as error:
        raise BadInputError(f"data.source: cannot read {error.filename}: {error.strerror}") from None
    # One text file is two documents, one on each side of the split.
    return _Sample(texts, max(2, len(files)), total)


def _text(path: Path, skip: bool) -> str:
    """The beginning of a text file; empty where it is not UTF-8 and may be skipped."""
    head = _head(path)
    for cut in range(min(4, len(head)) if len(head) == _SAMPLE else 1):  # the sample may end in a character
        try:
            return head[: len(head) - cut].decode()
        except UnicodeDecodeError as error:
            at = error.start
    if skip:
        return ""
    raise BadInputError(f"data.source: {path} is not UTF-8 text (byte {at}); leave it out of the glob")


def _of_lines(config: DataConfig, path: Path, total: float) -> _Sample:
    head = _head(path)
    lines = head.split(b"\n")
    if len(head) == _SAMPLE and len(lines) > 1:
        lines.pop()  # cut short
    texts = [JsonLines.text_of(line, config.field, f"{path}:{i}") for i, line in enumerate(lines, 1)]
    texts = [text for text in texts if text]
    read = sum(len(line) + 1 for line in lines)
    scale = total / max(1, read)
    return _Sample(texts, max(1.0, scale * len(texts)), scale * sum(len(text.encode()) for text in texts))


def _head(path: Path) -> bytes:
    with open_plain(path) as file:
        return file.read(_SAMPLE)


def _of_documents(documents: Documents) -> _Sample:
    number = len(documents)
    step = max(1, number // _DOCUMENTS)
    texts = [documents[i] for i in range(0, number, step)][:_DOCUMENTS]
    mean = sum(len(text.encode()) for text in texts) / max(1, len(texts))
    return _Sample(texts, number, mean * number)
