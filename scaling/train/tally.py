"""What a run has to show so far: its points, losses, time and rates; what goes into its record."""

from collections.abc import Callable, Mapping
from typing import Any

from scaling.config.record import Point, Rewind, RunRecord, Status
from scaling.config.run import RunConfig
from scaling.estimate.counts import count_parameters, run_flops_per_token
from scaling.train.clock import Clock, goodput
from scaling.train.device import device_facts
from scaling.train.recording import make_record, now
from scaling.train.segments import Segment, steps_computed


class Tally:
    """The counts of one run on `devices` devices; `waited` says how long it waited for batches."""

    def __init__(
        self, run: RunConfig, devices: int, earlier: RunRecord | None, waited: Callable[[], float]
    ) -> None:
        self.run = run
        self.clock = Clock(waited)
        self.flops_per_token = run_flops_per_token(run)
        self.params = count_parameters(run.model)
        self.points: dict[int, Point] = {p.tokens: p for p in earlier.points} if earlier else {}
        self.last: dict[str, float | None] = {"loss": None, "validation_loss": None, "bits_per_byte": None}
        self.stepped_tokens = 0  # whose time is in the clock's steps
        self._started = earlier.started if earlier and earlier.started else now()
        self._device = device_facts(run.model.compute_dtype, devices)
        self._peak = float(self._device["peak_flops"] or 0) * devices

    def counters(self) -> dict[str, Any]:
        """What a checkpoint keeps of it: plain JSON."""
        return {
            "seconds": self.clock.seconds(),
            "stepped_tokens": self.stepped_tokens,
            "last": self.last,
            "points": [point.model_dump() for point in self.points.values()],
        }

    def take_up(self, counters: Mapping[str, Any]) -> None:
        """Count on from a checkpoint, or, of no counters, from the start; points are kept, and the clock is
        not touched."""
        self.stepped_tokens = int(counters.get("stepped_tokens", 0))
        self.last.update(counters.get("last", dict.fromkeys(self.last)))
        saved = [Point.model_validate(point) for point in counters.get("points", ())]
        self.points = {point.tokens: point for point in saved} | self.points

    def budget(self, part: Segment) -> int:
        """The tokens that a segment's schedule ends at: what its point is called by."""
        return self.run.train.tokens_before(part.total)

    def line(self, part: Segment, step: int, **values: float | None) -> dict[str, Any]:
        """A line of metrics.jsonl. `branch` is the tokens of the branch's point; None on the trunk."""
        tokens = self.run.train.tokens_before(step)
        return {
            "step": step,
            "branch": None if part.branch is None else self.budget(part),
            "tokens": tokens,
            "flops": tokens * self.flops_per_token,
            **values,
        }

    def add_point(self, part: Segment, loss: float, bits_per_byte: float | None) -> None:
        """Keep the end of a schedule with its validation loss."""
        tokens, train_loss = self.budget(part), self.last["loss"]
        assert train_loss is not None
        steps = part.total if part.branch is None else part.total - part.start
        self.points[tokens] = Point(
            tokens=tokens,
            flops=tokens * self.flops_per_token,
            flops_6nd=6.0 * self.params.multiplied * tokens,
            step=part.total,
            loss=loss,
            bits_per_byte=bits_per_byte,
            train_loss=train_loss,
            seconds=self.clock.step * steps / max(1, steps_computed(self.run.train, part)),
        )

    def rate(self) -> float | None:
        """Tokens a second of all steps that count."""
        return self.stepped_tokens / self.clock.step if self.clock.step > 0 else None

    def utilisation(self) -> float | None:
        """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B) against the measured matmul peak."""
        rate = self.rate()
        return None if rate is None else rate * self.flops_per_token / self._peak

    def record(
        self, status: Status, step: int, rewinds: tuple[Rewind, ...], error: str | None = None
    ) -> RunRecord:
        """The record at `step`."""
        seconds = self.clock.seconds()
        return make_record(
            self.run,
            status,
            params=self.params,
            flops_per_token=self.flops_per_token,
            step=step,
            points=self.points,
            losses=self.last,
            seconds=seconds,
            goodput=goodput(seconds),
            rewinds=rewinds,
            tokens_per_second=self.rate(),
            mfu=self.utilisation(),
            device=self._device,
            started=self._started,
            error=error,
        )
