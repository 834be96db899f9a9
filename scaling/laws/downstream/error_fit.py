"""Fit `downstream-error`: its floor, ceiling and shape by evidence, and averaged by it.

Runs seldom show where the error of a task ends, so the floor is not one number: it is held at each
value of a grid, from zero to the lowest error, for each shape nu = 0, 1 and 3. Given the floor, k and L0 the
ceiling is linear; a grid over k and L0, refined around its best, finds the least squares of the error
(variable projection, Golub and Pereyra 1973). All these forms have the same three fitted parameters, so that
their weights are likelihoods, s^-(n - P) with s the residual scale: a normal likelihood with the
scale integrated out. A quarter of the prior weight is on a floor of exactly zero. A bootstrap resample
is fitted by a form that is drawn by these weights (Buckland et al. 1997, "Model selection: an integral part
of inference"): every interval includes the choice.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from scaling.laws.forms.form import Floats
from scaling.laws.forms.task_error import DownstreamError, risen
from scaling.laws.sections import LEVEL, Averaging, WeightedForm
from scaling.laws.uncertainty.noise import t_quantile

SHAPES = {0.0: "Gompertz", 1.0: "logistic", 3.0: "slow below"}  # by nu
PARAMETERS = 4  # floor, ceiling, k, L0
# k times the range of the losses, and L0 in such ranges from the middle loss.
STEEPNESS = np.geomspace(0.4, 60.0, 20)
MIDDLES = np.linspace(-2.0, 2.0, 41)
ZOOM, ZOOMS, FINAL_ZOOMS = 0.45, 6, 14  # of a resample, of the data
CHUNK = 256  # fits refined at once
FLOORS = 25  # of a grid
ABOVE_LOWEST = 0.1  # of the range of errors: how far a floor may be above the lowest error
AT_ZERO = 0.25  # prior weight of a floor of exactly zero
LEAST_LIKELY = 1e-4  # of the best likelihood: where the grid of floors ends
LEAST_WEIGHT = 1e-4  # forms of less are left out of the average
TINY = 1e-300


@dataclass(frozen=True)
class Fitted:
    """Least squares of R problems: (R, 5) parameters in the order of the law's names, (R,) squares."""

    parameters: Floats
    squares: Floats


def fit_errors(
    nu: float, floor: Floats, loss: Floats, error: Floats, weights: Floats, zooms: int = ZOOMS
) -> Fitted:
    """The ceiling, k and L0 of n points under R weightings (R, n), each with its floor (R,)."""
    middle, span = (loss.max() + loss.min()) / 2, loss.max() - loss.min()
    x = (loss - middle) / span
    k, c = (grid.ravel() for grid in np.meshgrid(STEEPNESS, MIDDLES, indexing="ij"))
    s = risen(k[:, None] * (x - c[:, None]), nu)  # (G, n)
    b, squares = _rise(floor, weights, error, s @ weights.T, (s * s) @ weights.T, (s * error) @ weights.T)
    rows, at = np.arange(len(weights)), squares.argmin(0)
    best = np.stack([b[at, rows], np.log(k[at]), c[at], squares[at, rows]])
    for first in range(0, len(weights), CHUNK):
        part = slice(first, first + CHUNK)
        best[:, part] = _refined(nu, floor[part], x, error, weights[part], best[:, part], zooms)
    parameters = [
        floor,
        floor + best[0],
        np.full(len(rows), nu),
        np.exp(best[1]) / span,
        middle + span * best[2],
    ]
    return Fitted(np.stack(parameters, axis=-1), best[3])


def _refined(
    nu: float, floor: Floats, x: Floats, error: Floats, weights: Floats, best: Floats, zooms: int
) -> Floats:
    """The rows rise, log k, L0, squares of `best` (4, R) after ever finer grids around each."""
    steps = np.array([np.log(STEEPNESS[1] / STEEPNESS[0]), MIDDLES[1] - MIDDLES[0]])
    log_k, c = (grid.ravel() for grid in np.meshgrid(*[np.linspace(-1, 1, 5)] * 2))
    w, rows = weights[:, None, :], np.arange(len(weights))
    for _ in range(zooms):
        new_k = best[1] + steps[0] * log_k[:, None]  # (25, R)
        new_c = best[2] + steps[1] * c[:, None]
        s = risen(np.exp(new_k.T)[:, :, None] * (x - new_c.T[:, :, None]), nu)  # (R, 25, n)
        sums = (s * w).sum(2).T, (s * s * w).sum(2).T, ((s * w) @ error).T
        b, squares = _rise(floor, weights, error, *sums)
        at = squares.argmin(0)
        new = np.stack([v[at, rows] for v in (b, new_k, new_c, squares)])
        best = np.where(new[3] < best[3], new, best)
        steps *= ZOOM
    return best


def _rise(
    floor: Floats, weights: Floats, error: Floats, ws: Floats, wss: Floats, wsy: Floats
) -> tuple[Floats, Floats]:
    """The rise b of floor + b s with the least weighted squares, 0 <= b <= 1 - floor, and those squares.

    `ws`, `wss`, `wsy` (..., R) are weighted sums of s, s^2 and s y over the points.
    """
    w, wy, wyy = weights.sum(1), weights @ error, weights @ error**2
    b = np.clip((wsy - floor * ws) / np.maximum(wss, TINY), 0.0, 1.0 - floor)
    squares = wyy - 2 * floor * wy - 2 * b * wsy + floor**2 * w + 2 * floor * b * ws + b * b * wss
    return b, np.maximum(squares, 0.0)


