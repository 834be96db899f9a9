"""The evaluation document: the scores of one checkpoint on one suite. `RUN/evals/SUITE-STEP.json`."""

from pathlib import Path

from pydantic import Field, ValidationError

from scaling.config.base import Frozen
from scaling.runtime.errors import BadInputError

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


class TaskScores(Frozen):
    """One task asked with a number of examples in the prompt.

    `n` items were scored and `skipped` were not: they did not fit the context, or could not be used, as
    `unusable` says with file and line of the first 100; 1 / n is what a share can resolve. `chance`
    is what guessing reaches on the task's first metric. `answer_tokens` is the mean length of an answer:
    exact match is about token accuracy to that power. Metrics are named `exact_match`, `token_accuracy`,
    `edit_similarity`, `answer_log_prob` (nats, of the whole answer), `choice_accuracy`, `brier`,
    `choice_log_prob`, `pass_at_K`; `choice_accuracy` compares sums of log-probabilities, and
    `choice_accuracy_per_token` and `choice_accuracy_unconditional` beside it otherwise. Of published
    benchmarks also `squad_exact`, `squad_f1`, and `likeliest_match` (every token the likeliest).
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
    """All scores of one checkpoint on one suite, with the scale that it stands for.

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
