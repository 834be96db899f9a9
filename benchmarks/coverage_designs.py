"""The laws, approaches and designs of `coverage.py`: points of a known truth, and fits to draws of their noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from coverage_intervals import Case, Floats, Interval, Outcome, Outcomes, Places, ideal_widths, kept, outcome

from scaling.laws.fit import fit_points
from scaling.laws.forms.form import ComputeOptimum
from scaling.laws.forms.laws import LAWS
from scaling.laws.frontier.isoflop import Method as MinimumMethod
from scaling.laws.frontier.isoflop import fit_isoflops
from scaling.laws.frontier.projection import fit_projected
from scaling.laws.frontier.training_envelope import fit_training_envelope
from scaling.laws.law import Law, Method
from scaling.laws.points import Count, Points

SEARCHED = 40  # starts of a law's grid that each draw is given; the optimum is then sought by restarts

# Published constants where there are any, as in tests/laws/test_forms.py.
TRUTH = {
    "params-power": {"Nc": 8.8e13, "alpha_N": 0.076},
    "params-floor": {"E": 1.7, "Nc": 5e7, "alpha_N": 0.34},
    "tokens-power": {"Dc": 5.4e13, "alpha_D": 0.095},
    "tokens-floor": {"E": 1.7, "Dc": 1e9, "alpha_D": 0.28},
    "compute-power": {"C0": 2.3e27, "gamma": 0.05},
    "compute-envelope": {"E": 1.7, "C0": 1e19, "gamma": 0.15},
    "chinchilla": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
    "over-training": {"E": 1.84, "a": 212.0, "b": 367.0, "eta": 0.136},
    "coupled": {"E": 1.22, "A": 3355.0, "B": 18186.0, "alpha": 0.408, "beta": 0.431, "k": 0.452},
    "farseer": dict(  # in bits per character
        a1=-0.124, alpha=0.123, b1=0.424, a2=88.01, beta=-0.1, b2=-6.287, a3=-0.021, gamma=0.169, b3=-0.091
    ),
    "kaplan-tokens": {"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "kaplan-steps": {"Nc": 6.5e13, "Sc": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76},
    "critical-batch": {"B_star": 2.1e8, "alpha_B": 0.21},
    "repeated-data": dict(E=1.87, A=521.0, B=1488.0, alpha=0.353, beta=0.353, R_N=5.31, R_D=15.4),
    "gadre-error": {"eps": 0.857, "k": 2.2, "gamma": 0.715},
    "learning-rate": {"c": 50.0, "a": -0.23, "b": -0.32},
    "learning-rate-compute": {"c": 0.3118, "a": -0.125},
    "batch-size": {"c": 3.0, "a": 0.1, "b": 0.5},
    "batch-size-compute": {"c": 0.2920, "a": 0.3271},
}
# In tokens and in compute the same equations.
BROKEN = {"a": 1.5, "b": 5.2, "c0": 0.06}
TRUTH["broken-params"] = {**BROKEN, "c1": 0.25, "d1": 1e9, "f1": 0.4}
TRUTH["broken-params-2"] = dict(**BROKEN, c1=0.3, c2=-0.2, d1=3e7, d2=3e10, f1=0.5, f2=0.5)

CHINCHILLA = TRUTH["chinchilla"]
OPTIMUM = LAWS["chinchilla"].optimum(CHINCHILLA)
assert OPTIMUM is not None

# Standard deviation of the log of the target, where it is not the loss's half a percent.
NOISE = {
    "critical-batch": 0.1,
    "learning-rate": 0.1,
    "learning-rate-compute": 0.1,
    "batch-size": 0.1,
    "batch-size-compute": 0.1,
}
LOSS_NOISE = 0.005
CUTS = 4  # of the rolled hold-out of designs
ISOFLOP_NOISE = 0.002


def points_of(params: Floats, tokens: Floats, **more: Floats) -> Points:
    """Runs of one budget each; loss is to be drawn."""
    n = len(params)
    names = tuple(f"run {i}" for i in range(n))
    return Points(
        params=params,
        tokens=tokens,
        flops=6 * params * tokens,
        loss=more.pop("loss", np.ones(n)),
        weight=np.ones(n),
        groups=names,
        labels=names,
        dataset=("",) * n,
        unique_tokens=more.pop("unique_tokens", None),
        counts={"params": Count("total"), "flops": Count("6nd")},
        source="synthetic",
        **more,
    )


def design(name: str) -> Points:
    """Where a law is measured: nine sizes by six token budgets, or 48 values of its one variable."""
    variables = LAWS[name].variables
    if len(variables) > 1:
        params, tokens = np.repeat(np.geomspace(2e7, 1e10, 9), 6), np.tile(np.geomspace(5e8, 5e11, 6), 9)
        passes = np.tile([1, 3, 9, 27, 60, 5], 9)
        return points_of(params, tokens, unique_tokens=tokens / passes, min_steps=tokens / 5e5)
    size = np.geomspace(1e7, 1e11, 48)
    if variables == ("flops",):
        return points_of(size, 20 * size)
    return points_of(size, 3e8 / size * 1e12, loss=np.geomspace(5.0, 2.0, 48))


def beyond(points: Points, name: str) -> dict[str, float]:
    """The law's variables at ten times the largest of the data: of N and D, the square root of ten each."""
    law = LAWS[name]
    if law.variables == ("loss",):
        return {"loss": 0.9 * float(points.loss.min())}
    factor = 10 ** (0.5 if len(law.variables) > 1 else 1.0)
    return {v: factor * float(points.column(v).max()) for v in law.variables}


