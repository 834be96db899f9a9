import numpy as np
import pytest
from matplotlib.figure import Figure

from scaling.plots.labels import (
    DistinctFormatter,
    fixed,
    log_axis,
    percent_axis,
    plain,
    scientific,
    short,
)


def test_ticks_that_would_read_alike_get_more_digits():
    assert DistinctFormatter("flops").format_ticks([1.2e18, 1.22e18]) == ["1.2 × 10¹⁸", "1.22 × 10¹⁸"]
    assert DistinctFormatter("count").format_ticks([1e6, 2e6]) == ["1M", "2M"]


@pytest.mark.parametrize("unit", ["count", "flops", "plain"])
@pytest.mark.parametrize(("low", "high"), [(1e3, 1e16), (1e6, 3e7), (1e8, 1.09e8), (2.0, 2.0), (0.5, 30.0)])
def test_an_axis_has_some_labels_all_different(unit, low, high):
    axes = Figure().add_subplot()
    axes.plot([low, high], [low, high])
    axes.set_xlim(low, high * (1 + 1e-12))
    log_axis(axes.xaxis, "x", unit)
    left, right = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if left <= tick <= right]
    labels = axes.xaxis.get_major_formatter().format_ticks(ticks)
    assert 2 <= len(labels) <= 11
    assert len(set(labels)) == len(labels)


def test_errors_of_rounding_do_not_stretch_an_axis():
    axes = Figure().add_subplot()
    axes.plot([1, 2], [-1e-12, 1e-12])
    percent_axis(axes.yaxis)
    assert np.allclose(axes.get_ylim(), (-1e-3, 1e-3))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (short(3e15), "3 × 10¹⁵"),
        (short(2.5e12), "2.5T"),
        (scientific(0), "0"),
        (scientific(2e18), "2 × 10¹⁸"),
        (plain(286.4, 2), "290"),
        (plain(1234.5), "1,230"),
        (plain(1e-7), "10⁻⁷"),
        (fixed(0.8, 0.01), "0.80"),
        (fixed(717.1, 60), "720"),
    ],
)
def test_numbers_as_people_say_them(text, expected):
    assert text == expected
