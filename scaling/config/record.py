"""The documents that a run leaves behind: its record, its evaluations, and a compiled train step."""

import importlib.metadata
import math
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from scaling.config.base import Frozen
from scaling.runtime.errors import BadInputError

# `imported`: weights from elsewhere. Nothing was trained here, so it has no points and no budget.
Status = Literal["running", "finished", "interrupted", "failed", "imported"]


# The three N of a model, and how training compute is counted: 6ND, or matmul by matmul.
ParamCounting = Literal["total", "non_embedding", "non_embedding_with_head"]
FlopCounting = Literal["6nd", "counted"]
PARAM_WORDS: dict[ParamCounting, str] = {
    "total": "all parameters",
    "non_embedding": "parameters without embeddings",
    "non_embedding_with_head": "parameters without embeddings, with the output head",
}
FLOP_WORDS: dict[FlopCounting, str] = {
    "6nd": "6ND",
    "counted": "training FLOPs matmul by matmul, causal attention",
}


class ParameterCounts(Frozen):
    """Parameters of a model, counted three ways and by component.

    `active` counts the parameters that one token uses: less than the total only for a mixture of experts.

    `non_embedding_with_head` adds the output head's vocabulary-by-width matrix once, whether or not it is
    tied to the embedding: these are the parameters that a token multiplies with in the forward pass.
    """

    total: int
    active: int | None = None
    embedding: int
    non_embedding: int
    non_embedding_with_head: int
    by_component: dict[str, int]

    @property
    def multiplied(self) -> int:
        """N of 6ND: `non_embedding_with_head`, without the experts that a token does not use."""
        return self.non_embedding_with_head - (0 if self.active is None else self.total - self.active)


class TokenizerInfo(Frozen):
    """The unit of a loss or of a token count; null is not known.

    `hash` names the mapping from text to ids. `vocab_size` counts the model's vocabulary, and
    `bytes_per_token` is UTF-8 bytes of text per predicted token of the validation set.
    """

    name: str | None = None
    hash: str | None = None
    vocab_size: int | None = None
    bytes_per_token: float | None = None


class SourceLoss(Frozen):
    """Validation loss on one source of a mixture."""

    loss: float  # nats per token
    bits_per_byte: float | None

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of text per predicted token of the source's validation set."""
        return bytes_per_token(self.loss, self.bits_per_byte)


def bytes_per_token(loss: float | None, bits_per_byte: float | None) -> float | None:
    """UTF-8 bytes of text per predicted token: the ratio of a loss in its two units."""
    return loss / math.log(2) / bits_per_byte if loss and bits_per_byte else None


class Point(Frozen):
    """One finished training budget of a run: the end of its schedule, or of one cooldown branch."""

    tokens: int
    flops: float  # training FLOPs counted matmul by matmul, causal attention
    flops_6nd: float  # the shorthand, with N = non_embedding_with_head
    step: int
    loss: float  # validation, nats per token; of a mixture, the mean by the weights it begins with
    bits_per_byte: float | None
    by_source: dict[str, SourceLoss] | None = None  # null without a mixture
    train_loss: float | None  # null of an n-gram
    seconds: float  # of the steps that only this point needed (a branch: its cooldown)


class Rewind(Frozen):
    """A rewind after a loss spike, and the data that was then skipped."""

    spike_step: int
    reason: str
    step: int  # of the checkpoint that was restored, 0 is the start: later steps were undone
    skipped_batches: tuple[int, int]  # the steps [first, stop) whose batches are skipped
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
    restart: float  # until the first step of each process, including reading checkpoints
    lost: float  # steps that were repeated after a rewind or a crash between checkpoints
    other: float


class SourceShare(Frozen):
    """One source of a run's mixture, and how much of it was read."""

    source: str
    weight: float | None  # at the start of the run; null where only the schedule reads it
    tokens: int  # input positions trained on, on the trunk
    epochs: float


class PackingRecord(Frozen):
    """How training rows hold documents, over one epoch; of a mixture, weighted as it begins."""

    method: str  # data.packing
    padding: float  # share of the positions; token budgets count them
    split_documents: float  # share of the documents that are in more than one row


