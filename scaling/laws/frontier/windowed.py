"""Loss against log N near the minimum of every budget: parabolas in a window, with one skew for all budgets.

Under L = E + A / N^alpha + B / D^beta a budget's valley is A' e^(-alpha x) + B' e^(beta x) with x = log(N /
N_opt), whose third derivative at the minimum is (beta - alpha) times its second, at every budget. A parabola
has no third derivative, and its vertex is off by a factor that grows with the width of the grid. Here the
valley is

    L_b(x) = a_b + p_b z + q_b (e^(s z) - 1 - s z) / s^2,    z = x - centre_b,

a parabola at s = 0 (Varian's "linex" function), with its own a, p and q at every budget and one s. One more
parameter than the parabolas removes the bias of third order and costs next to no variance.

Sizes and budgets are chosen, not drawn, so a resample keeps all of them and changes the losses: each is its
fit plus the residual over sqrt(1 - leverage) (HC2: MacKinnon and White 1985) times a normal number that the
points of one run share (a wild cluster bootstrap). Student's t of the degrees of freedom scales the residuals
for what few points do not say about the noise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats
from scaling.laws.sections import LEVEL
from scaling.laws.uncertainty.noise import t_quantile

WINDOW = 5.0  # sizes within this factor of the minimum
FEWEST = 5  # sizes in a window, if the budget has as many
# beta - alpha is -0.06 (Hoffmann et al. 2022), 0.02 (Besiroglu et al. 2024), 0 (Muennighoff et al. 2023);
# few noisy points do not determine it, and a normal prior of this width then keeps it near 0.
SKEW = 0.3
LARGEST_SKEW = 1.5
STEPS = 30
SERIES = 0.02  # of s z, below which the quotients lose digits
PRECISE = 1e-8  # last step of s
LEAST_FREE = 0.05  # of 1 - leverage
NORMAL = 1.96
CURVED = 1e-9  # least q, relative to the loss, of a valley that has a minimum


@dataclass(frozen=True)
class Budget:
    """Points of one budget: log N, loss, log (C / budget), weight and number of the run, each (n,).

    `sizes` (K,) are the different log N and `means` (K,) the mean losses at them.
    """

    log_flops: float
    log_n: Floats
    loss: Floats
    log_excess: Floats
    weight: Floats
    run: NDArray[np.int64]
    sizes: Floats
    means: Floats


@dataclass(frozen=True)
class Valley:
    """One budget's minimum: log N and loss, NaN without one; log N of each resample; and the curve.

    `curve` is (100, 2), N and loss over the window; `sizes` are those in it.
    """

    log_n: float
    loss: float
    sizes: int
    log_n_S: Floats
    curve: Floats


@dataclass(frozen=True)
class _Window:
    """The points of a budget inside its window: z = log N less the centre, weight and run, each (n,).

    `basis` (n, 2) is orthonormal and spans 1 and z, weighted; `corner` (2, 2) turns them into it.
    """

    z: Floats
    weight: Floats
    run: NDArray[np.int64]
    centre: float
    basis: Floats
    corner: Floats

    @classmethod
    def of(cls, budget: Budget, kept: NDArray[np.bool_]) -> "_Window":
        log_n, weight = budget.log_n[kept], budget.weight[kept]
        z = log_n - log_n.mean()
        basis, corner = np.linalg.qr(np.sqrt(weight)[:, None] * np.stack([np.ones_like(z), z], axis=1))
        return cls(z, weight, budget.run[kept], float(log_n.mean()), basis, corner)

    def off_line(self, values: Floats) -> Floats:
        """Weighted values (S, n) less their projection on 1 and z."""
        return values - (values @ self.basis) @ self.basis.T


@dataclass(frozen=True)
class _Fit:
    """S fits to one budget, (S, ...): a, p and q; weighted column h off the line; weighted residuals."""

    coefficients: Floats
    column: Floats
    residual: Floats

    def off_columns(self, window: _Window, values: Floats) -> Floats:
        """Weighted values (S, n) less their projection on all columns."""
        rest = window.off_line(values)
        along = (self.column * rest).sum(axis=1) / (self.column**2).sum(axis=1)
        return rest - along[:, None] * self.column

    def leverage(self, window: _Window) -> Floats:
        """(S, n) of the linear columns."""
        square = self.column**2
        return (window.basis**2).sum(axis=1) + square / square.sum(axis=1, keepdims=True)


def fit_valleys(
    budgets: Sequence[Budget],
    window: float = WINDOW,
    resamples: int = 0,
    random: np.random.Generator | None = None,
) -> list[Valley]:
    """The valleys of all budgets with their common skew.

    Points whose compute differs from that of their budget, by rounding or counting, are first moved to it
    along the slope of the minima's loss against compute, which at the minimum is also that of a fixed size.

    With `resamples`, no valley has any (they are NaN) where the points leave no degree of freedom.
    """
    inside = [_inside(one, window) for one in budgets]
    windows = [_Window.of(one, kept) for one, kept in zip(budgets, inside, strict=True)]
    losses = [one.loss[None, kept] for one, kept in zip(budgets, inside, strict=True)]
    skew, fits = _solve(windows, losses)
    log_flops = np.array([one.log_flops for one in budgets])
    if len(budgets) > 1 and any(np.abs(one.log_excess).max() > 1e-9 for one in budgets):
        least = np.array([_minimum(one, skew)[1][0] for one in fits])
        if np.isfinite(least).all():
            slopes = np.gradient(least, log_flops)
            losses = [
                loss - slope * one.log_excess[kept]
                for loss, slope, one, kept in zip(losses, slopes, budgets, inside, strict=True)
            ]
            skew, fits = _solve(windows, losses)
    drawn = [np.full(resamples, np.nan) for _ in budgets]
    freedom = _freedom(windows, fits, log_flops)
    if resamples and freedom >= 1:
        assert random is not None
        drawn = _resampled(windows, losses, fits, float(skew[0]), freedom, resamples, random)
    valleys = []
    for one, fit, places in zip(windows, fits, drawn, strict=True):
        place, least = _minimum(fit, skew)
        grid = np.linspace(one.z.min(), one.z.max(), 100)
        a, p, q = fit.coefficients[0]
        curve = a + p * grid + q * _h(grid, skew)[0]
        valleys.append(
            Valley(
                log_n=one.centre + float(place[0]),
                loss=float(least[0]),
                sizes=len(np.unique(one.z.round(9))),
                log_n_S=places,
                curve=np.stack([np.exp(one.centre + grid), curve], axis=1),
            )
        )
    return valleys


def _resampled(
    windows: Sequence[_Window],
    losses: Sequence[Floats],
    fits: Sequence[_Fit],
    skew: float,
    freedom: float,
    resamples: int,
    random: np.random.Generator,
) -> list[Floats]:
    """By budget (S,) log N at the minimum of every resample; NaN outside the window."""
    spread = t_quantile(LEVEL, int(freedom)) / NORMAL
    runs = 1 + max(int(one.run.max()) for one in windows)
    factors = spread * random.standard_normal((resamples, runs))
    changed = []
    for one, loss, fit in zip(windows, losses, fits, strict=True):
        root = np.sqrt(one.weight)
        scaled = fit.residual / np.sqrt(np.maximum(1 - fit.leverage(one), LEAST_FREE))
        changed.append(loss + (factors[:, one.run] * scaled - fit.residual) / root)
    skews, again = _solve(windows, changed, skew, _variance(windows, fits))
    out = []
    for one, fit in zip(windows, again, strict=True):
        place, _ = _minimum(fit, skews)
        out.append(np.where((place > one.z.min()) & (place < one.z.max()), one.centre + place, np.nan))
    return out


def _inside(budget: Budget, window: float) -> NDArray[np.bool_]:
    """(n,) which points are in the window, which is centred on the vertex of the parabola in it."""
    centre = float(budget.sizes[budget.means.argmin()])
    fewest = min(FEWEST, len(budget.sizes))
    for _ in range(3):
        distance = np.abs(budget.sizes - centre)
        reach = max(np.log(window), float(np.sort(distance)[fewest - 1])) + 1e-9
        near = distance <= reach
        z = budget.sizes[near] - centre
        c2, c1, _ = np.polyfit(z, budget.means[near], 2)
        if c2 > 0:
            centre += float(np.clip(-c1 / (2 * c2), z[0], z[-1]))
    inside: NDArray[np.bool_] = np.abs(budget.log_n - centre) <= reach
    return inside


def _left(windows: Sequence[_Window]) -> int:
    """Points less parameters."""
    return sum(len(one.z) - 3 for one in windows) - 1


def _variance(windows: Sequence[_Window], fits: Sequence[_Fit]) -> float:
    """Of a loss, by the residuals of the first fit."""
    return sum(float((fit.residual[0] ** 2).sum()) for fit in fits) / max(1, _left(windows))


def _freedom(windows: Sequence[_Window], fits: Sequence[_Fit], log_flops: Floats) -> float:
    """Degrees of freedom of the exponent's variance (Bell and McCaffrey 2002): (tr M W)^2 / tr (M W)^2.

    M makes residuals; W is diagonal, of the squares of the derivatives of the exponent in the losses over 1 -
    leverage. Runs with points at several budgets are fewer than the points: at most four less than the runs.
    """
    runs = len(np.unique(np.concatenate([one.run for one in windows])))
    if (left := min(_left(windows), runs - 4)) < 1:
        return float(left)
    reach = log_flops - log_flops.mean() if len(windows) > 1 else np.ones(1)
    first, second = 0.0, 0.0
    for one, fit, slope in zip(windows, fits, reach, strict=True):
        _, p, q = fit.coefficients[0]
        column = fit.column[0] / (fit.column[0] ** 2).sum()
        of_p = one.basis @ np.linalg.inv(one.corner)[1] - column * (
            (one.basis.T @ (np.sqrt(one.weight) * _h(one.z, np.zeros(1))[0])) @ np.linalg.inv(one.corner)[1]
        )
        derivative = slope * (-of_p / q + p / q**2 * column)
        hat = one.basis @ one.basis.T + np.outer(fit.column[0], column)
        product = (np.eye(len(one.z)) - hat) * (
            derivative**2 / np.maximum(1 - fit.leverage(one)[0], LEAST_FREE)
        )
        first += float(np.trace(product))
        second += float(np.trace(product @ product))
    return min(float(left), first**2 / second) if second > 0 else float(left)


def _solve(
    windows: Sequence[_Window],
    losses: Sequence[Floats],
    start: float = 0.0,
    noise: float | None = None,
) -> tuple[Floats, list[_Fit]]:
    """Gauss-Newton in s, with everything else eliminated (Golub and Pereyra 1973; Kaufman 1975).

    Args:
        windows: of the budgets.
        losses: by budget, (S, n).
        start: of s.
        noise: variance of a loss; by default that of the first row's residuals.

    Returns:
        (S,) s, and the linear fits of every budget.
    """
    skew = np.full(len(losses[0]), start)
    fits = [_linear(one, loss, skew) for one, loss in zip(windows, losses, strict=True)]
    for _ in range(STEPS if _left(windows) > 0 else 0):
        gain, curvature = np.zeros_like(skew), np.zeros_like(skew)
        for one, fit in zip(windows, fits, strict=True):
            slope = fit.coefficients[:, 2:] * _dh(one.z, skew) * np.sqrt(one.weight)
            gain += (fit.residual * slope).sum(axis=1)
            curvature += (fit.off_columns(one, slope) ** 2).sum(axis=1)
        prior = (_variance(windows, fits) if noise is None else noise) / SKEW**2
        step = np.clip((gain - prior * skew) / (curvature + prior + 1e-300), -0.3, 0.3)
        moved = np.clip(skew + step, -LARGEST_SKEW, LARGEST_SKEW)
        done = np.abs(moved - skew).max() < PRECISE
        skew = moved
        fits = [_linear(one, loss, skew) for one, loss in zip(windows, losses, strict=True)]
        if done:
            break
    return skew, fits


def _linear(window: _Window, loss: Floats, skew: Floats) -> _Fit:
    """a, p and q of losses (S, n) at the skews (S,)."""
    root = np.sqrt(window.weight)
    y, h = root * loss, root * _h(window.z, skew)
    column, rest = window.off_line(h), window.off_line(y)
    q = (column * rest).sum(axis=1) / (column**2).sum(axis=1)
    line = ((y - q[:, None] * h) @ window.basis) @ np.linalg.inv(window.corner).T
    return _Fit(np.concatenate([line, q[:, None]], axis=1), column, rest - q[:, None] * column)


def _minimum(fit: _Fit, skew: Floats) -> tuple[Floats, Floats]:
    """(S,) z and loss at the minima; NaN without one."""
    a, p, q = fit.coefficients.T
    s = np.where(np.abs(skew) < 1e-8, 1e-8, skew)
    with np.errstate(invalid="ignore", divide="ignore"):
        inner = np.where(q > CURVED * np.abs(a), 1 - s * p / q, np.nan)
        place = np.where(inner > 0, np.log(inner) / s, np.nan)
    return place, a + p * place + q * _h(place[:, None], skew)[:, 0]


def _h(z: Floats, skew: Floats) -> Floats:
    """(S, n) (e^(s z) - 1 - s z) / s^2."""
    s = skew[:, None]
    u = s * z
    series = z**2 * (1 / 2 + u / 6 + u**2 / 24 + u**3 / 120)
    safe = np.where(np.abs(u) < SERIES, 1.0, u)
    return np.where(np.abs(u) < SERIES, series, z**2 * (np.expm1(safe) - safe) / safe**2)


def _dh(z: Floats, skew: Floats) -> Floats:
    """(S, n) the derivative of `_h` in s."""
    s = skew[:, None]
    u = s * z
    series = z**3 * (1 / 6 + u / 12 + u**2 / 40 + u**3 / 180)
    safe = np.where(np.abs(u) < SERIES, 1.0, u)
    exact = z**3 * (safe * (np.expm1(safe)) - 2 * (np.expm1(safe) - safe)) / safe**3
    return np.where(np.abs(u) < SERIES, series, exact)
