"""The optimal learning rate of each width: final losses by learning rate, and the minimum of a parabola."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np

from scaling.config.load import load_run, read_yaml
from scaling.config.model import Parametrization, TransformerConfig
from scaling.config.record import read_record
from scaling.laws.bowls import Vertex, vertex
from scaling.runtime.errors import BadInputError


@dataclass(frozen=True)
class Bowl:
    """Final losses of one width under one parametrisation by learning rate, averaged over seeds.

    `spread` is the standard deviation of a loss over seeds, pooled over rates; None with a single seed.
    """

    parametrization: Parametrization
    width: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    spread: float | None

    @property
    def best(self) -> int:
        """The index of the rate with the lowest loss."""
        return int(np.argmin(self.losses))

    @property
    def bracketed(self) -> bool:
        """Whether rates on both sides of the best were tried."""
        return 0 < self.best < len(self.rates) - 1

    @cached_property
    def vertex(self) -> Vertex:
        """The minimum in log2 rate; the best rate itself at the edge of the grid."""
        rates, losses = np.log2(self.rates)[:, None], np.array(self.losses)
        if not self.bracketed:
            rates, losses = rates[[self.best]], losses[[self.best]]
        return vertex(rates, losses)

    def optimum(self) -> float:
        """log2 of the rate at the minimum of the parabola; the best rate itself at the edge of the grid."""
        return float(self.vertex.place[0])

    def interval(self) -> tuple[float | None, float | None]:
        """log2 of the rates next to the best, between which the optimum is; None at the edge of the grid."""
        lower = math.log2(self.rates[self.best - 1]) if self.best > 0 else None
        upper = math.log2(self.rates[self.best + 1]) if self.best + 1 < len(self.rates) else None
        return lower, upper


def read_bowls(*directories: Path) -> list[Bowl]:
    """The bowls of the finished Transformers in sweep directories.

    Raises:
        BadInputError: no width has finished runs at three learning rates.
    """
    for directory in directories:
        if not directory.is_dir():
            raise BadInputError(f"{directory}: is not a sweep directory; lr-bowls reads runs, not a CSV")
    found: dict[tuple[Parametrization, int], dict[float, list[float]]] = {}
    for config in sorted(path for directory in directories for path in directory.glob("*/config.yaml")):
        record = read_record(config.parent)
        if record is None or record.status != "finished" or not record.points:
            continue
        run = load_run(read_yaml(config))
        if isinstance(run.model, TransformerConfig):
            rates = found.setdefault((run.model.parametrization, run.model.d_model), {})
            rates.setdefault(run.train.learning_rate, []).append(record.points[-1].loss)
    bowls = [_bowl(*key, rates) for key, rates in sorted(found.items()) if len(rates) >= 3]
    if not bowls:
        where = ", ".join(map(str, directories))
        raise BadInputError(f"{where}: lr-bowls needs finished runs of one width at three learning rates")
    return bowls


def _bowl(kind: Parametrization, width: int, by_rate: dict[float, list[float]]) -> Bowl:
    rates = sorted(by_rate)
    variances = [float(np.var(by_rate[rate], ddof=1)) for rate in rates if len(by_rate[rate]) > 1]
    spread = math.sqrt(sum(variances) / len(variances)) if variances else None
    losses = tuple(float(np.mean(by_rate[rate])) for rate in rates)
    return Bowl(kind, width, tuple(rates), losses, spread)


def shift(bowls: Sequence[Bowl], kind: Parametrization) -> float | None:
    """log2 of the optimum at the largest width over that at the smallest; None with fewer than two widths."""
    own = sorted((bowl for bowl in bowls if bowl.parametrization == kind), key=lambda bowl: bowl.width)
    return own[-1].optimum() - own[0].optimum() if len(own) > 1 else None


def bowls_as_dict(bowls: Sequence[Bowl]) -> dict[str, Any]:
    """What `scaling plot lr-bowls --json` prints."""
    return {
        "shift_log2": {kind: shift(bowls, kind) for kind in get_args(Parametrization)},
        "bowls": [
            {
                "parametrization": bowl.parametrization,
                "width": bowl.width,
                "learning_rates": bowl.rates,
                "losses": bowl.losses,
                "spread": bowl.spread,
                "optimum_log2": bowl.optimum(),
                "optimum": 2 ** bowl.optimum(),
                "interval_log2": bowl.interval(),
                "bracketed": bowl.bracketed,
            }
            for bowl in bowls
        ],
    }
