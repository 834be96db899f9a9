"""Approach 2 of Hoffmann et al. 2022 (arXiv:2203.15556), section 3.2: the least loss at each compute budget.

Points of one budget form a valley of loss against log N. Its minimum is N_opt at that budget, found by one of

- "windowed", the default: a parabola through the sizes near the minimum, with one skew for all budgets
  (`scaling.laws.frontier.windowed`);
- "parabola": a parabola through all sizes (Hoffmann et al.). It is symmetric and the valley is not, so on a
  grid of sizes that is wide or off centre its vertex is biased even without noise;
- "akima": Akima interpolation in log-log, the median over losses perturbed by the noise between seeds (Porian
  et al. 2024, arXiv:2406.19146, appendix).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.chinchilla import CHINCHILLA
from scaling.laws.forms.form import Floats
from scaling.laws.frontier.budgets import isoflop_groups
from scaling.laws.frontier.power_law import MIN_OPTIMA, PowerLaw, fit_power_law
from scaling.laws.frontier.valley_curves import (
    measured_minimum,
    parabolas,
    perturbed_akima,
    size_means,
    sizes_of,
    valley,
)
from scaling.laws.frontier.windowed import WINDOW, Budget, Valley, fit_valleys
from scaling.laws.points import Points, canonical
from scaling.laws.tuned import tuned
from scaling.laws.uncertainty.resample import leave_one_out, percentiles, stratified_counts
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

Method = Literal["windowed", "parabola", "akima"]

MIN_SIZES = {"windowed": 4, "parabola": 4, "akima": 3}
# Standard deviation of the loss between seeds, in nats, with which Porian et al. perturb RefinedWeb losses;
# OpenWebText2 has 0.01.
SEED_NOISE = 0.002


@dataclass(frozen=True)
class Minimum:
    """The compute-optimal size at one budget.

    `log_std` is the standard deviation of log N_opt over the resamples that have a minimum, and
    `share` the part of them that do; NaN and 1 without a bootstrap. `spacing` is the mean distance of
    neighbouring sizes in log N. `curve` has points (N, loss) of the curve whose minimum this is.
    """

    flops: float
    params: float
    tokens: float
    loss: float
    sizes: int
    spacing: float
    log_std: float
    share: float
    curve: tuple[tuple[float, float], ...]

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
    `log_params_RG` and `log_tokens_RG` the same without each run in turn, empty but for "parabola".
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
    method: Method = "windowed",
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
        method: "windowed": parabolas near the minima with a common skew; resamples keep every size and
            perturb the losses. "parabola": one through all sizes; resamples draw complete runs, those of each
            budget among themselves. "akima": Akima interpolation of log loss over log N (runs of one size
            averaged), resamples add noise to each loss, and with resamples the estimate is their median.
        budgets: FLOPs to group at; None finds them, see `isoflop_groups`.
        tolerance: relative difference of compute inside a group.
        window: keep only sizes within this factor of the minimum ("windowed", by default 5), or of the size
            of least loss (by default all).
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
    points = tuned(canonical(points), CHINCHILLA).points
    random = np.random.default_rng([seed, 2])
    groups = isoflop_groups(points, budgets, tolerance)
    if method == "windowed":
        found = _windowed(points, groups, window or WINDOW, bootstrap, random)
    else:
        found = _one_by_one(points, groups, method, window, bootstrap, noise, random)
    refused, minima = [], []
    samples: list[tuple[Floats, Floats]] = []
    for (flops, members), one in zip(groups, found, strict=True):
        group = points.subset(members.tolist())
        sizes = sizes_of(group)
        if isinstance(one, str):
            refused.append(Refusal(flops, len(sizes), one))
            continue
        drawn = np.isfinite(one.log_params_S[:bootstrap])
        minima.append(
            Minimum(
                flops=flops,
                params=float(np.exp(one.log_params)),
                tokens=float(np.exp(_log_tokens(group, np.array(one.log_params), flops))),
                loss=one.loss,
                sizes=one.sizes,
                spacing=float(np.ptp(sizes)) / (len(sizes) - 1),
                log_std=float(one.log_params_S[:bootstrap][drawn].std()) if drawn.any() else float("nan"),
                share=max(float(drawn.mean()), 1 / bootstrap) if bootstrap else 1.0,
                curve=tuple((float(n), float(loss)) for n, loss in one.curve),
            )
        )
        samples.append((one.log_params_S, _log_tokens(group, one.log_params_S, flops)))
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


@dataclass(frozen=True)
class _Found:
    """Log N and loss at the minimum of one budget, log N of the resamples, and the curve (100, 2)."""

    log_params: float
    loss: float
    sizes: int
    log_params_S: Floats
    curve: Floats


def _one_by_one(
    points: Points,
    groups: Sequence[tuple[float, NDArray[np.int64]]],
    method: Method,
    window: float | None,
    bootstrap: int,
    noise: float,
    random: np.random.Generator,
) -> list[_Found | str]:
    """Of each budget its minimum, or the reason why it has none, by a parabola or Akima's curve."""
    counts_Qn = np.ones((0, len(points)))  # the resamples, then without each run in turn
    if bootstrap and method == "parabola":
        run = points.group_index()
        stratum = np.full(len(points), -1)
        for i, (_, members) in enumerate(groups):
            stratum[members] = i
        drawn = stratified_counts(run, stratum, bootstrap, random)
        counts_Qn = np.concatenate([drawn, leave_one_out(run)])
    out: list[_Found | str] = []
    for flops, members in groups:
        kept = _inside_window(points, members, window)
        group = points.subset(kept.tolist())
        sizes = sizes_of(group)
        reason = _too_few(sizes, flops, method)
        if not reason and method == "parabola":
            log_n, loss, drawn = parabolas(group, counts_Qn[:, kept])
            reason = _at_end(measured_minimum(group, sizes), sizes, flops) or _beyond(log_n, sizes, flops)
        elif not reason:
            log_n, loss, drawn = perturbed_akima(group, sizes, noise, bootstrap, random)
            reason = _at_end(log_n, sizes, flops)
            if not reason and 2 * np.isfinite(drawn).sum() < bootstrap:
                reason = (
                    f"{flops:.3g} FLOPs: fewer than half of the resamples have their least loss inside the "
                    "sizes; add sizes at both ends"
                )
        if reason:
            out.append(reason)
            continue
        if method == "akima" and bootstrap:
            log_n = float(np.nanmedian(drawn))
        out.append(_Found(log_n, loss, len(sizes), drawn, np.stack(valley(group, method), axis=1)))
    return out


