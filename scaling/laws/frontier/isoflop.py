"""Approach 2 of Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2: the least loss at each compute budget.

Points of one budget form a valley of loss against log N. Its minimum is N_opt at that budget, found either
by a parabola through all points (Hoffmann et al.) or by Akima interpolation in log-log, the median over
losses perturbed by the noise between seeds (Porian et al. 2024, arXiv:2406.19146, appendix). A parabola is
symmetric and the valley is not, so on a grid of sizes that is wide or off centre its minimum is biased even
without noise; see `scaling.laws.frontier.projection` for an estimate that is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from scaling.laws.forms.form import Floats
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.frontier.power_law import MIN_OPTIMA, PowerLaw, fit_power_law
from scaling.laws.points import Points, canonical
from scaling.laws.uncertainty.resample import leave_one_out, percentiles, run_counts
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

Method = Literal["parabola", "akima"]

MIN_SIZES = {"parabola": 4, "akima": 3}
# Standard deviation of the loss between seeds, in nats, with which Porian et al. perturb RefinedWeb losses;
# OpenWebText2 has 0.01.
SEED_NOISE = 0.002
TIE = 1e-9  # relative difference of losses that are equal


@dataclass(frozen=True)
class Minimum:
    """The compute-optimal size at one budget.

    `log_std` is the standard deviation of log N_opt over the resamples that have a minimum, and
    `share` the part of them that do; NaN and 1 without a bootstrap. `spacing` is the mean distance of
    neighbouring sizes in log N.
    """

    flops: float
    params: float
    tokens: float
    loss: float
    sizes: int
    spacing: float
    log_std: float
    share: float

    @property
    def log_uncertainty(self) -> float:
        """`log_std`, at least a third of the grid's spacing, and more where resamples have no minimum.

        The rule of Porian et al. 2024 for the weights of the power law.
        """
        return float(np.fmax(self.log_std, 0.33 * self.spacing)) / self.share


@dataclass(frozen=True)
class Refusal:
    """A budget without a minimum, and what would give it one."""

    flops: float
    sizes: int
    reason: str


@dataclass(frozen=True)
class IsoFlopMinima:
    """The minima by compute, the refused budgets, and log N_opt and log D_opt of each resample.

    `log_params_SG` and `log_tokens_SG` are (resamples, minima), NaN where a resample has no minimum;
    `log_params_RG` and `log_tokens_RG` the same without each run in turn, empty for "akima".
    """

    method: Method
    minima: tuple[Minimum, ...]
    refused: tuple[Refusal, ...]
    log_params_SG: Floats
    log_tokens_SG: Floats
    log_params_RG: Floats
    log_tokens_RG: Floats
    unused: int  # points near no budget

    def interval(self, i: int) -> tuple[float, float] | None:
        """The 95% interval of N_opt at the i-th minimum; None without resamples."""
        if not len(self.log_params_SG):
            return None
        ends = percentiles(self.log_params_SG[:, i])
        return None if ends is None else (float(np.exp(ends[0])), float(np.exp(ends[1])))


@dataclass(frozen=True)
class IsoFlopFit:
    """N_opt = k C^a and D_opt = k' C^b through the minima."""

    minima: IsoFlopMinima
    params: PowerLaw
    tokens: PowerLaw
    weighted: bool


