"""Learning-rate schedules, and the segments of a run that they are laid over: a trunk and cooldown branches.

Schedules are closed forms of the step, evaluated on the host: the rate enters the compiled step as an
argument, so every schedule, every cooldown branch and every rung with another budget runs the same program.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scaling.config.train import TrainConfig

Schedule = Callable[[int], float]


def _cosine(train: TrainConfig, total: int) -> Schedule:
    """Half a cosine from the peak to the floor (Loshchilov and Hutter 2017)."""

    def at(step: int) -> float:
        done = min(1.0, (step - train.warmup_steps) / max(1, total - train.warmup_steps))
        floor = train.final_lr_fraction
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))

    return at


def _wsd(train: TrainConfig, total: int) -> Schedule:
    """Stable, then a cooldown by 1 - sqrt to the floor (Hägele et al. 2024, equation 1)."""
    steps = train.cooldown_steps(total)

    def at(step: int) -> float:
        done = max(0.0, (step - (total - steps)) / steps)
        return train.final_lr_fraction + (1 - train.final_lr_fraction) * (1 - math.sqrt(done))

    return at


def _inverse_sqrt(train: TrainConfig, total: int) -> Schedule:
    """1 / sqrt(step) after the warm-up (Vaswani et al. 2017, equation 3; Raffel et al. 2020)."""
    start = max(1, train.warmup_steps)
    return lambda step: math.sqrt(start / max(start, step + 1))


def _linear(train: TrainConfig, total: int) -> Schedule:
    """A line from the peak to the floor."""

    def at(step: int) -> float:
        done = min(1.0, (step - train.warmup_steps) / max(1, total - train.warmup_steps))
        return 1 - (1 - train.final_lr_fraction) * done

    return at


def _constant(train: TrainConfig, total: int) -> Schedule:
    """The peak throughout."""
    return lambda step: 1.0


_SHAPES: dict[str, Callable[[TrainConfig, int], Schedule]] = {
    "cosine": _cosine,
    "wsd": _wsd,
    "inverse_sqrt": _inverse_sqrt,
    "linear": _linear,
    "constant": _constant,
}


def make_schedule(train: TrainConfig, total: int) -> Schedule:
    """The learning rate at each step (from 0) of a budget of `total` steps, after a linear warm-up."""
    shape = _SHAPES[train.schedule](train, total)

    def at(step: int) -> float:
        if step < train.warmup_steps:
            return train.learning_rate * (step + 1) / train.warmup_steps
        return train.learning_rate * shape(step)

    return at


@dataclass(frozen=True)
class Segment:
    """Steps [start, stop) under one schedule.

    `branch` is the token budget of a cooldown that leaves the trunk at `start`, or None on the trunk
    itself; `total` is the number of steps of the learning-rate schedule.
    """

    branch: int | None
    start: int
    stop: int
    total: int


def segments(train: TrainConfig) -> list[Segment]:
    """The run in the order of computation: trunk to a branch, the branch, the trunk from there, and so on."""
    total = train.total_steps()
    plan, at = [], 0
    for budget in train.branches:
        stop = train.steps_for(budget)
        start = stop - train.cooldown_steps(stop)
        if start > at:
            plan.append(Segment(None, at, start, total))
        plan.append(Segment(budget, start, stop, stop))
        at = start
    return [*plan, Segment(None, at, total, total)]


def budgets(train: TrainConfig) -> list[tuple[int, int]]:
    """(tokens, steps) at the end of every schedule: of each branch, and of the trunk."""
    ends = [train.steps_for(budget) for budget in train.branches] + [train.total_steps()]
    return [(train.tokens_before(end), end) for end in ends]


def computed_tokens(train: TrainConfig) -> int:
    """Tokens trained on in total, cooldown branches included: the cost of the run."""
    return sum(train.tokens_before(part.stop) - train.tokens_before(part.start) for part in segments(train))


def tokens_done(config: TrainConfig, step: int) -> int:
    """Tokens computed before a run reaches `step` of its trunk, branches included."""
    return sum(
        config.tokens_before(min(part.stop, step)) - config.tokens_before(part.start)
        for part in segments(config)
        if part.start < step
    )


def steps_computed(config: TrainConfig, part: Segment) -> int:
    """Optimizer steps taken by the end of a segment, branches included."""
    plan = segments(config)
    return sum(s.stop - s.start for s in plan[: plan.index(part) + 1])
