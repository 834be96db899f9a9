"""Where on the scale the score changes: half of its rise, and the place of a break, by profile likelihood."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from scaling.laws.emergence.curve_shapes import HALF, LEVEL, SLOPE
from scaling.laws.emergence.document import Threshold
from scaling.laws.emergence.fits import CandidateFits, problems_of
from scaling.laws.emergence.scatter import fit_scattered
from scaling.laws.emergence.series import Series

Floats = NDArray[np.float64]

COVERAGE = 0.95
REACH = 3.0  # distance in x to search for a half rise: one range of the data beyond either end
COARSE = np.concatenate(
    [np.linspace(-REACH, -1.1, 12), np.linspace(-1.0, 1.0, 41), np.linspace(1.1, REACH, 12)]
)
FINE = 12


@dataclass(frozen=True)
class LikelihoodProfile:
    """Twice the loss of log likelihood at each place; places increase."""

    place: Floats
    lost: Floats


def cutoff(n: int, n_parameters: int, coverage: float = COVERAGE) -> float:
    """The largest loss of twice the log likelihood inside the interval.

    n log(1 + t^2 / (n - k)), with t Student's quantile: the likelihood-ratio form of the t interval with
    estimated noise. For many points it is the chi-squared value, 3.84.
    """
    degrees = max(n - n_parameters, 1)
    t = stdtrit(degrees, (1 + coverage) / 2)
    return float(n * np.log1p(t**2 / degrees))


def half_rises(fits: Sequence[CandidateFits], shapes: Sequence[int | None]) -> list[Threshold | None]:
    """For each fit, the half rise of one of its sigmoids or power laws; None for other shapes."""
    fitted = [
        (i, fit, shape)
        for i, (fit, shape) in enumerate(zip(fits, shapes, strict=True))
        if shape is not None and fit.shapes[shape].link in HALF
    ]
    found: list[Threshold | None] = [None] * len(fits)
    for (i, fit, shape), profile in zip(fitted, _profiles(fitted), strict=True):
        n_parameters = fit.shapes[shape].n_parameters
        found[i] = _threshold(fit.series, "half rise", _half(fit, shape), profile, fit.n, n_parameters)
    return found


def _profiles(fitted: Sequence[tuple[int, CandidateFits, int]]) -> list[LikelihoodProfile]:
    """The profile likelihood of each shape's half rise, on a finer grid near the ends of its interval."""
    centres = [_half(fit, shape) for _, fit, shape in fitted]
    grids = [np.unique(np.append(COARSE, np.clip(c, -REACH, REACH))) for c in centres]
    values = _profile(fitted, grids)
    closer = [
        _around_crossings(grid, lost, fit, shape)
        for grid, lost, (_, fit, shape) in zip(grids, values, fitted, strict=True)
    ]
    more = _profile(fitted, closer)
    found = []
    for grid, lost, grid2, lost2 in zip(grids, values, closer, more, strict=True):
        place, order = np.unique(np.concatenate([grid, grid2]), return_index=True)
        found.append(LikelihoodProfile(place, np.concatenate([lost, lost2])[order]))
    return found


def averaged_half_rises(fits: Sequence[CandidateFits]) -> list[tuple[Threshold | None, dict[str, float]]]:
    """For each fit, the half rise averaged over its smooth shapes, with their Akaike weights by name.

    At each end of the interval the weighted mean of the shapes' one-sided tail areas is 2.5% (Turek and
    Fletcher 2012, doi:10.1016/j.csda.2012.03.002), with signed roots of the profile likelihood as Student's
    t: a shape that fits nearly as well counts nearly as much.
    """
    wanted: list[tuple[int, CandidateFits, int, float]] = []
    for i, fit in enumerate(fits):
        chosen = {s: w for s, w in fit.weights(("smooth",)).items() if fit.shapes[s].link in HALF}
        wanted += [(i, fit, shape, weight / sum(chosen.values())) for shape, weight in chosen.items()]
    profiles = _profiles([(i, fit, shape) for i, fit, shape, _ in wanted])
    found: list[tuple[Threshold | None, dict[str, float]]] = []
    for i, fit in enumerate(fits):
        own = [(p, s, w) for p, (j, _, s, w) in zip(profiles, wanted, strict=True) if j == i]
        names = {fit.shapes[shape].name: weight for _, shape, weight in own}
        found.append((_averaged(fit, own) if own else None, names))
    return found


