import json

import pytest

from scaling.laws import fit_points
from scaling.laws.frontier.approaches import compare_approaches
from scaling.laws.frontier.training_envelope import fit_training_envelope
from scaling.laws.read.curves import read_curves
from tests.laws.known import few_starts, ladder
from tests.laws.test_training_envelope import curves
from tests.laws.valleys import exponent, valleys
from tests.plots.sweep_of import SIZES, write_sweep


def test_all_approaches_find_the_exponent_of_one_law():
    points = valleys(span=3, noise=1e-3)
    with few_starts():
        law = fit_points(points, bootstrap=50, holdout=None)
    found = compare_approaches(points, curves(), law, bootstrap=100)
    assert [f.name for f in found] == [
        "envelope of training curves",
        "isoFLOP minima (windowed)",
        "variable projection",
        "fitted law",
    ]
    for one in found:
        assert one.refused is None
        assert one.a == pytest.approx(exponent(), abs=0.03)
        assert one.a + one.b == pytest.approx(1, abs=3e-3)
        assert one.a_interval[0] < exponent() < one.a_interval[1]
        assert one.b_interval[0] < one.b < one.b_interval[1]
        for optimum in one.optima:
            assert 6 * optimum.params * optimum.tokens == pytest.approx(optimum.flops, rel=0.02)
            assert one.k * optimum.flops**one.a == pytest.approx(optimum.params, rel=0.35)
    json.dumps([f.model_dump() for f in found])


def test_what_is_not_possible_says_why():
    found = compare_approaches(ladder(0.001), bootstrap=0)
    assert [f.refused is None for f in found] == [False, False, True, False]
    assert "no training curves" in found[0].refused
    assert "compute budgets have a minimum" in found[1].refused
    assert "no fitted law" in found[3].refused
    assert found[2].a_interval is None
    assert "misses the measured losses by 0.07%" in found[2].notes[0]


def test_trunks_and_cooldowns_of_a_sweep_directory_make_an_envelope(tmp_path):
    """Six sizes to 20 tokens per parameter overlap only before the smallest has ended, not after it."""
    curves = read_curves(write_sweep(tmp_path))
    found = compare_approaches(ladder(), curves, bootstrap=50)[0]
    assert found.refused is not None and "each of them longer" in found.refused
    fit = fit_training_envelope(curves, bootstrap=50)
    assert 0.3 < fit.params.exponent < 0.7
    assert fit.params.exponent_interval is None
    assert {round(n) for n in fit.params_K} < {int(n) for n in SIZES}
