"""What a model reads: source, tokenizer, packed row length, and the train/validation split."""

from typing import Annotated

from pydantic import Field, field_validator

from scaling.config.base import Frozen

EMBEDDED_SOURCE = "python-stdlib"
SOURCES = f"{EMBEDDED_SOURCE}, text:GLOB, jsonl:GLOB or tfds:NAME[/CONFIG][:VERSION][:SPLIT]"
TOKENIZERS = "bytes, sentencepiece:PATH, or ids where there is none"


def _names_one_of(value: str, prefixes: tuple[str, ...]) -> bool:
    kind, colon, rest = value.partition(":")
    return bool(colon) and kind in prefixes and bool(rest.strip())


class TasksConfig(Frozen):
    """Demonstrations of synthetic tasks, mixed with the text of the source during training.

    They are solved problems from the tasks' training instances. The validation split has none, so losses are
    those of the text.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of tasks; documents alternate between them, and a task named twice gets two turns."""
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Share of the training tokens that are demonstrations. They are added to the text, which is complete."""
    shots: Annotated[int, Field(ge=0, le=1024)] = 8
    """Solved problems in a document before the last one."""
    reasoning: bool = False
    """Write intermediate results before answers."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the demonstrations."""


class DataConfig(Frozen):
    """One corpus as a model sees it.

    The train/validation split is by document content, so neither the order of the files nor `seed` moves a
    document across; `seed` sets the order in which training rows are seen. A source that is one text file
    is split by position instead: its end is validation.
    """

    source: str = EMBEDDED_SOURCE
    """`python-stdlib` (embedded), `text:GLOB` (a document per file), `jsonl:GLOB` (a document per line) or
    `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`. Text and JSON lines may be compressed by gzip or zstandard."""
    tasks: TasksConfig | None = None
    """Synthetic tasks mixed with the text; null is none."""
    field: Annotated[str, Field(min_length=1)] = "text"
    """The JSON field or TFDS feature that holds a document's text."""
    data_dir: str | None = None
    """Directory of TFDS's prepared datasets; null is `$TFDS_DATA_DIR`, then TFDS's own default."""
    tokenizer: str = "bytes"
    """`bytes` (257 tokens), or `sentencepiece:PATH` of a `.model` file; `ids` reads token ids."""
    sequence_length: Annotated[int, Field(ge=2)] = 256
    """Tokens per row."""
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The share of documents (in expectation), or of one text file's bytes, held out for validation."""
    mask_documents: bool = True
    """Attention stays inside a document and positions restart with it; false attends across the documents
    of a row, as GPT-2 and GPT-3 did."""
    max_documents: Annotated[int, Field(ge=2)] | None = None
    """Read only this many documents, from the start of the source; null reads all."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Most passes over the training rows; null repeats them as often as needed."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the order of training documents and rows. It does not change the split."""
    prefetch: Annotated[int, Field(ge=0, le=1024)] = 4
    """Batches prepared ahead in a background thread; 0 prepares them in the training thread."""

    @field_validator("source", "tokenizer", "data_dir")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError(f"{value!r}: a NUL byte stands in no path")
        return value

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, value: str) -> str:
        if value != EMBEDDED_SOURCE and not _names_one_of(value, ("text", "jsonl", "tfds")):
            raise ValueError(f"unknown data source {value!r}; give {SOURCES}")
        return value

    @field_validator("tokenizer")
    @classmethod
    def _tokenizer_is_known(cls, value: str) -> str:
        if value not in ("bytes", "ids") and not _names_one_of(value, ("sentencepiece",)):
            raise ValueError(f"unknown tokenizer {value!r}; give {TOKENIZERS}")
        return value
