"""What a model reads: the corpus and its split into rows, and the arrays of a batch under an objective."""

import math
from functools import lru_cache
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, field_validator, model_validator

from scaling.config.base import Frozen
from scaling.config.mixture import (
    MIXTURE,
    MixtureChange,
    MixtureSource,
    check_mixture,
    normalised,
    without_nulls,
)
from scaling.config.objective import (
    ContinuationObjective,
    DenoisingObjective,
    MaskedObjective,
    Objective,
    SpanNoise,
    SpansObjective,
)

EMBEDDED_SOURCE = "python-stdlib"
# How each kind of source is written, by its prefix; `scaling.data.sources.open.OPENERS` opens it.
SOURCE_KINDS = {
    "text": "text:GLOB",
    "jsonl": "jsonl:GLOB",
    "parquet": "parquet:GLOB",
    "hf": "hf:NAME[/CONFIG][:SPLIT]",
    "arrayrecord": "arrayrecord:GLOB",
    "tokens": "tokens:GLOB",
    "tfds": "tfds:NAME[/CONFIG][:VERSION][:SPLIT]",
    "prepared": "prepared:DIR",
}
SOURCES = " or ".join(
    [", ".join([EMBEDDED_SOURCE, *SOURCE_KINDS.values()][:-1]), [*SOURCE_KINDS.values()][-1]]
)
TOKENIZER_KINDS = {
    "hf": "hf:PATH",
    "sentencepiece": "sentencepiece:PATH",
    "tiktoken": "tiktoken:[ENCODING:]PATH",
    "prepared": "prepared:DIR",
}
TOKENIZERS = f"bytes, {', '.join(TOKENIZER_KINDS.values())}, or ids where there is none"


def _names_one_of(value: str, prefixes: tuple[str, ...]) -> bool:
    kind, colon, rest = value.partition(":")
    return bool(colon) and kind in prefixes and bool(rest.strip())


class TasksConfig(Frozen):
    """Demonstrations of synthetic tasks, mixed with the text of the source during training.

    They are solved problems from the tasks' training instances. The validation split has none, so losses are
    those of the text.
    """

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of tasks; documents alternate between them, and a task named twice gets twice as many."""
    share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """Share of the training tokens that are demonstrations. They are added to the text, which is complete."""
    shots: Annotated[int, Field(ge=0, le=1024)] = 8
    """Solved problems in a document before the last one."""
    reasoning: bool = False
    """Write intermediate results before answers."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the demonstrations."""


def _check_source(value: str) -> None:
    if value != EMBEDDED_SOURCE and not _names_one_of(value, tuple(SOURCE_KINDS)):
        raise ValueError(f"unknown data source {value!r}; give {SOURCES}")