def average(loss: Floats, error: Floats, weight: Floats) -> tuple[dict[str, float], Averaging]:
    """Parameters of the most likely form of n points (n,), and all forms with their weights."""
    n, weight = len(loss), weight / weight.mean()
    low, high = float(error.min()), float(error.max())
    most = min(low + ABOVE_LOWEST * (high - low), 0.999)
    rounding = n * (1e-6 * high) ** 2  # squares below it distinguish no forms

    def fits(nu: float, floors: Floats) -> Fitted:
        return fit_errors(nu, floors, loss, error, np.tile(weight, (len(floors), 1)), FINAL_ZOOMS)

    def log_likelihood(fitted: Fitted) -> Floats:
        likelihood: Floats = -0.5 * max(n - PARAMETERS, 1) * np.log(fitted.squares + rounding)
        return likelihood

    coarse = np.linspace(0.0, most, FLOORS)
    first = {nu: log_likelihood(fits(nu, coarse)) for nu in SHAPES}
    top = max(float(one.max()) for one in first.values())
    rows: list[tuple[float, float, Floats, float]] = []  # log weight, log likelihood, parameters, squares
    for nu, likelihood in first.items():
        likely = np.flatnonzero(likelihood > top + np.log(LEAST_LIKELY))
        if len(likely):
            start, stop = max(likely[0] - 1, 0), min(likely[-1] + 1, FLOORS - 1)
            edges = np.linspace(coarse[start], coarse[stop], FLOORS + 1)
            floors = np.concatenate([[0.0], (edges[1:] + edges[:-1]) / 2])
            prior = np.full(FLOORS + 1, (1 - AT_ZERO) * (edges[1] - edges[0]) / most)
            prior[0] = AT_ZERO
            fine = fits(nu, floors)
            values = log_likelihood(fine)
            rows += zip(np.log(prior) + values, values, fine.parameters, fine.squares, strict=True)
    logs = np.array([row[0] for row in rows])
    shares = np.exp(logs - logs.max())
    shares[shares < LEAST_WEIGHT * shares.sum()] = 0.0
    shares /= shares.sum()
    noise = sum(share * row[3] for share, row in zip(shares, rows, strict=True)) / max(n - PARAMETERS, 1)
    freedom = max(n - PARAMETERS, 1)
    names = DownstreamError.parameter_names
    order = [i for i in np.argsort(-shares, kind="stable") if shares[i] > 0]
    likeliest = max(rows, key=lambda row: row[1])
    forms = tuple(
        WeightedForm(
            shape=SHAPES[float(rows[i][2][2])],
            parameters=dict(zip(names, map(float, rows[i][2]), strict=True)),
            weight=float(shares[i]),
        )
        for i in order
    )
    return dict(zip(names, map(float, likeliest[2]), strict=True)), Averaging(
        criterion="likelihood of normal errors of the error, scale integrated out",
        residual_noise=sqrt(noise),
        # Resampled residuals are too small by (n - P) / n, and normal quantiles narrower than Student's.
        inflation=sqrt(n / freedom) * t_quantile(LEVEL, freedom) / 1.96,
        forms=forms,
    )


def resampled(averaging: Averaging, loss: Floats, error: Floats, weights: Floats, seed: int) -> Floats:
    """(R, 5) parameters of each row of weights (R, n), fitted by a form that is drawn by its weight."""
    R = len(weights)
    share = np.cumsum([form.weight for form in averaging.forms])
    # Stratified: of R resamples every form gets its share.
    edges = np.searchsorted(share / share[-1], (np.arange(R) + 0.5) / R)
    pick = np.random.default_rng([seed, 2]).permutation(edges)
    floor, nu = (
        np.array([one.parameters[name] for one in averaging.forms])[pick] for name in ("floor", "nu")
    )
    out = np.zeros((R, len(DownstreamError.parameter_names)))
    for shape in SHAPES:
        mine = np.flatnonzero(nu == shape)
        if len(mine):
            out[mine] = fit_errors(shape, floor[mine], loss, error, weights[mine]).parameters
    return out


def gradient_norm(parameters: dict[str, float], loss: Floats, error: Floats, weight: Floats) -> float:
    """Norm of the gradient of half the squares in log k and L0 over the range of losses.

    The ceiling is at its optimum for any k and L0, so that it adds nothing.
    """
    span = float(loss.max() - loss.min())

    def objective(log_k: float, shift: float) -> float:
        moved = parameters | {
            "k": parameters["k"] * np.exp(log_k),
            "L0": parameters["L0"] + span * shift,
        }
        return float((weight * (DownstreamError().predict(moved, loss=loss) - error) ** 2).sum() / 2)

    h = 1e-5
    slopes = (
        (objective(h, 0.0) - objective(-h, 0.0)) / (2 * h),
        (objective(0.0, h) - objective(0.0, -h)) / (2 * h),
    )
    return float(np.hypot(*slopes))
