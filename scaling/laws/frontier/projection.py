"""The law L = E + A/N^alpha + B/D^beta by variable projection: a search over the two exponents alone.

At given exponents E, A and B enter linearly, and the best non-negative ones have a closed form; the rest
is a function of (alpha, beta), which a grid covers and Gauss-Newton steps finish (Golub and Pereyra 1973,
"The differentiation of pseudo-inverses and nonlinear least squares problems whose variables separate"; for
isoFLOP sweeps Czech et al. 2026, arXiv:2603.22339). The law is fitted to the valley itself, not to a
parabola, so grids of sizes that are wide or off centre do not bias the optimum. Unlike
`scaling.laws.fit_points` it minimises squared relative errors: an outlier counts in full. The estimate is
unbiased only if the law holds. Far from the optimum it need not, and then minima found budget by budget are
the better estimate: `rms_error` should not be far above the noise between seeds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.chinchilla import CHINCHILLA
from scaling.laws.forms.form import ComputeOptimum
from scaling.laws.forms.numeric_optimum import NumericOptimum
from scaling.laws.points import Points, canonical
from scaling.laws.tuned import tuned
from scaling.laws.uncertainty.bootstrap import MOST_REJECTED
from scaling.laws.uncertainty.noise import MIN_RUNS
from scaling.laws.uncertainty.resample import Interval, expanded, expansion, percentiles, run_counts
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

Floats = NDArray[np.float64]

NAMES = CHINCHILLA.parameter_names
MIN_POINTS = 6
MIN_LEVELS = 3
EXPONENTS = (0.01, 3.0)  # outside, a power is a constant or a step on any ladder of sizes
GRID = 24
STEPS = 60
CHUNK = 100  # resamples solved at once: their grids take some 50 MB


@dataclass(frozen=True)
class ProjectedLaw:
    """The fitted law, its optimum N_opt = G (C/6)^a, and bootstrap percentiles (empty without one).

    `objective` is the weighted sum of squared relative errors, `rms_error` their root mean square.
    `samples_S5` are the parameters of each resample in the order of `parameters`, NaN where it drew too few
    sizes or token budgets. `at_bound` names what the data do not determine: an E of 0,
    which has no interval, and exponents.
    """

    parameters: dict[str, float]
    intervals: dict[str, Interval]
    optimum: ComputeOptimum | NumericOptimum | None
    objective: float
    rms_error: float
    n: int
    at_bound: tuple[str, ...]
    samples_S5: Floats


def fit_projected(points: Points, bootstrap: int = 0, seed: int = 0) -> ProjectedLaw:
    """Minimise sum_i weight_i ((E + A/N_i^alpha + B/D_i^beta) / L_i - 1)^2 with E, A, B >= 0.

    There are no intervals with fewer than five runs, or where a fifth of the resamples lack sizes or budgets.

    Args:
        points: finished budgets, of any design in which N and D vary apart.
        bootstrap: resamples of complete runs; 0 for none.
        seed: of the resamples.

    Raises:
        BadInputError: too few points or levels, tokens that follow params exactly, or `bootstrap` is 1.
    """
    if bootstrap < 0 or bootstrap == 1:
        raise BadInputError(f"bootstrap={bootstrap} is not accepted; give 0, or at least 2 resamples")
    points = tuned(canonical(points), CHINCHILLA).points
    _refuse(points)
    log_n, log_d = np.log(points.params), np.log(points.tokens)
    reference = np.array([log_n.mean(), log_d.mean()])
    x, z = log_n - reference[0], log_d - reference[1]
    theta, value = _solve(x, z, points.loss, points.weight[None])
    fitted = _reported(theta, reference)
    samples = np.empty((0, 5))
    runs = int(points.group_index().max()) + 1
    if bootstrap and runs >= MIN_RUNS:
        random = np.random.default_rng([seed, 3])
        weight = run_counts(points.group_index(), bootstrap, random) * points.weight
        pieces = [
            _solve(x, z, points.loss, part)[0] for part in np.array_split(weight, -(-bootstrap // CHUNK))
        ]

        def predicted(one: Floats) -> Floats:
            E, A, B, alpha, beta = one
            values: Floats = (E + A * np.exp(-alpha * x) + B * np.exp(-beta * z)) / points.loss
            return np.sqrt(points.weight) * values

        bounds = np.array([(0.0, np.inf)] * 3 + [EXPONENTS] * 2).T
        drawn = expanded(predicted, theta[0], np.concatenate(pieces), expansion(runs), bounds)
        samples = _reported(drawn, reference)
        determined = _levels(log_n, weight) & _levels(log_d, weight)
        samples[~determined] = np.nan
        if (~determined).mean() > MOST_REJECTED:  # the others are too much like the data
            samples = np.empty((0, 5))
    parameters = dict(zip(NAMES, map(float, fitted[0]), strict=True))
    near = ["E"] * bool(theta[0, 0] <= 0)
    near += [
        name
        for name, exponent, scale in (("alpha", theta[0, 3], theta[0, 1]), ("beta", theta[0, 4], theta[0, 2]))
        if scale <= 0 or not EXPONENTS[0] * 1.001 < exponent < EXPONENTS[1] / 1.001
    ]
    intervals = {
        name: interval
        for name, column in [*zip(NAMES, samples.T, strict=True), ("a", _exponent_of(samples))]
        if (interval := percentiles(column)) is not None
    }
    if "E" in near:
        intervals.pop("E", None)
    if "a" in intervals:
        intervals["b"] = (1 - intervals["a"][1], 1 - intervals["a"][0])
    return ProjectedLaw(
        parameters=parameters,
        intervals=intervals,
        optimum=None if theta[0, 1:3].min() <= 0 else CHINCHILLA.optimum(parameters),
        objective=float(value[0]),
        rms_error=float(np.sqrt(value[0] / points.weight.sum())),
        n=len(points),
        at_bound=tuple(near),
        samples_S5=samples,
    )


def _refuse(points: Points) -> None:
    if len(points) < MIN_POINTS:
        raise BadInputError(
            f"{points.source}: {plural(len(points), 'point')}; variable projection needs at least "
            f"{MIN_POINTS}: add runs"
        )
    logs = np.log(np.stack([points.params, points.tokens]))
    for name, row in zip(("params", "tokens"), logs, strict=True):
        levels = len(np.unique(np.round(row, 9)))
        if levels < MIN_LEVELS:
            raise BadInputError(
                f"{points.source}: {plural(levels, 'different value')} of {name}; variable projection "
                f"needs at least {MIN_LEVELS}: add runs"
            )
    if abs(np.corrcoef(logs)[0, 1]) > 0.9999:
        raise BadInputError(
            f"{points.source}: tokens follow params exactly, as at one compute budget or one ratio, so that "
            "A/N^alpha and B/D^beta cannot be told apart; add other token budgets at some sizes"
        )


def _levels(column: Floats, weight_Sn: Floats) -> NDArray[np.bool_]:
    """(S,) whether a resample drew enough different values; with fewer it would only measure the bounds."""
    values = np.round(column, 9)
    one_hot = (values[:, None] == np.unique(values)).astype(np.float64)
    return ((weight_Sn > 0).astype(np.float64) @ one_hot > 0).sum(axis=1) >= MIN_LEVELS


def _exponent_of(samples_S5: Floats) -> Floats:
    """(S,) exponent of N_opt in compute; NaN where a term is absent and there is no optimum."""
    alpha, beta = samples_S5[:, 3], samples_S5[:, 4]
    return np.where(samples_S5[:, 1:3].min(axis=1, initial=np.inf) > 0, beta / (alpha + beta), np.nan)


def _reported(theta_S5: Floats, reference: Floats) -> Floats:
    """Terms at the reference point to the scales A and B at N = D = 1."""
    out = theta_S5.copy()
    out[:, 1:3] *= np.exp(theta_S5[:, 3:] * reference)
    return out


def non_negative(gram: Floats, right: Floats) -> Floats:
    """(..., 3) least-squares coefficients, none below 0, from X'WX (..., 3, 3) and X'Wy (..., 3).

    Of the eight sets of coefficients that may differ from 0, the best one that is feasible: with three,
    trying all is exact and has no iteration.
    """
    scale = np.sqrt(np.maximum(np.einsum("...ii->...i", gram), 1e-300))
    G, r = gram / (scale[..., :, None] * scale[..., None, :]), right / scale
    best, best_gain = np.zeros_like(r), np.zeros(r.shape[:-1])
    for kept in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        at = list(kept)
        ridge = 1e-14 * np.eye(len(at))  # columns that are one to the last bit share their coefficient
        c = np.linalg.solve(G[..., at, :][..., at] + ridge, r[..., at, None])[..., 0]
        gain = (c * r[..., at]).sum(-1)
        better = (c >= 0).all(axis=-1) & (gain > best_gain)
        full = np.zeros_like(r)
        full[..., at] = c
        best = np.where(better[..., None], full, best)
        best_gain = np.where(better, gain, best_gain)
    return best / scale


def _project(
    x: Floats, z: Floats, loss: Floats, weight_Sn: Floats, exponents_S2: Floats
) -> tuple[Floats, Floats, Floats]:
    """Coefficients (S, 3), relative residuals (S, n) and columns (S, n, 3), all relative to the loss."""
    u, v = np.exp(-exponents_S2[:, :1] * x), np.exp(-exponents_S2[:, 1:] * z)
    columns = np.stack([np.ones_like(u), u, v], axis=-1) / loss[:, None]
    weighted = weight_Sn[..., None] * columns
    gram = np.swapaxes(weighted, 1, 2) @ columns
    c = non_negative(gram, weighted.sum(axis=1))
    # Once more on the residual: normal equations lose half of the digits, a refinement returns them.
    residual = 1 - (columns @ c[..., None])[..., 0]
    active = c > 0
    both = active[:, :, None] & active[:, None, :]
    right = np.where(active, (weighted * residual[..., None]).sum(axis=1), 0.0)
    inner = np.where(both, gram, 0.0) + np.eye(3) * np.where(active, 0.0, 1.0)[:, None, :]
    inner += 1e-14 * np.eye(3) * np.einsum("sii->si", gram)[:, None, :]
    step = np.linalg.solve(inner, right[..., None])[..., 0]
    c = np.where(np.all((c + step > 0) | ~active, axis=1, keepdims=True), c + step, c)
    return c, 1 - (columns @ c[..., None])[..., 0], columns


def _grid_start(x: Floats, z: Floats, loss: Floats, weight_Sn: Floats) -> Floats:
    """(S, 2) the best exponents on a geometric grid for each row of weights."""
    e = np.geomspace(0.03, EXPONENTS[1] / 1.5, GRID)
    u, v = np.exp(-np.outer(x, e)), np.exp(-np.outer(z, e))  # (n, grid)
    w1, w2 = weight_Sn / loss, weight_Sn / loss**2
    gram = np.empty((len(weight_Sn), GRID, GRID, 3, 3))
    gram[..., 0, 0] = w2.sum(axis=1)[:, None, None]
    gram[..., 0, 1] = gram[..., 1, 0] = (w2 @ u)[:, :, None]
    gram[..., 0, 2] = gram[..., 2, 0] = (w2 @ v)[:, None, :]
    gram[..., 1, 1] = (w2 @ u**2)[:, :, None]
    gram[..., 2, 2] = (w2 @ v**2)[:, None, :]
    cross = (u[:, :, None] * v[:, None, :]).reshape(len(x), -1)
    gram[..., 1, 2] = gram[..., 2, 1] = (w2 @ cross).reshape(-1, GRID, GRID)
    right = np.empty((len(weight_Sn), GRID, GRID, 3))
    right[..., 0] = w1.sum(axis=1)[:, None, None]
    right[..., 1] = (w1 @ u)[:, :, None]
    right[..., 2] = (w1 @ v)[:, None, :]
    gain = (non_negative(gram, right) * right).sum(axis=-1)
    row, column = np.divmod(gain.reshape(len(gain), -1).argmax(axis=1), GRID)
    return np.stack([e[row], e[column]], axis=1)


def _solve(x: Floats, z: Floats, loss: Floats, weight_Sn: Floats) -> tuple[Floats, Floats]:
    """(S, 5) E, the two terms at the reference point and the exponents, and (S,) the objective.

    Damped Gauss-Newton steps on log exponents from the best place of the grid; the derivative of the
    projected residual leaves out the small term of Golub and Pereyra that Kaufman 1975 leaves out.
    """
    exponents = _grid_start(x, z, loss, weight_Sn)
    c, residual, columns = _project(x, z, loss, weight_Sn, exponents)
    value = (weight_Sn * residual**2).sum(axis=1)
    damping = np.full(len(value), 1e-3)
    for _ in range(STEPS):
        # d residual / d log exponent, and out of it what E, A and B would take up.
        slopes = columns[..., 1:] * (c[:, 1:] * exponents)[:, None, :] * np.stack([x, z], axis=-1)
        J = np.concatenate([columns * (c > 0)[:, None, :], slopes], axis=-1) * np.sqrt(weight_Sn)[..., None]
        Q, R = np.linalg.qr(J)
        free = R[:, 3:, 3:]  # the part of the slopes orthogonal to the linear columns
        H = np.swapaxes(free, 1, 2) @ free
        g = (
            np.swapaxes(free, 1, 2)
            @ (np.swapaxes(Q, 1, 2)[:, 3:] @ (np.sqrt(weight_Sn) * residual)[..., None])
        )[..., 0]
        scale = np.einsum("sii->si", H)
        H = H + np.eye(2) * (damping[:, None] * scale + 1e-300)[:, None, :]
        with np.errstate(over="ignore", invalid="ignore"):
            step = -np.nan_to_num(np.linalg.solve(H, g[..., None])[..., 0])
        trial = np.clip(exponents * np.exp(np.clip(step, -1, 1)), *EXPONENTS)
        c_new, residual_new, columns_new = _project(x, z, loss, weight_Sn, trial)
        value_new = (weight_Sn * residual_new**2).sum(axis=1)
        better = value_new < value
        moved = np.abs(np.log(trial / exponents)).max(axis=1)
        exponents = np.where(better[:, None], trial, exponents)
        c, residual = np.where(better[:, None], c_new, c), np.where(better[:, None], residual_new, residual)
        columns = np.where(better[:, None, None], columns_new, columns)
        value = np.where(better, value_new, value)
        damping = np.clip(np.where(better, damping / 5, damping * 5), 1e-9, 1e12)
        if (moved < 1e-11).all():
            break
    return np.concatenate([c, exponents], axis=1), value
