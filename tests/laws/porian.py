"""Rows of Porian et al. 2024 in ../shared/data: the path from Kaplan's exponent to Chinchilla's."""

import csv
from pathlib import Path

import numpy as np

from scaling.laws.points import Count, Points

DATA = Path(__file__).parents[2] / "../shared/data"
KEYS = ("dataset", "hparams", "warmup", "decay", "param_count", "split")
# The authors' exponents of N_opt in compute, RefinedWeb.
EXPONENTS = {
    ("rw", "base", "long", "kaplan", "kaplan", "train"): 0.8338,
    ("rw", "base", "long", "kaplan", "standard", "val"): 0.7009,
    ("rw", "base", "short", "kaplan", "standard", "val"): 0.6035,
    ("rw", "base", "short", "chinchilla", "standard", "val"): 0.5714,
    ("rw", "tuned", "short", "const", "standard", "val"): 0.4970,
}


def columns(file, experiment, *names):
    """Each named column as numbers, NaN where a cell is empty."""
    with (DATA / file).open() as lines:
        rows = [r for r in csv.DictReader(lines) if tuple(r[k] for k in KEYS) == experiment]
    return [np.array([float(r[name] or "nan") for r in rows]) for name in names]


def experiment_points(experiment):
    params, tokens, flops, loss = columns(
        "porian_isoflop_points.csv", experiment, "N", "tokens", "flops", "loss"
    )
    n = len(loss)
    return Points(
        params=params,
        tokens=tokens,
        flops=flops,
        loss=loss,
        weight=np.ones(n),
        groups=tuple(f"run {i}" for i in range(n)),
        labels=tuple(f"run {i}" for i in range(n)),
        dataset=(experiment[0],) * n,
        unique_tokens=None,
        counts={"params": Count(column="N"), "flops": Count(column="flops")},
        source="porian_isoflop_points.csv",
    )
