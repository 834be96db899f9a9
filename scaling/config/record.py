"""The record of a run: what `record.json` holds. Written by the trainer, read by the ledger and the laws."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from scaling.config.base import Frozen
from scaling.runtime.errors import BadInputError

# `imported`: weights from elsewhere. Nothing was trained here, so it has no points and no budget.
Status = Literal["running", "finished", "interrupted", "failed", "imported"]


class ParameterCounts(Frozen):
    """Parameters of a model, counted three ways and by component.

    `active` is what one token uses: less than the total only where there is a mixture of experts.

    `non_embedding_with_head` adds the output head's vocabulary-by-width matrix once, whether or not it is
    tied to the embedding: it is what a token multiplies with in the forward pass.
    """

    total: int
    active: int | None = None
    embedding: int
    non_embedding: int
    non_embedding_with_head: int
    by_component: dict[str, int]

    @property
    def multiplied(self) -> int:
        """N of 6ND: `non_embedding_with_head`, of a mixture without the experts that a token passes by."""
        return self.non_embedding_with_head - (0 if self.active is None else self.total - self.active)


class TokenizerInfo(Frozen):
    """What one token of a loss or of a token count is; null is not known.

    `hash` names the mapping from text to ids. `vocab_size` counts the model's vocabulary, and
    `bytes_per_token` is UTF-8 bytes of text per predicted token of the validation set.
    """

    name: str | None = None
    hash: str | None = None
    vocab_size: int | None = None
    bytes_per_token: float | None = None


class Point(Frozen):
    """One finished training budget of a run: the end of its schedule, or of one cooldown branch."""

    tokens: int
    flops: float  # training FLOPs counted matmul by matmul, causal attention
    flops_6nd: float  # the shorthand, with N = non_embedding_with_head
    step: int
    loss: float  # validation, nats per token
    bits_per_byte: float | None
    train_loss: float | None  # null of an n-gram
    seconds: float  # spent stepping on what this point alone needed (a branch: its cooldown)


class Rewind(Frozen):
    """A loss spike that a run went back from, and the data it then passed by."""

    spike_step: int
    reason: str
    step: int  # of the checkpoint it went back to, 0 is the start: what came after was undone
    skipped_batches: tuple[int, int]  # the steps [first, stop) whose batches, as they were, are skipped
    skipped_rows: tuple[int, int]  # [first, stop) of the endless sequence of training rows
    seconds: float  # of the steps that were undone


class Goodput(Frozen):
    """Where a run's wall time went, in seconds and of all processes that worked on it; waiting in a queue
    between them does not count.

    `share` is `productive` over `wall`: steps whose results are in the model, without waiting for data.
    """

    share: float
    wall: float
    productive: float
    compile: float
    data_wait: float
    evaluation: float
    checkpoint: float
    restart: float  # until the first step of each process, and reading checkpoints
    lost: float  # steps that were done again, after a rewind or a death between checkpoints
    other: float


class RunRecord(Frozen):
    """What a run did. `id` is a hash of the resolved config; missing is null, never 0."""

    id: str
    name: str
    family: str
    objective: str | None = None
    status: Status
    error: str | None = None
    params: ParameterCounts
    flops_per_token: float  # training, causal attention
    budget_tokens: int
    tokens: int
    flops: float
    step: int
    points: tuple[Point, ...] = ()
    train_loss: float | None = None
    validation_loss: float | None = None
    bits_per_byte: float | None = None
    seconds: dict[str, float] = Field(
        default_factory=dict
    )  # total, step, input_wait, evaluation, checkpoint, compile, restart, lost
    goodput: Goodput | None = None
    rewinds: tuple[Rewind, ...] = ()
    tokens_per_second: float | None = None
    mfu: float | None = None
    peak_memory_bytes: int | None = None
    device: dict[str, str | int | float | None] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    git_commit: str | None = None
    seed: int = 0
    dataset: str | None = None
    tokenizer: str | None = None
    vocab_size: int | None = None
    started: str | None = None
    ended: str | None = None


def read_record(directory: Path) -> RunRecord | None:
    """The record in a run directory; None where there is none.

    Raises:
        BadInputError: `record.json` is there but is not a record.
    """
    path = directory / "record.json"
    if not path.is_file():
        return None
    try:
        return RunRecord.model_validate_json(path.read_text())
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        first = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise BadInputError(f"{path} is not a run record: {first}") from error
