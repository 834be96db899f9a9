"""Seeds that have an ability or lack it: two modes are told from one, and claims survive other seeds."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest

from scaling.config.record import wilson
from scaling.laws.emergence import emergence
from scaling.laws.emergence.breakthrough import breakthrough
from scaling.laws.emergence.score_table import as_scores
from scaling.laws.emergence.series import series_of
from tests.laws.emergent import logistic

SIZES = 1e3 * 2.0 ** np.arange(8)
ITEMS = 500
EVEN = 1e3 * 2.0**3.5  # where half of the seeds break through


def series(scores_of, seeds=12, seed=0, sizes=SIZES, metric="exact_match"):
    """`scores_of(x, random)` is the true score of one run at x octaves above the smallest size."""
    random = np.random.default_rng(seed)
    rows = {name: [] for name in ("task", "metric", "group", "score", "params", "n", "seed")}
    for x, params in enumerate(sizes):
        for run in range(seeds):
            score = random.binomial(ITEMS, scores_of(x, random)) / ITEMS
            for column, cell in zip(
                rows.values(), ("t", metric, f"{params}-{run}", score, params, ITEMS, run), strict=True
            ):
                column.append(cell)
    return series_of(as_scores(rows, "drawn"), "params")[0]


def by_chance(x, random):
    return 0.995 if random.random() < logistic(2.0 * (x - 3.5)) else 0.03


def by_degrees(x, random):
    return logistic(0.7 * (x - 3.5) + 0.4 * random.standard_normal())


@pytest.mark.parametrize("seed", range(5))
def test_two_modes_are_recognised(seed):
    found = breakthrough(series(by_chance, seed=seed))
    assert found.bimodal is True
    low, high = found.even_odds.interval
    assert low < EVEN < high < 4 * low
    assert found.grows > 0.999
    assert found.level_after.interval[0] > 0.98
    assert found.level_before.interval[1] < 0.06


@pytest.mark.parametrize("seed", range(5))
def test_scores_that_rise_by_degrees_have_one_mode(seed):
    found = breakthrough(series(by_degrees, seed=seed))
    assert found.bimodal is not True
    assert found.bimodal_evidence < 0


def test_few_seeds_leave_the_modes_open():
    assert breakthrough(series(by_chance, seeds=1)).bimodal is None


def test_runs_that_all_fail_or_all_succeed_have_finite_intervals():
    found = breakthrough(series(lambda x, random: 0.99 if x > 3 else 0.01, seeds=3))
    low, high = found.even_odds.interval
    assert SIZES[2] < low < SIZES[4]
    assert low < high < SIZES[5]
    assert np.isfinite(found.log_odds_per_decade.interval[1])
    assert found.bimodal is None  # no size has seeds on both sides


def test_a_probability_that_may_as_well_fall_has_no_threshold():
    found = breakthrough(series(lambda x, random: 0.9 if random.random() < 0.5 else 0.1))
    assert found.even_odds is None
    assert 0.02 < found.grows < 0.98


def test_intervals_of_the_probability_cover_the_truth():
    """Of 40 sweeps, 90% and more of the intervals hold the probability and its threshold."""
    inside, even = [], []
    for seed in range(40):
        found = breakthrough(series(by_chance, seeds=8, seed=seed))
        truth = [logistic(2.0 * (np.log2(p.scale / 1e3) - 3.5)) for p in found.curve]
        inside += [p.interval[0] <= t <= p.interval[1] for p, t in zip(found.curve, truth, strict=True)]
        even.append(found.even_odds.interval[0] <= EVEN <= found.even_odds.interval[1])
    assert 0.90 <= np.mean(inside) <= 1.0
    assert 0.90 <= np.mean(even) <= 1.0


def test_claims_about_seeds_come_back_with_other_seeds():
    """Of 40 sweeps of the shipped design (seven sizes, ten seeds) at least 38 say the same."""
    answers = Counter()
    for seed in range(40):
        found = breakthrough(series(by_chance, seeds=10, seed=100 + seed, sizes=SIZES[:7]))
        first, last = found.shares[0].interval, found.shares[-1].interval
        answers[first[1] < 0.5, last[0] > 0.5, found.grows > 0.975, found.bimodal] += 1
    (most, count), *_ = answers.most_common()
    assert most == (True, True, True, True)
    assert count >= 38


@pytest.mark.slow
def test_the_order_of_rows_changes_nothing():
    own = series(by_chance, seeds=3)
    order = np.random.default_rng(1).permutation(len(own))
    rows = {name: [] for name in ("task", "metric", "group", "score", "params", "n", "seed")}
    for i in order:
        for column, cell in zip(
            rows.values(), ("t", "exact_match", str(i), own.score[i], own.scale[i], ITEMS, 0), strict=True
        ):
            column.append(cell)
    scores = as_scores(rows, "drawn")
    first, second = emergence(scores), emergence(scores.subset(order.argsort().tolist()))
    assert first.document == second.document


@pytest.mark.parametrize(("k", "n"), [(0, 12), (12, 12), (3, 12), (250, 500)])
def test_wilsons_interval_is_scipys(k, n):
    theirs = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
