"""Resamples: which runs a bootstrap draws, and the intervals of its estimates."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.laws.forms.form import Floats
from scaling.laws.sections import LEVEL, Interval
from scaling.laws.uncertainty.noise import MIN_RUNS, t_quantile

EXPANDING = 2  # steps that move a draw
FLAT = 1e-5  # of the largest singular value: in flatter directions draws are left where they are
STEP = 1e-4  # of central differences, on entries of order one


def differences(function: Callable[[Floats], Floats], theta: Floats) -> Floats:
    """(..., P) central differences of a smooth function; theta is of order one, so nine digits are right."""
    steps = STEP * np.eye(len(theta))
    return np.stack([(function(theta + h) - function(theta - h)) / (2 * STEP) for h in steps], axis=-1)


def run_counts(run: NDArray[np.int64], resamples: int, random: np.random.Generator) -> Floats:
    """(resamples, n) how often each of n points is drawn in resamples of complete runs, with replacement.

    `run` (n,) is the number of each point's run, from 0.
    """
    runs = int(run.max()) + 1
    return random.multinomial(runs, np.full(runs, 1 / runs), size=resamples)[:, run].astype(np.float64)


def stratified_counts(
    run: NDArray[np.int64], stratum: NDArray[np.int64], resamples: int, random: np.random.Generator
) -> Floats:
    """As `run_counts`, with the runs of each stratum drawn among themselves.

    `stratum` (n,) is the number of each point's stratum. Where a run has points in several, as a trunk with
    cooldown branches at several budgets, all runs are drawn together.
    """
    of_run = {int(r): int(s) for r, s in zip(run, stratum, strict=True)}
    if any(of_run[int(r)] != s for r, s in zip(run, stratum, strict=True)):
        return run_counts(run, resamples, random)
    counts = np.zeros((resamples, len(run)))
    for one in np.unique(stratum):
        members = stratum == one
        counts[:, members] = run_counts(np.unique(run[members], return_inverse=True)[1], resamples, random)
    return counts


def leave_one_out(run: NDArray[np.int64]) -> Floats:
    """(R, n) which of n points remain when each of R runs is left out in turn, as counts of 0 and 1."""
    return (run != np.arange(int(run.max()) + 1)[:, None]).astype(np.float64)


def jackknife(estimate: Floats, deleted_R: Floats, level: float = LEVEL) -> tuple[Floats, Floats] | None:
    """Delete-one-run jackknife interval with Student's t of R - 1 degrees of freedom.

    For few clusters (MacKinnon, Nielsen and Webb 2022, "Cluster-robust inference: a guide to empirical
    practice", section 5). None with fewer than `MIN_RUNS` runs, or if one of the estimates does not exist.

    Args:
        estimate: (...) from all runs.
        deleted_R: (R, ...) without each run.
        level: of the interval.
    """
    error = jackknife_error(deleted_R)
    if error is None:
        return None
    reach = t_quantile(level, len(deleted_R) - 1) * error
    return estimate - reach, estimate + reach


def jackknife_error(deleted_R: Floats) -> Floats | None:
    """(...) standard error from estimates (R, ...) without each run; None where `jackknife` is."""
    runs = len(deleted_R)
    if runs < MIN_RUNS or not np.isfinite(deleted_R).all():
        return None
    variance = (runs - 1) / runs * ((deleted_R - deleted_R.mean(axis=0)) ** 2).sum(axis=0)
    error: Floats = np.sqrt(variance)
    return error


def expansion(runs: int, level: float = LEVEL) -> float:
    """By how much a percentile bootstrap of few runs is too narrow: sqrt(G / (G - 1)) t / z.

    The expanded percentile interval of Hesterberg 2015, "What teachers should know about the bootstrap",
    section 3.3: resamples vary by the variance with divisor G, and the normal quantile is due a t of G - 1.
    """
    return sqrt(runs / (runs - 1)) * t_quantile(level, runs - 1) / t_quantile(level, 10**9)


def expanded(
    predicted: Callable[[Floats], Floats], theta: Floats, draws_SP: Floats, factor: float, bounds: Floats
) -> Floats:
    """(S, P) draws moved away from the estimate so that their predictions of the points move by a factor.

    Along the curved valley of the objective: a factor of theta itself would leave it, and the draws would
    miss the points. Gauss-Newton steps to the predictions, as far as they lower the distance.

    Args:
        predicted: (n,) predictions of the points at theta (P,), times the root of their weights.
        theta: (P,) the estimate.
        draws_SP: estimates from resamples.
        factor: see `expansion`.
        bounds: (2, P) lowest and highest theta.
    """
    centre, out = predicted(theta), np.array(draws_SP)
    for row, draw in enumerate(draws_SP):
        here = predicted(draw)
        goal = centre + factor * (here - centre)
        off = goal - here
        for _ in range(EXPANDING):
            move = np.linalg.lstsq(differences(predicted, out[row]), off, rcond=FLAT)[0]
            trial = np.clip(out[row] + move, *bounds)
            left = goal - predicted(trial)
            if not left @ left < off @ off:
                break
            out[row], off = trial, left
    return out


def percentiles(draws: Floats, level: float = LEVEL) -> Interval | None:
    """The middle `level` of the draws that are finite; None if fewer than half are."""
    known = draws[np.isfinite(draws)]
    if len(known) < 2 or len(known) < len(draws) / 2:
        return None
    return middle(known, level)


def middle(draws: Floats, level: float = LEVEL) -> Interval:
    """The middle `level` of draws (S,)."""
    low, high = middles(draws, level)
    return float(low), float(high)


def middles(draws: Any, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Lower and upper ends (...,) of the middle `level` of draws (S, ...)."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
