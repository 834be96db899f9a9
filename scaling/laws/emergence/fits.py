"""Every candidate shape fitted to a series: likelihood, AICc, predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scaling.laws.emergence.curve_shapes import (
    HIGH,
    LINKS,
    LOW,
    SLOPE,
    CurveShape,
    Family,
    predict,
    shapes_of,
)
from scaling.laws.emergence.scatter import FINEST, factor, fit_scattered
from scaling.laws.emergence.series import Series
from scaling.laws.emergence.solve import Problems, deviances

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PLACES = 24  # of a break on the first grid
FINER = 16  # on a second grid between the neighbours of the best one
STEEPEST = 60.0  # in units of half the data's range of log scale
_FITTED = ("theta", "log_likelihood", "variance", "off", "deviance", "information")
DRAWS = 256  # of the parameters of one fit, for the predictive density


@dataclass(frozen=True)
class CandidateFits:
    """The candidates fitted to the points of one mask, at M nodes: combinations of shape, place and start."""

    series: Series
    mask: NDArray[np.bool_]
    shapes: tuple[CurveShape, ...]
    shape: Ints
    place: Floats
    origin: Floats
    link: Ints
    theta: Floats
    log_likelihood: Floats
    variance: Floats
    off: Floats
    deviance: Floats
    information: Floats

    @property
    def n(self) -> int:
        """Points fitted."""
        return int(self.mask.sum())

    @property
    def binomial(self) -> bool:
        """Whether the noise is binomial, with scatter added."""
        return bool((self.series.trials > 0).any())

    def scatter(self, index: int) -> float:
        """Standard deviation of a shape's scatter: in log odds for binomial shares, else in units of y."""
        return float(np.sqrt(self.variance[self.best(index)]))

    def noise(self, index: int, y: float) -> float:
        """Standard deviation of one score about an expected y, for the average number of trials."""
        variance = float(self.variance[self.best(index)])
        if not self.binomial:
            return float(np.sqrt(variance))
        trials = np.array([self.series.trials[self.mask].mean()])
        share = np.clip(np.array([y]), 1e-4, 1 - 1e-4)
        phi = 1 + variance * factor(share, trials)
        return float(np.sqrt(phi * share * (1 - share) / trials)[0])

    def eligible(self, index: int) -> bool:
        """Whether there are enough points for the small-sample correction of a shape's AIC."""
        return self.n - (self.shapes[index].n_parameters + 1) - 1 > 0

    def best(self, index: int) -> int:
        """The node of a shape with the greatest likelihood."""
        nodes = np.flatnonzero(self.shape == index)
        return int(nodes[np.argmax(self.log_likelihood[nodes])])

    def aicc(self, index: int) -> float:
        """AIC with the small-sample correction (Hurvich and Tsai 1989); the noise counts as one parameter."""
        if not self.eligible(index):
            return float("inf")
        k = self.shapes[index].n_parameters + 1
        return self.aic(index) + 2 * k * (k + 1) / (self.n - k - 1)

    def aic(self, index: int) -> float:
        """Akaike's information criterion (1974); the noise counts as one parameter."""
        k = self.shapes[index].n_parameters + 1
        return float(-2 * self.log_likelihood[self.best(index)] + 2 * k)

    def curve(self, node: int, x: Floats) -> Floats:
        """(n,) y of a node at x, within the range of the metric."""
        one = [node]
        y = predict(self.theta[one], x, self.place[one], self.origin[one], self.link[one])[0]
        return np.clip(y, self.series.least, self.series.most)

    def draws(
        self, index: int, x: float | Floats, count: int, random: np.random.Generator
    ) -> tuple[Floats, Floats]:
        """(count,) y and phi of a shape at x, which is a scalar or one value per draw.

        Places are drawn by likelihood, parameters by their information. The variance is drawn with its own
        uncertainty (the sum of d / phi over chi squared), so that few points widen the prediction as
        Student's t does. phi is for the points' average number of trials.
        """
        nodes, weights = self._nodes(index)
        chosen = nodes[random.choice(len(nodes), size=count, p=weights)]
        degrees = max(self.n - self.shapes[index].n_parameters, 1)
        chi = random.chisquare(degrees, count)
        wider = self.off[chosen] / chi
        wider = np.maximum(wider, 1.0) if self.binomial else wider
        normal = random.standard_normal((count, self.theta.shape[1]))
        scale = wider if self.binomial else wider * self.variance[chosen]
        theta = self.theta[chosen] + np.sqrt(scale)[:, None] * np.einsum(
            "cpq,cq->cp", self._factors[chosen], normal
        )
        theta = np.clip(theta, -STEEPEST, STEEPEST)
        if self.series.bounded:
            theta[:, LOW:] = np.clip(theta[:, LOW:], 0.0, 1.0)
        at = np.broadcast_to(np.asarray(x, float), (count,))[:, None]
        y = predict(theta, at, self.place[chosen], self.origin[chosen], self.link[chosen])[:, 0]
        y = np.clip(y, self.series.least, self.series.most)
        if not self.binomial:
            return y, np.maximum(scale, FINEST)
        trials = np.full(count, self.series.trials[self.mask].mean())
        return y, wider * (1 + self.variance[chosen] * factor(y, trials))

    @cached_property
    def _factors(self) -> Floats:
        """(M, P, P) square roots of the inverse information, limited in directions without information."""
        size, axes = np.linalg.eigh(self.information)
        factors: Floats = axes / np.sqrt(np.maximum(size, 1e-9))[:, None, :]
        return factors

    def _nodes(self, index: int) -> tuple[Ints, Floats]:
        if not self.shapes[index].placed:
            return np.array([self.best(index)]), np.ones(1)
        nodes = np.flatnonzero(self.shape == index)
        log = self.log_likelihood[nodes]
        weight = np.exp(log - log.max())
        return nodes, weight / weight.sum()

    def weights(self, families: Sequence[Family], few: bool = False) -> dict[int, float]:
        """Akaike weights above 0.001 of the shapes of some families, by index; empty if no shape is eligible.

        With `few` points there is no small-sample correction, which would always choose a constant; shapes
        then need a point more than parameters, and one more if the noise is estimated.
        """
        spare = self.n - (0 if self.binomial else 1)
        chosen = [
            i
            for i, s in enumerate(self.shapes)
            if s.family in families and (s.n_parameters < spare if few else self.eligible(i))
        ]
        if not chosen:
            return {}
        criterion = np.array([self.aic(i) if few else self.aicc(i) for i in chosen])
        weight = np.exp(-0.5 * (criterion - criterion.min()))
        weight /= weight.sum()
        return {i: float(w) for i, w in zip(chosen, weight, strict=True) if w > 1e-3}

    def log_predictive(self, families: Sequence[Family], points: Ints) -> float | None:
        """Log density of left-out points under the weighted shapes of some families; None without weights.

        Each draw of the fit applies to all points, because points of one size share the fit's uncertainty.
        """
        weights = self.weights(families)
        if not weights:
            return None
        total = np.full(1, -np.inf)
        for index, weight in weights.items():
            joint = np.zeros(DRAWS)
            for i in points:
                y, phi = self.draws(index, float(self.series.x[i]), DRAWS, np.random.default_rng(0))
                off = deviances(self.series.y[i], y, self.series.trials[i])
                joint = joint - 0.5 * (np.log(phi) + off / phi)
            total = np.append(total, joint + np.log(weight / DRAWS))
        return float(np.logaddexp.reduce(total))