def isoflop_minima(
    points: Points,
    method: Method = "parabola",
    budgets: Sequence[float] | None = None,
    tolerance: float = 0.05,
    window: float | None = None,
    bootstrap: int = 0,
    noise: float = SEED_NOISE,
    seed: int = 0,
) -> IsoFlopMinima:
    """The minimum of loss against log N at each budget that has one, and why the others have none.

    A minimum counts only inside the sizes. A parabola, which extrapolates, also needs worse measured sizes on
    both sides; Akima's curve may have its minimum between the last size and the one before.

    Args:
        points: finished budgets.
        method: "parabola": loss is a parabola in log N, resamples draw complete runs. "akima": Akima
            interpolation of log loss over log N (runs of one size averaged), resamples add noise to each
            loss, and with resamples the estimate is their median.
        budgets: FLOPs to group at; None finds them, see `isoflop_groups`.
        tolerance: relative difference of compute inside a group.
        window: keep only sizes within this factor of the size of least loss; None keeps all.
        bootstrap: resamples; 0 for none.
        noise: for "akima", standard deviation of a loss between seeds, nats.
        seed: of the resamples.

    Raises:
        BadInputError: an argument is out of range.
    """
    if method not in get_args(Method):
        raise BadInputError(f"method={method!r} is not known; known: {', '.join(get_args(Method))}")
    if window is not None and not window > 1:
        raise BadInputError(f"window={window:g} is not accepted; give a factor above 1, or none")
    if bootstrap < 0 or bootstrap == 1:
        raise BadInputError(f"bootstrap={bootstrap} is not accepted; give 0, or at least 2 resamples")
    if not (np.isfinite(noise) and noise > 0):
        raise BadInputError(f"noise={noise:g} is not accepted; give a positive number of nats")
    points = canonical(points)
    random = np.random.default_rng([seed, 2])
    groups = isoflop_groups(points, budgets, tolerance)
    counts_Qn = np.ones((0, len(points)))  # the resamples, then without each run in turn
    if bootstrap and method == "parabola":
        run = points.group_index()
        counts_Qn = np.concatenate([run_counts(run, bootstrap, random), leave_one_out(run)])
    minima: list[Minimum] = []
    refused: list[Refusal] = []
    samples: list[tuple[Floats, Floats]] = []
    for flops, members in groups:
        kept = _inside_window(points, members, window)
        group = points.subset(kept.tolist())
        sizes = _sizes(group)
        reason = _too_few(sizes, flops, method)
        if not reason and method == "parabola":
            log_n, loss, drawn = _parabolas(group, counts_Qn[:, kept])
            measured = _least(sizes, _size_means(group, sizes, np.log(group.loss)))
            reason = _at_end(measured, sizes, flops) or _beyond(log_n, sizes, flops)
        elif not reason:
            log_n, loss, drawn = _akima(group, sizes, noise, bootstrap, random)
            reason = _at_end(log_n, sizes, flops)
            if not reason and 2 * np.isfinite(drawn).sum() < bootstrap:
                reason = (
                    f"{flops:.3g} FLOPs: fewer than half of the resamples have their least loss inside the "
                    "sizes; add sizes at both ends"
                )
        if reason:
            refused.append(Refusal(flops, len(sizes), reason))
            continue
        drawn_tokens = _log_tokens(group, drawn)
        if method == "akima" and bootstrap:
            log_n = float(np.nanmedian(drawn))
        found = np.isfinite(drawn[:bootstrap])
        minima.append(
            Minimum(
                flops=flops,
                params=float(np.exp(log_n)),
                tokens=float(np.exp(_log_tokens(group, np.array(log_n)))),
                loss=loss,
                sizes=len(sizes),
                spacing=float(np.ptp(sizes)) / (len(sizes) - 1),
                log_std=float(drawn[:bootstrap][found].std()) if found.any() else float("nan"),
                share=max(float(found.mean()), 1 / bootstrap) if bootstrap else 1.0,
            )
        )
        samples.append((drawn, drawn_tokens))
    stacked = np.array(samples).reshape(len(minima), 2, -1 if minima else 0)
    return IsoFlopMinima(
        method=method,
        minima=tuple(minima),
        refused=tuple(refused),
        log_params_SG=stacked[:, 0, :bootstrap].T,
        log_tokens_SG=stacked[:, 1, :bootstrap].T,
        log_params_RG=stacked[:, 0, bootstrap:].T,
        log_tokens_RG=stacked[:, 1, bootstrap:].T,
        unused=len(points) - sum(len(members) for _, members in groups),
    )


def valley(group: Points, method: str) -> tuple[Floats, Floats]:
    """(100,) sizes and losses of the curve whose minimum is taken: a parabola in log N, or Akima's."""
    log_n, sizes = np.log(group.params), _sizes(group)
    grid = np.linspace(sizes[0], sizes[-1], 100)
    if method == "akima":
        return np.exp(grid), np.exp(akima(sizes, _size_means(group, sizes, np.log(group.loss)), grid))
    centre = log_n.mean()
    curve = np.polynomial.Polynomial.fit(log_n - centre, group.loss, 2, w=np.sqrt(group.weight))
    return np.exp(grid), curve(grid - centre)


