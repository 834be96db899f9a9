"""The training loop: batches in, record and checkpoints out; resumable at any step, bit for bit."""

import math
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scaling.config.errors import BadInputError, StorageError
from scaling.config.model import NGramConfig
from scaling.config.record import Point, RunRecord, Status, read_record
from scaling.config.run import RunConfig
from scaling.estimate.flops import run_flops_per_token
from scaling.estimate.parameters import count_parameters
from scaling.parallel.heartbeat import Heartbeat, stall_seconds
from scaling.parallel.processes import SharedError, everywhere, from_first, is_first, several, vote
from scaling.train import progress
from scaling.train.checkpoints import Checkpoints
from scaling.train.device import device_facts
from scaling.train.inputs import Inputs, open_inputs
from scaling.train.ngram import fit_ngram
from scaling.train.recording import make_record, now
from scaling.train.run_directory import RunDirectory
from scaling.train.schedules import make_schedule
from scaling.train.segments import Segment, computed_tokens, segments, steps_computed, tokens_done
from scaling.train.step import Metrics, TrainState, TrainStep
from scaling.train.stopping import InterruptedRunError, RunFailedError, StopRequest


def train(run: RunConfig, path: Path, reporter: progress.Reporter | None = None) -> RunRecord:
    """Train a run in the directory `path`, from its newest whole checkpoint if there is one.

    A finished run is returned as it is. An n-gram is counted.

    Raises:
        BadInputError: the directory, the data, the mesh or the tokenizer do not fit the run.
        RunFailedError: the loss or the gradient was not finite; the last good checkpoint is kept.
        InterruptedRunError: SIGTERM or SIGINT came; the state was saved.
        StorageError: the disk cannot be written any more.
    """
    record = _earlier(path, run)
    if record is not None and record.status == "finished":
        return record
    if record is not None and record.status == "imported":
        raise BadInputError(f"{path}: holds imported weights, which no training made; give another directory")
    reporter = reporter if reporter is not None and is_first() else progress.Silent()
    if isinstance(run.model, NGramConfig):  # counted by one process
        counted = from_first(lambda: fit_ngram(run, path, reporter).model_dump(mode="json"))
        return RunRecord.model_validate(counted)
    # Before the directory is made: bad input leaves nothing behind.
    inputs = everywhere(partial(open_inputs, run, reporter))
    try:
        with (
            RunDirectory(path, run) as directory,
            StopRequest().listening() as stop,
            Heartbeat(stall_seconds()) as heartbeat,
        ):
            earlier = _earlier(path, run)
            return _Training(run, inputs, directory, reporter, stop, heartbeat, earlier).run_to_end()
    finally:
        inputs.batches.close()


def _earlier(path: Path, run: RunConfig) -> RunRecord | None:
    """What was recorded of this run before, as the first process reads it."""
    tree = from_first(
        lambda: None if (record := _read(path, run)) is None else record.model_dump(mode="json")
    )
    return None if tree is None else RunRecord.model_validate(tree)


