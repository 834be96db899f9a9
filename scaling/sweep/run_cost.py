"""The cost of a planned run: parameters, tokens, FLOPs, seconds."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from scaling.config.baselines import NGramConfig
from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.estimate.counts import count_parameters, run_flops_per_token
from scaling.train.schedules import budgets, computed_tokens

# Share of the measured matmul peak that a step of a small model reached on two cores: a first guess, until
# runs of the same directory have finished.
_UTILISATION = 0.35
_START_SECONDS = 8.0  # compilation, first batches, checkpoints


@dataclass(frozen=True)
class RunCost:
    """A planned run. FLOPs are counted per matmul with causal attention and include cooldown branches."""

    name: str
    params: int | None  # null for an n-gram model, whose counts depend on the text
    non_embedding_with_head: int | None
    steps: int
    batch_tokens: int
    learning_rate: float
    budgets: tuple[int, ...]
    tokens: int
    flops: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


def achieved_flops(records: Sequence[RunRecord]) -> float | None:
    """Median FLOP/s of the training steps of finished runs."""
    rates = [
        record.flops_per_token * record.tokens_per_second
        for record in records
        if record.status == "finished" and record.tokens_per_second
    ]
    return median(rates) if rates else None


def seconds_at_once(seconds: Sequence[float], workers: int) -> float:
    """The duration of runs trained by `workers` in parallel, the longest first."""
    busy = [0.0] * workers
    for one in sorted(seconds, reverse=True):
        least = busy.index(min(busy))
        busy[least] += one
    return max(busy)


def cost_of_run(run: RunConfig, peak_flops: float, achieved: float | None = None) -> RunCost:
    """The cost of a run on a device of `peak_flops` FLOP/s, or at the rate that other runs `achieved`."""
    tokens = computed_tokens(run.train)
    counted = isinstance(run.model, NGramConfig)
    counts = None if counted else count_parameters(run.model)
    flops = 0.0 if counted else tokens * run_flops_per_token(run)
    return RunCost(
        name=run.name,
        params=None if counts is None else counts.total,
        non_embedding_with_head=None if counts is None else counts.non_embedding_with_head,
        steps=math.ceil(tokens / run.train.batch_tokens),
        batch_tokens=run.train.batch_tokens,
        learning_rate=run.train.learning_rate,
        budgets=tuple(tokens for tokens, _ in budgets(run.train)),
        tokens=tokens,
        flops=flops,
        seconds=_START_SECONDS + flops / (achieved or peak_flops * _UTILISATION),
    )
