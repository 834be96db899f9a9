"""Evaluation of run directories: which checkpoints, which scores exist, the documents that are written."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
from jax.sharding import Mesh

from scaling.config.record import Evaluation, RunRecord, TaskScores, read_evaluation, read_record
from scaling.config.sweep import SweepEvaluation
from scaling.evals.evaluator import Engine, EvalSettings, Evaluator, TaskResult, chosen_items
from scaling.evals.inference import InferenceEngine
from scaling.evals.items import EvalTask
from scaling.evals.masked_inference import MaskedEngine
from scaling.evals.metrics import CHOICE_METRICS
from scaling.evals.prompts import PromptEncoder, template_named
from scaling.evals.suites import Suite, load_suite
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import write_atomically
from scaling.train.checkpoints import kept_steps
from scaling.train.device import versions
from scaling.train.lock import is_locked
from scaling.train.run_directory import read_run
from scaling.train.trained import Trained, load_trained

EVALUABLE = ("decoder", "encoder_decoder")  # and encoders, on tasks with choices
Say = Callable[[str], None]
_LISTED = 5  # unusable items of a task that are listed


@dataclass(frozen=True)
class EvaluationJob:
    """The evaluation of one checkpoint of a run."""

    path: Path
    record: RunRecord
    step: int

    def document(self, suite: Suite) -> Path:
        """The file with its scores on a suite."""
        return self.path / "evals" / f"{suite.file_name}-{self.step}.json"


def jobs_of(directory: Path, steps: str, suite: Suite, say: Say) -> list[EvaluationJob]:
    """The checkpoints to evaluate: of a run directory, or of every finished run in a sweep directory.

    `steps` is `last`, `all` or a number. Runs of a sweep that cannot be evaluated are reported and skipped.

    Raises:
        BadInputError: no run can be evaluated, or no such checkpoint.
    """
    if not directory.is_dir():
        raise BadInputError(f"{directory}: no such directory; give a run or a sweep directory")
    if steps not in ("last", "all") and not steps.isdecimal():
        raise BadInputError(f"--step {steps}: give last, all, or the step of a checkpoint")
    if (directory / "config.yaml").is_file():
        return _jobs_of_run(directory, steps, suite)
    runs = sorted(path.parent for path in directory.glob("*/config.yaml"))
    if not runs:
        raise BadInputError(f"{directory}: neither a run directory (config.yaml) nor a sweep of them")
    jobs = []
    for run in runs:
        try:
            record = read_record(run)
            if record is not None and record.status not in ("finished", "imported"):
                raise BadInputError(f"{run}: {record.status}, not finished")
            jobs += _jobs_of_run(run, steps, suite)
        except BadInputError as error:
            named = str(error) if str(run) in str(error) else f"{run}: {error}"
            say(f"skipped: {named}")
    if not jobs:
        raise BadInputError(f"{directory}: none of its {len(runs)} runs can be evaluated")
    return jobs


def _jobs_of_run(path: Path, steps: str, suite: Suite) -> list[EvaluationJob]:
    config = read_run(path)
    family = config.model.family
    free = [task.name for task in suite.tasks if task.metrics[0] not in CHOICE_METRICS]
    if family == "encoder" and free:
        raise BadInputError(
            f"{path}: family=encoder is not evaluated on suites with tasks that have no choices, such as "
            f"{free[0]}; {' and '.join(EVALUABLE)} are"
        )
    if not config.model.has_vocabulary_head:
        raise BadInputError(f"{path}: mlm_head=false: the model has no head over the vocabulary")
    if family not in (*EVALUABLE, "encoder"):
        raise BadInputError(
            f"{path}: family={family} is not evaluated on suites; {' and '.join(EVALUABLE)} are"
        )
    record = read_record(path)
    kept = kept_steps(path / "checkpoints")
    if record is None or not kept:
        raise BadInputError(f"{path}: no checkpoint; train the run first")
    if steps == "all":
        return [EvaluationJob(path, record, step) for step in kept]
    step = kept[-1] if steps == "last" else int(steps)
    if step not in kept:
        raise BadInputError(f"--step {step}: {path} has the steps {', '.join(map(str, kept))}")
    if steps == "last" and record.status not in ("finished", "imported"):
        state = "still training" if is_locked(path) else record.status
        raise BadInputError(
            f"{path}: {state}, at step {record.step} of {config.train.total_steps()}; finish the run, or "
            f"give --step all or one of {', '.join(map(str, kept))}"
        )
    return [EvaluationJob(path, record, step)]


@dataclass(frozen=True)
class EvaluationPlan:
    """The prompts of every checkpoint: a suite, and the settings for each of its tasks."""

    suite: Suite
    settings_of: Callable[[EvalTask], tuple[EvalSettings, ...]]
    again: bool = False  # repeat what a document already has

    def all(self) -> list[tuple[EvalTask, EvalSettings]]:
        """Every task with each of its settings."""
        return [(task, settings) for task in self.suite.tasks for settings in self.settings_of(task)]


def left_to_do(
    job: EvaluationJob, plan: EvaluationPlan
) -> tuple[list[tuple[EvalTask, EvalSettings]], list[TaskScores]]:
    """What is still to be evaluated, and the scores that the document already has.

    A score is kept if it is of the same checkpoint, seed, shots, template and number of items.
    """
    path = job.document(plan.suite)
    if plan.again or not path.is_file():
        return plan.all(), []
    held = read_evaluation(path)
    seeds = {settings.seed for _, settings in plan.all()}
    if held.run_id != job.record.id or seeds != {held.seed}:
        return plan.all(), []
    by_key = {(scores.task, scores.shots, scores.template): scores for scores in held.results}
    left = []
    for task, settings in plan.all():
        key = (task.name, settings.shots, settings.template.name)
        scores = by_key.get(key)
        wanted = {f"pass_at_{k}" for k in settings.pass_at}
        count = len(chosen_items(task.size(), settings.items, settings.seed))
        same = scores is not None and scores.n + scores.skipped == count
        if scores is None or not same or (scores.n and not wanted <= set(scores.scores)):
            by_key.pop(key, None)
            left.append((task, settings))
    return left, list(by_key.values())


def evaluate_run(path: Path, evaluation: SweepEvaluation, say: Say) -> Evaluation:
    """Score the last checkpoint of a run as its sweep specifies; existing scores are kept.

    Raises:
        BadInputError: the suite is unknown, or the run cannot be evaluated.
    """

    def settings_of(task: EvalTask) -> tuple[EvalSettings, ...]:
        template = template_named(task.template)
        return tuple(
            EvalSettings(template, shots, evaluation.items, 0, None, (), 0, 0.8)
            for shots in sorted(evaluation.shots)
        )

    plan = EvaluationPlan(load_suite(evaluation.suite, evaluation.tasks or None), settings_of)
    (job,) = jobs_of(path, "last", plan.suite, say)
    return evaluate(job, plan, None, say, lambda _: None)


def evaluate(
    job: EvaluationJob, plan: EvaluationPlan, mesh: Mesh | None, say: Say, advance: Callable[[str], None]
) -> Evaluation:
    """Evaluate a checkpoint on the rest of a suite, and write its document.

    Raises:
        BadInputError: the checkpoint or the tokenizer cannot be read, or no item of any task fits.
    """
    began = time.perf_counter()
    left, results = left_to_do(job, plan)
    path = job.document(plan.suite)
    if not left:
        return read_evaluation(path)
    trained = load_trained(job.path, say, step=job.step, mesh=mesh)
    evaluator = evaluator_of(trained, mesh)
    for task, settings in left:
        advance(f"{task.name}, {settings.shots} shots")
        outcome = evaluator.evaluate(task, settings)
        for reason in outcome.unusable[:_LISTED]:
            say(f"skipped: {reason}")
        if len(outcome.unusable) > _LISTED:
            say(f"skipped: {len(outcome.unusable) - _LISTED} more items of {task.name}")
        if not outcome.items:
            say(_too_long(job, task, settings, outcome))
        results.append(outcome.scores(task, settings))
    if not any(scores.n for scores in results):
        raise BadInputError(_too_long(job, *left[0], outcome))
    order = {task.name: i for i, task in enumerate(plan.suite.tasks)}
    results.sort(key=lambda scores: (order.get(scores.task, len(order)), scores.task, scores.shots))
    document = _document(job, trained, plan, results, time.perf_counter() - began)
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, document.model_dump_json(indent=1).encode() + b"\n")
    return document


def evaluator_of(trained: Trained, mesh: Mesh | None) -> Evaluator:
    """The evaluator of a trained model, with its own tokenizer.

    Raises:
        BadInputError: the run reads ids only, or its tokenizer has more pieces than the model.
    """
    start, opening, closing = trained.start, trained.opening, trained.closing
    engine: Engine
    if trained.run.model.family == "encoder":
        engine = MaskedEngine(trained.model, start, trained.mask, closing, mesh)
    else:
        engine = InferenceEngine(trained.model, start, mesh, writable=trained.writable)
    begin = None if engine.encoder_decoder else start
    return Evaluator(engine, PromptEncoder(trained.tokenizer, begin, opening, closing, trained.ends))


def _too_long(job: EvaluationJob, task: EvalTask, settings: EvalSettings, outcome: TaskResult) -> str:
    positions = read_run(job.path).model.max_length
    return (
        f"{job.path}: {task.name} with {settings.shots} shots: all {outcome.skipped} prompts are longer than "
        f"the model's {positions} positions; give fewer --shots"
    )


def _document(
    job: EvaluationJob, trained: Trained, plan: EvaluationPlan, results: Sequence[TaskScores], seconds: float
) -> Evaluation:
    record, run = job.record, trained.run
    tokens = 0 if record.status == "imported" else run.train.tokens_before(job.step)
    seeds = {settings.seed for _, settings in plan.all()}
    return Evaluation(
        run=job.path.name,
        run_id=record.id,
        family=record.family,
        suite=plan.suite.name,
        step=job.step,
        tokens=tokens,
        flops=tokens * record.flops_per_token,
        loss=_loss_at(job),
        params={
            "total": record.params.total,
            "non_embedding": record.params.non_embedding,
            "non_embedding_with_head": record.params.non_embedding_with_head,
        },
        train_seed=run.train.seed,
        seed=min(seeds),
        results=tuple(results),
        versions={**versions(), "device": jax.devices()[0].device_kind},
        seconds=round(seconds, 2),
    )


def _loss_at(job: EvaluationJob) -> float | None:
    """The validation loss at a step of the trunk; None if it was not measured."""
    for point in job.record.points:
        if point.step == job.step and point.tokens == job.record.tokens:
            return point.loss
    metrics = job.path / "metrics.jsonl"
    if not metrics.is_file():
        return None
    for text in metrics.read_bytes().split(b"\n"):
        try:
            line = json.loads(text)
        except ValueError:
            continue  # an incomplete line
        if line.get("step") == job.step and line.get("branch") is None and "validation_loss" in line:
            return float(line["validation_loss"])
    return None
