"""A run's record while it trains: where its wall time goes, its points, losses and rates."""

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from scaling.config.record import (
    Goodput,
    PackingRecord,
    ParameterCounts,
    Point,
    Rewind,
    RunRecord,
    SourceShare,
    Status,
    TokenizerRecord,
    bytes_per_token,
)
from scaling.config.run import RunConfig
from scaling.estimate.counts import count_parameters, run_flops_per_token
from scaling.train.device import device_facts, git_commit, peak_memory_bytes, versions
from scaling.train.schedules import Segment, steps_computed
from scaling.train.validation import ValidationLosses


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def make_record(
    run: RunConfig,
    status: Status,
    *,
    params: ParameterCounts,
    flops_per_token: float,
    step: int,
    points: Mapping[int, Point],
    losses: Mapping[str, Any],
    seconds: Mapping[str, float],
    tokens_per_second: float | None,
    mfu: float | None,
    device: dict[str, Any],
    started: str,
    error: str | None = None,
    goodput: Goodput | None = None,
    rewinds: tuple[Rewind, ...] = (),
    mixture: Mapping[str, SourceShare] | None = None,
    packing: PackingRecord | None = None,
    tokenization: TokenizerRecord | None = None,
) -> RunRecord:
    """The record of a run at `step`; `losses` has `loss`, `validation_loss` and `bits_per_byte`, and of a
    mixture `by_source`."""
    tokens = run.train.tokens_before(step)
    return RunRecord(
        id=run.id(),
        name=run.name,
        family=run.model.family,
        objective=run.objective.name,
        status=status,
        error=error,
        params=params,
        flops_per_token=flops_per_token,
        budget_tokens=run.train.tokens_before(run.train.total_steps()),
        tokens=tokens,
        flops=tokens * flops_per_token,
        step=step,
        points=tuple(points[budget] for budget in sorted(points)),
        train_loss=losses["loss"],
        validation_loss=losses["validation_loss"],
        bits_per_byte=losses["bits_per_byte"],
        bytes_per_token=bytes_per_token(losses["validation_loss"], losses["bits_per_byte"]),
        by_source=losses.get("by_source"),
        mixture=None if mixture is None else dict(mixture),
        packing=packing,
        tokenization=tokenization,
        seconds={name: round(value, 4) for name, value in seconds.items()},
        goodput=goodput,
        rewinds=rewinds,
        tokens_per_second=tokens_per_second,
        mfu=mfu,
        peak_memory_bytes=peak_memory_bytes(),
        device=device,
        versions=versions(),
        git_commit=git_commit(),
        seed=run.train.seed,
        dataset=run.data.name,
        tokenizer=run.data.tokenizer,
        vocab_size=run.model.vocab_size,
        started=started,
        ended=None if status == "running" else now(),
    )


ACCOUNTS = ("total", "step", "input_wait", "evaluation", "checkpoint", "compile", "restart", "lost")


class Clock:
    """Charges time to accounts. `waited` returns the seconds waited for batches, which are part of steps;
    `timer` gives the time in seconds, of which a run in a stack has its share.

    The time of a step is charged when its metrics are read: two calls of the system's clock per step.
    """

    def __init__(
        self, waited: Callable[[], float] = lambda: 0.0, timer: Callable[[], float] | None = None
    ) -> None:
        self._waited, self._timer = waited, timer or time.perf_counter
        self._kept = dict.fromkeys(ACCOUNTS, 0.0)
        self._began = self._last = self._timer()

    def charge(self, account: str) -> float:
        """Seconds since the last charge, added to an account."""
        now = self._timer()
        elapsed, self._last = now - self._last, now
        self._kept[account] += elapsed
        return elapsed

    @property
    def step(self) -> float:
        """Seconds of steps that count."""
        return self._kept["step"]

    def seconds(self) -> dict[str, float]:
        """All accounts at this moment."""
        return {
            **self._kept,
            "total": self._kept["total"] + self._timer() - self._began,
            "input_wait": self._kept["input_wait"] + self._waited(),
        }

    def resume(self, saved: Mapping[str, float], lost: float) -> None:
        """Continue from a checkpoint's accounts; `lost` seconds of later steps are repeated."""
        self._kept.update(saved)
        self._kept["lost"] += lost
        self._kept["total"] += lost

    def rewind(self, saved: Mapping[str, float]) -> float:
        """Move the steps since a checkpoint with these accounts to `lost`; returns their seconds."""
        lost = self._kept["step"] - saved.get("step", 0.0)
        self._kept["step"] -= lost
        self._kept["lost"] += lost
        self._kept["input_wait"] = saved.get("input_wait", 0.0) - self._waited()
        return lost


