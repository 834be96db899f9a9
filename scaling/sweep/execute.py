"""Running a sweep: finished runs are skipped, interrupted runs resume, a failed run does not stop others."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from scaling.config.record import RunRecord, read_record
from scaling.config.run import RunConfig
from scaling.config.sweep import SweepConfig
from scaling.parallel.processes import (
    InterruptedRunError,
    SharedError,
    from_first,
    is_first,
    keep_compiled,
    several,
)
from scaling.runtime.errors import BadInputError
from scaling.sweep.design import expand
from scaling.sweep.directory import prepare
from scaling.sweep.evaluations import evaluate_run
from scaling.sweep.run_cost import cost_of_run
from scaling.sweep.stacking import Stack, check_stack, choose_lanes
from scaling.sweep.workers import check_workers, train_at_once
from scaling.train.loop import RunOutcome, groups, train, train_stack
from scaling.train.program import Programs
from scaling.train.progress import Reporter, Silent
from scaling.train.run_tokenizer import own_data

__all__ = ["prepare", "run_sweep"]


def run_sweep(
    sweep: SweepConfig, directory: Path, reporter: Reporter, workers: int = 1, stack: Stack = "auto"
) -> tuple[list[RunRecord], list[str]]:
    """Train every run of a sweep in `directory`; returns the records and a line for each failed run.

    With several `workers` as many runs train at once, each on its share of the CPU cores of this machine.
    Runs of one shape train in one program if `stack` says so (`scaling.sweep.stacking`). If the sweep has an
    evaluation, every run is then scored.

    Raises:
        BadInputError: several `workers`, or stacks, are not possible here.
        InterruptedRunError: stopped by a signal; the runs in progress were saved.
    """
    runs = expand(sweep)
    check_workers(workers)
    check_stack(stack, workers)
    from_first(lambda: prepare(sweep, directory))
    if not is_first():
        reporter = Silent()
    numbers = {run.name: f"[{number}/{len(runs)}] {run.name}" for number, run in enumerate(runs, 1)}
    records: dict[str, RunRecord] = {}
    failures = []
    todo = []
    for run in runs:
        path = directory / run.name
        earlier = is_finished(path, run)  # finished records do not change: all processes agree
        if earlier is not None:
            try:
                own_data(path, run.data)
            except BadInputError as error:
                reporter.message(f"{numbers[run.name]}: failed: {error}")
                failures.append(f"{run.name}: {error}")
                continue
            reporter.message(f"{numbers[run.name]}: finished before, skipped")
            records[run.name] = earlier
        else:
            todo.append((run, path))
    if workers > 1:
        outcomes = train_at_once(todo, workers, reporter, lambda run: cost_of_run(run, 1.0).seconds)
    else:
        outcomes = _in_turn(todo, stack, reporter)
    for outcome in outcomes:
        name, record = outcome.run.name, outcome.record
        if record is None:
            reporter.message(f"{numbers[name]}: failed: {outcome.line}")
            failures.append(f"{name}: {outcome.line}")
            continue
        points = ", ".join(f"{p.loss:.4f} at {p.tokens:,}" for p in record.points)
        reporter.message(
            f"{numbers[name]}: {record.params.total:,} parameters, "
            f"loss {points} tokens, {record.seconds['total']:.0f} s"
        )
        records[name] = record
    if sweep.evaluation is not None and is_first():
        keep_compiled()  # seeds of one size share their programs
        for name in records:
            reporter.message(f"{numbers[name]}: scoring")
            try:
                evaluate_run(directory / name, sweep.evaluation, reporter.message)
            except BadInputError as error:
                failures.append(f"{name}: {error}")
    return [records[run.name] for run in runs if run.name in records], failures


def _in_turn(
    todo: Sequence[tuple[RunConfig, Path]], stack: Stack, reporter: Reporter
) -> Iterator[RunOutcome]:
    """Train runs in this process: those of one shape together if they are stacked, otherwise in turn."""
    programs = Programs()
    for group in groups(todo):
        lanes = choose_lanes([run for run, _ in group], stack).lanes
        if lanes > 1:
            yield from train_stack(group, lanes, reporter, programs)
            continue
        for run, path in group:
            try:
                yield RunOutcome(run, train(run, path, reporter, programs))
            except InterruptedRunError:
                raise
            except Exception as error:  # the failure of one run must not stop the others
                if several() and not isinstance(error, SharedError | BadInputError):
                    raise  # the other processes of this run did not see it
                yield RunOutcome(run, None, error)


def is_finished(path: Path, run: RunConfig) -> RunRecord | None:
    """The record of a run if it is finished in its directory, otherwise None."""
    try:
        record = read_record(path)
    except BadInputError:
        return None
    finished = record is not None and record.status == "finished" and record.id == run.id()
    return record if finished else None
