"""The bounded law of errors: its global optimum, its intervals' coverage, its bounds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import least_squares

from scaling.laws import fit_points, read_law
from scaling.laws.downstream.error_fit import average, fit_errors
from scaling.laws.forms.task_error import DownstreamError, risen
from scaling.laws.points import Points
from scaling.runtime.errors import BadInputError
from tests.laws.known import points_of

FORM = DownstreamError()
TRUTHS = {
    "logistic": {"floor": 0.12, "ceiling": 0.75, "nu": 1.0, "k": 16.0, "L0": 0.77},
    "no floor": {"floor": 0.0, "ceiling": 0.75, "nu": 1.0, "k": 12.0, "L0": 0.80},
    "Gompertz": {"floor": 0.2, "ceiling": 0.8, "nu": 0.0, "k": 12.0, "L0": 0.80},
    "near its ceiling": {"floor": 0.3, "ceiling": 0.75, "nu": 1.0, "k": 14.0, "L0": 0.70},
}
NEAR = np.array([0.95, 0.85, 0.75])
BELOW = np.array([0.7, 0.65, 0.5])


def runs(truth: str, noise: float, seed: int = 0, n: int = 16) -> Points:
    loss = np.linspace(1.0, 0.73, n)
    size = np.geomspace(1e8, 1e10, n)
    errors = FORM.predict(TRUTHS[truth], loss=loss) + noise * np.random.default_rng(seed).normal(size=n)
    return replace(points_of(size, 20 * size, loss), error=np.clip(errors, 1e-4, 1.0))


def quick(points: Points, **options):
    return fit_points(points, "downstream-error", **{"holdout": None, "bootstrap": 200} | options)


def test_shapes_meet_equation_5_of_gadre_near_their_ceiling() -> None:
    z = np.linspace(6, 12, 20)
    for nu in (0.0, 1.0, 3.0):
        np.testing.assert_allclose(1 - risen(z, nu), np.exp(-z), rtol=5e-3)
    np.testing.assert_allclose(risen(z - 9, 1.0), 1 / (1 + np.exp(9 - z)))
    np.testing.assert_allclose(risen(z - 9, 1e-6), risen(z - 9, 0.0), rtol=1e-3)
    assert risen(-1e6, 1.0) == pytest.approx(0, abs=1e-15) and risen(1e6, 3.0) == 1.0


@pytest.mark.parametrize("nu", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("floor", [0.0, 0.1, 0.3])
def test_no_descent_from_anywhere_goes_lower(nu: float, floor: float) -> None:
    points = runs("logistic", 0.01)
    random = np.random.default_rng(1)
    weights = random.multinomial(16, np.ones(16) / 16, size=3).astype(float)
    found = fit_errors(nu, np.full(3, floor), points.loss, points.error, weights)
    for row, weight in enumerate(weights):

        def off(p, weight=weight):
            named = {"floor": floor, "ceiling": p[0], "nu": nu, "k": np.exp(p[1]), "L0": p[2]}
            return np.sqrt(weight) * (FORM.predict(named, loss=points.loss) - points.error)

        bounds = [floor, 0.4, 0.3], [1.0, 5.4, 1.4]
        for start in ([0.75, 2.5, 0.8], [0.9, 1.5, 0.9], [0.6, 3.5, 0.7]):
            best = least_squares(off, start, bounds=bounds, x_scale=[0.1, 0.5, 0.05])
            assert found.squares[row] <= 2 * best.cost * 1.002 + 1e-9


@pytest.mark.parametrize("truth", list(TRUTHS))
def test_what_is_not_noisy_is_found(truth: str) -> None:
    law = quick(runs(truth, 1e-5))
    for name, value in TRUTHS[truth].items():
        assert law.parameters[name] == pytest.approx(value, rel=0.05, abs=0.02), name
    np.testing.assert_allclose(law.predict(loss=NEAR), FORM.predict(TRUTHS[truth], loss=NEAR), atol=1e-3)
    assert law.gradient_norm < 1e-4


@pytest.mark.parametrize("truth", list(TRUTHS))
@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 16])
def test_intervals_hold_the_truth_within_and_below_the_data(truth: str, n: int) -> None:
    """Twelve draws of the noise: of 95% intervals at most two in twelve may miss (p = 0.98)."""
    inside = np.zeros(6)
    at = np.concatenate([NEAR, BELOW])
    for seed in range(12):
        low, high = quick(runs(truth, 0.008, seed, n), bootstrap=150).interval(loss=at)
        exact = FORM.predict(TRUTHS[truth], loss=at)
        inside += (low - 1e-9 <= exact) & (exact <= high + 1e-9)
        assert (low >= 0).all() and (high <= 1).all()
    assert (inside >= 9).all() and inside.sum() >= 0.9 * 72, inside


def test_values_lie_within_their_intervals_and_grow_with_loss() -> None:
    law = quick(runs("logistic", 0.008))
    at = np.linspace(0.3, 1.5, 60)
    value, (low, high) = law.predict(loss=at), law.interval(loss=at)
    assert (low <= value).all() and (value <= high).all()
    assert (np.diff(value) >= 0).all()
    assert value.min() >= 0 and value.max() <= 1


def test_the_document_is_read_back_and_predicts_the_same(tmp_path) -> None:
    law = quick(runs("logistic", 0.008), holdout=0.2, rolling=3)
    law.write(tmp_path / "law.json")
    again = read_law(tmp_path / "law.json")
    assert again == law
    assert law.averaging is not None and sum(f.weight for f in law.averaging.forms) == pytest.approx(1)
    assert law.holdout is not None and law.holdout.n == 3 and law.rolling
    assert all(one.interval is not None for one in law.holdout.predictions)


def test_the_order_of_rows_and_their_multiplicity_change_nothing() -> None:
    points = runs("logistic", 0.008)
    order = np.random.default_rng(5).permutation(16)
    shuffled, straight = quick(points.subset(order), bootstrap=0), quick(points, bootstrap=0)
    assert shuffled.model_dump_json() == straight.model_dump_json()
    twice = points.subset(np.concatenate([np.arange(16), np.arange(16)]))
    weighed = replace(points, weight=np.full(16, 2.0))
    one, _ = average(twice.loss, twice.error, twice.weight)
    other, _ = average(weighed.loss, weighed.error, weighed.weight)
    assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": np.linspace(70, 30, 16)}, "divide percents by 100"),
        ({"error": np.linspace(1.2, 0.3, 16)}, "is above 1"),
        ({"loss": np.repeat([1.0, 0.9, 0.8], [5, 5, 6])}, "3 different values of loss"),
        ({"error": np.linspace(0.3, 0.7, 16)}, "give error = 1 - accuracy"),
        ({"error": None}, "error is missing"),
    ],
)
def test_what_is_no_error_of_tasks_is_refused(change, words: str) -> None:
    with pytest.raises(BadInputError) as error:
        quick(replace(runs("logistic", 0.0), **change))
    assert words in str(error.value) and "\n" not in str(error.value)


def test_accuracies_in_place_of_errors_are_forced_and_marked() -> None:
    law = quick(replace(runs("logistic", 0.0), error=np.linspace(0.3, 0.7, 16)), force=True)
    assert law.forced and "give error = 1 - accuracy" in law.warnings[0]
    low, high = law.interval(loss=0.6)
    assert high - low > 0.1


def test_settings_of_another_objective_are_refused() -> None:
    with pytest.raises(BadInputError, match="least squares of the error"):
        quick(runs("logistic", 0.01), delta=0.1)
    assert quick(runs("logistic", 0.01), delta=10.0, residual="plain") == quick(runs("logistic", 0.01))
