"""Runs that did not finish are found by the words of their state, and words that are not known are listed."""

from pathlib import Path

import pytest

from scaling.laws import fit_points, read_points
from scaling.laws.read.select import parse_where
from scaling.runtime.errors import BadInputError

CASE = Path(__file__).parent / "04-status-crashed"


@pytest.mark.parametrize(("name", "unfinished"), [("running.csv", 1), ("running_and_crashed.csv", 2)])
def test_unfinished_runs_are_refused_or_left_out(name, unfinished):
    points = read_points(CASE / name)
    assert points.final is not None
    assert points.final.count(False) == unfinished
    with pytest.raises(BadInputError, match=f"{unfinished} of {20 + unfinished} losses"):
        fit_points(points)
    finished = read_points(CASE / name, where=parse_where("status=finished"))
    assert len(finished) == 20
    assert all(finished.final or ())


@pytest.mark.parametrize("column", ["Status", "STATE", "run_status"])
@pytest.mark.parametrize("word", ["CRASHED", "Failed", "killed", "preempted", "timeout"])
def test_the_case_of_header_and_word_does_not_matter(tmp_path, column, word):
    path = tmp_path / "runs.csv"
    text = (CASE / "running_and_crashed.csv").read_text()
    path.write_text(text.replace("status", column).replace("crashed", word))
    assert read_points(path).final.count(False) == 2


def test_unknown_words_are_listed(tmp_path):
    path = tmp_path / "runs.csv"
    text = (CASE / "running_and_crashed.csv").read_text()
    path.write_text(text.replace("crashed", "exploded").replace("running", "zombie"))
    with pytest.raises(BadInputError, match=r"column status: .*'zombie' in 1 row\(s\), 'exploded' in 1 row"):
        read_points(path)
