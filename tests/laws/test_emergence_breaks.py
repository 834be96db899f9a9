"""Smooth is said where a material break is excluded; breaks are counted over tasks; tokens are not trials."""

from functools import cache

import numpy as np
import pytest
from scipy.stats import false_discovery_control

from scaling.laws.emergence import emergence
from scaling.laws.emergence.break_bound import break_bounds
from scaling.laws.emergence.break_size import MATERIAL, break_sizes, rise
from scaling.laws.emergence.break_test import RATE, break_p_values, p_value, q_values
from scaling.laws.emergence.curve_shapes import JUMP, LEVEL, SLOPE, TURN
from scaling.laws.emergence.fits import fit_masks
from scaling.laws.emergence.power import power
from scaling.laws.emergence.score_table import as_scores
from scaling.laws.emergence.series import series_of
from tests.laws.emergent import drawn, logistic

SMOOTH = {
    "sigmoid": lambda x: logistic(2.5 * (x - 2.5)),
    "slow": lambda x: logistic(1.2 * (x - 2.5)),
    "token accuracy to the power 10": lambda x: np.exp(-(10 ** (-0.4 * (x - 1)))),
}
KINK = {"kink": lambda x: logistic(-4 + 4 * max(0, x - 2.2))}


def _fits(scores):
    every = series_of(scores, "flops")
    return fit_masks([(series, np.ones(len(series), bool)) for series in every])


def _bounds(scores):
    fits = _fits(scores)
    best = [
        min((i for i, s in enumerate(f.shapes) if s.family == "smooth" and f.eligible(i)), key=f.aicc)
        for f in fits
    ]
    return np.array(break_bounds(fits, best), float), fits, best


def _nothing_until_the_last(repeats=6):
    """0 of 1,000 at seven sizes, and 10 to 90% at the eighth."""
    rows = {name: [] for name in ("task", "metric", "group", "score", "params", "n")}
    for task, last in enumerate(np.linspace(0.1, 0.9, repeats)):
        for i in range(8):
            score = round(float(last), 3) if i == 7 else 0.0
            row = (f"t{task}", "exact_match", str(i), score, 10.0 ** (6 + i / 2), 1000)
            for column, cell in zip(rows.values(), row, strict=True):
                column.append(cell)
    return as_scores(rows, "drawn")


@cache
def _last():
    return emergence(_nothing_until_the_last()).document.verdicts


def test_nothing_until_the_last_size_is_never_smooth():
    for verdict in _last():
        assert verdict.word != "smooth"
        assert verdict.form != "smooth"
        assert verdict.delta_aicc < -2  # by the penalties alone
        assert verdict.break_bound is None or verdict.break_bound >= 1
        assert verdict.power.smallest is None


def test_the_reason_and_the_power_are_printed():
    from scaling.api.text.emergence import summary

    document = emergence(_nothing_until_the_last(1)).document
    text = "\n".join(summary(document))
    assert "8 sizes cannot tell a break of any size and exclude none" in " ".join(text.split())
    assert "a break of all of the rise is not excluded" in document.verdicts[0].why


@pytest.mark.parametrize(
    ("sizes", "repeats", "share"), [(8, 6, 0.6), pytest.param(12, 20, 0.9, marks=pytest.mark.slow)]
)
def test_smooth_curves_exclude_a_material_break_and_kinks_do_not(sizes, repeats, share):
    design = {"repeats": repeats, "sizes": sizes, "scatter": 0.1, "seed": 3}
    smooth, fits, best = _bounds(drawn(SMOOTH, **design))
    assert np.mean(smooth < MATERIAL) >= share
    shown = [power(fit, index).smallest for fit, index in zip(fits, best, strict=True)]
    assert all(size is not None and size < MATERIAL for size in shown)
    kinked, _, _ = _bounds(drawn(KINK, **design))
    assert np.mean(kinked < MATERIAL) <= 0.05


@pytest.mark.parametrize("repeats", [8, pytest.param(60, marks=pytest.mark.slow)])
def test_a_break_that_another_smooth_shape_nearly_follows_is_not_excluded(repeats):
    """A corner of a third of the rise turns a power law into nearly a sigmoid, and a sigmoid into one with
    a ceiling."""
    nearly = {
        "power law": lambda x: np.exp(-np.exp(0.678 - 0.604 * (x - 2) - 1.6 * max(0.0, x - 2))),
        "two slopes": lambda x: logistic(-0.468 + 2.287 * (x - 2) - 1.9 * max(0.0, x - 2.58)),
    }
    found, _, _ = _bounds(drawn(nearly, repeats=repeats, sizes=8, items=2000, scatter=0.1, seed=5))
    assert np.mean(found < MATERIAL) <= 0.1