def _windowed(
    points: Points,
    groups: Sequence[tuple[float, NDArray[np.int64]]],
    window: float,
    bootstrap: int,
    random: np.random.Generator,
) -> list[_Found | str]:
    """The same by parabolas near the minima; a budget without a minimum has no part in the common skew."""
    run = points.group_index()
    reasons: dict[int, str] = {}
    budgets: dict[int, Budget] = {}
    for i, (flops, members) in enumerate(groups):
        group = points.subset(members.tolist())
        sizes = sizes_of(group)
        if reason := _too_few(sizes, flops, "windowed") or _at_end(
            measured_minimum(group, sizes), sizes, flops
        ):
            reasons[i] = reason
            continue
        budgets[i] = Budget(
            log_flops=float(np.log(flops)),
            log_n=np.log(group.params),
            loss=group.loss,
            log_excess=np.log(group.flops / flops),
            weight=group.weight,
            run=run[members],
            sizes=sizes,
            means=size_means(group, sizes, group.loss),
        )
    valleys: dict[int, Valley] = {}
    while budgets:
        found = fit_valleys(list(budgets.values()), window)
        valleys = dict(zip(budgets, found, strict=True))
        beyond = {
            i: reason
            for i, one in valleys.items()
            if (reason := _beyond(one.log_n, budgets[i].sizes, groups[i][0]))
        }
        if not beyond:
            break
        reasons |= beyond
        budgets = {i: one for i, one in budgets.items() if i not in beyond}
    if budgets and bootstrap:
        found = fit_valleys(list(budgets.values()), window, bootstrap, random)
        valleys = dict(zip(budgets, found, strict=True))
    out: list[_Found | str] = []
    for i in range(len(groups)):
        if i in reasons:
            out.append(reasons[i])
        else:
            one = valleys[i]
            out.append(_Found(one.log_n, one.loss, one.sizes, one.log_n_S, one.curve))
    return out


def fit_isoflops(
    points: Points,
    method: Method = "windowed",
    budgets: Sequence[float] | None = None,
    tolerance: float = 0.05,
    window: float | None = None,
    bootstrap: int = 0,
    noise: float = SEED_NOISE,
    weighted: bool = False,
    seed: int = 0,
) -> IsoFlopFit:
    """The power laws of N_opt and D_opt through the minima; arguments as in `isoflop_minima`.

    D at a minimum is what its compute buys there: C / (N D) of the points, 6 where C is 6ND, is interpolated
    over log N. With `weighted`, a minimum counts by 1 / `log_uncertainty` squared.

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


def _log_tokens(group: Points, log_n: Floats, flops: float) -> Floats:
    """Log D at log N and the budget: C / (N D), 6 for all points if C is 6ND, is interpolated over log N."""
    sizes = sizes_of(group)
    cost = size_means(group, sizes, np.log(group.flops / (group.params * group.tokens)))
    return np.log(flops) - np.interp(log_n, sizes, cost) - log_n