def fit_isoflops(
    points: Points,
    method: Method = "parabola",
    budgets: Sequence[float] | None = None,
    tolerance: float = 0.05,
    window: float | None = None,
    bootstrap: int = 0,
    noise: float = SEED_NOISE,
    weighted: bool = False,
    seed: int = 0,
) -> IsoFlopFit:
    """The power laws of N_opt and D_opt through the minima; arguments as in `isoflop_minima`.

    D at a minimum is read off the points' own tokens: N D is interpolated over log N, which is C / 6
    exactly where C is 6ND. With `weighted`, a minimum counts by 1 / `log_uncertainty` squared.

    Raises:
        BadInputError: an argument is out of range, or fewer than three budgets have a minimum.
    """
    found = isoflop_minima(points, method, budgets, tolerance, window, bootstrap, noise, seed)
    if len(found.minima) < MIN_OPTIMA:
        first = f" ({found.refused[0].reason})" if found.refused else ""
        raise BadInputError(
            f"{points.source}: {len(found.minima)} of {len(found.minima) + len(found.refused)} compute "
            f"budgets have a minimum{first}; a power law needs {MIN_OPTIMA}: train several sizes at "
            "each of at least three budgets"
        )
    flops = np.array([m.flops for m in found.minima])
    weight = np.array([m.log_uncertainty**-2 for m in found.minima]) if weighted else None
    params = np.array([m.params for m in found.minima])
    tokens = np.array([m.tokens for m in found.minima])
    return IsoFlopFit(
        minima=found,
        params=fit_power_law(flops, params, weight, found.log_params_SG, found.log_params_RG),
        tokens=fit_power_law(flops, tokens, weight, found.log_tokens_SG, found.log_tokens_RG),
        weighted=weighted,
    )


def _inside_window(points: Points, members: NDArray[np.int64], window: float | None) -> NDArray[np.int64]:
    if window is None or not len(members):
        return members
    log_n = np.log(points.params[members])
    best = log_n[np.argmin(points.loss[members])]
    return members[np.abs(log_n - best) <= np.log(window) * (1 + 1e-9)]


def _sizes(group: Points) -> Floats:
    """(K,) log of the different sizes, increasing."""
    return np.unique(np.log(group.params).round(9))


def _size_means(group: Points, sizes: Floats, values: Floats) -> Floats:
    """(K,) mean of `values` (n,) at each of the sizes."""
    at = np.searchsorted(sizes, np.log(group.params).round(9))
    return np.bincount(at, values, len(sizes)) / np.bincount(at, minlength=len(sizes))


def _least(sizes: Floats, log_loss: Floats) -> float:
    """The size of least loss; of equal ones the one nearest the middle, so that a tie is at no end."""
    ties = np.flatnonzero(log_loss <= log_loss.min() + TIE)
    return float(sizes[ties[np.abs(ties - (len(sizes) - 1) / 2).argmin()]])


def _too_few(sizes: Floats, flops: float, method: Method) -> str:
    if len(sizes) >= MIN_SIZES[method]:
        return ""
    return (
        f"{flops:.3g} FLOPs: {plural(len(sizes), 'size')}; {method} needs at least {MIN_SIZES[method]}: "
        "add runs of other sizes at this budget, or a wider tolerance"
    )


def _at_end(log_n: float, sizes: Floats, flops: float) -> str:
    if sizes[0] < log_n < sizes[-1]:
        return ""
    end, other, edge = _side(log_n, sizes)
    return (
        f"{flops:.3g} FLOPs: the least loss is at the {end} size, {edge:.3g}; add {other} sizes at this "
        "budget"
    )


def _beyond(log_n: float, sizes: Floats, flops: float) -> str:
    if np.isnan(log_n):
        return f"{flops:.3g} FLOPs: the parabola has no minimum; add sizes at both ends, or narrow the window"
    if sizes[0] < log_n < sizes[-1]:
        return ""
    end, other, edge = _side(log_n, sizes)
    return (
        f"{flops:.3g} FLOPs: the parabola is least beyond the {end} size, {edge:.3g}; "
        f"add {other} sizes at this budget, or narrow the window"
    )


def _side(log_n: float, sizes: Floats) -> tuple[str, str, float]:
    if log_n <= sizes[0]:
        return "smallest", "smaller", float(np.exp(sizes[0]))
    return "largest", "larger", float(np.exp(sizes[-1]))