def test_more_items_lower_the_bound():
    few, _, _ = _bounds(drawn({"t": SMOOTH["sigmoid"]}, repeats=4, sizes=8, items=100, seed=5))
    many, _, _ = _bounds(drawn({"t": SMOOTH["sigmoid"]}, repeats=4, sizes=8, items=4000, seed=5))
    assert np.median(many) < 0.75 * np.median(few)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jump", "repeats"), [(0.8, 10), *(pytest.param(j, 24, marks=pytest.mark.slow) for j in (0.3, 0.8))]
)
def test_the_bound_covers_a_jump_on_a_sigmoid(jump, repeats):
    """The true size is below the 95% bound in 90% and more."""
    curve = {"t": lambda x: logistic(1.5 * (x - 2) + 2 * jump * (x > 1.9))}
    bounds, fits, best = _bounds(drawn(curve, repeats=repeats, sizes=12, items=2000, seed=2))
    theta = np.zeros((1, 7))
    theta[0, [LEVEL, SLOPE, JUMP]] = -jump, 3.0, 2 * jump  # 1.5 per decade over a half range of 2 decades
    theta[0, -1] = 1.0
    series = fits[0].series
    total = np.array(
        [rise(f.series, f.theta[f.best(i)], f.link[f.best(i)]) for f, i in zip(fits, best, strict=True)]
    )
    truth = break_sizes(series, theta, np.array([-0.05]), np.array([0]), 1.0)[0] / total
    assert np.mean(bounds >= truth) >= 0.9


def test_sizes_of_breaks_in_closed_form():
    """A jump of 1 and a corner of 2 at 0.5, on a line: 1, and 2 times the distance to the nearer end."""
    rows = {"task": ["t"] * 5, "metric": ["elo"] * 5, "group": list("abcde"), "score": [0.0, 1, 2, 3, 4],
            "params": [1e1, 1e2, 1e3, 1e4, 1e5]}  # fmt: skip
    (series,) = series_of(as_scores(rows, "drawn"), "params")
    theta = np.zeros((2, 7))
    theta[:, SLOPE] = 1.0
    theta[0, JUMP], theta[1, TURN] = 1.0, 2.0
    found = break_sizes(series, theta, np.array([0.5, 0.5]), np.array([2, 2]), 2.0)
    assert found == pytest.approx([0.5, 0.5])


def test_q_values_are_scipys():
    p = [0.001, 0.04, 0.03, 0.5, 0.9, 0.03]
    assert q_values(p) == pytest.approx(false_discovery_control(p))
    assert q_values([None, 0.2, None]) == [None, 0.2, None]
    assert q_values([]) == []


@pytest.mark.slow
def test_p_values_of_smooth_curves_are_large_and_of_a_step_small():
    from scaling.laws.emergence.verdict import judge

    curves = {**SMOOTH, "step": lambda x: 0.05 if x < 2.1 else 0.7}
    scores = drawn(curves, repeats=2, sizes=8, scatter=0.1, seed=3)
    verdicts = [one.verdict for one in judge(series_of(scores, "flops"))]
    smooth = [v for v in verdicts if not v.task.startswith("step")]
    assert sum(v.p_value < 0.1 for v in smooth) <= 1
    steps = [v for v in verdicts if v.task.startswith("step")]
    assert all(v.q_value <= RATE and v.word == "broken" for v in steps)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [8, 12])
@pytest.mark.parametrize("noise", [{"items": 2000, "scatter": 0.1}, {"items": 200}])
def test_the_p_value_of_smooth_curves_has_its_size(sizes, noise):
    """Below 5% in about 5% of draws without a break: at most 6%, and two standard errors more."""
    curves = {**SMOOTH, "floor": lambda x: 0.02 + 0.98 * logistic(2.5 * (x - 2.5)), "flat": lambda x: 0.05}
    p = np.array(break_p_values(_fits(drawn(curves, repeats=40, sizes=sizes, seed=6, **noise))), float)
    assert np.mean(p < 0.05) <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / len(p))


def test_a_p_value_follows_the_tail_beyond_its_draws():
    """Twice P(gain > 8) = e^-8 for exponential gains, as those of likelihood ratios are in the tail, and
    twice their share within the draws."""
    drawn_gains = -np.log((np.arange(99) + 0.5) / 99)
    assert p_value(2.0, drawn_gains) == pytest.approx(2 * np.exp(-2), abs=0.04)
    assert 2 * np.exp(-8) <= p_value(8.0, drawn_gains) <= 12 * np.exp(-8)
    assert p_value(5.0, drawn_gains[-19:]) == pytest.approx(2 / 20)
    assert p_value(-1.0, drawn_gains) == 1.0


def _tokens(low_high):
    rows = {"task": ["t"] * 8, "metric": ["token_accuracy"] * 8, "group": [str(i) for i in range(8)],
            "score": list(np.linspace(0.2, 0.9, 8)), "params": list(10.0 ** np.arange(3, 11)), "n": [100] * 8,
            "answer_tokens": [9.0] * 8}  # fmt: skip
    if low_high is not None:
        half = 1.96 * np.sqrt(np.array(rows["score"]) * (1 - np.array(rows["score"])) / (100 * low_high))
        rows |= {"low": list(rows["score"] - half), "high": list(rows["score"] + half)}
    return series_of(as_scores(rows, "drawn"), "params")[0].trials


@pytest.mark.parametrize(
    ("measured", "per_item"), [(None, 1.0), (3.0, 3.0), (9.0, 9.0), (50.0, 9.0), (0.4, 1.0)]
)
def test_tokens_of_an_item_are_a_cluster(measured, per_item):
    assert _tokens(measured) == pytest.approx([100 * per_item] * 8)
