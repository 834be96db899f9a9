"""The largest break that the scores allow: the upper end of a profile likelihood interval.

A break is added to a smooth curve, a jump in every gap between sizes and a change of slope at places from the
second size to the last but one. Its amount is held at a series of values and everything else is fitted again,
the scatter too. The bound is the largest size (see `break_size`) inside the one-sided 95% interval. The break
is added to the best smooth shape and to the simplest ones, because a corner in one shape can pass for the
curvature of another: a bend in a power law looks like a sigmoid.

Curves are compared with the shape that AICc prefers, not with the likeliest curve that has a break, which at
eight sizes follows the noise. A curve with more parameters than that shape has its likelihood corrected as a
variance is for its degrees of freedom; a break of a given size is one parameter fewer, its place is one more.
`benchmarks/emergence_power.py` measures what this misses, next to the most that any test can tell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.break_size import break_sizes, rise
from scaling.laws.emergence.curve_shapes import JUMP, LINKS, TURN, CurveShape
from scaling.laws.emergence.fits import CandidateFits, bounds, problems_of
from scaling.laws.emergence.scatter import Scattered, fit_scattered
from scaling.laws.emergence.threshold import cutoff

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEPS = np.array([0.8, 1.6, 2.5, 3.6, 5.5, 9.0])  # standard errors from the best amount, either way
SIMPLE = 2  # parameters: the shapes to which a break is added besides the best one
ONE_SIDED = 0.90  # the two-sided interval whose upper end is a 95% bound


def places_of(levels: Floats, entry: int) -> Floats:
    """Where a break is tried: a jump in the middle of every gap, a corner from the second size on."""
    middle = (levels[1:] + levels[:-1]) / 2
    return middle if entry == JUMP else np.sort(np.concatenate([levels[1:-1], middle[1:-1]]))


def break_bounds(fits: Sequence[CandidateFits], smooth: Sequence[int | None]) -> list[float | None]:
    """For each fit, the upper bound of a break, as a share of the rise of its best smooth shape.

    None without a smooth shape, infinite if there are too few points to add a break to it.
    """
    tests = [None if index is None else _Test.of(fit, index) for fit, index in zip(fits, smooth, strict=True)]
    found = [None if one is None else one.candidates() if one.enough else np.inf for one in tests]
    wanted = [
        (i, _Broken.of(one, base, entry))
        for i, one in enumerate(tests)
        if one is not None and one.enough
        for base in one.bases()
        for entry in (JUMP, TURN)
    ]
    if not wanted:
        return found
    every = [one for _, one in wanted]
    start = [np.repeat(_theta(one), len(one.place), axis=0) for one in every]
    best = _split(every, 1, _solve(every, 1, start, held=False))
    # A place where even the best amount loses too much is excluded, whatever the amount.
    kept = [one.lost(top.log_likelihood) <= one.test.limit for one, top in zip(every, best, strict=True)]
    best = [_rows(top, keep) for top, keep in zip(best, kept, strict=True)]
    every = [replace(one, place=one.place[keep]) for one, keep in zip(every, kept, strict=True)]
    left = [j for j, one in enumerate(every) if len(one.place)]
    if not left:
        return found
    every, best = [every[j] for j in left], [best[j] for j in left]
    amounts = [_amounts(one, top) for one, top in zip(every, best, strict=True)]
    profile = _split(every, 2 * len(STEPS), _solve(every, 2 * len(STEPS), amounts, held=True))
    for j, one, top, along in zip(left, every, best, profile, strict=True):
        i = wanted[j][0]
        found[i] = max(found[i] or 0.0, _bound(one, top, along))
    return found


@dataclass(frozen=True)
class _Test:
    """What a break of one series is compared with.

    `reference` and `n_reference` are the log likelihood and the parameters of the shape that AICc prefers.
    """

    fit: CandidateFits
    smooth: int
    reference: float
    n_reference: int
    total: float  # rise

    @classmethod
    def of(cls, fit: CandidateFits, smooth: int) -> "_Test":
        broken = [i for i, s in enumerate(fit.shapes) if s.family == "broken" and fit.eligible(i)]
        best = min([smooth, *broken], key=fit.aicc)
        node = fit.best(smooth)
        return cls(
            fit,
            smooth,
            float(fit.log_likelihood[fit.best(best)]),
            fit.shapes[best].n_parameters,
            rise(fit.series, fit.theta[node], LINKS.index(fit.shapes[smooth].link)),
        )

    @property
    def enough(self) -> bool:
        """Whether points are left for the noise once a break and its place are fitted too."""
        return self.spare(self.fit.shapes[self.smooth].n_parameters) > 0 and len(self.fit.series.levels) > 3

    def spare(self, n_smooth: int) -> int:
        """Points less the parameters of a smooth shape with a break of a given size somewhere, less one."""
        return self.fit.n - n_smooth - 2

    def bases(self) -> list[int]:
        """The shapes to add a break to: the best smooth one, and every smooth one of `SIMPLE` parameters."""
        shapes = self.fit.shapes
        simple = [i for i, s in enumerate(shapes) if s.family == "smooth" and s.n_parameters <= SIMPLE]
        return [i for i in sorted({*simple, self.smooth}) if self.spare(shapes[i].n_parameters) > 0]

    @property
    def limit(self) -> float:
        """The largest loss inside the interval."""
        return cutoff(self.fit.n, self.n_reference + 1, ONE_SIDED)

    def lost(self, log_likelihood: Floats, n_parameters: int) -> Floats:
        """Twice the loss of log likelihood, corrected for parameters beyond those of the reference."""
        n = self.fit.n
        more = max(n_parameters - self.n_reference, 0)
        gained = n * np.log((n - self.n_reference) / max(n - self.n_reference - more, 1))
        lost: Floats = 2 * (self.reference - log_likelihood) + gained
        return lost

    def candidates(self) -> float:
        """The largest size among the fitted curves with a break inside the interval."""
        fit, largest = self.fit, 0.0
        for index, shape in enumerate(fit.shapes):
            if shape.family != "broken" or not fit.eligible(index):
                continue
            nodes = np.flatnonzero(fit.shape == index)
            inside = nodes[self.lost(fit.log_likelihood[nodes], shape.n_parameters - 1) <= self.limit]
            if len(inside):
                at = fit.theta[inside], fit.place[inside], fit.link[inside]
                largest = max(largest, float(break_sizes(fit.series, *at, self.total).max()))
        return largest


@dataclass(frozen=True)
class _Broken:
    """One smooth shape of a series with one kind of break, at G places."""

    test: _Test
    base: int
    entry: int
    shape: CurveShape
    place: Floats

    @classmethod
    def of(cls, test: _Test, base: int, entry: int) -> "_Broken":
        shape = test.fit.shapes[base]
        shape = replace(shape, family="broken", free=(*shape.free, entry), placed="between")
        return cls(test, base, entry, shape, places_of(test.fit.series.levels, entry))

    @property
    def fit(self) -> CandidateFits:
        return self.test.fit

    def lost(self, log_likelihood: Floats) -> Floats:
        """See `_Test.lost`; the amount, which is held, is no parameter, the place is."""
        return self.test.lost(log_likelihood, self.shape.n_parameters - 1)


def _theta(one: _Broken) -> Floats:
    return one.fit.theta[[one.fit.best(one.base)]]


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
    groups = []
    for row, (one, at) in enumerate(zip(every, start, strict=True)):
        entries = tuple(e for e in one.shape.free if not (held and e == one.entry))
        groups.append((row, replace(one.shape, free=entries), at))
    place = np.concatenate([np.repeat(one.place, per_place) for one in every])
    problems = problems_of([(one.fit.series, one.fit.mask) for one in every], groups, place)
    return fit_scattered(problems, np.concatenate(start))


def _rows(found: Scattered, keep: NDArray[np.bool_]) -> Scattered:
    return Scattered(**{name: getattr(found, name)[keep] for name in Scattered.__dataclass_fields__})


def _split(every: Sequence[_Broken], per_place: int, found: Scattered) -> list[Scattered]:
    ends = np.cumsum([len(one.place) * per_place for one in every])[:-1]
    parts = {name: np.split(getattr(found, name), ends) for name in Scattered.__dataclass_fields__}
    return [Scattered(**{name: part[i] for name, part in parts.items()}) for i in range(len(every))]


def _bound(one: _Broken, best: Scattered, along: Scattered) -> float:
    """The largest size inside the interval, interpolated where the profile leaves it."""
    series, count = one.fit.series, len(one.place)
    link = LINKS.index(one.shape.link)

    def sizes(found: Scattered, per_place: int) -> Floats:
        place = np.repeat(one.place, per_place)
        links = np.full(len(place), link)
        return break_sizes(series, found.theta, place, links, one.test.total).reshape(count, per_place)

    half = len(STEPS)
    size, ll = sizes(along, 2 * half), along.log_likelihood.reshape(count, 2 * half)
    size = np.concatenate([size[:, :half], sizes(best, 1), size[:, half:]], axis=1)
    ll = np.concatenate([ll[:, :half], best.log_likelihood[:, None], ll[:, half:]], axis=1)
    lost, limit = one.lost(ll), one.test.limit
    inside = lost <= limit
    largest = float(size[inside].max()) if inside.any() else 0.0
    for a, b in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
        leaves = inside[:, a] & ~inside[:, b]
        share = (limit - lost[:, a]) / np.maximum(lost[:, b] - lost[:, a], 1e-300)
        crossed = size[:, a] + np.clip(share, 0.0, 1.0) * (size[:, b] - size[:, a])
        largest = max(largest, float(crossed[leaves].max()) if leaves.any() else 0.0)
    return largest
