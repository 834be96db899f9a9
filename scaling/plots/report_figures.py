"""Which figures the report has, with their titles and notes: those that the runs and the law allow."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling.laws.frontier.approaches import Approach
from scaling.laws.frontier.isoflop import isoflop_minima
from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.read.curves import Curve
from scaling.plots.allocation import PAPERS
from scaling.plots.interactive import interactive_loss_vs_compute, interactive_loss_vs_tokens
from scaling.plots.interactive_law import (
    interactive_contours,
    interactive_exponents,
    interactive_isoflop,
    interactive_profile,
    interactive_residuals,
)
from scaling.plots.isoflops import reasons
from scaling.plots.profiles import profiles_of

RESAMPLES = 500  # of the approaches and minima, which the report makes itself
TOLERANCE = 0.05


@dataclass(frozen=True)
class Piece:
    """A section of figures: `title` and `note` are text, `figures` Plotly documents by id."""

    name: str
    title: str
    note: str
    figures: dict[str, dict[str, Any]]
    height: str = ""  # a class of the page's style

    def section(self) -> str:
        """The markup that holds its places."""
        title = html.escape(self.title)
        kind = f'class="figure {self.height}" role="img" aria-label="{title}"'
        places = "".join(f'<div id="{name}" {kind}></div>' for name in self.figures)
        if len(self.figures) > 1:
            places = f'<div class="grid">{places}</div>'
        return f'<section><h2>{title}</h2>{places}<p class="note">{html.escape(self.note)}</p></section>'


def figures_of(
    points: Points, law: Law | None, curves: Sequence[Curve], found: Sequence[Approach]
) -> list[Piece]:
    """The figures in the order of the page."""
    counting = f"N: {points.counting['params']}. C: {points.counting['flops']}."
    pieces: list[Piece] = []

    def add(name: str, title: str, note: str, figure: dict[str, Any], height: str = "") -> None:
        pieces.append(Piece(name, title, note, {name: figure}, height))

    compute = interactive_loss_vs_compute(points, law, curves)
    tokens = interactive_loss_vs_tokens(points, law, curves)
    add("compute", "Loss against training compute", _compute_note(law), compute)
    add("tokens", "Loss against training tokens", f"Colour is model size. {counting}", tokens)
    minima = isoflop_minima(points, tolerance=TOLERANCE, bootstrap=RESAMPLES)
    if minima.minima:
        refused = " ".join(reasons(minima.refused))
        note = "Stars are minima of parabolas in log N, with their 95% bootstrap intervals."
        add(
            "isoflop",
            "IsoFLOP minima",
            f"{note} {counting} {refused}",
            interactive_isoflop(points, minima, TOLERANCE),
        )
    if any(one.a is not None for one in found):
        note = f"Bars are 95% bootstrap intervals. Lines are published exponents: {'; '.join(PAPERS)}."
        add("exponents", "Exponent of the compute-optimal size", note, interactive_exponents(found), "low")
    if law is None:
        return pieces
    if law.form.variables == ("params", "tokens"):
        note = f"Grey lines join equal loss by the fitted law, in {points.loss_unit}. {counting}"
        add("contours", "Loss over parameters and tokens", note, interactive_contours(law, points))
    if profiles := profiles_of(law):
        note = (
            "How far the objective rises above its minimum when one quantity is held at other values and all "
            "other parameters are fitted again. Shaded: the 95% interval; vertical line: the estimate."
        )
        panels = {f"profile-{i}": interactive_profile(law, one) for i, one in enumerate(profiles)}
        pieces.append(Piece("profiles", "Profiles of the parameters", note, panels))
    note = f"Of the fit to all points. 1% is 0.01 in the natural logarithm. {counting}"
    add("residuals", "Residuals of the law", note, interactive_residuals(law, points), "low")
    return pieces


def _compute_note(law: Law | None) -> str:
    note = "Filled points: measured and fitted. Dashed line: lower envelope of the measured points."
    if law is not None:
        note += " Orange line: the law fitted to all runs, drawn to ten times the largest compute"
        note += f", with its {law.bootstrap.level:.0%} bootstrap interval." if law.bootstrap else "."
        if law.holdout:
            note += " Hollow points: held out. Bars: predictions of a law fitted without them."
    return note