def goodput(seconds: Mapping[str, Any]) -> Goodput | None:
    """Accounts as shares of the wall time; None if no time was measured."""
    wall = seconds.get("total", 0.0)
    if wall <= 0:
        return None
    account = {name: seconds.get(name, 0.0) for name in ACCOUNTS}
    waited = min(account["input_wait"], account["step"])
    parts = {
        "productive": account["step"] - waited,
        "data_wait": waited,
        **{name: account[name] for name in ("compile", "evaluation", "checkpoint", "restart", "lost")},
    }
    parts["other"] = max(0.0, wall - sum(parts.values()))
    rounded = {name: round(value, 4) for name, value in parts.items()}
    return Goodput(share=parts["productive"] / wall, wall=round(wall, 4), **rounded)


class Tally:
    """The counts of one run on `devices` devices; `waited` returns the seconds waited for batches."""

    def __init__(
        self,
        run: RunConfig,
        devices: int,
        earlier: RunRecord | None,
        waited: Callable[[], float],
        timer: Callable[[], float] | None = None,
    ) -> None:
        self.run = run
        self.clock = Clock(waited, timer)
        self.flops_per_token = run_flops_per_token(run)
        self.params = count_parameters(run.model)
        self.points: dict[int, Point] = {p.tokens: p for p in earlier.points} if earlier else {}
        self.last: dict[str, Any] = {"loss": None, "validation_loss": None, "bits_per_byte": None}
        self.stepped_tokens = 0  # whose time is in the clock's steps
        self._started = earlier.started if earlier and earlier.started else now()
        self._device = device_facts(run.model.compute_dtype, devices)
        self._peak = float(self._device["peak_flops"] or 0) * devices

    def counters(self) -> dict[str, Any]:
        """The part that a checkpoint keeps: plain JSON."""
        return {
            "seconds": self.clock.seconds(),
            "stepped_tokens": self.stepped_tokens,
            "last": self.last,
            "points": [point.model_dump() for point in self.points.values()],
        }

    def take_up(self, counters: Mapping[str, Any]) -> None:
        """Continue from a checkpoint's counters, or without any from the start; points are kept, and the
        clock is not changed."""
        self.stepped_tokens = int(counters.get("stepped_tokens", 0))
        self.last.update(counters.get("last", dict.fromkeys(self.last)))
        saved = [Point.model_validate(point) for point in counters.get("points", ())]
        self.points = {point.tokens: point for point in saved} | self.points

    def budget(self, part: Segment) -> int:
        """The tokens at the end of a segment's schedule, which identify its point."""
        return self.run.train.tokens_before(part.total)

    def line(self, part: Segment, step: int, **values: Any) -> dict[str, Any]:
        """A line of metrics.jsonl. `branch` is the tokens of the branch's point; None on the trunk."""
        tokens = self.run.train.tokens_before(step)
        return {
            "step": step,
            "branch": None if part.branch is None else self.budget(part),
            "tokens": tokens,
            "flops": tokens * self.flops_per_token,
            **values,
        }

    def add_point(self, part: Segment, losses: ValidationLosses) -> None:
        """Record the end of a schedule with its validation loss."""
        tokens, train_loss = self.budget(part), self.last["loss"]
        assert train_loss is not None
        steps = part.total if part.branch is None else part.total - part.start
        self.points[tokens] = Point(
            tokens=tokens,
            flops=tokens * self.flops_per_token,
            flops_6nd=6.0 * self.params.multiplied * tokens,
            step=part.total,
            loss=losses.loss,
            bits_per_byte=losses.bits_per_byte,
            by_source=losses.by_source,
            train_loss=train_loss,
            seconds=self.clock.step * steps / max(1, steps_computed(self.run.train, part)),
        )

    def rate(self) -> float | None:
        """Tokens per second over all steps that count."""
        return self.stepped_tokens / self.clock.step if self.clock.step > 0 else None

    def utilisation(self) -> float | None:
        """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B) against the measured matmul peak."""
        rate = self.rate()
        return None if rate is None else rate * self.flops_per_token / self._peak

    def record(
        self,
        status: Status,
        step: int,
        rewinds: tuple[Rewind, ...],
        error: str | None = None,
        mixture: Mapping[str, SourceShare] | None = None,
        packing: PackingRecord | None = None,
        tokenization: TokenizerRecord | None = None,
    ) -> RunRecord:
        """The record at `step`; `mixture` has the tokens of each source read so far."""
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
            mixture=mixture,
            packing=packing,
            tokenization=tokenization,
        )
