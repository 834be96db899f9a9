"""The loop of one run: batches in, record and checkpoints out; resumable at any step, bit for bit.

It yields what is to be computed and is sent the answers, so that the loops of several runs can share a
program: `scaling.train.loop` drives one or several of them.
"""

import math
import signal
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax

from scaling.config.baselines import NGramConfig
from scaling.config.record import Rewind, RunRecord, Status, read_record
from scaling.config.run import RunConfig
from scaling.parallel.heartbeat import Heartbeat
from scaling.parallel.processes import (
    InterruptedRunError,
    RunFailedError,
    SharedError,
    StopRequest,
    everywhere,
    from_first,
    several,
    vote,
)
from scaling.runtime.errors import BadInputError, StorageError
from scaling.train import progress
from scaling.train.checkpoints import Checkpoints
from scaling.train.device import ProfileWindow
from scaling.train.ngram import fit_ngram
from scaling.train.program import Answer, Evaluation, Program, Request, Steps
from scaling.train.record import Tally
from scaling.train.run_directory import RunDirectory
from scaling.train.run_tokenizer import own_data
from scaling.train.schedules import Segment, computed_tokens, make_schedule, segments, tokens_done
from scaling.train.setup import Inputs, open_inputs
from scaling.train.spikes import Rewinds, SpikeDetector, SpikeError, not_finite, plan
from scaling.train.step import TrainState
from scaling.train.trackers import check_installed
from scaling.train.validation import ValidationLosses, validation_losses

Work = Generator[Request, Answer, RunRecord]


class Lane:
    """Where a run is computed: a place in a program, which `open` makes when the run first needs it."""

    def __init__(self, open: Callable[[], Program], number: int = 0) -> None:
        self._open, self.number = open, number

    @cached_property
    def program(self) -> Program:
        """The program; every process has made it."""
        return everywhere(self._open)

    def move(self, program: Program, number: int) -> None:
        """Go on in a place of another program, with the same state."""
        program.put(number, jax.device_put(self.state(), program.functions.state_shardings))
        self.program, self.number = program, number

    def init(self, seed: int) -> None:
        """Begin with a new state."""
        self.put(self.program.functions.init(seed))

    def put(self, state: TrainState) -> None:
        """Replace the state."""
        self.program.put(self.number, state)

    def state(self) -> TrainState:
        """The state, laid out as that of a run alone."""
        return self.program.get(self.number)


def training(
    run: RunConfig,
    path: Path,
    lane: Lane,
    stop: StopRequest,
    heartbeat: Heartbeat,
    reporter: progress.Reporter,
    timer: Callable[[], float] | None = None,
) -> Work:
    """Train a run in the directory `path`, from its newest complete checkpoint if there is one.

    A generator: it yields what is to be computed in its lane, is sent the answers, and returns the record.
    `timer` gives the seconds that the run is charged for, by default the wall time. Raises as
    `scaling.train.loop.train`.
    """
    record = _earlier(path, run)
    own = run
    if record is not None:  # the tokenizer that this directory was trained with, even if it was moved
        own = run.model_copy(update={"data": everywhere(partial(own_data, path, run.data))})
    if record is not None and record.status == "finished":
        return record
    if record is not None and record.status == "imported":
        raise BadInputError(f"{path}: holds imported weights, not a training run; give another directory")
    if isinstance(run.model, NGramConfig):  # counted by one process
        counted = from_first(lambda: fit_ngram(run, path, reporter).model_dump(mode="json"))
        return RunRecord.model_validate(counted)
    # Before the directory is created: bad input leaves nothing behind.
    check_installed(run)
    mesh = lane.program.mesh
    inputs = everywhere(partial(open_inputs, own, mesh, reporter))
    try:
        with RunDirectory(path, run, reporter.message) as directory, stop.listening():
            earlier = _earlier(path, run)
            return (
                yield from _Training(
                    run, inputs, directory, reporter, stop, heartbeat, earlier, lane, timer
                ).run_to_end()
            )
    finally:
        inputs.batches.close()


def _earlier(path: Path, run: RunConfig) -> RunRecord | None:
    """The earlier record of this run, as the first process reads it."""
    tree = from_first(
        lambda: None if (record := _read(path, run)) is None else record.model_dump(mode="json")
    )
    return None if tree is None else RunRecord.model_validate(tree)


def _read(path: Path, run: RunConfig) -> RunRecord | None:
    """The record of a run; a damaged one is rewritten from the checkpoint."""
    try:
        record = read_record(path)
    except BadInputError:
        return None
    return record if record is not None and record.id == run.id() else None


