"""What `train` and `sweep` know before they start: the time of each run here, and its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling.config.run import RunConfig
    from scaling.data.ahead import DataAhead
    from scaling.sweep.run_cost import RunCost


def forecasts(
    runs: "Sequence[RunConfig]", achieved: float | None = None, workers: int = 1
) -> "list[RunCost]":
    """The cost of each run on this machine, which several workers share equally.

    `achieved` is the rate in FLOP/s of finished runs in the same directory, with the workers they had.
    """
    import jax

    from scaling.parallel.mesh import abstract_mesh
    from scaling.sweep.run_cost import cost_of_run
    from scaling.train.device import matmul_peak

    devices = len(jax.devices())
    return [
        cost_of_run(
            run,
            matmul_peak(run.model.compute_dtype) * abstract_mesh(run.mesh, devices).size / workers,
            achieved,
        )
        for run in runs
    ]


def seconds_left(
    runs: "Sequence[RunConfig]", plans: "Sequence[RunCost]", directory: Path, workers: int
) -> float:
    """Seconds that the unfinished runs of a sweep directory still take."""
    from scaling.sweep.execute import is_finished
    from scaling.sweep.run_cost import seconds_at_once

    left = [
        plan.seconds
        for run, plan in zip(runs, plans, strict=True)
        if not is_finished(directory / run.name, run)
    ]
    return seconds_at_once(left, workers)


def data_of(runs: "Sequence[RunConfig]") -> list[dict[str, Any]]:
    """Each corpus that the runs read, with the epochs of its smallest and its largest budget.

    Raises:
        BadInputError: one is missing, unreadable or does not fit its runs.
    """
    from scaling.data.ahead import data_ahead
    from scaling.data.mixture_ahead import MixtureAhead, mixture_ahead
    from scaling.train.schedules import budgets

    found: dict[DataAhead | MixtureAhead, tuple[int, int, int | None]] = {}
    looked: dict[str, DataAhead | MixtureAhead] = {}
    for run in runs:
        data = run.data.model_copy(update={"seed": 0})
        key = f"{data.model_dump_json()} {run.objective.model_dump_json()} {run.model.vocab_size}"
        if key not in looked:
            ahead = data_ahead if data.mixture is None else mixture_ahead
            looked[key] = ahead(data, run.objective, run.model.vocab_size)
        tokens = [tokens for tokens, _ in budgets(run.train)]
        low, high, epochs = found.get(looked[key], (min(tokens), max(tokens), None))
        found[looked[key]] = (min(low, *tokens), max(high, *tokens), run.data.max_epochs or epochs)
    return [
        one.as_dict(high, low)
        if isinstance(one, MixtureAhead)
        else {
            **one.as_dict(high),
            "epochs_of_smallest_budget": one.epochs(low),
            "max_epochs": most,
        }
        for one, (low, high, most) in found.items()
    ]