def fit_masks(wanted: Sequence[tuple[Series, NDArray[np.bool_]]]) -> tuple[CandidateFits, ...]:
    """All candidates for each (series, mask), solved together."""
    plans = [_plan(series, mask, PLACES if mask.all() else PLACES // 2) for series, mask in wanted]
    fits = list(_solved(wanted, plans))
    complete = [i for i, fit in enumerate(fits) if fit.mask.all()]
    if complete:  # fits without some points are for predictions alone, and need no precise place
        finer = _solved([wanted[i] for i in complete], [_finer(fits[i]) for i in complete])
        for i, more in zip(complete, finer, strict=True):
            fits[i] = _joined(fits[i], more)
    return tuple(fits)


def fit_coarsely(every: Sequence[Series]) -> tuple[CandidateFits, ...]:
    """All candidates for every point of each series, on half of the first grid of places alone."""
    wanted = [(series, np.ones(len(series), bool)) for series in every]
    return _solved(wanted, [_plan(series, mask, PLACES // 2) for series, mask in wanted])


@dataclass(frozen=True)
class _Plan:
    """The nodes to solve for one mask."""

    shapes: tuple[CurveShape, ...]
    shape: Ints
    place: Floats
    start: Floats


def _plan(series: Series, mask: NDArray[np.bool_], count: int) -> _Plan:
    shapes = shapes_of(series.bounded, series.chance)
    levels = np.unique(np.round(series.x[mask], 9))
    parts = []
    for index, shape in enumerate(shapes):
        if shape.placed == "gap":
            # Two in each gap: a left-out size in it may be on either side of the step.
            places = np.sort(np.concatenate([levels[:-1] + f * np.diff(levels) for f in (0.25, 0.75)]))
        elif shape.placed:
            # A shape with a slope on both sides needs two points past the break.
            last = levels[-1] if SLOPE not in shape.free else levels[max(len(levels) - 2, 0)]
            first = levels[min(1, len(levels) - 1)]
            places = np.linspace(first, max(last, first), count + 1)[:-1]
        else:
            places = np.zeros(1)
        for start in _starts(series, mask, shape, places):
            parts.append((np.full(len(places), index), places, start))
    shape_of, place, start = (np.concatenate(p) for p in zip(*parts, strict=True))
    return _Plan(shapes, shape_of, place, start)


def _finer(fit: CandidateFits) -> _Plan:
    """Places between the neighbours of the best one, for shapes with a continuous place."""
    parts = []
    for index, shape in enumerate(fit.shapes):
        if shape.placed != "between":
            continue
        places = np.unique(fit.place[fit.shape == index])
        at = int(np.searchsorted(places, fit.place[fit.best(index)]))
        low, high = places[max(at - 1, 0)], places[min(at + 1, len(places) - 1)]
        between = np.linspace(low, high, FINER + 2)[1:-1]
        (start, *_) = _starts(fit.series, fit.mask, shape, between)
        parts.append((np.full(FINER, index), between, start))
    shape_of, place, start = (np.concatenate(p) for p in zip(*parts, strict=True))
    return _Plan(fit.shapes, shape_of, place, start)


def _starts(series: Series, mask: NDArray[np.bool_], shape: CurveShape, places: Floats) -> list[Floats]:
    """Starting points (G, P): least squares on the link's scale, at each guess of low and high."""
    x, y = series.x[mask], series.y[mask]
    trials = np.where(series.trials[mask] > 0, series.trials[mask], 200.0)
    levels: list[tuple[float, float]] = [(_low(series, shape), _high(series, shape))]
    if series.bounded and LOW in shape.free:
        levels = [(float(f * y.min()), _high(series, shape)) for f in (0.5, 0.98)]
        if HIGH in shape.free:
            levels = [(low, float(min(1.0, 1.02 * y.max() + 1e-3))) for low, _ in levels]
    elif series.bounded and HIGH in shape.free:
        levels = [(0.0, float(min(1.0, f * y.max() + 1e-3))) for f in (1.02, 1.3)]
    elif not series.bounded and shape.link == "decay":
        levels = [(0.0, y.max() + room) for room in (0.05, 0.5, 4.0)]
    elif not series.bounded and shape.link == "logistic":
        levels = [(y.min() - room, y.max() + room) for room in (0.05, 0.5)]
    past = x[None] - places[:, None]
    columns = np.stack(
        [np.ones_like(past), np.broadcast_to(x, past.shape), past * 0 + x**2, np.maximum(past, 0), past > 0],
        axis=-1,
    )
    linear = [entry for entry in shape.free if entry < LOW]
    found = []
    for low, high in levels:
        target, weight = _unlinked(shape, y, low, high, trials)
        root = np.sqrt(weight)[None, :, None]
        A = columns[:, :, linear] * root
        normal = np.einsum("gni,gnj->gij", A, A) + 1e-9 * np.eye(len(linear)) * weight.sum()
        solved = np.linalg.solve(normal, np.einsum("gni,n->gi", A, target * root[0, :, 0])[:, :, None])
        theta = np.zeros((len(places), 7))
        theta[:, linear] = solved[:, :, 0]
        theta[:, LOW], theta[:, HIGH] = low, high
        found.append(theta)
    return found


def _low(series: Series, shape: CurveShape) -> float:
    return series.chance if series.bounded and shape.floor == "chance" else 0.0


def _high(series: Series, shape: CurveShape) -> float:
    return 1.0 if series.bounded else 0.0


def _unlinked(shape: CurveShape, y: Floats, low: float, high: float, trials: Floats) -> tuple[Floats, Floats]:
    """eta from the measured score, and its weights."""
    if shape.link == "straight":
        return y, np.ones(len(y))
    if shape.link == "decay":
        rest = np.maximum(high - y, 1e-3)
        return -np.log(rest), rest**2
    share = (y - low) / max(high - low, 1e-6)
    share = (np.clip(share, 0, 1) * trials + 0.5) / (trials + 1)
    if shape.link == "logistic":
        return np.log(share / (1 - share)), trials * share * (1 - share)
    return -np.log(-np.log(share)), trials * share * np.log(share) ** 2 / (1 - share)


def bounds(series: Series, shape: CurveShape, start: Floats) -> tuple[Floats, Floats]:
    """Lower and upper bounds (M, P); entries that are not free are fixed at their start."""
    lower, upper = np.full((7,), -STEEPEST), np.full((7,), STEEPEST)
    if series.bounded:
        lower[LOW:], upper[LOW:] = (0.0, 0.05), (0.95, 1.0)
    else:
        lower[LOW:], upper[LOW:] = (-3.0, -1.0), (1.0, 20.0 if shape.link == "decay" else 3.0)
        lower[LOW] = max(lower[LOW], series.least)
        upper[HIGH] = min(upper[HIGH], series.most)
        if shape.link == "decay":
            lower[SLOPE] = 0.0
    fixed = np.array([entry not in shape.free for entry in range(7)])
    return np.where(fixed, start, lower), np.where(fixed, start, upper)


def problems_of(
    data: Sequence[tuple[Series, NDArray[np.bool_]]],
    groups: Sequence[tuple[int, CurveShape, Floats]],
    place: Floats,
    origin: Floats | None = None,
) -> Problems:
    """The problems of several groups at once.

    Args:
        data: of each row, its points and which of them are fitted.
        groups: the row of data that each fits, its curve, whose free entries move, and its starts (M, P).
        place: (S,) of the break of each problem.
        origin: (S,) where its curve has its level; 0 if None.
    """
    n = max(len(series) for series, _ in data)
    x, y, trials, mask = np.zeros((4, len(data), n))
    for i, (series, used) in enumerate(data):
        for part, values in zip((x, y, trials, mask), (series.x, series.y, series.trials, used), strict=True):
            part[i, : len(series)] = values
    count = [len(start) for _, _, start in groups]
    free = np.array([[entry in shape.free for entry in range(7)] for _, shape, _ in groups], float)
    boxes = [bounds(data[row][0], shape, start) for row, shape, start in groups]
    lower, upper = (np.concatenate(side) for side in zip(*boxes, strict=True))
    return Problems(
        x,
        y,
        trials,
        mask,
        rows=np.repeat([row for row, _, _ in groups], count),
        link=np.repeat([LINKS.index(shape.link) for _, shape, _ in groups], count),
        free=np.repeat(free, count, axis=0),
        place=place,
        origin=np.zeros(len(place)) if origin is None else origin,
        lower=lower,
        upper=upper,
    )


def _solved(
    wanted: Sequence[tuple[Series, NDArray[np.bool_]]], plans: Sequence[_Plan]
) -> tuple[CandidateFits, ...]:
    groups = [
        (i, plan.shapes[s], start[None])
        for i, plan in enumerate(plans)
        for s, start in zip(plan.shape, plan.start, strict=True)
    ]
    problems = problems_of(wanted, groups, np.concatenate([plan.place for plan in plans]))
    optima = fit_scattered(problems, np.concatenate([plan.start for plan in plans]))
    fits = []
    for i, ((series, mask), plan) in enumerate(zip(wanted, plans, strict=True)):
        own = problems.rows == i
        fits.append(
            CandidateFits(
                series=series,
                mask=mask,
                shapes=plan.shapes,
                shape=plan.shape,
                place=problems.place[own],
                origin=problems.origin[own],
                link=problems.link[own],
                **{name: getattr(optima, name)[own] for name in _FITTED},
            )
        )
    return tuple(fits)


def _joined(a: CandidateFits, b: CandidateFits) -> CandidateFits:
    both = {
        name: np.concatenate([getattr(a, name), getattr(b, name)])
        for name in ("shape", "place", "origin", "link", *_FITTED)
    }
    return CandidateFits(series=a.series, mask=a.mask, shapes=a.shapes, **both)
