"""acc_norm in percent: a share, recognised as percent, and never forecast outside 0 to 1."""

from pathlib import Path

import pytest

from scaling.laws.emergence import emergence, read_scores
from scaling.runtime.errors import BadInputError

CASE = Path(__file__).parent / "14-percent-shares" / "accnorm_percent.csv"


def test_percents_of_a_known_share_are_read_as_shares():
    scores = read_scores(CASE)
    assert scores.score.tolist() == pytest.approx([0.30, 0.35, 0.41, 0.47, 0.52, 0.60, 0.66, 0.70])
    assert any("acc_norm was read as percent (30 to 70)" in note for note in scores.notes)


def test_a_forecast_of_a_share_stays_between_0_and_1():
    (verdict,) = emergence(read_scores(CASE)).document.verdicts
    assert verdict.noise == "binomial"
    for forecast in (*verdict.forecasts, *verdict.foresight.forecasts):
        assert 0 <= forecast.interval[0] <= forecast.predicted <= forecast.interval[1] <= 1
    assert verdict.forecasts[0].inside


def test_shares_beside_percents_are_refused_in_one_line(tmp_path):
    path = tmp_path / "mixed.csv"
    path.write_text(CASE.read_text().replace(",30,", ",0.30,"))
    with pytest.raises(BadInputError, match=r"give all as shares, or all as percent with --percent acc_norm"):
        read_scores(path)
    assert read_scores(path, percent=["acc_norm"]).score[0] == pytest.approx(0.003)
