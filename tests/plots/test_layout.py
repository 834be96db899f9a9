"""Every kind of figure with every input: no text over text, off the canvas, or under a legend."""

import pytest
from matplotlib.figure import Figure

from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import KINDS, Options, draw
from scaling.runtime.errors import BadInputError
from tests.plots.inputs import INPUTS
from tests.plots.layout import faults_of

OF_SCORES = {"emergence", "sharp-and-smooth", "in-context", "lr-bowls"}  # in tests of their own
# Inputs at which figures were wrong, always tried; the rest of the grid is slow.
TRIED = {
    "sweep": set(KINDS) - OF_SCORES,
    "long names": {"loss-vs-compute", "isoflop", "residuals", "predicted-vs-measured"},
    "ladder and isoFLOP": {"isoflop", "loss-vs-tokens", "law"},
    "families": {"families"},
    "narrow": {"loss-vs-compute", "residuals", "contours"},
    "one point": {"loss-vs-compute", "loss-vs-tokens"},
    "extreme": {"contours", "allocation"},
}
GRID = [
    pytest.param(kind, name, marks=[] if kind in TRIED.get(name, ()) else [pytest.mark.slow])
    for name in INPUTS
    for kind in KINDS
    if kind not in OF_SCORES
]


@pytest.mark.parametrize(("kind", "name"), GRID)
def test_nothing_overlaps_or_leaves_the_canvas(kind, name):
    try:
        figure = draw(kind, INPUTS[name](), Options(bootstrap=20))
    except BadInputError as error:
        assert "\n" not in str(error)
        return
    assert faults_of(figure) == []
    for axes in figure.axes:
        if kind != "bootstrap":  # whose panels share their labels
            assert axes.get_xlabel(), "an axis without its quantity"


def test_faults_are_found():
    figure = Figure(figsize=(4, 3), layout="constrained")
    axes = figure.add_subplot()
    axes.text(0.5, 0.5, "one", transform=axes.transAxes)
    axes.text(0.51, 0.5, "two", transform=axes.transAxes, rotation=30)
    axes.annotate("far", (1.2, 0.5), xycoords="axes fraction", annotation_clip=False).set_in_layout(False)
    figure.legend(handles=axes.plot([1, 2], label="line"), loc="center")
    faults = faults_of(figure)
    assert [fault.split(":")[0] for fault in faults].count("off the canvas") == 1
    assert "text over text: 'one', 'two'" in faults
    assert "legend over axes: line" in faults


@pytest.mark.parametrize("kind", ["loss-vs-compute", "loss-vs-tokens"])
def test_training_curves_do_not_set_the_axes(kind):
    given = INPUTS["noisy curves"]()
    limits = []
    for curves in (given.curves, ()):
        axes = draw(kind, Sources.of(given.points, given.law, curves)).axes[0]
        limits.append((*axes.get_xlim(), *axes.get_ylim()))
    assert limits[0] == limits[1]
    assert limits[0][3] < 1.2 * given.points.loss.max()


def test_both_fits_of_the_law_are_named():
    given = INPUTS["sweep"]()
    labels = [
        text.get_text().replace("\n", " ")
        for legend in draw("loss-vs-compute", given).legends
        for text in legend.get_texts()
    ]
    assert "chinchilla law, fitted to all runs, at compute-optimal N and D" in labels
    assert any(label.startswith("predicted by the law fitted without them: mean error") for label in labels)


def test_without_a_minimum_there_is_no_empty_panel():
    points = INPUTS["without minima"]().points
    lowest = points.subset(points.flops < 1.1 * points.flops.min())
    assert len(draw("isoflop", Sources.of(lowest), Options(bootstrap=0)).axes) == 1


def test_runs_without_an_objective_are_one_solid_family():
    figure = draw("families", INPUTS["sweep"]())
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["decoder"]
    assert figure.axes[0].lines[0].get_linestyle() == "-"
