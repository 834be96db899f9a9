"""A task's error at a loss below the data, from runs that do not show where the error ends.

The truth behind chain.csv at a loss of 0.65 is 0.176, over a floor of 0.12.
"""

import json
from pathlib import Path

import pytest

from tests.end_to_end.conftest import RunCli, run_cli  # noqa: F401

CASE = str(Path(__file__).parent / "13-downstream-ceiling" / "chain.csv")
TRUTH, FLOOR = 0.176, 0.12


def test_the_interval_holds_the_truth_and_a_warning_says_how_far_it_is(run_cli: RunCli) -> None:  # noqa: F811
    line = ("fit", CASE, "--law", "downstream-error", "--predict", "loss=0.65", "--out", "law.json")
    code, out, err = run_cli(*line, "--json")
    assert (code, err) == (0, "")
    law = json.loads(out)
    told = law["predict"]
    low, high = told["interval"]
    assert low < TRUTH < high and 0 <= low < told["value"] < high <= 1
    assert high - low > 0.05  # the data end at an error of 0.30
    assert law["intervals"]["floor"][0] <= FLOOR <= law["intervals"]["floor"][1]
    assert told["reach"]["far"] and "lowest loss in the data is 0.73" in told["reach"]["text"]
    assert told["accuracy"]["value"] == pytest.approx(1 - told["value"])
    code, out, _ = run_cli(*line)
    assert code == 0 and "warning: beyond the data" in out and "0.0000" not in out
    assert f"error     {told['value']:.2f} [{low:.2f}, {high:.2f}]" in out


@pytest.mark.parametrize("loss", [0.5, 0.3, 0.05])
def test_farther_away_the_interval_is_never_narrower(run_cli: RunCli, loss: float) -> None:  # noqa: F811
    asked = ("--law", "downstream-error", "--out", "law.json", "--rolling", "0", "--json")
    near, far = (
        json.loads(run_cli("fit", CASE, *asked, "--predict", f"loss={at}")[1])["predict"]
        for at in (0.65, loss)
    )
    assert far["interval"][1] - far["interval"][0] >= near["interval"][1] - near["interval"][0]
    assert far["interval"][0] <= FLOOR < far["interval"][1]


def test_a_form_without_a_floor_is_refused_below_zero(run_cli: RunCli) -> None:  # noqa: F811
    quick = ("--bootstrap", "0", "--rolling", "0", "--no-profile", "--no-sensitivity", "--holdout", "none")
    code, out, err = run_cli(
        "fit", CASE, "--law", "gadre-error", *quick, "--predict", "loss=0.5", "--out", "x.json"
    )
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and "has no floor" in err and "downstream-error" in err
