"""How far beyond its data a law predicts, and the error of its rolled hold-out at that distance.

Arithmetic on the values of a law.json, for everything that prints a prediction: `fit --predict`, `fit --at`,
`plan` and the report.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from scaling.config.base import Frozen

FAR = 10.0  # times the range of the data: from here on a prediction carries a warning
_UNITS = {"flops": "FLOPs", "params": "parameters", "tokens": "tokens", "unique_tokens": "unique tokens"}


class HoldoutRow(BaseModel):
    """The fields read from one row of a rolled hold-out (`scaling.laws.sections.CutOff`)."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    extrapolation: float  # largest compute predicted over the largest compute fitted
    n: int  # predictions
    mean_abs_rel_error: float
    max_abs_rel_error: float
    inside: float | None = None  # share of the predictions inside their 95% intervals


class RolledCutOff(Protocol):
    """A `HoldoutRow`, or the row of a law.json."""

    @property
    def extrapolation(self) -> float: ...  # noqa: D102

    @property
    def n(self) -> int: ...  # noqa: D102

    @property
    def mean_abs_rel_error(self) -> float: ...  # noqa: D102

    @property
    def max_abs_rel_error(self) -> float: ...  # noqa: D102

    @property
    def inside(self) -> float | None: ...  # noqa: D102


class HoldoutAtReach(Frozen):
    """The rolled hold-out at the distance of a prediction, or at its own greatest distance."""

    reach: float  # largest compute predicted over the largest compute fitted
    far_enough: bool  # whether the reach is at least that of the prediction
    n: int
    mean_abs_rel_error: float
    max_abs_rel_error: float
    inside: float | None


class Reach(Frozen):
    """A prediction beyond the data.

    `times` maps each quantity that is outside the data to its distance from the nearest end, as a factor
    above 1. `far` says whether the compute, or a variable of the law, is more than a factor of 10 outside; a
    loss below the data is always far, for a loss has no scale.
    """

    times: dict[str, float]
    far: bool
    holdout: HoldoutAtReach | None
    text: str


def reach(
    place: Mapping[str, float],
    ranges: Mapping[str, Sequence[float]],
    rolling: Sequence[RolledCutOff] | None = None,
) -> Reach | None:
    """How far `place` is outside `ranges` (least and greatest of each quantity in the data); None if inside.

    Compute is 6ND where the place gives parameters and tokens and no FLOPs.
    """
    place = dict(place)
    if "flops" not in place and {"params", "tokens"} <= set(place):
        place["flops"] = 6.0 * place["params"] * place["tokens"]
    above: dict[str, float] = {}
    below: dict[str, float] = {}
    for name, value in place.items():
        ends = ranges.get(name)
        if ends is None or not (value > 0 and ends[0] > 0):
            continue
        if value > ends[1] * (1 + 1e-9):
            above[name] = value / ends[1]
        elif value < ends[0] * (1 - 1e-9):
            below[name] = ends[0] / value
    if not above and not below:
        return None
    times = above | below
    far = any(name == "loss" or factor > FAR for name, factor in times.items())
    found = _at(above.get("flops"), rolling or ())
    parts = [_outside(name, factor, ranges[name], name in above) for name, factor in times.items()]
    compute = above.get("flops", 0.0)
    text = ("beyond the data: " if far else "outside the data: ") + " and ".join(parts)
    if compute > FAR:
        text += f"; {_holdout_words(compute, found)}"
    return Reach(times=times, far=far, holdout=found, text=text)


def _outside(name: str, factor: float, ends: Sequence[float], over: bool) -> str:
    unit = _UNITS.get(name, name)
    end = ends[1] if over else ends[0]
    if name == "loss":
        return f"the {'highest' if over else 'lowest'} loss in the data is {end:.4g}"
    words = f"{factor:.3g} times the most {unit}" if over else f"{factor:.3g} times below the fewest {unit}"
    return f"{words} in the data ({end:.3g})"


def _at(compute: float | None, rolling: Sequence[RolledCutOff]) -> HoldoutAtReach | None:
    """The cut-off of the smallest sufficient distance, otherwise of the largest."""
    if compute is None or not rolling:
        return None
    enough = [cut for cut in rolling if cut.extrapolation >= compute]
    pick = min(enough, key=_distance) if enough else max(rolling, key=_distance)
    return HoldoutAtReach(
        reach=pick.extrapolation,
        far_enough=bool(enough),
        n=pick.n,
        mean_abs_rel_error=pick.mean_abs_rel_error,
        max_abs_rel_error=pick.max_abs_rel_error,
        inside=pick.inside,
    )


def _distance(cut: RolledCutOff) -> float:
    return cut.extrapolation


def _holdout_words(compute: float, found: HoldoutAtReach | None) -> str:
    if found is None:
        return "no rolled hold-out tested this law at any distance"
    start = f"the rolled hold-out, over up to {found.reach:.3g} times the compute fitted,"
    if not found.far_enough:
        start = (
            f"no rolled hold-out reaches that far; over up to {found.reach:.3g} times the compute fitted, it"
        )
    inside = ""
    if found.inside is not None:
        inside = f", {round(found.inside * found.n)} of {found.n} inside their 95% intervals"
    return (
        f"{start} missed by {found.mean_abs_rel_error:.2%} on average, "
        f"{found.max_abs_rel_error:.2%} at worst{inside}"
    )
