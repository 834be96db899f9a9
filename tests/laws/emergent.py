"""ScoreTable drawn from known curves over compute."""

from collections.abc import Callable

import numpy as np

from scaling.laws.emergence import ScoreTable
from scaling.laws.emergence.score_table import as_scores

Curve = Callable[[float], float]
SMALLEST = 1e18  # FLOPs; curves are over decades above it


def logistic(z: float) -> float:
    return 1 / (1 + np.exp(-z))


def drawn(
    curves: dict[str, Curve],
    sizes: int = 10,
    items: int | None = 1000,
    repeats: int = 1,
    seeds: int = 1,
    scatter: float = 0.0,
    chance: float = 0.0,
    metric: str = "exact_match",
    seed: int = 0,
) -> ScoreTable:
    """Binomial scores of each curve (over a logit-normal scatter from run to run), over four decades."""
    random = np.random.default_rng(seed)
    names = ("task", "metric", "group", "score", "flops", "n", "seed", "chance")
    rows: dict[str, list] = {name: [] for name in names}
    for name, curve in curves.items():
        for repeat in range(repeats):
            for run in range(seeds):
                for x in np.linspace(0, 4, sizes):
                    p = curve(x)
                    if scatter:
                        p = logistic(np.log(p / (1 - p)) + scatter * random.standard_normal())
                    score = p if items is None else random.binomial(items, p) / items
                    task = name if repeats == 1 else f"{name} {repeat}"
                    row = (task, metric, f"{x}-{run}", score, SMALLEST * 10**x, items, run, chance)
                    for column, cell in zip(rows.values(), row, strict=True):
                        column.append(cell)
    return as_scores(rows, "drawn")
