"""Intervals widened by the errors of a rolled hold-out."""

import math

import pytest
from scipy.stats import norm

from scaling.config.reach_errors import ErrorsByReach, critical_value, widened

RANGES = {"flops": (1e18, 1e20), "params": (1e7, 1e9), "tokens": (1e9, 1e11)}
MEASURED = ErrorsByReach(measure="flops", growth=-0.02, growth_error=0.01, largest=8.0, n_fits=4)


@pytest.mark.parametrize("bias", [0.0, 0.1, 0.5, 1.0, 2.0, 5.9, 6.1, 50.0])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_critical_value_covers_a_normal_with_that_bias(bias: float, level: float) -> None:
    half = critical_value(bias, level)
    assert norm.cdf(half - bias) - norm.cdf(-half - bias) == pytest.approx(level, abs=1e-6)


def test_without_bias_the_interval_is_the_law_s_own_and_with_it_is_wider() -> None:
    assert widened(2.0, (1.9, 2.1), 0.0) == (1.9, 2.1)
    before = (1.9, 2.1)
    for bias in (1e-9, 0.01, 0.1, 0.5):
        low, high = widened(2.0, (1.9, 2.1), bias)
        assert 0 < low <= before[0] and high >= before[1] * (1 - 1e-9)
        before = low, high
    # A bias much larger than the standard error adds to it: one side of the interval is never missed.
    error = math.log(2.1 / 2.0) / norm.ppf(0.975)
    assert math.log(high / 2.0) == pytest.approx(0.5 + norm.ppf(0.95) * error)
    # Without width there is only the bias, and an end on the wrong side of the value is moved by it.
    assert widened(2.0, (2.0, 2.0), 0.1) == pytest.approx((2.0 * math.exp(-0.1), 2.0 * math.exp(0.1)))
    assert widened(2.0, (2.02, 2.1), 0.1)[0] == pytest.approx(2.02 * math.exp(-0.1))


def test_the_bias_grows_with_the_logarithm_of_reach() -> None:
    at = [MEASURED.reach({"flops": far * 1e20}, RANGES) for far in (0.5, 1, 10, 70)]
    assert [MEASURED.bias(one) for one in at] == pytest.approx([0, 0, 0.02, 0.02 * math.log10(70)])
    assert MEASURED.reach({"params": 1e10, "tokens": 1e11}, RANGES) == pytest.approx(60)
    assert MEASURED.reach({"loss": 2.0}, RANGES) is None and MEASURED.bias(None) == 0


def test_no_interval_far_beyond_what_was_measured() -> None:
    assert MEASURED.refused(79.0) is None and MEASURED.refused(None) is None
    why = MEASURED.refused(81.0)
    assert why is not None and "81 times the data" in why and "more than 10 times" in why and "(8)" in why
    assert MEASURED.words(81.0) == why and MEASURED.words(1.0) is None
    assert "extrapolated" in (MEASURED.words(20.0) or "") and "extrapolated" not in (
        MEASURED.words(5.0) or ""
    )
    nothing = ErrorsByReach(measure="flops")
    assert nothing.refused(9.0) is None and "too few" in (nothing.refused(11.0) or "")
    assert nothing.bias(9.0) == 0 and nothing.words(9.0) is None