@contextmanager
def searched(name: str) -> Iterator[None]:
    """Some of the law's starts: what its grid is worth is measured by tests, and one is enough here."""
    kind = type(LAWS[name])
    full = kind.starts
    kind.starts = lambda *args: (s := full(*args))[:: max(1, len(s) // SEARCHED)]  # type: ignore[method-assign]
    try:
        yield
    finally:
        kind.starts = full  # type: ignore[method-assign]


def of_law(name: str) -> Case:
    """A law on nine sizes by six budgets, or 48 values of its variable, with independent noise."""
    law, truth, points = LAWS[name], TRUTH[name], design(name)
    places = {"prediction": beyond(points, name)}
    noise, top = NOISE.get(name, LOSS_NOISE), float(points.flops.max())

    def draw(seed: int, resamples: int) -> dict[str, Outcomes]:
        random = np.random.default_rng(seed)
        exact = law.predict(truth, **{v: points.column(v) for v in law.variables})
        drawn = replace(points, **{law.target: exact * np.exp(noise * random.normal(size=len(points)))})
        with searched(name):
            fit = fit_points(drawn, name, bootstrap=resamples, holdout=None, profile=True, seed=seed)
        return by_method(fit, truth, places, top)

    return Case(draw, lambda: ideal_widths(name, truth, points, noise**2 * np.eye(len(points)), places))


def by_method(fit: Law, truth: Mapping[str, float], places: Places, top: float) -> dict[str, Outcomes]:
    """The intervals of a fit: of parameters, the exponent a, predictions at places, and rolled later runs.

    `top` is the largest compute of the points, in FLOPs: where an exponent that changes with compute is reported.
    """
    law = LAWS[fit.law]
    optimum, known = law.optimum(dict(truth), flops=top), dict(truth)
    bootstrap: dict[str, Interval | None] = dict(fit.intervals)
    if optimum is not None and "a" not in truth:  # over-training's own a; its N_opt always grows as C^0.5
        known["a"] = optimum.a
        bootstrap["a"] = fit.optimum.intervals.get("a") if fit.optimum is not None else None
    found: dict[str, Mapping[str, Interval | None]] = {
        "bootstrap": bootstrap if fit.bootstrap is not None else {},
        "jackknife": fit.jackknife.intervals if fit.jackknife is not None else {},
        "profile": {name: one.interval for name, one in (fit.profile or {}).items()},
        "hessian": fit.hessian.intervals if fit.hessian is not None else {},
    }
    methods: dict[str, Method] = {"bootstrap": "bootstrap", "jackknife": "jackknife", "hessian": "Hessian"}
    out = {}
    for name, intervals in found.items():
        outcomes = {q: outcome(intervals.get(q), value) for q, value in known.items()}
        for place, at in places.items():
            ends = fit.widened(methods[name], **at) if name in methods else None
            if ends is not None and np.isfinite(ends).all():
                outcomes[place] = outcome(
                    (float(ends[0]), float(ends[1])), float(law.predict(dict(truth), **at))
                )
        out[name] = kept(outcomes)
    judged = [cut.inside for cut in fit.rolling or () if cut.inside is not None]
    if judged:
        out["rolled"] = {"later runs": Outcome(float(np.mean(judged)))}
    return {name: outcomes for name, outcomes in out.items() if outcomes}


def of_design(points: Points, shared: float, own: float, tail: float | None = None) -> Case:
    """Chinchilla's law on points of which some share a run, with noise of runs and of points.

    Args:
        points: with groups; losses are drawn.
        shared: standard deviation of the noise that a run's points share.
        own: of the noise of each point.
        tail: degrees of freedom of the points' noise; None for normal noise.
    """
    run = points.group_index()
    top = float(points.flops.max())
    places = {
        f"{far}x": {"params": float(OPTIMUM.params(far * top)), "tokens": float(OPTIMUM.tokens(far * top))}
        for far in (10, 100)
    }

    def draw(seed: int, resamples: int) -> dict[str, Outcomes]:
        random = np.random.default_rng(seed)
        noise = shared * random.normal(size=run.max() + 1)[run]
        errors = random.normal(size=len(run)) if tail is None else random.standard_t(tail, size=len(run))
        exact = chinchilla_loss(points.params, points.tokens)
        drawn = replace(points, loss=exact * np.exp(noise + own * errors))
        with searched("chinchilla"):
            fit = fit_points(drawn, bootstrap=resamples, holdout=None, profile=True, seed=seed, rolling=CUTS)
        return by_method(fit, CHINCHILLA, places, top)

    def ideal() -> dict[str, float]:
        covariance = own**2 * np.eye(len(run)) + shared**2 * (run[:, None] == run)
        return ideal_widths("chinchilla", CHINCHILLA, points, covariance, places)

    return Case(draw, ideal if tail is None else None)


def coupled(params: Floats, tokens: Floats, size: float) -> Floats:
    """Chinchilla's law with a term G / (N^(alpha/2) D^(beta/2)); `size` is G over the root of A B."""
    of_N, of_D = (
        CHINCHILLA[s] * x ** -CHINCHILLA[e] for s, e, x in (("A", "alpha", params), ("B", "beta", tokens))
    )
    return CHINCHILLA["E"] + of_N + of_D + size * np.sqrt(of_N * of_D)


def drifting(params: Floats, tokens: Floats, size: float) -> Floats:
    """Chinchilla's law whose beta falls by the share `size` per factor of 10 of D, from 2e10 tokens on."""
    far = np.log(tokens / 2e10)
    of_D = CHINCHILLA["B"] * 2e10 ** -CHINCHILLA["beta"]
    of_D *= np.exp(-CHINCHILLA["beta"] * far * (1 - size * far / np.log(10)))
    return CHINCHILLA["E"] + CHINCHILLA["A"] * params ** -CHINCHILLA["alpha"] + of_D


def of_misfit(truth: Callable[[Floats, Floats, float], Floats], largest: float) -> Case:
    """Chinchilla's law where another is true: its predictions, widened by rolled errors and alone.

    Six sizes by six budgets. The misfit is uniform from 0 to `largest`; parameters have no true values.
    """
    points = small_grid(6, 6)
    top = float(points.flops.max())
    places = {
        f"{far}x": {"params": float(OPTIMUM.params(far * top)), "tokens": float(OPTIMUM.tokens(far * top))}
        for far in (10, 100)
    }
    methods: dict[str, Method] = {"bootstrap": "bootstrap", "hessian": "Hessian"}

    def draw(seed: int, resamples: int) -> dict[str, Outcomes]:
        random = np.random.default_rng(seed)
        size = largest * random.uniform()
        exact = truth(points.params, points.tokens, size)
        drawn = replace(points, loss=exact * np.exp(LOSS_NOISE * random.normal(size=len(points))))
        with searched("chinchilla"):
            fit = fit_points(drawn, bootstrap=resamples, holdout=None, rolling=CUTS, seed=seed)
        out: dict[str, Outcomes] = {}
        for name, method in methods.items():
            found = {}
            for place, at in places.items():
                known = float(truth(np.array(at["params"]), np.array(at["tokens"]), size))
                both = {place: fit.widened(method, **at), f"{place} alone": fit.interval(method, **at)}
                for quantity, ends in both.items():
                    if ends is not None and np.isfinite(ends).all():
                        found[quantity] = outcome((float(ends[0]), float(ends[1])), known)
            out[name] = kept(found)
        return out

    return Case(draw)


def trunks(count: int) -> Points:
    """Trunks from 20M to 2B parameters with branches at 10, 40 and 160 tokens per parameter."""
    params = np.repeat(np.geomspace(2e7, 2e9, count), 3)
    points = points_of(params, params * np.tile([10, 40, 160], count))
    return replace(points, groups=tuple(f"trunk {i // 3}" for i in range(3 * count)))


def small_grid(sizes: int, budgets: int) -> Points:
    """Sizes from 20M to 2B parameters by budgets from 2B to 200B tokens, each point a run of its own."""
    params = np.repeat(np.geomspace(2e7, 2e9, sizes), budgets)
    return points_of(params, np.tile(np.geomspace(2e9, 2e11, budgets), sizes))


TUNED_NOISE = 0.002
SETTING_LAWS = {"learning_rate": "learning-rate", "batch_tokens": "batch-size"}


@dataclass(frozen=True)
class Sweep:
    """Runs at several values of a setting, at each of the points of a design.

    Attributes:
        at: sizes and token budgets; points of one group are branches of one trunk at each value.
        rates: values tried, in factors of two from the middle of the grid.
        common: one grid for all points, about the best of the middle one; otherwise one per trunk or point, off
            its best value by up to half a factor of two.
        skew: of the bowl, relative to its curvature: how much steeper it is on the side of large rates.
        setting: the swept field of `Points`.
    """

    at: Points
    rates: tuple[float, ...] = (-2, -1, 0, 1, 2)
    common: bool = False
    skew: float = 0.0
    setting: str = "learning_rate"

    def best(self) -> Floats:
        """(n,) where the loss is least."""
        name = SETTING_LAWS[self.setting]
        return LAWS[name].predict(TRUTH[name], params=self.at.params, tokens=self.at.tokens)

    def draw(self, random: np.random.Generator) -> Points:
        """One point per run; a percent more loss at half and at twice the best value."""
        n, k = len(self.at), len(self.rates)
        run = self.at.group_index()
        best = np.log2(self.best())
        middle = np.full(n, np.median(best))
        if not self.common:
            means = np.bincount(run, best) / np.bincount(run)
            middle = (means + random.uniform(-0.5, 0.5, len(means)))[run]
        x = middle[:, None] + np.array(self.rates) - best[:, None]
        exact = chinchilla_loss(self.at.params, self.at.tokens)[:, None] * (
            1 + 0.01 * x**2 * np.exp(self.skew * x)
        )
        runs = np.repeat(run, k) * k + np.tile(np.arange(k), n)
        noise = TUNED_NOISE * random.normal(size=n * k)
        if run.max() + 1 < n:
            noise = noise / 2 + TUNED_NOISE * random.normal(size=runs.max() + 1)[runs]
        swept = points_of(
            np.repeat(self.at.params, k),
            np.repeat(self.at.tokens, k),
            loss=exact.ravel() * np.exp(noise),
            **{self.setting: (2 ** (x + best[:, None])).ravel()},
        )
        return replace(swept, groups=tuple(f"run {i}" for i in runs))


def of_sweep(sweep: Sweep, law: str = "chinchilla") -> Case:
    """A law of the loss at the minima, or of the place of the minima."""

    top = float(sweep.at.flops.max())
    places = {
        f"{far}x": {"params": float(OPTIMUM.params(far * top)), "tokens": float(OPTIMUM.tokens(far * top))}
        for far in (10, 100)
    }

    def draw(seed: int, resamples: int) -> dict[str, Outcomes]:
        drawn = sweep.draw(np.random.default_rng(seed))
        with searched(law):
            fit = fit_points(
                drawn, law, bootstrap=resamples, holdout=None, profile=True, seed=seed, force=True
            )
        return by_method(fit, TRUTH[law], places, top)

    return Case(draw)


def chinchilla_loss(params: Floats, tokens: Floats) -> Floats:
    """Hoffmann et al. 2022, equation 10."""
    return LAWS["chinchilla"].predict(CHINCHILLA, params=params, tokens=tokens)


def isoflop_sweep(
    seed: int,
    optimum: ComputeOptimum,
    grid: tuple[float, float] = (1 / 4, 4),
    sizes: int = 9,
    digits: int = 15,
) -> Points:
    """Sizes from and to a multiple of the optimum at each of seven budgets; losses have so many decimals."""
    flops = np.repeat(np.geomspace(1e18, 1e21, 7), sizes)
    params = optimum.params(flops) * np.tile(np.geomspace(*grid, sizes), 7)
    points = points_of(params, flops / 6 / params)
    error = np.random.default_rng(seed).normal(size=len(flops))
    loss = chinchilla_loss(points.params, points.tokens) * np.exp(ISOFLOP_NOISE * error)
    return replace(points, loss=loss.round(digits))


def of_isoflop(method: MinimumMethod, **design: Any) -> Case:
    """Minima of the budgets of `isoflop_sweep`: a, and N_opt at the largest budget and at ten times it."""
    budgets = {"N_opt": 1e21, "N_opt at 10x": 1e22}

    def draw(seed: int, resamples: int) -> dict[str, Outcomes]:
        sweep = isoflop_sweep(seed, OPTIMUM, **design)
        nats = ISOFLOP_NOISE * float(sweep.loss.mean())
        fit = fit_isoflops(sweep, method, bootstrap=resamples, noise=nats, seed=seed)
        outcomes = {"a": outcome(fit.params.exponent_interval, OPTIMUM.a)}
        for name, at in budgets.items():
            if (found := fit.params.interval(at)) is not None:
                outcomes[name] = outcome((float(found[0]), float(found[1])), float(OPTIMUM.params(at)))
        return {"bootstrap": kept(outcomes)}

    def ideal() -> dict[str, float]:
        sweep = isoflop_sweep(0, OPTIMUM, **design)
        noise = ISOFLOP_NOISE**2 * np.eye(len(sweep))
        return ideal_widths("chinchilla", CHINCHILLA, sweep, noise, {}, budgets)

    return Case(draw, ideal)


def of_projection(seed: int, resamples: int) -> dict[str, Outcomes]:
    fit = fit_projected(isoflop_sweep(seed, OPTIMUM), resamples, seed)
    truth = {**CHINCHILLA, "a": OPTIMUM.a}
    return {"bootstrap": kept({name: outcome(fit.intervals.get(name), v) for name, v in truth.items()})}


@dataclass(frozen=True)
class Curve:
    """A run at every step of which the law holds."""

    name: str
    params: float
    tokens: Floats
    flops: Floats
    loss: Floats


def of_envelope(seed: int, resamples: int) -> dict[str, Outcomes]:
    """24 runs from 1 to 400 tokens per parameter; noise of 0.5% per run and 0.1% per step."""
    random = np.random.default_rng(seed)
    curves = []
    for n in np.geomspace(2e7, 1e10, 24):
        tokens = n * np.geomspace(1, 400, 300)
        error = LOSS_NOISE * random.normal() + 0.001 * random.normal(size=300)
        loss = chinchilla_loss(np.full(300, n), tokens) * np.exp(error)
        curves.append(Curve(f"run {n:.3g}", float(n), tokens, 6 * n * tokens, loss))
    fit = fit_training_envelope(curves, resamples, seed)
    return {"bootstrap": kept({"a": outcome(fit.params.exponent_interval, OPTIMUM.a)})}


CASES: dict[str, Case] = {
    **{name: of_law(name) for name in TRUTH},
    **{f"{n}-trunks": of_design(trunks(n), shared=0.004, own=0.002) for n in (3, 4, 5, 8, 12)},
    "4x3-grid": of_design(small_grid(4, 3), shared=0.0, own=LOSS_NOISE),
    "5x4-grid": of_design(small_grid(5, 4), shared=0.0, own=LOSS_NOISE),
    "heavy-tails": of_design(small_grid(6, 6), shared=0.0, own=LOSS_NOISE, tail=2.5),
    "misfit-none": of_misfit(coupled, 0.0),
    "misfit-coupled": of_misfit(coupled, 0.6),
    "misfit-drift": of_misfit(drifting, 0.15),
    "tuned": of_sweep(Sweep(design("chinchilla"))),
    "tuned-one-coarse-grid": of_sweep(Sweep(small_grid(5, 4), rates=(-5, -3, -1, 1, 3, 5), common=True)),
    "tuned-trunks": of_sweep(Sweep(trunks(8))),
    "tuned-learning-rate": of_sweep(Sweep(small_grid(5, 4)), "learning-rate"),
    "tuned-batch-size": of_sweep(Sweep(small_grid(5, 4), setting="batch_tokens"), "batch-size"),
    "isoflop": of_isoflop("windowed"),
    "isoflop-5-sizes-rounded": of_isoflop("windowed", sizes=5, digits=3),
    "isoflop-off-centre": of_isoflop("windowed", grid=(1 / 3, 20), sizes=7, digits=3),
    "isoflop-parabola": of_isoflop("parabola"),
    "isoflop-akima": of_isoflop("akima"),
    "projection": Case(of_projection),
    "envelope": Case(of_envelope),
}
