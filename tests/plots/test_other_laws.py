"""Figures of laws that are not a loss over N and D."""

from dataclasses import replace

import numpy as np
import pytest

from scaling.laws import fit_points
from scaling.laws.read.inputs import Sources
from scaling.plots.interactive import interactive_loss_vs_compute, interactive_loss_vs_tokens
from scaling.plots.kinds import draw
from scaling.plots.report import write_report
from scaling.runtime.errors import BadInputError
from tests.laws.known import ladder


def test_a_law_without_a_frontier_draws_no_line_and_its_residuals():
    points = replace(ladder(0.002), batch_tokens=np.full(28, 5e5))
    law = fit_points(points, "kaplan-steps", delta=0.3)
    for kind in ("loss-vs-compute", "loss-vs-tokens"):
        labels = [t.get_text() for t in draw(kind, Sources.of(points, law)).legends[0].get_texts()]
        assert not any("compute-optimal" in label or "at each N" in label for label in labels)
    draw("predicted-vs-measured", Sources.of(points, law))
    assert not any("law" in t.get("name", "") for t in interactive_loss_vs_compute(points, law)["data"][:2])
    interactive_loss_vs_tokens(points, law)


def test_a_law_of_errors_is_refused_where_losses_are_drawn(tmp_path):
    points = ladder(0.002)
    points = replace(points, error=0.9 - 2.0 * np.exp(-0.7 * points.loss))
    law = fit_points(points, "downstream-error", residual="plain", delta=10.0, holdout=None)
    draw("predicted-vs-measured", Sources.of(points, law))
    with pytest.raises(BadInputError, match="loss-vs-compute shows losses; downstream-error predicts error"):
        draw("loss-vs-compute", Sources.of(points, law))
    with pytest.raises(BadInputError, match="a report shows losses"):
        write_report(points, law, tmp_path / "report.html")
