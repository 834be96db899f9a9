"""A run's steps cut into segments: the trunk, and the cooldown branches that leave it."""

from dataclasses import dataclass

from scaling.config.train import TrainConfig


@dataclass(frozen=True)
class Segment:
    """Steps [start, stop) under one schedule.

    `branch` is the token budget of a cooldown that leaves the trunk at `start`, or None on the trunk
    itself; `total` is the number of steps that the learning-rate schedule is laid over.
    """

    branch: int | None
    start: int
    stop: int
    total: int


def segments(train: TrainConfig) -> list[Segment]:
    """The run in the order it is computed: trunk to a branch, the branch, trunk on from there, and so on."""
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
    """Tokens that are stepped on in all, cooldown branches included: what the run costs."""
    return sum(train.tokens_before(part.stop) - train.tokens_before(part.start) for part in segments(train))


def tokens_done(config: TrainConfig, step: int) -> int:
    """Tokens computed before a run stands at `step` of its trunk, branches included."""
    return sum(
        config.tokens_before(min(part.stop, step)) - config.tokens_before(part.start)
        for part in segments(config)
        if part.start < step
    )


def steps_computed(config: TrainConfig, part: Segment) -> int:
    """Optimizer steps taken by the end of a segment, branches included."""
    plan = segments(config)
    return sum(s.stop - s.start for s in plan[: plan.index(part) + 1])
