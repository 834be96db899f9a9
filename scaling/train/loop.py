"""The training loop: batches in, record and checkpoints out; resumable at any step, bit for bit."""

import math
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scaling.config.baselines import NGramConfig
from scaling.config.record import Rewind, RunRecord, Status, read_record
from scaling.config.run import RunConfig
from scaling.data.validation import ValidationBatches
from scaling.parallel.heartbeat import Heartbeat, stall_seconds
from scaling.parallel.processes import (
    InterruptedRunError,
    RunFailedError,
    SharedError,
    StopRequest,
    everywhere,
    from_first,
    is_first,
    several,
    vote,
)
from scaling.runtime.errors import BadInputError, StorageError
from scaling.train import progress
from scaling.train.checkpoints import Checkpoints
from scaling.train.device import ProfileWindow
from scaling.train.ngram import fit_ngram
from scaling.train.record import Tally
from scaling.train.run_directory import RunDirectory
from scaling.train.run_tokenizer import own_data
from scaling.train.schedules import Segment, computed_tokens, make_schedule, segments, tokens_done
from scaling.train.setup import Inputs, open_inputs
from scaling.train.spikes import Rewinds, SpikeDetector, SpikeError, not_finite, plan
from scaling.train.step import Metrics, TrainState, TrainStep
from scaling.train.trackers import check_installed
from scaling.train.validation import ValidationLosses, validate


