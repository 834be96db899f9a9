"""A run's record, put together: what the config says, what was measured, and what it was measured on."""

import datetime
from collections.abc import Mapping
from typing import Any

from scaling.config.record import Goodput, ParameterCounts, Point, Rewind, RunRecord, Status
from scaling.config.run import RunConfig
from scaling.train.device import git_commit, peak_memory_bytes, versions


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
    losses: Mapping[str, float | None],
    seconds: Mapping[str, float],
    tokens_per_second: float | None,
    mfu: float | None,
    device: dict[str, Any],
    started: str,
    error: str | None = None,
    goodput: Goodput | None = None,
    rewinds: tuple[Rewind, ...] = (),
) -> RunRecord:
    """The record of a run at `step`; `losses` has `loss`, `validation_loss` and `bits_per_byte`."""
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
        dataset=run.data.source,
        tokenizer=run.data.tokenizer,
        vocab_size=run.model.vocab_size,
        started=started,
        ended=None if status == "running" else now(),
    )