class TokenizerRecord(Frozen):
    """The tokenizer of a run."""

    kind: str  # bytes, hf, sentencepiece or tiktoken
    identity: str  # equal identities give equal ids
    vocab_size: int  # of the tokenizer; the model's may be larger
    end_of_text: int  # between documents
    special: dict[str, int]  # ids of bos, eos, unk, sep, pad, cls and mask, those that exist


class RunRecord(Frozen):
    """The record of a run. `id` is a hash of the resolved config; missing is null, never 0."""

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
    bytes_per_token: float | None = None  # UTF-8 bytes per predicted token of the validation set
    by_source: dict[str, SourceLoss] | None = None  # validation losses of each source of a mixture
    mixture: dict[str, SourceShare] | None = None
    packing: PackingRecord | None = None  # null where the objective makes examples of text
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
    tokenization: TokenizerRecord | None = None
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


Interval = tuple[float, float]


class Score(Frozen):
    """One metric of one task: its mean over items and its 95% interval.

    `kind` says how the interval was made: `wilson` (a share of items), `exact` (a share of none or of all of
    them: one-sided), `bootstrap` (over items), or `none` (a mean of equal values). A share of 0 of n items
    has the interval (0, its upper bound), never (0, 0).
    """

    value: float
    interval: Interval | None
    kind: str


