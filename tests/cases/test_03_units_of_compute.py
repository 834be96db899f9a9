"""Units that a header names are read, and implausible ones are questioned; never fitted as they are."""

from pathlib import Path

import numpy as np
import pytest

from scaling.laws import fit_points, parse_columns, read_points
from scaling.laws.frontier.optimum import allocate
from scaling.runtime.errors import BadInputError
from tests.laws.known import few_starts

CASE = Path(__file__).parent / "03-units-of-compute"
GIVEN = "params=parameter_count,tokens=throughput/total_tokens,flops=throughput/total_gflops,loss=eval/loss"
RIGHT = {
    "E": pytest.approx(1.8172, abs=1e-4),
    "A": pytest.approx(482.01, rel=1e-3),
    "B": pytest.approx(2085.43, rel=1e-3),
    "alpha": pytest.approx(0.3478, abs=1e-4),
    "beta": pytest.approx(0.3658, abs=1e-4),
}


@pytest.mark.parametrize("name", ["plain.csv", "gflops.csv"])
def test_the_law_of_the_readme(name):
    points = read_points(CASE / name)
    with few_starts():
        law = fit_points(points, holdout=None)
    assert law.parameters == RIGHT
    (beyond,) = allocate(law, [10 * points.flops.max()])
    assert beyond.loss == pytest.approx(2.169, abs=1e-3)
    (here,) = allocate(law, [points.flops.max()])
    assert here.tokens_per_param == pytest.approx(21.84, abs=0.01)


@pytest.mark.parametrize("columns", [None, GIVEN])
def test_gigaflops_in_the_header_are_read_and_said(columns):
    plain = read_points(CASE / "plain.csv")
    points = read_points(CASE / "gflops.csv", parse_columns(columns) if columns else None)
    np.testing.assert_allclose(points.flops, plain.flops)
    np.testing.assert_array_equal(points.tokens, plain.tokens)
    assert "flops: column throughput/total_gflops is read in gflops (x 1e+09)" in points.notes


def test_gigaflops_that_no_header_names_are_questioned(tmp_path):
    path = tmp_path / "flops.csv"
    path.write_text((CASE / "gflops.csv").read_text().replace("total_gflops", "total_flops"))
    with pytest.raises(
        BadInputError, match=r"median of FLOPs / 6ND is 1e-09, not 0.1 to 10; likely .*GFLOPs"
    ):
        read_points(path)


def test_billions_are_questioned_and_read_where_they_are_named(tmp_path):
    with pytest.raises(BadInputError, match="likely params in billions and tokens in billions") as refusal:
        read_points(CASE / "billions.csv")
    assert "\n" not in str(refusal.value)
    plain = read_points(CASE / "plain.csv")
    offered = read_points(CASE / "billions.csv", parse_columns("params=params*1e9,tokens=tokens*1e9"))
    np.testing.assert_allclose(offered.tokens, plain.tokens)
    path = tmp_path / "named.csv"
    path.write_text((CASE / "billions.csv").read_text().replace("params,tokens", "params (B),tokens (B)"))
    np.testing.assert_allclose(read_points(path).params, plain.params)
