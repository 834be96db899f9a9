"""Approach 1 of Hoffmann et al. 2022 (arXiv:2203.15556), section 3.1: the envelope over training curves.

At each of many compute budgets, the run with the lowest training loss gives N_opt and D_opt, to which a power
law is fitted. A loss before the end of a run's decay is above what a schedule of that length would reach, so
where schedules are longer than the budget the envelope is too high and leans to the runs whose schedule ends
there: curves of runs with several decay lengths, or of cooldown branches, keep it honest (their section 3
and appendix B; Porian et al. 2024, arXiv:2406.19146, find the effect small at a constant rate).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scaling.laws.frontier.power_law import PowerLaw, fit_power_law
from scaling.laws.uncertainty.resample import leave_one_out, run_counts
from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import plural

Floats = NDArray[np.float64]

CAVEAT = (
    "losses before the end of a learning rate's decay are above what a schedule of that length would reach"
)
BUDGETS = 1500  # log-spaced, as Hoffmann et al.
MIN_SIZES = 3
CELLS = 2**22  # resamples x budgets x runs compared at once: 32 MiB a temporary


class TrainingCurve(Protocol):
    """Part of a run. Arrays are over logged steps, in order of FLOPs; `name` is that of the run."""

    @property
    def name(self) -> str:
        """Curves of one name are resampled together."""

    @property
    def params(self) -> float:
        """N."""

    @property
    def tokens(self) -> Floats:
        """(T,) seen so far."""

    @property
    def flops(self) -> Floats:
        """(T,) spent so far."""

    @property
    def loss(self) -> Floats:
        """(T,) of training, nats per token."""


@dataclass(frozen=True)
class TrainingEnvelope:
    """N_opt and D_opt at K log-spaced budgets, and the power laws through them.

    A budget is kept only where a smaller and a larger run than the best one are in training too; `dropped`
    counts the others, whose best size the sweep does not contain.
    """

    flops_K: Floats
    params_K: Floats
    tokens_K: Floats
    loss_K: Floats
    params: PowerLaw
    tokens: PowerLaw
    sizes: int  # different sizes on the envelope
    dropped: int
    caveat: str = CAVEAT


def smoothed(loss: Floats, width: int | None = None) -> Floats:
    """(T,) running geometric mean, which a log axis shows without bias: of `width` logged steps, or of 2%."""
    width = min(len(loss), max(1, len(loss) // 50) if width is None else width)
    if width <= 1:
        return loss
    kernel = np.ones(width)
    return np.exp(np.convolve(np.log(loss), kernel, "same") / np.convolve(np.ones_like(loss), kernel, "same"))


def fit_training_envelope(
    curves: Sequence[TrainingCurve],
    bootstrap: int = 0,
    seed: int = 0,
    budgets: int = BUDGETS,
    from_flops: float = 0.0,
) -> TrainingEnvelope:
    """The envelope of the smoothed curves and its power laws.

    Args:
        curves: of at least three sizes that overlap in compute.
        bootstrap: resamples of complete runs; 0 for none.
        seed: of the resamples.
        budgets: number of log-spaced FLOPs from the least to the most that any curve has.
        from_flops: least budget. Give the least compute of a finished run: before it, losses are those of the
            first steps, and the least of them says nothing about sizes.

    Raises:
        BadInputError: a curve is not increasing positive numbers, or fewer than three sizes are best
            somewhere between a smaller and a larger one.
    """
    if bootstrap < 0 or bootstrap == 1:
        raise BadInputError(f"bootstrap={bootstrap} is not accepted; give 0, or at least 2 resamples")
    if budgets < 2:
        raise BadInputError(f"budgets={budgets} is not accepted; give at least 2")
    if not curves:
        raise BadInputError("no training curves; give runs with logged losses (metrics.jsonl)")
    for curve in curves:
        _check(curve)
    curves = sorted(curves, key=lambda c: (c.params, c.tokens[-1], c.flops[-1], c.loss[-1], c.name))
    least, most = min(float(c.flops[0]) for c in curves), max(float(c.flops[-1]) for c in curves)
    log_c = np.linspace(np.log(min(max(least, from_flops), most)), np.log(most), budgets)
    # (K, R) over budgets and curves; outside a curve its loss is infinite.
    loss = np.stack([_at(log_c, c, np.log(smoothed(c.loss)), np.inf) for c in curves], axis=1)
    log_d = np.stack([_at(log_c, c, np.log(c.tokens), np.nan) for c in curves], axis=1)
    log_n = np.log(np.array([c.params for c in curves], float))
    names = {name: i for i, name in enumerate(dict.fromkeys(c.name for c in curves))}
    run = np.array([names[c.name] for c in curves], np.int64)

    best, kept = _winners(loss, log_n, np.ones((1, len(curves)), bool))
    best, kept = best[0], kept[0]
    sizes = len(np.unique(log_n[best[kept]]))
    if sizes < MIN_SIZES:
        raise BadInputError(
            f"{plural(sizes, 'size')} best at some compute between a smaller and a larger run in "
            f"training; the envelope needs {MIN_SIZES}: train sizes nearer to each other, or each "
            "of them longer"
        )
    rows = np.arange(budgets)
    samples_N = samples_D = deleted_N = deleted_D = None
    if bootstrap:
        counts = run_counts(run, bootstrap, np.random.default_rng([seed, 4]))
        drawn = np.concatenate([counts, leave_one_out(run)]) > 0
        pieces = []
        for part in np.array_split(drawn, -(-len(drawn) * loss.size // CELLS)):
            winner, inside = _winners(loss, log_n, part)
            pieces.append(np.where(inside, np.stack([log_n[winner], log_d[rows, winner]]), np.nan))
        # Budgets that the full sweep does not cover are left out of its resamples too.
        samples = np.concatenate(pieces, axis=1)[:, :, kept]
        samples[:, _different(samples[0]) < MIN_SIZES] = np.nan
        (samples_N, samples_D), (deleted_N, deleted_D) = samples[:, :bootstrap], samples[:, bootstrap:]
    flops, params = np.exp(log_c[kept]), np.exp(log_n[best[kept]])
    tokens = np.exp(log_d[rows, best][kept])
    return TrainingEnvelope(
        flops_K=flops,
        params_K=params,
        tokens_K=tokens,
        loss_K=np.exp(loss[rows, best][kept]),
        params=fit_power_law(flops, params, None, samples_N, deleted_N),
        tokens=fit_power_law(flops, tokens, None, samples_D, deleted_D),
        sizes=sizes,
        dropped=int((~kept).sum()),
    )


def _check(curve: TrainingCurve) -> None:
    for field in ("tokens", "flops", "loss"):
        values = np.asarray(getattr(curve, field))
        if not (len(values) == len(curve.loss) > 0 and np.isfinite(values).all() and (values > 0).all()):
            raise BadInputError(
                f"curve {curve.name}: {field} has {len(values)} value(s); give as many positive finite "
                "numbers as it has losses, at least one"
            )
    if not (np.diff(curve.flops) > 0).all():
        raise BadInputError(f"curve {curve.name}: flops do not increase; give each step once, in order")


def _at(log_c: Floats, curve: TrainingCurve, values: Floats, outside: float) -> Floats:
    return np.interp(log_c, np.log(curve.flops), values, left=outside, right=outside)


def _different(values_SK: Floats) -> NDArray[np.int64]:
    """(S,) number of different values, NaN aside."""
    ordered = np.sort(values_SK, axis=1)
    return np.isfinite(ordered[:, 0]) + (np.diff(ordered, axis=1) > 0).sum(axis=1)


def _winners(
    loss_KR: Floats, log_n_R: Floats, drawn_SR: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(S, K) the curve of least loss, and whether a smaller and a larger size are in training there too."""
    running_SKR = np.isfinite(loss_KR) & drawn_SR[:, None, :]
    best_SK = np.where(running_SKR, loss_KR, np.inf).argmin(axis=2)
    size_SK = log_n_R[best_SK]
    smallest = np.where(running_SKR, log_n_R, np.inf).min(axis=2)
    largest = np.where(running_SKR, log_n_R, -np.inf).max(axis=2)
    return best_SK, (smallest < size_SK) & (size_SK < largest)