def wilson(successes: float, n: float) -> Interval:
    """The two-sided 95% score interval of a share (Wilson 1927, equation 4)."""
    z = 1.959963984540054  # the 97.5% point of the normal distribution
    share, z2 = successes / n, z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(max(share * (1 - share), 0.0) / n + z2 / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, (1.0 if successes == n else min(1.0, centre + half))


class TaskScores(Frozen):
    """The scores of one task with a number of examples in the prompt.

    `n` items were scored and `skipped` were not: they did not fit the context, or could not be used, as
    `unusable` says with file and line of the first 100; 1 / n is what a share can resolve. `chance`
    is what guessing reaches on the task's first metric. `answer_tokens` is the mean length of an answer:
    exact match is about token accuracy to that power. Metrics are named `exact_match`, `token_accuracy`,
    `edit_similarity`, `answer_log_prob` (nats, of the complete answer), `choice_accuracy`, `brier`,
    `choice_log_prob`, `pass_at_K`; `choice_accuracy` compares sums of log-probabilities, and
    `choice_accuracy_per_token`, `choice_accuracy_unconditional`, `acc_norm` (per character) and `acc_bytes`
    (per byte) normalise them; the last two are those of lm-evaluation-harness, whose `acc` is
    `choice_accuracy`. Of published benchmarks also `squad_exact`, `squad_f1`, and `likeliest_match` (every
    token the likeliest).
    """

    task: str
    shots: int = Field(ge=0)
    template: str = "plain"
    n: int = Field(ge=0)
    skipped: int = Field(ge=0)
    chance: float | None
    answer_tokens: float | None
    scores: dict[str, Score]
    unusable: tuple[str, ...] = ()


class Evaluation(Frozen):
    """All scores of one checkpoint on one suite, and the scale of the checkpoint.

    `params` counts as in the run's record, `flops` is the training compute spent up to `step`, `loss` the
    validation loss in nats per token where the record has it.
    """

    run: str
    run_id: str
    family: str
    suite: str
    step: int = Field(ge=0)
    tokens: int
    flops: float
    loss: float | None
    params: dict[str, int]  # total, non_embedding, non_embedding_with_head
    train_seed: int
    seed: int  # of prompts and items
    results: tuple[TaskScores, ...]
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: float | None = None


def read_evaluation(path: Path) -> Evaluation:
    """The document at `path`.

    Raises:
        BadInputError: it cannot be read, or is not an evaluation; the message names the field.
    """
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BadInputError(f"{path} is not an evaluation: {where}: {first['msg']}") from error


def read_evaluations(directory: Path) -> tuple[Evaluation, ...]:
    """Every `evals/*.json` of a run directory, or of the runs of a sweep directory, by path.

    Raises:
        BadInputError: the directory does not exist, or a document is damaged.
    """
    if not directory.is_dir():
        raise BadInputError(f"{directory} is not a directory; give a run or sweep directory")
    paths = sorted([*directory.glob("evals/*.json"), *directory.glob("*/evals/*.json")])
    return tuple(read_evaluation(path) for path in paths)


Effort = Literal["quick", "full"]

_COMPILERS = {"tpu": ("libtpu",), "gpu": ("jax-cuda13-plugin", "jax-cuda13-pjrt"), "cpu": ()}


class CollectiveTraffic(Frozen):
    """Collectives of one kind in one step: how often they run, and bytes moved.

    `bytes` are of the complete array on one device: the result of an all-gather, all-to-all or permute, the
    operand of an all-reduce or reduce-scatter. In a ring of n each device sends (n - 1) / n of it, in an
    all-reduce twice that, in a permute all.
    """

    count: int
    bytes: int


class Collectives(Frozen):
    """Collectives of one step, on one device, by kind."""

    all_gather: CollectiveTraffic
    reduce_scatter: CollectiveTraffic
    all_reduce: CollectiveTraffic
    all_to_all: CollectiveTraffic
    collective_permute: CollectiveTraffic


class OutOfMemory(Frozen):
    """How much larger than a device's memory a refused program is."""

    needed_bytes: int
    capacity_bytes: int
    over_by_bytes: int


class ProfileLine(Frozen):
    """What one source line spends on one kind of work in a step. `count` is how often its operations run."""

    source: str  # file:line; empty where the compiler gives none
    caller: str  # the line that calls it from another file, where one does
    kind: str
    seconds: float
    share: float  # of the step
    count: int


class Roofline(Frozen):
    """Seconds of a step if every operation ran at the data sheet's rates."""

    compute_seconds: float  # matrix products and attention at peak FLOP/s
    memory_seconds: float  # bytes read and written at the memory's bandwidth
    step_seconds: float  # the longer of both for each operation, and collectives that are not hidden


class Profile(Frozen):
    """Where the time of a compiled step goes, by the compiler's own cost model.

    `by_kind` adds up to `step_seconds`. Its collectives are what the step waits for; `collective_seconds`
    also counts what is hidden behind computation.
    """

    step_seconds: float
    clock_hz: float | None  # null where the compiler does not count cycles
    cycles: float | None
    by_kind: dict[str, float]
    top: tuple[ProfileLine, ...]
    collective_seconds: float
    roofline: Roofline
    priced_by_compiler: float  # share of the step that rests on the compiler's own estimates
    notes: tuple[str, ...]  # what the numbers rest on, one line each


class AttentionChoice(Frozen):
    """How a kind of attention of a step is computed."""

    attention: str  # its form: mask, lengths, heads
    implementation: str  # splash and cudnn are fused kernels
    why_not: str | None  # why it is no fused kernel


class Compiled(Frozen):
    """A compiled train step. Bytes and FLOPs are of one device; what the compiler did not report is null.

    `peak_bytes` is the most memory of the device in use at once while the step runs: arguments, which
    it overwrites by its outputs, and temporaries. Where the compiler ran out of memory it is what would have
    been needed.
    """

    backend: str  # tpu, cuda or cpu
    topology: str  # as the compiler calls it
    effort: Effort  # of the compiler; quick leaves out what makes a program fast, not what makes it fit
    compile_seconds: float  # tracing and lowering included
    argument_bytes: int
    output_bytes: int | None
    alias_bytes: int | None  # of the outputs that overwrite arguments
    temp_bytes: int | None
    peak_bytes: int
    generated_code_bytes: int | None
    flops_per_device: float  # matrix products of the step as written; scan bodies times their length
    collectives: Collectives | None
    notes: tuple[str, ...] = ()  # what could not be read from the program, one line each
    attention: tuple[AttentionChoice, ...] = ()  # each kind of attention once, in the order of the step
    capacity_bytes: int
    fits: bool
    out_of_memory: OutOfMemory | None
    versions: dict[str, str]
    profile: Profile | None = None  # where it was requested


def versions(platform: str) -> dict[str, str]:
    """Versions of the packages that compile programs for a platform: tpu, gpu or cpu."""
    found = {}
    for package in ("jax", "jaxlib", "flax", "optax", *_COMPILERS[platform]):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
