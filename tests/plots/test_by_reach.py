"""The figure and the sections of errors by reach."""

import numpy as np
import pytest

from scaling.laws import LAWS
from scaling.laws.read.inputs import Sources
from scaling.laws.uncertainty.by_reach import Predictions, by_reach
from scaling.plots.by_reach import by_reach_section, half_widths, interactive_errors_by_reach
from scaling.plots.kinds import draw
from scaling.plots.report import render
from scaling.runtime.errors import BadInputError
from tests.laws.known import ladder
from tests.plots.drawn_law import law_of
from tests.plots.layout import faults_of


def law_with_errors(known: bool = True):
    """A ladder, and a law with errors that grow by 2% per factor of 10."""
    points = ladder(0.002)
    rows = []
    for cut in (8, 16):
        ahead = np.arange(cut, len(points))
        reach = points.flops[ahead] / points.flops[:cut].max()
        of_noise = np.eye(len(points))[ahead] if known else None
        variance = np.full(len(ahead), 1e-4) if known else None
        rows.append(Predictions(ahead, reach, -0.02 * np.log10(reach), variance, of_noise, reach < 100))
    law = law_of(points)
    errors = by_reach(LAWS["chinchilla"], points, rows, scale=0.01)
    return points, law.model_copy(update={"rolling_by_reach": errors})


@pytest.mark.parametrize("known", [True, False])
def test_the_figure_shows_every_prediction_and_nothing_overlaps(known: bool) -> None:
    points, law = law_with_errors(known)
    errors = law.rolling_by_reach
    assert errors.growth == pytest.approx(-0.02)
    figure = draw("errors-by-reach", Sources.of(points, law))
    assert faults_of(figure) == []
    drawn = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(drawn[:, 0], errors.reaches)
    np.testing.assert_allclose(drawn[:, 1], 100 * np.abs(errors.rel_errors))


def test_the_widened_band_is_the_wider_one_and_ends_where_intervals_do() -> None:
    _, law = law_with_errors()
    own, wide = half_widths(law, np.array([1.0, 10.0, 9.9 * law.rolling_by_reach.largest]))
    assert wide[0] == pytest.approx(own[0]) and (wide[1:] > own[1:]).all()
    assert np.isnan(half_widths(law, np.array([11 * law.rolling_by_reach.largest]))[1]).all()


def test_the_report_has_the_table_and_the_figure() -> None:
    points, law = law_with_errors()
    section = by_reach_section(law)
    assert section.count("<tr>") == len(law.rolling_by_reach.bins) + 1
    document = interactive_errors_by_reach(law, law.rolling_by_reach)
    assert [trace["name"] for trace in document["data"]][-1] == "widened"
    page = render("a ladder", points, law, [], [])
    assert "Errors by reach" in page and "Prediction errors against reach" in page
    without = law.model_copy(update={"rolling_by_reach": None})
    assert by_reach_section(without) == ""
    with pytest.raises(BadInputError, match="no rolled hold-out"):
        draw("errors-by-reach", Sources.of(points, without))