class DataConfig(Frozen):
    """One corpus, or a mixture of several, as a model sees it.

    The train/validation split is by document content, so neither the order of the files nor `seed` moves a
    document across; `seed` sets the order in which training rows are seen. A source that is one text file
    is split by position instead: its end is validation.
    """

    source: str = EMBEDDED_SOURCE
    """`python-stdlib` (embedded), `text:GLOB` (a document per file), `jsonl:GLOB` (one per line),
    `parquet:GLOB` (one per row), `arrayrecord:GLOB` (one per record), `tokens:GLOB` (token ids: .bin files of
    nanoGPT and llm.c, .bin and .idx pairs of Megatron), `hf:NAME[/CONFIG][:SPLIT]` (a dataset of the Hugging
    Face hub, or a folder of its layout), `tfds:NAME[/CONFIG][:VERSION][:SPLIT]` or `prepared:DIR` (written by
    `scaling data prepare`); `mixture` where `mixture` names several sources. A glob may be a URL of fsspec,
    such as gs://... or s3://... Text and JSON lines may be compressed by gzip or zstandard."""
    mixture: dict[str, MixtureSource] | None = None
    """Several sources by name, in place of `source`, each with its share of the training tokens."""
    mixture_schedule: tuple[MixtureChange, ...] = ()
    """Weights of the mixture that change at given shares of the run, as for annealing."""
    tasks: TasksConfig | None = None
    """Synthetic tasks mixed with the text; null is none."""
    field: Annotated[str, Field(min_length=1)] = "text"
    """The JSON field, column or feature that holds a document's text; `outer.inner` for a Parquet struct."""
    on_error: Literal["stop", "skip"] = "stop"
    """What a malformed record does, such as a line that is not JSON: `stop` ends the command with a line that
    names the file and the record; `skip` leaves it out and counts it."""
    data_dir: str | None = None
    """Directory of TFDS's prepared datasets; null is `$TFDS_DATA_DIR`, then TFDS's own default."""
    tokenizer: str = "bytes"
    """`bytes` (257 tokens); `hf:PATH` of a Hugging Face tokenizer, a folder or its `tokenizer.json`;
    `sentencepiece:PATH` of a `.model` file; `tiktoken:PATH` of a file of ranks; `ids` reads token ids."""
    sequence_length: Annotated[int, Field(ge=2)] = 256
    """Tokens per row."""
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """The share of documents (in expectation), or of one text file's bytes, held out for validation."""
    mask_documents: bool = True
    """Attention stays inside a document and positions restart with it; false attends across the documents
    of a row, as GPT-2 and GPT-3 did."""
    packing: Literal["cut", "best_fit"] = "cut"
    """How training documents are packed into rows: `cut` joins them and cuts the stream at every row;
    `best_fit` keeps documents that fit a row in one piece, and fills up rows by padding."""
    max_documents: Annotated[int, Field(ge=2)] | None = None
    """Read only this many documents, from the start of the source; null reads all."""
    max_epochs: Annotated[int, Field(ge=1)] | None = None
    """Most passes over the training rows: a run that needs more is refused. Null repeats them as often as
    needed."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the order of training documents and rows. It does not change the split."""
    prefetch: Annotated[int, Field(ge=0, le=1024)] = 4
    """Batches prepared ahead in a background thread; 0 prepares them in the training thread."""

    @model_validator(mode="before")
    @classmethod
    def _take_tokenizer(cls, tree: Any) -> Any:
        """A prepared corpus has a tokenizer of its own, which need not be named."""
        source = tree.get("source") if isinstance(tree, dict) else None
        if isinstance(source, str) and source.startswith("prepared:") and tree.get("tokenizer") is None:
            return {**tree, "tokenizer": source}
        return tree

    @field_validator("source", "tokenizer", mode="before")
    @classmethod
    def _kind_without_a_path(cls, value: Any) -> Any:
        """`hf:`, which YAML reads as a mapping, is the kind that it looks like, without a path."""
        if isinstance(value, dict) and list(value.values()) == [None]:
            return f"{next(iter(value))}:"
        return value

    @field_validator("source", "tokenizer", "data_dir")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value is not None and "\0" in value:
            raise ValueError(f"{value!r}: a path contains no NUL byte")
        return value

    @field_validator("source")
    @classmethod
    def _source_is_known(cls, value: str) -> str:
        if value != MIXTURE:
            _check_source(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _name_mixture(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or tree.get("mixture") is None:
            return tree
        if tree.get("source", MIXTURE) != MIXTURE:
            raise ValueError(
                f"source={tree['source']} and mixture are both given; leave one out, or make the source one "
                "of the mixture"
            )
        return {**tree, "source": MIXTURE, "mixture": without_nulls(tree["mixture"])}

    @model_validator(mode="after")
    def _check_mixture(self) -> "DataConfig":
        if self.mixture is None:
            if self.source == MIXTURE:
                raise ValueError("source=mixture: give the sources as data.mixture")
            if self.mixture_schedule:
                raise ValueError("mixture_schedule changes the weights of data.mixture, which is not given")
            return self
        for name, one in self.mixture.items():
            try:
                self._is_a_path(one.source)
                _check_source(one.source)
            except ValueError as error:
                raise ValueError(f"mixture.{name}.source: {error}") from None
        check_mixture(self.mixture, self.mixture_schedule)
        if self.tasks is not None:
            raise ValueError("tasks are added to one source and not to a mixture; leave one of the two out")
        for field in ("field", "max_documents", "max_epochs"):
            if (value := getattr(self, field)) != type(self).model_fields[field].default:
                raise ValueError(
                    f"{field}={value} is of one source; in a mixture each source has its own: "
                    f"mixture.{next(iter(self.mixture))}.{field}={value}"
                )
        return self

    @property
    def name(self) -> str:
        """The corpus in one word: its source, or the sources of the mixture with their weights."""
        if self.mixture is None:
            return self.source
        parts = (
            one.source if one.weight is None else f"{one.weight:g} {one.source}"
            for one in self.mixture.values()
        )
        return f"mixture of {', '.join(parts)}"

    def of_source(self, name: str) -> "DataConfig":
        """One source of the mixture as a config of its own, read in the same way."""
        assert self.mixture is not None
        one = self.mixture[name]
        own = {key: getattr(one, key) for key in ("source", "field", "max_documents", "max_epochs")}
        return self.model_copy(update={**own, "mixture": None, "mixture_schedule": ()})

    def sources(self) -> "dict[str, DataConfig]":
        """Each corpus as a config of its own, by the field that names its source."""
        if self.mixture is None:
            return {"data.source": self}
        return {f"data.mixture.{name}.source": self.of_source(name) for name in self.mixture}

    def mixture_phases(self) -> tuple[tuple[float, dict[str, float]], ...]:
        """(share of the run at which they begin, weight of each source) of the mixture, from 0 on.

        Weights sum to 1; those of sources that are not read are left out.
        """
        assert self.mixture is not None
        first = {name: one.weight for name, one in self.mixture.items() if one.weight is not None}
        later = ((change.at, normalised(change.weights)) for change in self.mixture_schedule)
        return ((0.0, normalised(first)), *later)

    @field_validator("tokenizer")
    @classmethod
    def _tokenizer_is_known(cls, value: str) -> str:
        if value not in ("bytes", "ids") and not _names_one_of(value, tuple(TOKENIZER_KINDS)):
            raise ValueError(f"unknown tokenizer {value!r}; give {TOKENIZERS}")
        return value


Arrays = dict[str, tuple[tuple[int, ...], str]]
PAIR_MARKS = 3  # [CLS] A [SEP] B [SEP]
_ROOM = 4.0  # standard deviations between the mean length of an i.i.d. target and the most


class RowLengths(NamedTuple):
    """Lengths of a row in tokens. `source` is how much of data.sequence_length the longest source fills."""

    window: int  # of text that a row reads; pairs of segments read at most so many
    source: int
    target: int | None  # of the decoder's side; None for a model of one side
    sentinels: int


def span_counts(window: int, rate: float, mean_length: float | None) -> tuple[int, int]:
    """(tokens dropped, spans) of a window: at least one each, and a kept token for every span."""
    noise = min(max(round(window * rate), 1), window - 1)
    spans = 1 if mean_length is None else round(noise / mean_length)
    return noise, min(max(spans, 1), noise, window - noise)


def _sides(window: int, rate: float, mean_length: float | None) -> tuple[int, int]:
    """Lengths of source and target of a window, each with its sentinels and its end."""
    noise, spans = span_counts(window, rate, mean_length)
    return window - noise + spans + 1, noise + spans + 1


@lru_cache(maxsize=256)
def span_lengths(length: int, rate: float, mean_length: float | None) -> tuple[int, int]:
    """(window, target length) of span corruption for a source of `length`: T5's arithmetic.

    The window is the longest whose source, sentinels and end included, is at most `length` (Raffel et al.
    2019, section 3.1.4). At rate 0.5 the target is kept from outgrowing the source.

    Raises:
        ValueError: `length` is below 3, a kept token, a sentinel and the end.
    """
    if length < 3:
        raise ValueError(f"data.sequence_length={length}: span corruption needs at least 3")
    window = 2
    while _sides(window + 1, rate, mean_length)[0] <= length:
        window += 1
    if rate == 0.5 and _sides(window, rate, mean_length)[1] > length > 3:
        window -= 1
    return window, _sides(window, rate, mean_length)[1]


def iid_lengths(length: int, rate: float) -> tuple[int, int]:
    """(window, most target symbols) where each token is dropped independently.

    No token makes more than one symbol of the source, so a window of length - 1 always fits. Token i adds
    x_i (2 - x_(i-1)) symbols to the target, a token and at the start of a run its sentinel: mean and
    variance of the sum are in closed form.

    Raises:
        ValueError: `length` is below 3.
    """
    if length < 3:
        raise ValueError(f"data.sequence_length={length}: span corruption needs at least 3")
    window, r = length - 1, rate
    mean = window * r * (2 - r)
    variance = window * (r * (4 - 3 * r) - (r * (2 - r)) ** 2 - 2 * r * r * (2 - r) * (1 - r))
    target = math.ceil(mean + _ROOM * math.sqrt(max(variance, 0.0))) + 1
    return window, min(max(target, 3), window + 2)


def masked_limit(rate: float, length: int) -> int:
    """The most positions of a row that are chosen for masking."""
    return max(1, round(rate * length))


def noises(objective: SpansObjective | DenoisingObjective) -> tuple[SpanNoise, ...]:
    """The settings of span corruption that rows choose from."""
    if isinstance(objective, DenoisingObjective):
        return objective.mixture
    return (SpanNoise(rate=objective.rate, mean_length=objective.mean_length),)


def row_lengths(objective: Objective, length: int) -> RowLengths:
    """Lengths of a row whose `inputs` are `length` = data.sequence_length positions.

    Raises:
        ValueError: the objective needs longer rows.
    """
    if isinstance(objective, SpansObjective) and objective.iid:
        window, target = iid_lengths(length, objective.rate)
        return RowLengths(window, window + 1, target, min((window + 1) // 2, (target - 1) // 2))
    if isinstance(objective, (SpansObjective, DenoisingObjective)):
        settings = [(noise.rate, noise.mean_length) for noise in noises(objective)]
        windows = [span_lengths(length, *setting)[0] for setting in settings]
        sides = [_sides(w, *setting) for w, setting in zip(windows, settings, strict=True)]
        spans = [span_counts(w, *setting)[1] for w, setting in zip(windows, settings, strict=True)]
        source, target = max(s for s, _ in sides), max(t for _, t in sides)
        return RowLengths(max(windows), source, target, max(spans))
    if isinstance(objective, ContinuationObjective):
        target = objective.target_length or length
        return RowLengths(length + target, length, target, 0)
    if isinstance(objective, MaskedObjective) and objective.sentences != "none":
        if length < PAIR_MARKS + 2:
            raise ValueError(
                f"data.sequence_length={length}: objective.sentences={objective.sentences} needs at least "
                f"{PAIR_MARKS + 2}, [CLS] A [SEP] B [SEP]"
            )
        return RowLengths(length - PAIR_MARKS, length, None, 0)
    return RowLengths(length, length, None, 0)


def pads(objective: Objective, length: int) -> tuple[bool, bool]:
    """Whether rows of training may have padding in the (source, target) of an encoder-decoder."""
    if isinstance(objective, SpansObjective) and objective.iid:
        return True, True
    if not isinstance(objective, (SpansObjective, DenoisingObjective)):
        return False, False
    settings = [(noise.rate, noise.mean_length) for noise in noises(objective)]
    sides = [_sides(span_lengths(length, *setting)[0], *setting) for setting in settings]
    return any(s < length for s, _ in sides), len({t for _, t in sides}) > 1


def batch_arrays(objective: Objective, data: DataConfig, rows: int) -> Arrays:
    """Name, shape and type of every array in a training batch of `rows` rows.

    Validation batches are the same and always have float32 `weights`, of the shape of `targets`.
    """
    L = data.sequence_length
    side: tuple[tuple[int, ...], str] = ((rows, L), "int32")
    target = row_lengths(objective, L).target
    if target is not None:
        source_pads, target_pads = pads(objective, L)
        arrays: Arrays = {"inputs": side}
        arrays |= {name: ((rows, target), "int32") for name in ("decoder_inputs", "targets")}
        arrays |= {"weights": ((rows, target), "float32")} if target_pads else {}
        return arrays | ({"segment_ids": side} if source_pads else {})
    arrays = {"inputs": side, "targets": side}
    if objective.name != "causal" or data.packing == "best_fit":
        arrays["weights"] = ((rows, L), "float32")
    if objective.name == "prefix":
        arrays["prefix"] = side
    if isinstance(objective, MaskedObjective) and objective.sentences != "none":
        return arrays | {"token_types": side, "segment_ids": side, "sentence_targets": ((rows,), "int32")}
    return arrays | ({"segment_ids": side, "positions": side} if data.mask_documents else {})
