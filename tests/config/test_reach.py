"""How far beyond its data a law predicts, in words."""

from dataclasses import dataclass

import pytest

from scaling.config.reach import reach

RANGES = {"params": (1e8, 1e9), "tokens": (1e10, 1e11), "flops": (1e19, 1e21), "loss": (2.0, 3.0)}


@dataclass
class Row:
    extrapolation: float
    n: int = 10
    mean_abs_rel_error: float = 0.01
    max_abs_rel_error: float = 0.02
    inside: float | None = 0.9


ROWS = [Row(50.0, mean_abs_rel_error=0.03), Row(12.0, mean_abs_rel_error=0.02), Row(2.0)]


def test_inside_the_data_there_is_nothing_to_say() -> None:
    assert reach({"params": 5e8, "tokens": 5e10}, RANGES, ROWS) is None
    assert reach({"flops": 1e21}, RANGES, ROWS) is None
    assert reach({"loss": 2.5}, RANGES) is None
    assert reach({"batch_tokens": 1e6}, RANGES) is None


@pytest.mark.parametrize(
    ("place", "far", "words"),
    [
        ({"flops": 5e21}, False, "outside the data: 5 times the most FLOPs in the data (1e+21)"),
        ({"flops": 1.1e22}, True, "over up to 12 times the compute fitted, missed by 2.00% on average"),
        ({"flops": 3e22}, True, "over up to 50 times the compute fitted, missed by 3.00%"),
        (
            {"flops": 1e24},
            True,
            "no rolled hold-out reaches that far; over up to 50 times",
        ),
        ({"params": 1e9, "tokens": 1e13}, True, "100 times the most tokens"),
        ({"params": 1e6, "tokens": 5e10}, True, "100 times below the fewest parameters"),
        ({"params": 2e9, "tokens": 2e10}, False, "2 times the most parameters"),
        ({"loss": 1.9}, True, "the lowest loss in the data is 2"),
        ({"loss": 4.0}, True, "the highest loss in the data is 3"),
    ],
)
def test_what_is_said(place: dict[str, float], far: bool, words: str) -> None:
    found = reach(place, RANGES, ROWS)
    assert found is not None and found.far is far
    assert words in found.text


def test_the_coverage_of_the_hold_out_at_that_distance() -> None:
    found = reach({"flops": 2e22}, RANGES, ROWS)
    assert found is not None and found.holdout is not None and found.holdout.far_enough
    assert found.holdout.reach == 50.0 and "9 of 10 inside their 95% intervals" in found.text
    found = reach({"flops": 2e22}, RANGES, [])
    assert found is not None and "no rolled hold-out tested this law" in found.text