def _averaged(fit: CandidateFits, own: Sequence[tuple[LikelihoodProfile, int, float]]) -> Threshold:
    places = np.unique(np.concatenate([profile.place for profile, _, _ in own]))
    below = np.zeros(len(places))
    for profile, shape, weight in own:
        degrees = max(fit.n - fit.shapes[shape].n_parameters, 1)
        root = np.sqrt(degrees * np.expm1(np.minimum(profile.lost / fit.n, 50.0)))
        centre = _half(fit, shape)
        signed = np.where(profile.place >= centre, root, -root)
        area = stdtr(degrees, signed)
        below += weight * np.interp(places, profile.place, np.maximum.accumulate(area))
    centre = float(np.interp(0.5, below, places)) if below[0] < 0.5 < below[-1] else math.inf
    tail = (1 - COVERAGE) / 2
    ends = [
        float(fit.series.scale_of(np.interp(at, below, places))) if below[0] < at < below[-1] else None
        for at in (tail, 1 - tail)
    ]
    if fit.series.against == "loss":
        ends.reverse()
    return Threshold(
        kind="half rise",
        value=float(fit.series.scale_of(centre)) if abs(centre) <= REACH else None,
        interval=(ends[0], ends[1]),
        beyond=not -1 <= centre <= 1,
    )


def changepoint(fit: CandidateFits, shape: int) -> Threshold | None:
    """The place of a break, from the grid of places; None for a shape without one."""
    if not fit.shapes[shape].placed:
        return None
    nodes = np.flatnonzero(fit.shape == shape)
    nodes = nodes[np.argsort(fit.place[nodes])]
    log = fit.log_likelihood[nodes]
    profile = LikelihoodProfile(fit.place[nodes], 2 * (log.max() - log))
    centre = float(fit.place[fit.best(shape)])
    if fit.shapes[shape].placed == "gap":  # a step anywhere in the gap, which has two nodes, is the same step
        levels = np.unique(np.round(fit.series.x[fit.mask], 9))
        gap = int(np.searchsorted(levels, centre)) - 1
        centre = float((levels[gap] + levels[gap + 1]) / 2)
        profile = LikelihoodProfile(np.ravel(np.stack([levels[:-1], levels[1:]], axis=1)), profile.lost)
    return _threshold(fit.series, "changepoint", centre, profile, fit.n, fit.shapes[shape].n_parameters)


def _half(fit: CandidateFits, shape: int) -> float:
    theta = fit.theta[fit.best(shape)]
    slope = theta[SLOPE] if abs(theta[SLOPE]) > 1e-9 else 1e-9
    return float((HALF[fit.shapes[shape].link] - theta[LEVEL]) / slope)


def _profile(fitted: Sequence[tuple[int, CandidateFits, int]], grids: Sequence[Floats]) -> list[Floats]:
    """Twice the loss of log likelihood with the half rise fixed at each place of the grids."""
    if not any(len(grid) for grid in grids):
        return [np.zeros(0) for _ in grids]
    groups = []
    for row, (_, fit, shape) in enumerate(fitted):
        form, grid = fit.shapes[shape], grids[row]
        theta = np.repeat(fit.theta[[fit.best(shape)]], len(grid), axis=0)
        theta[:, LEVEL] = HALF[form.link]
        # Start from a flatter curve away from the best place, so that it still passes near the data.
        away = np.maximum(np.abs(grid - _half(fit, shape)), 0.0)
        theta[:, SLOPE] /= 1 + away
        held = replace(form, free=tuple(entry for entry in form.free if entry != LEVEL))
        groups.append((row, held, theta))
    origin = np.concatenate(grids)
    data = [(fit.series, fit.mask) for _, fit, _ in fitted]
    problems = problems_of(data, groups, np.zeros(len(origin)), origin)
    start = np.concatenate([theta for _, _, theta in groups])
    held_at = fit_scattered(problems, start).log_likelihood
    out = []
    for row, (_, fit, shape) in enumerate(fitted):
        best = fit.log_likelihood[fit.best(shape)]
        out.append(np.maximum(2 * (best - held_at[problems.rows == row]), 0.0))
    return out


def _around_crossings(grid: Floats, lost: Floats, fit: CandidateFits, shape: int) -> Floats:
    inside = lost <= cutoff(fit.n, fit.shapes[shape].n_parameters)
    crossed = np.flatnonzero(inside[1:] != inside[:-1])
    parts = [np.linspace(grid[i], grid[i + 1], FINE + 2)[1:-1] for i in crossed]
    return np.concatenate(parts) if parts else np.zeros(0)


def _threshold(
    series: Series,
    kind: Literal["half rise", "changepoint"],
    centre: float,
    profile: LikelihoodProfile,
    n: int,
    n_parameters: int,
) -> Threshold:
    limit = cutoff(n, n_parameters)
    inside = np.flatnonzero(profile.lost <= limit)
    ends: list[float | None] = [None, None]
    if len(inside):
        for side, edge, step in ((0, inside[0], -1), (1, inside[-1], 1)):
            outside = edge + step
            if 0 <= outside < len(profile.place):
                a, b = profile.lost[edge], profile.lost[outside]
                share = (limit - a) / (b - a) if b > a else 0.0
                place = profile.place[edge] + share * (profile.place[outside] - profile.place[edge])
                ends[side] = float(series.scale_of(place))
    if series.against == "loss":
        ends.reverse()
    return Threshold(
        kind=kind,
        value=float(series.scale_of(centre)) if abs(centre) <= REACH else None,
        interval=(ends[0], ends[1]),
        beyond=not -1 <= centre <= 1,
    )
