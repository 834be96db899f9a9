"""How a law with a compute optimum would spend a budget, with intervals of plausible parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.config.compute_cost import ComputeCost
from scaling.config.reach import reach
from scaling.config.reach_errors import ErrorsByReach, widened
from scaling.laws.forms.form import Form
from scaling.laws.law import Law
from scaling.laws.sections import Allocation, CutOff, Interval, Optimum
from scaling.laws.uncertainty.resample import percentiles

Floats = NDArray[np.float64]
Draws = Sequence[dict[str, float]]


def optimum_of(
    form: Form, parameters: dict[str, float], draws: Draws, flops: Floats, cost: ComputeCost | None = None
) -> Optimum | None:
    """The frontier from the smallest decade of compute in the data (n,) to two decades beyond the largest.

    Compute is c(N) D of the `cost`, or 6ND.
    """
    largest = float(flops.max())
    frontier = form.optimum(parameters, cost, largest)
    if frontier is None:
        return None
    low, high = np.log10(flops.min()), np.log10(flops.max())
    budgets: NDArray[Any] = 10.0 ** np.arange(int(np.ceil(low)), int(np.ceil(high)) + 3)
    rows = allocations(form, parameters, draws, budgets, cost)
    drawn = [o for parameters in draws if (o := form.optimum(parameters, cost, largest)) is not None]
    ends = {
        name: interval
        for name in ("a", "b")
        if (interval := percentiles(np.array([getattr(o, name) for o in drawn]))) is not None
    }
    return Optimum(
        a=frontier.a,
        b=frontier.b,
        intervals=ends,
        tokens_per_param={f"{row.flops:.0e}": row.tokens_per_param for row in rows},
        budgets=rows,
    )


def allocations(
    form: Form,
    parameters: dict[str, float],
    draws: Draws,
    budgets: Sequence[float] | NDArray[Any],
    cost: ComputeCost | None = None,
) -> tuple[Allocation, ...]:
    """N, D, their ratio and the loss at training computes in FLOPs; percentiles over `draws` as intervals."""
    frontier = form.optimum(parameters, cost)
    if frontier is None:
        return ()
    flops_B = np.asarray(budgets, np.float64)
    flops_B = flops_B[np.isfinite(frontier.params(flops_B))]  # a numeric optimum may not exist everywhere
    resampled = [(p, o) for p in draws if (o := form.optimum(p, cost)) is not None]
    # Every draw predicts all budgets in one call: (S, B) arrays of N, D and loss.
    params_SB = np.array([o.params(flops_B) for _, o in resampled])
    tokens_SB = np.array([o.tokens(flops_B) for _, o in resampled])
    with np.errstate(invalid="ignore"):  # a draw without an optimum at a budget
        loss_SB = np.array(
            [
                form.predict(p, params=n, tokens=d)
                for (p, _), n, d in zip(resampled, params_SB, tokens_SB, strict=True)
            ]
        )
    rows = []
    for i, flops in enumerate(flops_B):
        n, d = frontier.params(flops), frontier.tokens(flops)
        size: Interval | None = None
        ratio: Interval | None = None
        loss: Interval | None = None
        if resampled:
            size = percentiles(params_SB[:, i])
            ratio = percentiles(tokens_SB[:, i] / params_SB[:, i])
            loss = percentiles(loss_SB[:, i])
        rows.append(
            Allocation(
                flops=float(flops),
                params=float(n),
                params_interval=size,
                tokens=float(d),
                tokens_per_param=float(d / n),
                tokens_per_param_interval=ratio,
                loss=float(form.predict(parameters, params=n, tokens=d)),
                loss_interval=loss,
            )
        )
    return tuple(rows)


def beyond_the_data(
    rows: tuple[Allocation, ...],
    ranges: Mapping[str, Interval],
    rolling: Sequence[CutOff] | None,
    errors: ErrorsByReach | None,
) -> tuple[Allocation, ...]:
    """Allocations with their reach, and intervals of the loss widened by the rolled errors at it."""
    out = []
    for row in rows:
        wide, words, place = row.loss_interval, None, {"flops": row.flops}
        if errors is not None and row.loss_interval is not None:
            far = errors.reach(place, ranges)
            words = errors.words(far)
            wide = None
            if errors.refused(far) is None:
                wide = widened(row.loss, row.loss_interval, errors.bias(far))
        more = {"reach": reach(place, ranges, rolling), "loss_widened": wide, "widening": words}
        out.append(row.model_copy(update=more))
    return tuple(out)


def allocate(law: Law, budgets: Sequence[float]) -> tuple[Allocation, ...]:
    """What a fitted law does with training computes in FLOPs; none where it has no optimum."""
    rows = allocations(law.form, law.values(), law.sampled() or [], budgets, law.cost)
    return beyond_the_data(rows, law.ranges, law.rolling, law.rolling_by_reach)
