"""What `train` and `sweep` find out before they start: time, data, and whether to go on."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from scaling.runtime.errors import BadInputError

if TYPE_CHECKING:
    from scaling.config.run import RunConfig
    from scaling.data.ahead import DataAhead
    from scaling.sweep.planned_run import PlannedRun

_DAY = 86400.0


def forecasts(
    runs: "Sequence[RunConfig]", achieved: float | None = None, workers: int = 1
) -> "list[PlannedRun]":
    """The cost of each run on this machine, of which each of several workers has its share.

    `achieved` is the rate of finished runs in the same directory: measured, with the workers they had.
    """
    import jax

    from scaling.parallel.mesh import abstract_mesh
    from scaling.sweep.planned_run import plan_run
    from scaling.train.device import matmul_peak

    devices = len(jax.devices())
    return [
        plan_run(
            run,
            matmul_peak(run.model.compute_dtype) * abstract_mesh(run.mesh, devices).size / workers,
            achieved,
        )
        for run in runs
    ]


def seconds_left(
    runs: "Sequence[RunConfig]", plans: "Sequence[PlannedRun]", directory: Path, workers: int
) -> float:
    """How long the runs take that are not finished in a sweep's directory."""
    from scaling.sweep.execute import is_finished
    from scaling.sweep.planned_run import seconds_at_once

    left = [
        plan.seconds
        for run, plan in zip(runs, plans, strict=True)
        if not is_finished(directory / run.name, run)
    ]
    return seconds_at_once(left, workers)


def confirm_long(sweep: str, seconds: float, yes: bool) -> bool:
    """Whether to start what takes `seconds` here: more than a day needs `yes`, or a person who agrees.

    Raises:
        BadInputError: nobody is at a terminal to be asked.
    """
    from scaling.tables import seconds_in_words

    if yes or seconds <= _DAY:
        return True
    takes = f"about {seconds_in_words(seconds)} on this machine"
    if not sys.stdin.isatty():
        raise BadInputError(
            f"sweep {sweep}: training takes {takes}: give --yes to start it, or use scaling launch"
        )
    return typer.confirm(f"Training takes {takes}. Start it?", err=True)


def data_of(runs: "Sequence[RunConfig]") -> list[dict[str, Any]]:
    """Each corpus of some runs, with the epochs of the smallest and the largest budget that reads it.

    Raises:
        BadInputError: one is missing, unreadable or does not fit its runs.
    """
    from scaling.data.ahead import data_ahead
    from scaling.train.schedules import budgets

    found: dict[DataAhead, tuple[int, int, int | None]] = {}
    looked: dict[str, DataAhead] = {}
    for run in runs:
        data = run.data.model_copy(update={"seed": 0})
        key = f"{data.model_dump_json()} {run.objective.model_dump_json()} {run.model.vocab_size}"
        if key not in looked:
            looked[key] = data_ahead(data, run.objective, run.model.vocab_size)
        tokens = [tokens for tokens, _ in budgets(run.train)]
        low, high, epochs = found.get(looked[key], (min(tokens), max(tokens), None))
        found[looked[key]] = (min(low, *tokens), max(high, *tokens), run.data.max_epochs or epochs)
    return [
        {
            **one.as_dict(high),
            "epochs_of_smallest_budget": one.epochs(low),
            "max_epochs": most,
        }
        for one, (low, high, most) in found.items()
    ]


def data_text(one: dict[str, Any]) -> str:
    """A corpus of `data_of` in words."""
    from scaling.tables import count_in_words

    split = f"Split {one['split']}."
    if one["tokens_per_epoch"] is None:
        return f"Data {one['source']}: not prepared here; training downloads and prepares it first. {split}"
    low, high = _epochs(one["epochs_of_smallest_budget"]), _epochs(one["epochs"])
    if low != high:
        reach = f"budgets of {low} to {high} epochs"
    else:
        reach = f"{high} epoch{'' if high == '1' else 's'}"
    text = (
        f"Data {one['source']}: {count_in_words(one['documents'])} documents, "
        f"{one['bytes'] / 1e6:,.3g} MB, about {count_in_words(one['tokens_per_epoch'])} training tokens "
        f"(estimated from file sizes); {reach}. {split}"
    )
    if one["max_epochs"] is not None and one["epochs"] > one["max_epochs"]:
        text += f" More than data.max_epochs={one['max_epochs']}: training would stop with an error."
    return text


def _epochs(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"
