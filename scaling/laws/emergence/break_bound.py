"""The largest break that the scores allow: the upper end of a profile likelihood interval.

A break is added to the best smooth curve, a jump in every gap between sizes and a change of slope at places
from the second size to the last but one. Its amount is held at a series of values and everything else is
fitted again, the scatter too. The bound is the largest size (see `break_size`) of a curve that loses no more
log likelihood than the one-sided 95% interval allows. The other curves with a break count if they lose no
more either: a curve that is flat and then rises is a break that no amount added to a sigmoid describes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.break_size import break_sizes, rise
from scaling.laws.emergence.curve_shapes import JUMP, LINKS, TURN, CurveShape
from scaling.laws.emergence.fits import CandidateFits, bounds
from scaling.laws.emergence.scatter import Scattered, fit_scattered
from scaling.laws.emergence.solve import Problems
from scaling.laws.emergence.threshold import cutoff

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = np.array([0.7, 1.4, 2.1, 2.8, 3.6, 4.6, 6.0, 9.0])  # standard errors from the best amount, either way
ONE_SIDED = 0.90  # the two-sided interval whose upper end is a 95% bound


def places_of(levels: Floats, entry: int) -> Floats:
    """Where a break is tried: a jump in the middle of every gap, a corner from the second size on."""
    middle = (levels[1:] + levels[:-1]) / 2
    return middle if entry == JUMP else np.sort(np.concatenate([levels[1:-1], middle[1:-1]]))


@dataclass(frozen=True)
class _Broken:
    """The smooth shape of one series with one kind of break, at G places."""

    fit: CandidateFits
    smooth: int
    entry: int
    shape: CurveShape
    place: Floats

    @classmethod
    def of(cls, fit: CandidateFits, smooth: int, entry: int) -> "_Broken":
        shape = fit.shapes[smooth]
        shape = replace(shape, family="broken", free=(*shape.free, entry), placed="between")
        return cls(fit, smooth, entry, shape, places_of(fit.series.levels, entry))


def break_bounds(fits: Sequence[CandidateFits], smooth: Sequence[int | None]) -> list[float | None]:
    """For each fit, the upper bound of a break of its best smooth shape, as a share of the rise.

    None without a smooth shape, infinite if there are too few points to add a break to it.
    """
    wanted = [
        (i, _Broken.of(fit, index, entry))
        for i, (fit, index) in enumerate(zip(fits, smooth, strict=True))
        if index is not None and _enough(fit, index)
        for entry in (JUMP, TURN)
    ]
    found: list[float | None] = [None if index is None else np.inf for index in smooth]
    every = [one for _, one in wanted]
    if not every:
        return found
    start = [np.repeat(_theta(one), len(one.place), axis=0) for one in every]
    best = _split(every, 1, _solve(every, 1, start, held=False))
    amounts = [_amounts(one, found) for one, found in zip(every, best, strict=True)]
    profile = _split(every, 2 * len(STEPS), _solve(every, 2 * len(STEPS), amounts, held=True))
    for (i, one), top, along in zip(wanted, best, profile, strict=True):
        before = found[i] if one.entry == TURN else None
        found[i] = max(_bound(one, top, along), _others(one) if before is None else before)
    return found


def _enough(fit: CandidateFits, smooth: int) -> bool:
    """Whether a point is left for the noise once a break and its place are fitted too."""
    return fit.n > fit.shapes[smooth].n_parameters + 2 and len(fit.series.levels) > 3


def _theta(one: _Broken) -> Floats:
    return one.fit.theta[[one.fit.best(one.smooth)]]


def _amounts(one: _Broken, best: Scattered) -> Floats:
    """Starting points (G * 2 * len(STEPS), P): the break held, the rest moved along the information."""
    out = []
    lower, upper = bounds(one.fit.series, one.shape, np.zeros((1, 7)))
    for theta, information in zip(best.theta, best.information, strict=True):
        inverse = np.linalg.inv(information)
        along = inverse[:, one.entry] / max(inverse[one.entry, one.entry], 1e-300)
        scale = 1.0 if one.fit.binomial else float(np.sqrt(max(best.variance.min(), 0.0)))
        error = np.sqrt(max(inverse[one.entry, one.entry], 0.0)) * scale
        away = np.concatenate([-STEPS[::-1], STEPS]) * error
        moved = theta + away[:, None] * along
        fixed = [entry for entry in range(7) if entry not in one.shape.free]
        moved[:, fixed] = theta[fixed]
        free = list(one.shape.free)
        moved[:, free] = np.clip(moved[:, free], lower[:, free], upper[:, free])
        out.append(moved)
    return np.concatenate(out)


def _solve(every: Sequence[_Broken], per_place: int, start: Sequence[Floats], held: bool) -> Scattered:
    """Every curve at once; `held` fixes the amount of the break at its start."""
    n = max(len(one.fit.series) for one in every)
    data = np.zeros((4, len(every), n))
    link, free, lower, upper = [], [], [], []
    for row, (one, at) in enumerate(zip(every, start, strict=True)):
        series = one.fit.series
        for part, values in zip(data, (series.x, series.y, series.trials, one.fit.mask), strict=True):
            part[row, : len(series)] = values
        entries = tuple(e for e in one.shape.free if not (held and e == one.entry))
        low, high = bounds(series, replace(one.shape, free=entries), at)
        lower.append(low)
        upper.append(high)
        free.append(np.tile([float(entry in entries) for entry in range(7)], (len(at), 1)))
        link.append(np.full(len(at), LINKS.index(one.shape.link)))
    place = np.concatenate([np.repeat(one.place, per_place) for one in every])
    rows = np.repeat(np.arange(len(every)), [len(at) for at in start])
    problems = Problems(
        data[0],
        data[1],
        data[2],
        data[3],
        rows,
        np.concatenate(link),
        np.concatenate(free),
        place,
        np.zeros(len(place)),
        np.concatenate(lower),
        np.concatenate(upper),
    )
    return fit_scattered(problems, np.concatenate(start))


def _split(every: Sequence[_Broken], per_place: int, found: Scattered) -> list[Scattered]:
    ends = np.cumsum([len(one.place) * per_place for one in every])[:-1]
    parts = {name: np.split(getattr(found, name), ends) for name in Scattered.__dataclass_fields__}
    return [Scattered(**{name: part[i] for name, part in parts.items()}) for i in range(len(every))]


def _bound(one: _Broken, best: Scattered, along: Scattered) -> float:
    """The largest size inside the interval, interpolated where the profile leaves it."""
    series, count = one.fit.series, len(one.place)
    link = LINKS.index(one.shape.link)
    total = rise(series, _theta(one)[0], link)

    def sizes(found: Scattered, per_place: int) -> Floats:
        place = np.repeat(one.place, per_place)
        links = np.full(len(place), link)
        return break_sizes(series, found.theta, place, links, total).reshape(count, per_place)

    half = len(STEPS)
    size, ll = sizes(along, 2 * half), along.log_likelihood.reshape(count, 2 * half)
    size = np.concatenate([size[:, :half], sizes(best, 1), size[:, half:]], axis=1)
    ll = np.concatenate([ll[:, :half], best.log_likelihood[:, None], ll[:, half:]], axis=1)
    smooth = float(one.fit.log_likelihood[one.fit.best(one.smooth)])
    lost = 2 * (max(float(ll.max()), smooth) - ll)
    limit = cutoff(one.fit.n, one.shape.n_parameters, ONE_SIDED)
    inside = lost <= limit
    largest = float(size[inside].max()) if inside.any() else 0.0
    for a, b in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
        leaves = inside[:, a] & ~inside[:, b]
        share = (limit - lost[:, a]) / np.maximum(lost[:, b] - lost[:, a], 1e-300)
        crossed = size[:, a] + np.clip(share, 0.0, 1.0) * (size[:, b] - size[:, a])
        largest = max(largest, float(crossed[leaves].max()) if leaves.any() else 0.0)
    return largest


def _others(one: _Broken) -> float:
    """The largest size among the fitted curves with a break that are not much less likely."""
    fit = one.fit
    total = rise(fit.series, _theta(one)[0], LINKS.index(one.shape.link))
    smooth = float(fit.log_likelihood[fit.best(one.smooth)])
    largest = 0.0
    for index, shape in enumerate(fit.shapes):
        if shape.family != "broken" or not fit.eligible(index):
            continue
        nodes = np.flatnonzero(fit.shape == index)
        ll = fit.log_likelihood[nodes]
        lost = 2 * (max(float(ll.max()), smooth) - ll)
        inside = nodes[lost <= cutoff(fit.n, shape.n_parameters, ONE_SIDED)]
        if len(inside):
            size = break_sizes(fit.series, fit.theta[inside], fit.place[inside], fit.link[inside], total)
            largest = max(largest, float(size.max()))
    return largest
