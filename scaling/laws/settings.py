"""Which settings of runs differ: those that are tuned, and those that make another experiment.

Tables: known columns, such as `learning_rate`, `lr` or `weight_decay`; nothing is made of a column with an
unknown name. Run directories: the resolved config of each run, without its seed, its budget and what does not
change the loss.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.points import Points

Floats = NDArray[np.float64]

FIELDS = ("learning_rate", "batch_tokens")
# fmt: off
# Settings that a sweep varies to find the lowest loss.
SETTINGS = {
    "lr", "learningrate", "peaklr", "maxlr", "minlr", "batch", "batchsize", "batchtokens", "globalbs", "bs",
    "globalbatchsize", "wd", "weightdecay", "beta1", "beta2", "momentum", "warmup", "warmupsteps",
    "warmuptokens", "warmupfraction", "warmupratio", "dropout", "epsilon", "eps", "clip", "clipnorm",
    "gradclip", "gradientclip", "initstd", "positioninitstd", "zloss",
}
RATES = ("learningrate", "lr", "peaklr", "maxlr")
# Leaves of `train` that set the budget, or do not change the loss.
NOT_SETTINGS = {
    "tokens", "steps", "branches", "seed", "evalevery", "evaltokens", "logevery", "checkpointevery",
    "keepcheckpoints", "losschunk", "accumulation",
}
# Names of a fraction close to 1, whose distance from 1 has the scale.
DECAYS = {"beta1", "beta2", "momentum"}
# fmt: on
SHOWN = 4


def plain(name: str) -> str:
    """The last part of a column's name without case and punctuation: `lrschedule` of `train.lr_schedule`."""
    return re.sub(r"[^a-z0-9]", "", re.split(r"[./]", name.strip().casefold())[-1])


@dataclass(frozen=True)
class SettingValues:
    """A setting of n runs: coordinates (n,) in which a bowl is a parabola, and how to read them.

    `scale` is "log", "log of 1 - x" for a decay near 1, or "linear" if zero was tried.
    """

    name: str
    places: Floats
    scale: str

    def value(self, place: float) -> float:
        """The setting at a coordinate."""
        if self.scale == "log":
            return float(np.exp(place))
        return float(-np.expm1(place)) if self.scale == "log of 1 - x" else place

    def at_bound(self, value: float) -> bool:
        """Whether no smaller value exists: no weight decay or dropout is less than none."""
        return self.scale == "linear" and value == 0


def settings_of(points: Points, members: NDArray[np.int64]) -> list[SettingValues]:
    """The tuned settings in which the points `members` differ.

    Of settings that rise or fall together, as the batch size and a warm-up in steps do, the first is kept.
    """
    found: list[SettingValues] = []
    ranks: list[Floats] = []
    for name, cells in _numeric(points, members):
        values = np.array(cells)
        if np.isnan(values).any() or np.ptp(values) <= 1e-12 * np.abs(values).max():
            continue
        one = _scaled(name, values)
        rank = np.unique(one.places, return_inverse=True)[1].astype(float)
        if any(np.array_equal(rank, r) or np.array_equal(rank.max() - rank, r) for r in ranks):
            continue
        ranks.append(rank)
        found.append(one)
    return found


def _numeric(points: Points, members: NDArray[np.int64]) -> list[tuple[str, list[float]]]:
    found = []
    taken = set()
    for name in FIELDS:
        values = getattr(points, name)
        if values is not None and not np.isnan(values[members]).any():
            found.append((name, values[members].tolist()))
            taken.add(name.replace("_", ""))
    for name, cells in points.columns.items():
        if is_setting(name, points.recipes is not None) and plain(name) not in taken:
            found.append((name, [_number(cells[i]) for i in members]))
    return found


def is_setting(name: str, configs: bool) -> bool:
    """Whether a column is a tuned setting; with `configs`, columns are the leaves of resolved configs."""
    word = plain(name)
    if word in SETTINGS:
        return True
    return configs and name.startswith("train.") and word not in NOT_SETTINGS and "spikes." not in name


def with_learning_rate(points: Points) -> Points:
    """The points with the learning rate of the only column named for it, such as `lr`, if they lack one."""
    if points.learning_rate is not None:
        return points
    named = [
        np.array(list(map(_number, cells))) for name, cells in points.columns.items() if plain(name) in RATES
    ]
    if len(named) != 1 or not (named[0] > 0).all():
        return points
    return replace(points, learning_rate=named[0])


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _scaled(name: str, values: Floats) -> SettingValues:
    if plain(name) in DECAYS and (values < 1).all() and (values >= 0).all():
        return SettingValues(name, np.log1p(-values), "log of 1 - x")
    if (values > 0).all():
        return SettingValues(name, np.log(values), "log")
    return SettingValues(name, values, "linear")


def arms_of(
    points: Points, places: Sequence[NDArray[np.int64]]
) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """For each point, the values of its config in which it differs from others at its place, and warnings.

    These have no order and so no minimum, as an activation, or shape the model: such points stay separate.
    """
    arms: list[tuple[str, ...]] = [()] * len(points)
    if points.recipes is None:
        return arms, ()
    names = [name for name in points.columns if _is_arm(name)]
    varied: dict[str, int] = {}
    for members in places:
        if len(members) < 2:
            continue
        here = [
            name
            for name in names
            if len({points.columns[name][i] for i in members}) > 1
            and (
                not is_setting(name, True) or any(np.isnan(_number(points.columns[name][i])) for i in members)
            )
        ]
        for name in here:
            varied[name] = varied.get(name, 0) + len(members)
        for i in members:
            arms[i] = tuple(points.columns[name][i] for name in here)
    if not varied:
        return arms, ()
    more = f" and {len(varied) - SHOWN} more" if len(varied) > SHOWN else ""
    listed = ", ".join(list(varied)[:SHOWN]) + more
    return arms, (
        f"{max(varied.values())} runs of equal parameters and tokens differ in {listed}, which has no "
        "minimum to find: they are fitted as separate points; choose one value with --where",
    )


def _is_arm(name: str) -> bool:
    word = plain(name)
    if word == "seed" or "spikes." in name:
        return False
    return name.startswith(("model.", "objective.", "data.")) or (
        name.startswith("train.") and word not in NOT_SETTINGS
    )