class _Training:
    """One process's work on one run."""

    def __init__(
        self,
        run: RunConfig,
        inputs: Inputs,
        directory: RunDirectory,
        reporter: progress.Reporter,
        stop: StopRequest,
        heartbeat: Heartbeat,
        earlier: RunRecord | None,
        lane: Lane,
        timer: Callable[[], float] | None,
    ) -> None:
        self.run, self.directory, self.reporter = run, directory, reporter
        self.stop, self.heartbeat, self.lane = stop, heartbeat, lane
        self.batches, self.validation = inputs.batches, inputs.validation
        self.mixture_read, self.packing = inputs.mixture_read, inputs.packing
        self.tokenization = inputs.tokenization
        self.length = run.data.sequence_length
        self.checkpoints = Checkpoints(directory.checkpoints, run.train.keep_checkpoints)
        self.tally = Tally(
            run, lane.program.devices_of_a_run, earlier, lambda: self.batches.wait_seconds, timer
        )
        self.clock = self.tally.clock
        self.rewinds = Rewinds(directory.path)
        self.spikes = run.train.spikes
        self.detector = None if self.spikes is None else SpikeDetector(self.spikes)
        self.profile = ProfileWindow(run.profile, directory.path)
        self.step = 0

    # -- the complete run ------------------------------------------------------------------------------

    def run_to_end(self) -> Work:
        """Train the remaining steps; a complete record is written however the run ends."""
        total = computed_tokens(self.run.train)
        try:
            self._begin()
            while True:
                self.reporter.start(
                    self.run.name, self._units(total), self._units(tokens_done(self.run.train, self.step))
                )
                self._write_record("running")
                if (spike := (yield from self._through())) is None:
                    break
                self._rewind(spike)
            record = self._write_record("finished")
        except (InterruptedRunError, GeneratorExit):
            self._write_record("interrupted")
            self.checkpoints.close()
            raise
        except BaseException as error:
            line = (str(error).splitlines() or [""])[0][:300] or type(error).__name__
            with suppress(StorageError):
                self._write_record("failed", line)
            if not several() or isinstance(
                error, SharedError
            ):  # otherwise no other process would close with this one
                with suppress(StorageError):
                    self.checkpoints.close()
            raise
        finally:
            self.profile.close()
            self.reporter.finish()
        self.checkpoints.close()
        return record

    def _through(self) -> Generator[Request, Answer, SpikeError | None]:
        """Compute the remaining segments, up to the end or to a spike."""
        try:
            for part in segments(self.run.train):
                yield from self._run_segment(part)
        except SpikeError as spike:
            return spike.with_traceback(None)
        return None

    def _begin(self) -> None:
        """Go to the newest complete checkpoint, or to the start."""
        if self.rewinds.pending is not None:
            self._undo(self.rewinds.pending)
            self.rewinds.finish(0.0)
        if self.rewinds.done:
            self.batches.skip(self.rewinds.skipped_rows, 0)
        restored = self._restore()
        if restored is None:
            self.tally.points.clear()
        counters = self._take_up(restored)
        undone = self.rewinds.seconds_since(counters.get("rewinds", 0))
        lost = self.directory.rewind_metrics(self.step, set(self.tally.points)) - self.clock.step
        self.clock.resume(counters.get("seconds", {}), max(0.0, lost) + undone)
        if restored is not None:
            self.reporter.message(f"{self.run.name}: resuming at step {self.step:,}")

    def _restore(self) -> dict[str, Any] | None:
        """Restore the state of the newest complete checkpoint; returns its counters, None without one."""
        functions = self.lane.program.functions
        restored = self.checkpoints.restore(
            functions.abstract_state, functions.state_shardings, self.reporter.message
        )
        if restored is None:
            return None
        self.lane.put(restored[0])
        return restored[1]

    def _take_up(self, restored: dict[str, Any] | None) -> dict[str, Any]:
        """Set everything but the clock from a checkpoint's counters, or to the start with a new state;
        returns the counters."""
        counters = {} if restored is None else restored
        self.step = int(counters.get("step", 0))
        self.tally.take_up(counters)
        if restored is None:
            self.batches.seek(0)
            self.lane.init(self.run.train.seed)
        else:
            self.batches.set_state(counters["data"])
        if self.spikes is not None:
            self.detector = SpikeDetector(self.spikes, counters.get("losses", ()))
        return counters

    # -- rewinding -------------------------------------------------------------------------------------

    def _rewind(self, spike: SpikeError) -> None:
        """Go back to a checkpoint before a spike; other batches follow."""
        config = self.spikes
        assert config is not None
        self.clock.charge("step")
        self.profile.close()
        self.reporter.finish()
        self.checkpoints.wait()
        where = f"{self.run.name}: {spike.reason} at step {spike.step}"
        if len(self.rewinds.done) >= config.max_rewinds:
            raise RunFailedError(
                f"{where}, after {len(self.rewinds.done)} rewinds (train.spikes.max_rewinds); lower "
                f"train.learning_rate; the last checkpoint is step {self.checkpoints.latest()}"
            )
        every = self.run.train.checkpoint_every
        assert every is not None
        rewind = plan(spike, config, kept=self.checkpoints.kept(), every=every, rows_of=self.batches.rows_of)
        self.rewinds.add(rewind)
        self.reporter.message(
            f"{where}: rewinding to step {rewind.step:,}, skipping {config.skip_batches:,} batches from step "
            f"{rewind.skipped_batches[0]:,}"
        )
        self._undo(rewind)
        self.batches.skip(self.rewinds.skipped_rows, 0)
        counters = self._take_up(self._restore())
        self.rewinds.finish(self.clock.rewind(counters.get("seconds", {})))
        self.clock.charge("restart")

    def _undo(self, rewind: Rewind) -> None:
        """Remove what came after the step that a rewind returns to, and record it in the metrics."""
        self.checkpoints.drop_after(rewind.step)
        line = {
            "step": rewind.step,
            "branch": None,
            "tokens": self.run.train.tokens_before(rewind.step),
            "rewind": rewind.model_dump(mode="json", exclude={"seconds"}),
        }
        self.directory.rewind_metrics(rewind.step, set(self.tally.points), line)

    # -- segments --------------------------------------------------------------------------------------

    def _run_segment(self, part: Segment) -> Generator[Request, Answer, None]:
        """Compute a segment, unless it was computed already."""
        if part.branch is None:
            if self.step >= part.stop and part.stop < part.total:
                return
            self.batches.until(part.total)
            yield from self._steps(part)
            if part.stop == part.total:
                yield from self._point(part)
                self._save()
                self._finish_saving()
            return
        if self.tally.budget(part) in self.tally.points or self.step > part.start:
            return
        self._save()
        self._finish_saving()
        self.batches.until(part.total)
        yield from self._steps(part)
        yield from self._point(part)
        self._back_to(part.start)

    def _back_to(self, step: int) -> None:
        """Return to the trunk at the step where the branch left it, from that step's checkpoint."""
        counters = self._restore()
        if counters is None or counters["step"] != step:
            raise RunFailedError(
                f"{self.directory.path}: the checkpoint of the branch at step {step} is gone"
            )
        self.step = step
        self.batches.seek(step)
        self.clock.charge("restart")

    # -- steps -----------------------------------------------------------------------------------------

    def _steps(self, part: Segment) -> Generator[Request, Answer, None]:
        """Steps up to the segment's end. The metrics of steps are read after the next were dispatched."""
        config = self.run.train
        rate = make_schedule(config, part.total)
        on_trunk = part.branch is None
        pending: tuple[list[float], Answer] | None = None
        stop_signal = vote(None)  # read a dispatch later, by all processes
        self.clock.charge("restart")
        while self.step < part.stop:
            number = self.step
            rates: list[float] = []

            def take(count: int, rates: list[float] = rates, number: int = number) -> Any:
                batches = [next(self.batches) for _ in range(count)]
                rates += [rate(number + i) for i in range(count)]
                return batches, rates, range(number, number + count)

            request = Steps(self._undisturbed(part), self._rows(), number, config.seed, take)
            fresh = self.lane.program.is_new(request)
            if fresh:
                self.clock.charge("step")
            with self.profile.step(number + 1):
                answer = yield request
            if fresh:
                self.clock.charge("compile")
            self.step = number + answer.count
            self.heartbeat.beat()
            earlier_vote, stop_signal = stop_signal, vote(self.stop.signal_number)
            if pending is not None:
                self._observe(part, number, *pending)
            pending = (rates, answer)
            evaluate = on_trunk and self._due(config.eval_every, part)
            save = on_trunk and self._due(config.checkpoint_every, part)
            stopping = earlier_vote() if several() else self.stop.signal_number
            traced = self.profile.last(self.step)
            if evaluate or save or stopping or traced or self.step == part.stop:
                self._observe(part, self.step, *pending)
                pending = None
            if traced:
                self.profile.close()
            if evaluate:
                yield from self._evaluate(part)
            if save or (stopping and on_trunk):
                self._save()
            if stopping:
                self._leave(stopping)

    def _rows(self) -> int:
        """Rows of this process's next batch; each number of rows is a program of its own."""
        tokens = self.run.train.tokens_before(self.step + 1) - self.run.train.tokens_before(self.step)
        return tokens // self.length

    def _undisturbed(self, part: Segment) -> int:
        """Steps until something but the metrics reads the state, or the batch changes its shape."""
        config = self.run.train
        if self.run.profile.window is not None:
            return 1
        every = (config.eval_every, config.checkpoint_every) if part.branch is None else ()
        ends = [part.stop, *(first for first, _ in config.batch_stages() if first > self.step)]
        ends += [self.step - self.step % one + one for one in every if one is not None]
        return min(ends) - self.step

    def _due(self, every: int | None, part: Segment) -> bool:
        """Whether `every` divides this step; ends of segments are handled separately."""
        return every is not None and self.step % every == 0 and self.step < part.stop

    def _leave(self, number: int) -> None:
        self.checkpoints.wait()
        kept = self.checkpoints.latest() or 0
        name = signal.Signals(number).name
        raise InterruptedRunError(
            f"{self.run.name}: {name} at step {self.step}, saved at step {kept}; the same command resumes it",
            number,
        )

    def _observe(self, part: Segment, last: int, rates: list[float], answer: Answer) -> None:
        """Wait for the metrics of steps up to `last`, refuse what is not finite, log, and move the bar."""
        read = answer.read()
        elapsed = self.clock.charge("step") / answer.count
        for step, (learning_rate, values) in enumerate(
            zip(rates, read, strict=True), last - answer.count + 1
        ):
            self._observe_step(part, step, learning_rate, values, elapsed)
        self.heartbeat.beat()  # once they are written: a process whose disk hangs is behind the others

    def _observe_step(
        self, part: Segment, step: int, learning_rate: float, values: dict[str, float], elapsed: float
    ) -> None:
        tokens = self.run.train.tokens_before(step) - self.run.train.tokens_before(step - 1)
        self.tally.stepped_tokens += tokens
        if self.detector is not None and part.branch is None:
            if (reason := self.detector.judge(values)) is not None:
                raise SpikeError(step, reason)
        elif (name := not_finite(values)) is not None:
            self.step = step  # later ones were computed from this
            self.checkpoints.wait()
            kept = self.checkpoints.latest()
            good = f"the last good checkpoint is step {kept}" if kept is not None else "nothing was saved"
            raise RunFailedError(f"{self.run.name}: {name} is {values[name]} at step {step}; {good}")
        self.tally.last["loss"] = values["loss"]
        rate = tokens / elapsed if elapsed > 0 else 0.0
        if step % self.run.train.log_every == 0 or step == part.stop or step == 1:
            timed = {"learning_rate": learning_rate, "tokens_per_second": rate, "seconds": self.clock.step}
            self.directory.append_metrics(self.tally.line(part, step, **values, **timed))
        status = progress.Status(step, values["loss"], self.tally.rate(), self.tally.utilisation())
        self.reporter.advance(self._units(tokens), status)

    # -- evaluating and saving-------------------------------------------------------------------------

    def _evaluate(self, part: Segment) -> Generator[Request, Answer, ValidationLosses]:
        """Validation losses, logged."""
        self.clock.charge("step")
        sums = []
        for one in self.validation:
            answers = []
            for batch in one.batches:
                answers.append((yield Evaluation(batch)))
            read = [answer.read()[0] for answer in answers]
            sums.append((sum(r["nll_sum"] for r in read), sum(r["weight_sum"] for r in read)))
        losses = validation_losses(self.validation, sums)
        parts = {"": losses.loss} | {f" of {k}": one.loss for k, one in (losses.by_source or {}).items()}
        for what, loss in parts.items():
            if not math.isfinite(loss):
                raise RunFailedError(f"{self.run.name}: validation loss{what} is {loss} at step {self.step}")
        self.tally.last |= losses.line()
        self.directory.append_metrics(self.tally.line(part, self.step, **losses.line()))
        self.clock.charge("evaluation")
        self.heartbeat.beat()
        return losses

    def _point(self, part: Segment) -> Generator[Request, Answer, None]:
        """Evaluate at the end of a schedule and record a point."""
        self.tally.add_point(part, (yield from self._evaluate(part)))
        self._write_record("running")

    def _save(self) -> None:
        self.clock.charge("step")
        if self.checkpoints.latest() != self.step:
            counters = {
                **self.tally.counters(),
                "step": self.step,
                "losses": [] if self.detector is None else self.detector.state(),
                "rewinds": len(self.rewinds.done),
                "data": self.batches.get_state(),
            }
            self.directory.sync_metrics()
            self.checkpoints.save(self.step, self.lane.state(), counters)
            self._write_record("running")
        self.clock.charge("checkpoint")

    def _finish_saving(self) -> None:
        self.checkpoints.wait()
        self.clock.charge("checkpoint")

    # -- the record ------------------------------------------------------------------------------------

    def _units(self, tokens: int) -> int:
        """Tokens in steps of the full batch, the unit of the progress bar."""
        return math.ceil(tokens / self.run.train.batch_tokens)

    def _write_record(self, status: Status, error: str | None = None) -> RunRecord:
        read = self.mixture_read(self.step)
        record = self.tally.record(
            status, self.step, self.rewinds.done, error, read, self.packing, self.tokenization
        )
        self.directory.write_record(record)
        return record
