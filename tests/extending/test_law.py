"""A law that is a sum of powers is one entry in a table."""

from pathlib import Path

import numpy as np
import pytest

from tests.extending.package import ExtendedPackage

TOUCHED = {"scaling/laws/forms/laws.py"}
TRUTH = {"E": 1.7, "A": 300.0, "B": 500.0, "gamma": 0.3}

FIT = """
import sys
from scaling.cli import app
options = "--law equal-exponents --bootstrap 0 --holdout none --rolling 0 --no-sensitivity --at 1e22 --json"
app(["fit", sys.argv[1], *options.split(), "--out", "law.json"], standalone_mode=False)
"""


def test_a_law_is_one_entry(tmp_path: Path) -> None:
    package = ExtendedPackage(tmp_path, "A law")
    assert package.touched == TOUCHED
    params = np.repeat(np.geomspace(1e7, 1e9, 6), 3)
    tokens = params * np.tile([5, 20, 80], 6)
    loss = TRUTH["E"] + TRUTH["A"] / params ** TRUTH["gamma"] + TRUTH["B"] / tokens ** TRUTH["gamma"]
    noisy = loss * np.exp(1e-4 * np.random.default_rng(0).normal(size=18))
    rows = [f"{n},{d},{v}" for n, d, v in zip(params, tokens, noisy, strict=True)]
    csv = tmp_path / "losses.csv"
    csv.write_text("\n".join(["params,tokens,loss", *rows]) + "\n", encoding="utf-8")
    found = package.run(FIT, csv)
    assert found["equation"] == "L(N, D) = E + A / N^gamma + B / D^gamma"
    assert found["parameters"] == {name: pytest.approx(value, rel=0.2) for name, value in TRUTH.items()}
    low, high = found["profile"]["gamma"]["interval"]
    assert low < TRUTH["gamma"] < high
    # With equal exponents the optimum spends compute on both alike.
    assert found["optimum"]["a"] == pytest.approx(0.5)
    assert found["at"][0]["flops"] == 1e22
