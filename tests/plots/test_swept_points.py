"""Figures of a law of tuned runs show the minima that it was fitted to, and the runs of the sweeps faint."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.laws import LAWS
from scaling.laws.read.inputs import Sources
from scaling.laws.sections import SweptRuns
from scaling.laws.tuned import tuned
from scaling.plots.kinds import draw
from scaling.plots.report import figures_of, fitted_to
from tests.laws.known import ladder
from tests.plots.drawn_law import law_of

RATES = 1e-3 * 2.0 ** np.arange(-2, 3)


@pytest.fixture(scope="module")
def swept():
    """28 budgets with five learning rates each, and a law of their minima."""
    at = ladder(0.002)
    n, k = len(at), len(RATES)
    points = at.subset(np.repeat(np.arange(n), k).tolist())
    loss = points.loss * np.tile(1 + 0.01 * (np.log2(RATES / 1e-3) - 0.2) ** 2, n)
    groups = tuple(f"run {i}" for i in range(n * k))
    points = replace(points, loss=loss, learning_rate=np.tile(RATES, n), groups=groups, labels=groups)
    reduced = tuned(points, LAWS["chinchilla"])
    assert isinstance(reduced.swept, SweptRuns)
    return points, law_of(reduced.points, held_sizes=1).model_copy(update={"swept": reduced.swept})


def words_of(figure):
    return " ".join(text.get_text() for text in figure.texts)


@pytest.mark.parametrize("kind", ["loss-vs-compute", "loss-vs-tokens", "law"])
def test_minima_are_drawn_and_runs_are_faint(swept, kind):
    points, law = swept
    figure = draw(kind, Sources.of(points, law))
    drawn = [
        (len(c.get_offsets()), c.get_alpha()) for c in figure.axes[0].collections if len(c.get_offsets())
    ]
    assert [n for n, alpha in drawn if alpha is not None and n > 1] == [140]
    assert sum(n for n, alpha in drawn if alpha is None and n > 1) == 28
    assert "Fitted: the minima of 28 sweeps of settings; faint: their 140 runs." in words_of(figure).replace(
        "\n", " "
    )


@pytest.mark.parametrize("kind", ["residuals", "predicted-vs-measured", "contours"])
def test_other_figures_have_the_minima_alone(swept, kind):
    points, law = swept
    figure = draw(kind, Sources.of(points, law))
    assert "Fitted: the minima of 28 sweeps of settings (140 runs)." in words_of(figure).replace("\n", " ")


def test_the_report_has_both_with_their_numbers(swept):
    points, law = swept
    compute, tokens, *rest = figures_of(fitted_to(points, law), law, (), ())
    for one in (compute, tokens):
        assert "Fitted: the minima of 28 sweeps of settings; faint: their 140 runs." in one.note
        (figure,) = one.figures.values()
        (faint,) = [trace for trace in figure["data"] if trace["name"] == "runs of sweeps"]
        assert len(faint["x"]) == 140
        assert sum(len(t["x"]) for t in figure["data"] if t["name"].startswith("N = ")) == 28
    residuals = next(one for one in rest if one.name == "residuals")
    (figure,) = residuals.figures.values()
    assert sum(len(trace["x"]) for trace in figure["data"]) == 28
    assert "(140 runs)" in residuals.note


def test_without_sweeps_nothing_changes(swept):
    _, law = swept
    points = ladder(0.002)
    figure = draw("loss-vs-compute", Sources.of(points, law.model_copy(update={"swept": None})))
    assert "Fitted:" not in words_of(figure)
