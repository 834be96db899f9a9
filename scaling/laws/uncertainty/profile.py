"""Profile intervals: hold one reported quantity at a value, refit the rest, and compare the objectives.

With F(q) the least objective where a quantity is q, the test of q is 2 (F(q) - F_min) / (E[psi^2] / E[psi'])
against the square of Student's t with n - P degrees of freedom: the drop test of Schrader and Hettmansperger
1980, see `noise.Scale`. For a linear law and least squares it gives the t interval exactly;
for the absolute value it is the likelihood ratio with the density of residuals at zero in place of Laplace's
(Koenker and Machado 1999, "Goodness of fit and related inference processes for quantile regression").

Where runs have several points, the threshold is multiplied by the quantity's design effect (the ratio of its
cluster-robust variance to that of independent points, Rao and Scott 1984), with t of one less than the runs.

A quantity is held by a pin: one more residual, k (q(theta) - q_held), with a weight that the data cannot
move. A pinned fit is the best fit at the value that it ends at, so the pin need not be rigid.
"""

from collections.abc import Collection

import numpy as np

from scaling.laws.forms.form import Floats
from scaling.laws.forms.quantities import Quantities
from scaling.laws.sections import Profile
from scaling.laws.solving.huber import Pins
from scaling.laws.solving.optimise import BestFit
from scaling.laws.solving.solver import solve
from scaling.laws.uncertainty.curvature import Curvature, quantity_slopes
from scaling.laws.uncertainty.noise import t_quantile

LADDER = (0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 3.0, 4.0, 6.0)  # standard errors on each side, the first time
FURTHER = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # times the last value, if the objective has not risen
INSIDE = 8  # values between the last below the threshold and the first above it
STIFF = 20.0  # a standard error of a pin, in units of delta
LOOSEST = 3.0  # a larger standard error has no meaning, and the ladder starts smaller
FARTHEST = 60.0  # on the scale of a quantity: a factor of e^60, or an exponent of 60


def profiles(
    best: BestFit, found: Curvature, asked: Quantities, level: float, only: Collection[str] = ()
) -> dict[str, Profile]:
    """The profile of every quantity, or of `only` some.

    Empty if the residuals have no scale to measure a rise by, or the points were chosen for their low loss.
    """
    form, problem = best.form, best.problem
    if found.scale is None or best.problem.chosen:
        return {}
    Q = len(asked.names)
    centre = asked.scaled(best.theta)
    G = quantity_slopes(asked, best.theta)
    moving = [
        i
        for i, name in enumerate(asked.names[: asked.pinned])
        if np.abs(G[i, form.free]).max() > 1e-12 and (name in only if only else name not in asked.missing)
    ]
    spread, direction = _spread(best, found, G)
    if found.clustered and found.covariance is None:
        return {}
    drop = found.scale.drop * problem.weight.mean() * found.design_effect(G)
    threshold = drop * t_quantile(level, found.scale.freedom) ** 2 / 2
    box = np.array(form.bounds)
    reach = np.minimum(spread, LOOSEST)
    # A pin is pulled by drop t / unit if its quantity is t standard errors off; ten standard errors move it
    # by a hundredth of one, and never out of its quadratic zone.
    unit = min(STIFF * problem.delta, 0.05)
    k = unit / reach

    known: list[list[tuple[float, float, Floats]]] = [[(centre[i], best.value, best.theta)] for i in range(Q)]

    def fit_at(wanted: list[tuple[int, float]], near: list[Floats]) -> None:
        """Fit with quantity i held at each value, from `near` by homotopy and directly."""
        if not wanted:
            return
        S = len(wanted)
        which, held = np.array([i for i, _ in wanted]), np.array([v for _, v in wanted])
        starts = np.clip(np.array(near), box[:, 0], box[:, 1])
        out = solve(
            problem,
            problem.weight[None],
            np.zeros(2 * S, int),
            np.concatenate([starts, starts]),
            np.repeat([best.homotopy_from(), problem.delta], S),
            Pins(*(np.tile(a, 2) for a in (which, held, k[which], 1000 * drop[which] / unit**2))),
            asked,
        )
        for s, theta in enumerate(out.theta):
            i = which[s % S]
            value = problem.objective(theta)
            place = float(asked.scaled(theta)[i])
            if np.isfinite(value) and np.isfinite(place):
                known[i].append((place, value, theta))

    first = [(i, float(centre[i] + sign * m * reach[i])) for i in moving for sign in (-1, 1) for m in LADDER]
    fit_at(first, [best.theta + direction[i] * (v - centre[i]) for i, v in first])
    for _ in range(2):
        wanted: list[tuple[int, float]] = []
        near: list[Floats] = []
        for i in moving:
            for sign in (-1, 1):
                values, from_theta = _next(known[i], centre[i], sign, best.value + threshold[i], reach[i])
                wanted += [(i, v) for v in values]
                near += from_theta
        fit_at(wanted, near)

    return {
        asked.names[i]: _profile(known[i], centre[i], best.value, threshold[i], asked, asked.names[i])
        for i in moving
    }


