"""Training one run, or several of one shape together: drives their loops and computes what they request."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scaling.config.baselines import NGramConfig
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.parallel.heartbeat import Heartbeat, stall_seconds
from scaling.parallel.processes import InterruptedRunError, StopRequest, is_first, several
from scaling.train.program import Answer, Evaluation, Program, Programs, Request, Steps, program_key
from scaling.train.progress import Reporter, Silent
from scaling.train.training import Lane, training


@dataclass(frozen=True)
class RunOutcome:
    """How a run ended: its record, or the error."""

    run: RunConfig
    record: RunRecord | None
    error: Exception | None = None

    @property
    def line(self) -> str | None:
        """The first line of the error."""
        if self.error is None:
            return None
        return (str(self.error).splitlines() or [type(self.error).__name__])[0]


def train(
    run: RunConfig, path: Path, reporter: Reporter | None = None, programs: Programs | None = None
) -> RunRecord:
    """Train a run in the directory `path`, from its newest complete checkpoint if there is one.

    The record of a finished run is returned. An n-gram is fitted by counting. `programs` holds what earlier
    runs of the same shape compiled.

    Raises:
        BadInputError: the directory, the data, the mesh or the tokenizer do not fit the run.
        RunFailedError: the loss or the gradient was not finite, or a run that rewinds did so too often;
            the last good checkpoint is kept.
        InterruptedRunError: SIGTERM or SIGINT was received; the state was saved.
        StorageError: the disk can no longer be written.
    """
    programs = programs or Programs()
    reporter = reporter if reporter is not None and is_first() else Silent()
    stop = StopRequest()
    with Heartbeat(stall_seconds()) as heartbeat:
        lane = Lane(lambda: programs.of(run))
        loop = _Loop(run, lane, training(run, path, lane, stop, heartbeat, reporter))
        while loop.request is not None:
            _answer(lane.program, [loop])
    assert loop.outcome is not None
    if loop.outcome.error is not None:
        raise loop.outcome.error
    assert loop.outcome.record is not None
    return loop.outcome.record


def why_alone(run: RunConfig) -> str | None:
    """Why a run cannot train in a stack; None if it can."""
    if isinstance(run.model, NGramConfig):
        return "an n-gram is counted, not trained"
    if run.profile.window is not None:
        return f"profile.steps={run.profile.steps} traces one run"
    if run.tracking.wandb is not None or run.tracking.mlflow is not None:
        return "Weights & Biases and MLflow track one run per process"
    if run.mesh.stage > 1:
        return f"mesh.stage={run.mesh.stage}: pipelines are not stacked"
    return None


def groups(runs: Sequence[tuple[RunConfig, Path]]) -> list[list[tuple[RunConfig, Path]]]:
    """Runs by the program that they train with, in the order of the first of each; a run that cannot be
    stacked is a group of its own."""
    found: dict[str, list[tuple[RunConfig, Path]]] = {}
    for run, path in runs:
        key = program_key(run) if why_alone(run) is None else f"alone {path}"
        found.setdefault(key, []).append((run, path))
    return list(found.values())


class _SharedTime:
    """Seconds that pass for each of several runs: the wall time divided by how many share its devices, so
    that the device-seconds of all add up."""

    def __init__(self) -> None:
        self._rate = 1.0
        self._passed, self._last = 0.0, time.perf_counter()

    def __call__(self) -> float:
        now = time.perf_counter()
        self._passed += (now - self._last) * self._rate
        self._last = now
        return self._passed

    def share(self, runs: int, ways: int) -> None:
        """From now on so many runs share so many groups of devices."""
        self()
        self._rate = min(1.0, ways / max(1, runs))


class _Loop:
    """The loop of a run, and what it requests; `outcome` is set when it has ended."""

    def __init__(self, run: RunConfig, lane: Lane, work: Any) -> None:
        self.run, self.lane, self._work = run, lane, work
        self.request: Request | None = None
        self.outcome: RunOutcome | None = None
        self._go(partial(next, work))

    def send(self, answer: Answer) -> None:
        """Go on to the next request."""
        self._go(partial(self._work.send, answer))

    def fail(self, error: Exception) -> None:
        """What was requested raised this."""
        self._go(partial(self._work.throw, error))

    def close(self) -> None:
        """End it here: its record says that it was interrupted."""
        self._work.close()

    def _go(self, step: Any) -> None:
        self.request = None
        try:
            self.request = step()
        except StopIteration as end:
            self.outcome = RunOutcome(self.run, end.value)
        except Exception as error:
            self.outcome = RunOutcome(self.run, None, error)


def _answer(program: Program, loops: Sequence[_Loop]) -> None:
    """Compute what some loops of a program request, and send them the answers.

    Evaluations come first. Of steps whose batches differ in shape, those of the run that is furthest behind
    are taken; the others wait.
    """
    evaluations = {loop: loop.request for loop in loops if isinstance(loop.request, Evaluation)}
    steps = {loop: loop.request for loop in loops if isinstance(loop.request, Steps)}
    asked: Mapping[_Loop, Request]
    try:
        if evaluations:
            asked = evaluations
            answers = program.evaluate({loop.lane.number: one for loop, one in evaluations.items()})
        else:
            rows = min(steps.values(), key=lambda one: one.number).rows
            chosen = {loop: one for loop, one in steps.items() if one.rows == rows}
            asked = chosen
            answers = program.step({loop.lane.number: one for loop, one in chosen.items()})
    except Exception as error:  # of the program, so of all that are in it
        for loop in loops:
            loop.fail(error)
        return
    for loop in asked:
        loop.send(answers[loop.lane.number])


def train_stack(
    runs: Sequence[tuple[RunConfig, Path]], lanes: int, reporter: Reporter, programs: Programs
) -> Iterator[RunOutcome]:
    """Train runs of one shape in their directories, `lanes` of them at a time in one program; yields outcomes
    as runs end, whose lanes the next runs take.

    Each run's losses are those of the run alone up to the rounding of its arithmetic, and a run that fails
    leaves the others as they are. When no run waits and half of the lanes or more are empty, the rest goes on
    in a smaller program, of at least two lanes. A stack that was stopped or killed resumes bit for bit as
    long as two of its runs are left.

    Raises:
        BadInputError: the mesh does not fit the devices.
        InterruptedRunError: stopped by a signal; the runs in progress were saved.
    """
    assert not several()
    todo = deque(runs)
    timer = _SharedTime()
    program = programs.of(runs[0][0], lanes)
    reporters = [reporter.another() for _ in range(lanes)]
    loops: dict[int, _Loop] = {}
    interrupted: InterruptedRunError | None = None
    stop = StopRequest()
    with Heartbeat(stall_seconds()) as heartbeat:
        try:
            while True:
                for number in range(lanes):
                    while number not in loops and todo and stop.signal_number is None:
                        run, path = todo.popleft()
                        timer.share(len(loops) + 1, program.ways)
                        lane = Lane(partial(_same, program), number)
                        work = training(run, path, lane, stop, heartbeat, reporters[number], timer)
                        loops[number] = _Loop(run, lane, work)
                        yield from _ended(loops)
                if not loops:
                    break
                left = max(2, len(loops))  # a run alone is another program, with other rounding
                if not todo and stop.signal_number is None and left <= program.lanes // 2:
                    program = _smaller(program, loops, left)
                _answer(program, list(loops.values()))
                for outcome in _ended(loops):
                    if isinstance(outcome.error, InterruptedRunError):
                        interrupted = outcome.error
                    else:
                        yield outcome
                timer.share(len(loops), program.ways)
        finally:
            for loop in loops.values():
                with suppress(Exception):
                    loop.close()
        if interrupted is None and todo and stop.signal_number is not None:
            interrupted = InterruptedRunError("stopped by a signal", stop.signal_number)
    if interrupted is not None:
        raise interrupted


def _same(program: Program) -> Program:
    return program


def _ended(loops: dict[int, _Loop]) -> Iterator[RunOutcome]:
    """Remove the loops that ended; their outcomes."""
    for number, loop in list(loops.items()):
        if loop.outcome is not None:
            del loops[number]
            yield loop.outcome


def _smaller(program: Program, loops: dict[int, _Loop], lanes: int) -> Program:
    """A program of so many lanes, in which the loops go on."""
    smaller = Program(next(iter(loops.values())).run, lanes)
    for number, loop in enumerate(loops.values()):
        loop.lane.move(smaller, number)
    program.drop()
    renumbered = dict(enumerate(loops.values()))
    loops.clear()
    loops.update(renumbered)
    return smaller