def train(run: RunConfig, path: Path, reporter: progress.Reporter | None = None) -> RunRecord:
    """Train a run in the directory `path`, from its newest complete checkpoint if there is one.

    The record of a finished run is returned. An n-gram is fitted by counting.

    Raises:
        BadInputError: the directory, the data, the mesh or the tokenizer do not fit the run.
        RunFailedError: the loss or the gradient was not finite, or a run that rewinds did so too often;
            the last good checkpoint is kept.
        InterruptedRunError: SIGTERM or SIGINT was received; the state was saved.
        StorageError: the disk can no longer be written.
    """
    record = _earlier(path, run)
    own = run
    if record is not None:  # the tokenizer that this directory was trained with, even if it was moved
        own = run.model_copy(update={"data": everywhere(partial(own_data, path, run.data))})
    if record is not None and record.status == "finished":
        return record
    if record is not None and record.status == "imported":
        raise BadInputError(f"{path}: holds imported weights, not a training run; give another directory")
    reporter = reporter if reporter is not None and is_first() else progress.Silent()
    if isinstance(run.model, NGramConfig):  # counted by one process
        counted = from_first(lambda: fit_ngram(run, path, reporter).model_dump(mode="json"))
        return RunRecord.model_validate(counted)
    # Before the directory is created: bad input leaves nothing behind.
    check_installed(run)
    inputs = everywhere(partial(open_inputs, own, reporter))
    try:
        with (
            RunDirectory(path, run, reporter.message) as directory,
            StopRequest().listening() as stop,
            Heartbeat(stall_seconds()) as heartbeat,
        ):
            earlier = _earlier(path, run)
            return _Training(run, inputs, directory, reporter, stop, heartbeat, earlier).run_to_end()
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
    ) -> None:
        self.run, self.directory, self.reporter = run, directory, reporter
        self.stop, self.heartbeat = stop, heartbeat
        self.mesh, self.batches, self.validation = inputs.mesh, inputs.batches, inputs.validation
        self.mixture_read, self.packing = inputs.mixture_read, inputs.packing
        self.tokenization = inputs.tokenization
        self.length = run.data.sequence_length
        self.functions = TrainStep(run, self.mesh)
        self.checkpoints = Checkpoints(directory.checkpoints, run.train.keep_checkpoints)
        self.tally = Tally(run, self.mesh.size, earlier, lambda: self.batches.wait_seconds)
        self.clock = self.tally.clock
        self.rewinds = Rewinds(directory.path)
        self.spikes = run.train.spikes
        self.detector = None if self.spikes is None else SpikeDetector(self.spikes)
        self.profile = ProfileWindow(run.profile, directory.path)
        self.step = 0
        self._compiled_rows: set[int] = set()

    # -- the complete run ------------------------------------------------------------------------------

    def run_to_end(self) -> RunRecord:
        """Train the remaining steps; a complete record is written however the run ends."""
        total = computed_tokens(self.run.train)
        try:
            state = self._begin()
            while True:
                self.reporter.start(
                    self.run.name, self._units(total), self._units(tokens_done(self.run.train, self.step))
                )
                self._write_record("running")
                if (spike := self._through(state)) is None:
                    break
                state = self._rewind(spike)
            record = self._write_record("finished")
        except InterruptedRunError:
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

    def _through(self, state: TrainState) -> SpikeError | None:
        """Compute the remaining segments, up to the end or to a spike."""
        try:
            for part in segments(self.run.train):
                state = self._run_segment(state, part)
        except SpikeError as spike:
            return spike.with_traceback(None)  # it would keep the state alive
        return None

    def _begin(self) -> TrainState:
        """The newest complete checkpoint, or a new state."""
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
        if restored is None:
            return self.functions.init(self.run.train.seed)
        self.reporter.message(f"{self.run.name}: resuming at step {self.step:,}")
        return restored[0]

    def _restore(self) -> tuple[TrainState, dict[str, Any]] | None:
        return self.checkpoints.restore(
            self.functions.abstract_state, self.functions.state_shardings, self.reporter.message
        )

    def _take_up(self, restored: tuple[TrainState, dict[str, Any]] | None) -> dict[str, Any]:
        """Set everything but the clock from a checkpoint's counters, or to the start; returns the
        counters."""
        counters = {} if restored is None else restored[1]
        self.step = int(counters.get("step", 0))
        self.tally.take_up(counters)
        if restored is None:
            self.batches.seek(0)
        else:
            self.batches.set_state(counters["data"])
        if self.spikes is not None:
            self.detector = SpikeDetector(self.spikes, counters.get("losses", ()))
        return counters

    # -- rewinding -------------------------------------------------------------------------------------

    def _rewind(self, spike: SpikeError) -> TrainState:
        """The state of a checkpoint before a spike; other batches follow."""
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
        restored = self._restore()
        counters = self._take_up(restored)
        self.rewinds.finish(self.clock.rewind(counters.get("seconds", {})))
        self.clock.charge("restart")
        return self.functions.init(self.run.train.seed) if restored is None else restored[0]

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

    def _run_segment(self, state: TrainState, part: Segment) -> TrainState:
        """Compute a segment, unless it was computed already."""
        if part.branch is None:
            if self.step >= part.stop and part.stop < part.total:
                return state
            self.batches.until(part.total)
            state = self._steps(state, part)
            if part.stop == part.total:
                self._point(state, part)
                self._save(state)
                self._finish_saving()
            return state
        if self.tally.budget(part) in self.tally.points or self.step > part.start:
            return state
        self._save(state)
        self._finish_saving()
        self.batches.until(part.total)
        state = self._steps(state, part)
        self._point(state, part)
        return self._back_to(part.start)

    def _back_to(self, step: int) -> TrainState:
        """The trunk at the step where the branch left it, read from that step's checkpoint."""
        restored = self._restore()
        if restored is None or restored[1]["step"] != step:
            raise RunFailedError(
                f"{self.directory.path}: the checkpoint of the branch at step {step} is gone"
            )
        self.step = step
        self.batches.seek(step)
        self.clock.charge("restart")
        return restored[0]

    # -- steps -----------------------------------------------------------------------------------------

    def _steps(self, state: TrainState, part: Segment) -> TrainState:
        """Steps up to the segment's end. The metrics of a step are read after the next was dispatched."""
        config = self.run.train
        rate = make_schedule(config, part.total)
        on_trunk = part.branch is None
        pending: tuple[int, float, Metrics] | None = None
        stop_signal = vote(None)  # read a step later, by all processes
        self.clock.charge("restart")
        while self.step < part.stop:
            number = self.step
            learning_rate = rate(number)
            batch = self.functions.place(next(self.batches))
            fresh = batch["inputs"].shape[0] not in self._compiled_rows
            if fresh:
                self.clock.charge("step")
            rate_now, index = np.float32(learning_rate), np.int32(number)
            with self.profile.step(number + 1):
                state, metrics = self.functions.step(state, batch, rate_now, index)
            if fresh:
                self._compiled_rows.add(batch["inputs"].shape[0])
                self.clock.charge("compile")
            self.step = number + 1
            self.heartbeat.beat()
            earlier_vote, stop_signal = stop_signal, vote(self.stop.signal_number)
            if pending is not None:
                self._observe(part, *pending)
            pending = (self.step, learning_rate, metrics)
            evaluate = on_trunk and self._due(config.eval_every, part)
            save = on_trunk and self._due(config.checkpoint_every, part)
            stopping = earlier_vote() if several() else self.stop.signal_number
            traced = self.profile.last(self.step)
            if evaluate or save or stopping or traced or self.step == part.stop:
                self._observe(part, *pending)
                pending = None
            if traced:
                self.profile.close()
            if evaluate:
                self._evaluate(state, part)
            if save or (stopping and on_trunk):
                self._save(state)
            if stopping:
                self._leave(stopping)
        return state

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

    def _observe(self, part: Segment, step: int, learning_rate: float, metrics: Metrics) -> None:
        """Wait for a step's metrics, refuse what is not finite, log, and move the bar."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        elapsed = self.clock.charge("step")
        self.heartbeat.beat()
        tokens = self.run.train.tokens_before(step) - self.run.train.tokens_before(step - 1)
        self.tally.stepped_tokens += tokens
        if self.detector is not None and part.branch is None:
            if (reason := self.detector.judge(values)) is not None:
                raise SpikeError(step, reason)
        elif (name := not_finite(values)) is not None:
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

    def _evaluate(self, state: TrainState, part: Segment) -> ValidationLosses:
        """Validation losses, logged."""
        self.clock.charge("step")

        def score(batches: ValidationBatches) -> tuple[float, float]:
            sums = [self.functions.evaluate(state.model, self.functions.place(b)) for b in batches]
            return sum(float(s["nll_sum"]) for s in sums), sum(float(s["weight_sum"]) for s in sums)

        losses = validate(self.validation, score)
        parts = {"": losses.loss} | {f" of {k}": one.loss for k, one in (losses.by_source or {}).items()}
        for what, loss in parts.items():
            if not math.isfinite(loss):
                raise RunFailedError(f"{self.run.name}: validation loss{what} is {loss} at step {self.step}")
        self.tally.last |= losses.line()
        self.directory.append_metrics(self.tally.line(part, self.step, **losses.line()))
        self.clock.charge("evaluation")
        self.heartbeat.beat()
        return losses

    def _point(self, state: TrainState, part: Segment) -> None:
        """Evaluate at the end of a schedule and record a point."""
        self.tally.add_point(part, self._evaluate(state, part))
        self._write_record("running")

    def _save(self, state: TrainState) -> None:
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
            self.checkpoints.save(self.step, state, counters)
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