def _spread(best: BestFit, found: Curvature, G: Floats) -> tuple[Floats, Floats]:
    """(Q,) standard errors, and (Q, P) how theta moves with each quantity; rough without a covariance."""
    rough = 0.01 * np.diag(best.form.free.astype(float))
    covariance = found.covariance if found.covariance is not None else rough
    variance = np.einsum("qp,pr,qr->q", G, covariance, G)
    spread = np.sqrt(np.maximum(variance, 1e-16))
    direction = (G @ covariance) / np.maximum(variance, 1e-16)[:, None]
    return spread, direction


def _one_side(
    points: list[tuple[float, float, Floats]], centre: float, sign: int
) -> list[tuple[float, float, Floats]]:
    """Outward from the optimum, the best fit at each value."""
    side = sorted((p for p in points if sign * (p[0] - centre) >= 0), key=lambda p: (sign * p[0], p[1]))
    kept: list[tuple[float, float, Floats]] = []
    for p in side:
        if kept and abs(p[0] - kept[-1][0]) <= 1e-3 * abs(side[-1][0] - centre) / len(side):
            if p[1] < kept[-1][1]:
                kept[-1] = p
            continue
        kept.append(p)
    return kept


def _crossing(side: list[tuple[float, float, Floats]], limit: float) -> int | None:
    """Index of the first point above the limit that is beyond every point below it."""
    below = [j for j, p in enumerate(side) if p[1] <= limit]
    last = below[-1] if below else 0
    return last + 1 if last + 1 < len(side) else None


def _next(
    points: list[tuple[float, float, Floats]], centre: float, sign: int, limit: float, reach: float
) -> tuple[list[float], list[Floats]]:
    """Values to try next: inside the bracket of the crossing, or further out without one."""
    side = _one_side(points, centre, sign)
    at = _crossing(side, limit)
    if at is None:
        last = max(abs(side[-1][0] - centre), reach)
        values = [centre + sign * last * m for m in FURTHER if last * m <= FARTHEST]
        return values, [side[-1][2]] * len(values)
    (low, _, from_low), (high, _, from_high) = side[at - 1], side[at]
    share = np.linspace(0, 1, INSIDE + 2)[1:-1]
    values = [float(low + s * (high - low)) for s in share]
    return values, [from_low + s * (from_high - from_low) for s in share]


def _profile(
    points: list[tuple[float, float, Floats]],
    centre: float,
    least: float,
    threshold: float,
    asked: Quantities,
    name: str,
) -> Profile:
    ends: list[float | None] = []
    flat: list[float] = []
    for sign in (-1, 1):
        side = _one_side(points, centre, sign)
        at = _crossing(side, least + threshold)
        if at is None:
            ends.append(None)
            flat.append(side[-1][0])
            continue
        (low, below, _), (high, above, _) = side[at - 1], side[at]
        # Linear in the root of the rise, which is straight for a parabola.
        a, b, c = (np.sqrt(max(v - least, 0.0)) for v in (below, above, least + threshold))
        place = low + (high - low) * (c - a) / max(b - a, 1e-300)
        ends.append(place)
        flat.append(place)
    low_end, high_end = asked.interval(ends[0], ends[1], name)
    outward = [*reversed(_one_side(points, centre, -1)), *_one_side(points, centre, 1)[1:]]
    identified = low_end is not None and high_end is not None
    pairs = [(asked.reported(p[0], name), p[1]) for p in outward]
    known = sorted(p for p in pairs if np.isfinite(p[0]))  # a quantity may fall along its own scale
    low_flat, high_flat = asked.interval(flat[0], flat[1], name)
    return Profile(
        grid=tuple(value for value, _ in known),
        objective=tuple(objective for _, objective in known),
        interval=(low_end, high_end),
        identified=identified,
        flat_range=None if identified else (low_flat, high_flat),
    )