def _parabolas(group: Points, counts_Sn: Floats) -> tuple[float, float, Floats]:
    """Log N and loss at the minimum of the weighted least-squares parabola, and log N of each resample.

    NaN without a minimum; that of a resample must also be inside the sizes it drew.
    """
    log_n = np.log(group.params)
    centre, width = log_n.mean(), np.ptp(log_n) / 2
    z = (log_n - centre) / width
    basis = np.stack([np.ones_like(z), z, z * z], axis=1)
    weight = np.concatenate([np.ones((1, len(z))), counts_Sn]) * group.weight
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(z), 9)
    gram = (weight @ products).reshape(-1, 3, 3)
    right = weight @ (basis * group.loss[:, None])
    # A resample that drew fewer than three sizes has no parabola.
    good = np.linalg.det(gram) > 1e-9 * np.trace(gram, axis1=1, axis2=2) ** 3
    coefficients = np.full((len(weight), 3), np.nan)
    coefficients[good] = np.linalg.solve(gram[good], right[good][..., None])[..., 0]
    c0, c1, c2 = coefficients.T
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.where(c2 > TIE * np.abs(c0), -c1 / (2 * c2), np.nan)
        least = c0 - c1 * c1 / (4 * c2)
    low = np.where(weight > 0, z, np.inf).min(axis=1)
    high = np.where(weight > 0, z, -np.inf).max(axis=1)
    inside = (place > low) & (place < high)
    inside[0] = True  # the caller judges the minimum of the full data's parabola
    places = np.where(inside, centre + width * place, np.nan)
    return float(places[0]), float(least[0]), places[1:]


def _akima(
    group: Points, sizes: Floats, noise: float, resamples: int, random: np.random.Generator
) -> tuple[float, float, Floats]:
    """As `_parabolas`, of Akima's curve; a resample least at an end of the sizes has no minimum."""
    loss = np.exp(_size_means(group, sizes, np.log(group.loss)))
    place, least = akima_minimum(sizes, np.log(loss))
    if not sizes[0] < place < sizes[-1] and np.ptp(loss) > TIE * loss.min():
        place = np.array(_least(sizes, np.log(loss)))
    perturbed = loss + noise * random.standard_normal((resamples, len(sizes)))
    drawn, _ = akima_minimum(sizes, np.log(np.maximum(perturbed, 1e-3 * loss)))
    drawn = np.where((drawn > sizes[0]) & (drawn < sizes[-1]), drawn, np.nan)
    return float(place), float(np.exp(least)), drawn


def akima(x: Floats, y: Floats, at: Floats) -> Floats:
    """(..., m) Akima's interpolation of curves y (..., n) over increasing knots x (n,), at `at` (m,).

    Akima 1970, "A new method of interpolation and smooth curve fitting based on local procedures": it passes
    through every point and does not overshoot next to a jump.
    """
    values: Floats = Akima1DInterpolator(x, y, axis=-1)(at)
    return values


def akima_minimum(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Place and value (...,) of the minimum of Akima's curves y (..., n) over knots x (n,), exactly.

    A curve whose minimum is at its first or last knot has that knot as its place.
    """
    # (..., n - 1) coefficients of powers of the distance from each knot, highest first.
    c3, c2, c1, c0 = np.moveaxis(Akima1DInterpolator(x, y, axis=-1).c, 1, -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        # Roots of c1 + 2 c2 s + 3 c3 s^2, in the form that loses no digits when c3 is small.
        q = -(c2 + np.copysign(np.sqrt(c2 * c2 - 3 * c1 * c3), c2))
        roots = np.stack([q / (3 * c3), c1 / q])
        inside = (roots > 0) & (roots < np.diff(x))
        s = np.where(inside, roots, 0.0)
    values = np.where(inside, c0 + s * (c1 + s * (c2 + s * c3)), np.inf)
    # Knots come first, so that of equal values an end is taken: a flat curve has no interior minimum.
    values = np.concatenate([y, *values], axis=-1)
    places = np.concatenate([np.broadcast_to(x, y.shape), *(x[:-1] + s)], axis=-1)
    best = values.argmin(axis=-1)[..., None]
    return np.take_along_axis(places, best, -1)[..., 0], np.take_along_axis(values, best, -1)[..., 0]


def _log_tokens(group: Points, log_n: Floats) -> Floats:
    """Log D at log N: N D, which is the same for all points of a budget of 6ND, interpolated over log N."""
    sizes = _sizes(group)
    product = _size_means(group, sizes, np.log(group.params) + np.log(group.tokens))
    return np.interp(log_n, sizes, product) - log_n