def _read(path: Path, run: RunConfig) -> RunRecord | None:
    """The record of a run; a damaged one is written again from the checkpoint."""
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
        self.length = run.data.sequence_length
        self.functions = TrainStep(run, self.mesh)
        self.checkpoints = Checkpoints(directory.checkpoints, run.train.keep_checkpoints)
        self.flops_per_token = run_flops_per_token(run)
        self.device = device_facts(run.model.compute_dtype, self.mesh.size)
        self.peak = float(self.device["peak_flops"] or 0) * self.mesh.size
        self.params = count_parameters(run.model)
        self.points: dict[int, Point] = {p.tokens: p for p in earlier.points} if earlier else {}
        self.started = earlier.started if earlier and earlier.started else now()
        self.seconds = dict.fromkeys(
            ("total", "step", "input_wait", "evaluation", "checkpoint", "compile"), 0.0
        )
        self.stepped_tokens = 0  # whose time is in seconds["step"]
        self.step = 0
        self.last: dict[str, float | None] = {"loss": None, "validation_loss": None, "bits_per_byte": None}
        self._compiled_rows: set[int] = set()
        self._clock = self._began = time.perf_counter()

    # -- the whole run ---------------------------------------------------------------------------------

    def run_to_end(self) -> RunRecord:
        """Train what is left, and leave a whole record behind however it ends."""
        total = computed_tokens(self.run.train)
        try:
            state = self._begin()
            self.reporter.start(
                self.run.name, self._units(total), self._units(tokens_done(self.run.train, self.step))
            )
            self._write_record("running")
            for part in segments(self.run.train):
                state = self._run_segment(state, part)
            record = self._write_record("finished")
        except InterruptedRunError:
            self._write_record("interrupted")
            self.checkpoints.close()
            raise
        except BaseException as error:
            line = (str(error).splitlines() or [""])[0][:300] or type(error).__name__
            with suppress(StorageError):
                self._write_record("failed", line)
            if not several() or isinstance(error, SharedError):  # else nobody would close with this process
                with suppress(StorageError):
                    self.checkpoints.close()
            raise
        finally:
            self.reporter.finish()
        self.checkpoints.close()
        return record

    def _begin(self) -> TrainState:
        """The newest whole checkpoint, or a new state."""
        restored = self.checkpoints.restore(
            self.functions.abstract_state, self.functions.state_shardings, self.reporter.message
        )
        if restored is None:
            self.points.clear()
            self.directory.rewind_metrics(0, set())
            return self.functions.init(self.run.train.seed)
        state, counters = restored
        self.step = int(counters["step"])
        self.seconds.update(counters["seconds"])
        self.stepped_tokens = int(counters["stepped_tokens"])
        self.last.update(counters["last"])
        saved = [Point.model_validate(point) for point in counters["points"]]
        self.points = {point.tokens: point for point in saved} | self.points
        self.batches.set_state(counters["data"])
        self.directory.rewind_metrics(self.step, set(self.points))
        self.reporter.message(f"{self.run.name}: resuming at step {self.step:,}")
        return state

    def _run_segment(self, state: TrainState, part: Segment) -> TrainState:
        """Compute a segment, unless it was computed before."""
        if part.branch is None:
            if self.step >= part.stop and part.stop < part.total:
                return state
            state = self._steps(state, part)
            if part.stop == part.total:
                self._point(state, part)
                self._save(state)
                self.checkpoints.wait()
            return state
        if self._budget(part) in self.points or self.step > part.start:
            return state
        self._save(state)
        self.checkpoints.wait()
        state = self._steps(state, part)
        self._point(state, part)
        return self._back_to(part.start)

    def _back_to(self, step: int) -> TrainState:
        """The trunk as it was when the branch left it, read back from the checkpoint of that step."""
        restored = self.checkpoints.restore(
            self.functions.abstract_state, self.functions.state_shardings, self.reporter.message
        )
        if restored is None or restored[1]["step"] != step:
            raise RunFailedError(
                f"{self.directory.path}: the checkpoint of the branch at step {step} is gone"
            )
        self.step = step
        self.batches.seek(step)
        return restored[0]

    # -- steps -----------------------------------------------------------------------------------------

    def _steps(self, state: TrainState, part: Segment) -> TrainState:
        """Steps up to the segment's end. The metrics of a step are read after the next was dispatched."""
        config = self.run.train
        rate = make_schedule(config, part.total)
        on_trunk = part.branch is None
        pending: tuple[int, float, Metrics] | None = None
        stop_signal = vote(None)  # read a step later, by all processes
        self._clock = time.perf_counter()
        while self.step < part.stop:
            number = self.step
            learning_rate = rate(number)
            batch = self.functions.place(next(self.batches))
            fresh = batch["inputs"].shape[0] not in self._compiled_rows
            if fresh:
                self._charge("step")
            state, metrics = self.functions.step(state, batch, np.float32(learning_rate), np.int32(number))
            if fresh:
                self._compiled_rows.add(batch["inputs"].shape[0])
                self._charge("compile")
            self.step = number + 1
            self.heartbeat.beat()
            asked, stop_signal = stop_signal, vote(self.stop.signal_number)
            if pending is not None:
                self._observe(part, *pending)
            pending = (self.step, learning_rate, metrics)
            evaluate = on_trunk and self._due(config.eval_every, part)
            save = on_trunk and self._due(config.checkpoint_every, part)
            stopping = asked() if several() else self.stop.signal_number
            if evaluate or save or stopping or self.step == part.stop:
                self._observe(part, *pending)
                pending = None
            if evaluate:
                self._evaluate(state, part)
            if save or (stopping and on_trunk):
                self._save(state)
            if stopping:
                self._leave(stopping)
        return state

    def _due(self, every: int | None, part: Segment) -> bool:
        """Whether this step is one of every `every`; ends of segments see to themselves."""
        return every is not None and self.step % every == 0 and self.step < part.stop

    def _leave(self, number: int) -> None:
        self.checkpoints.wait()
        kept = self.checkpoints.latest() or 0
        name = signal.Signals(number).name
        raise InterruptedRunError(
            f"{self.run.name}: {name} at step {self.step}, saved at step {kept}; the same command goes on",
            number,
        )

    def _observe(self, part: Segment, step: int, learning_rate: float, metrics: Metrics) -> None:
        """Wait for a step's metrics, refuse what is not finite, log, and move the bar."""
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        elapsed = self._charge("step")
        self.heartbeat.beat()
        tokens = self.run.train.tokens_before(step) - self.run.train.tokens_before(step - 1)
        self.stepped_tokens += tokens
        for name, value in values.items():
            if not math.isfinite(value):
                self.checkpoints.wait()
                kept = self.checkpoints.latest()
                good = f"the last good checkpoint is step {kept}" if kept is not None else "nothing was saved"
                raise RunFailedError(f"{self.run.name}: {name} is {value} at step {step}; {good}")
        self.last["loss"] = values["loss"]
        rate = tokens / elapsed if elapsed > 0 else 0.0
        if step % self.run.train.log_every == 0 or step == part.stop or step == 1:
            timing = {"tokens_per_second": rate, "seconds": self.seconds["step"]}
            line = {**values, "learning_rate": learning_rate, **timing}
            self.directory.append_metrics(self._line(part, step, line))
        self.reporter.advance(
            self._units(tokens),
            progress.Status(
                step, values["loss"], self._average_rate(), self._utilisation(self._average_rate())
            ),
        )

    def _line(self, part: Segment, step: int, values: dict[str, Any]) -> dict[str, Any]:
        """A line of metrics.jsonl: where the run stands, and what was seen there."""
        tokens = self.run.train.tokens_before(step)
        at = {"step": step, "branch": self._label(part), "tokens": tokens}
        return {**at, "flops": tokens * self.flops_per_token, **values}

    def _charge(self, account: str) -> float:
        """Seconds since the last charge, added to an account."""
        now = time.perf_counter()
        elapsed, self._clock = now - self._clock, now
        self.seconds[account] += elapsed
        return elapsed

    # -- looking and saving ----------------------------------------------------------------------------

    def _evaluate(self, state: TrainState, part: Segment) -> tuple[float, float | None]:
        """Validation loss in nats per token and bits per byte, logged."""
        self._charge("step")
        sums = [self.functions.evaluate(state.model, self.functions.place(b)) for b in self.validation]
        nll = sum(float(s["nll_sum"]) for s in sums)
        loss = nll / sum(float(s["weight_sum"]) for s in sums)
        if not math.isfinite(loss):
            raise RunFailedError(f"{self.run.name}: validation loss is {loss} at step {self.step}")
        bits = nll / math.log(2) / self.validation.text_bytes if self.validation.text_bytes else None
        seen = {"validation_loss": loss, "bits_per_byte": bits}
        self.last |= seen
        self.directory.append_metrics(self._line(part, self.step, seen))
        self._charge("evaluation")
        self.heartbeat.beat()
        return loss, bits

    def _budget(self, part: Segment) -> int:
        """The tokens that a segment's schedule ends at: what its point is called by."""
        return self.run.train.tokens_before(part.total)

    def _label(self, part: Segment) -> int | None:
        """What lines of metrics.jsonl call a branch: its point's tokens; None on the trunk."""
        return None if part.branch is None else self._budget(part)

    def _point(self, state: TrainState, part: Segment) -> None:
        """Evaluate the end of a schedule and keep it as a point."""
        tokens = self._budget(part)
        loss, bits = self._evaluate(state, part)
        train_loss = self.last["loss"]
        assert train_loss is not None
        steps = part.total if part.branch is None else part.total - part.start
        self.points[tokens] = Point(
            tokens=tokens,
            flops=tokens * self.flops_per_token,
            flops_6nd=6.0 * self.params.multiplied * tokens,
            step=part.total,
            loss=loss,
            bits_per_byte=bits,
            train_loss=train_loss,
            seconds=self.seconds["step"] * steps / max(1, steps_computed(self.run.train, part)),
        )
        self._write_record("running")

    def _save(self, state: TrainState) -> None:
        self._charge("step")
        if self.checkpoints.latest() != self.step:
            counters = {
                "step": self.step,
                "seconds": {**self.seconds, "total": self._total_seconds()},
                "stepped_tokens": self.stepped_tokens,
                "last": self.last,
                "points": [point.model_dump() for point in self.points.values()],
                "data": self.batches.get_state(),
            }
            self.directory.sync_metrics()
            self.checkpoints.save(self.step, state, counters)
            self._write_record("running")
        self._charge("checkpoint")

    # -- the record ------------------------------------------------------------------------------------

    def _units(self, tokens: int) -> int:
        """Tokens as steps of the full batch: what the bar counts."""
        return math.ceil(tokens / self.run.train.batch_tokens)

    def _average_rate(self) -> float | None:
        return self.stepped_tokens / self.seconds["step"] if self.seconds["step"] > 0 else None

    def _utilisation(self, tokens_per_second: float | None) -> float | None:
        """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B) against the measured matmul peak."""
        return None if tokens_per_second is None else tokens_per_second * self.flops_per_token / self.peak

    def _total_seconds(self) -> float:
        return self.seconds["total"] + time.perf_counter() - self._began

    def _write_record(self, status: Status, error: str | None = None) -> RunRecord:
        rate = self._average_rate()
        waited = self.seconds["input_wait"] + self.batches.wait_seconds
        record = make_record(
            self.run,
            status,
            params=self.params,
            flops_per_token=self.flops_per_token,
            step=self.step,
            points=self.points,
            losses=self.last,
            seconds={**self.seconds, "total": self._total_seconds(), "input_wait": waited},
            tokens_per_second=rate,
            mfu=self._utilisation(rate),
            device=self.device,
            started=self.started,
            error=error,
        )
        self.directory.write_record(record)
        return record
