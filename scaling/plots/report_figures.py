"""Which figures the report has, with their titles and notes: those that the runs and the law allow."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scaling.laws.approaches import Approach
from scaling.laws.isoflop import isoflop_minima
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.plots.curves import Curve
from scaling.plots.interactive import interactive_loss_vs_compute, interactive_loss_vs_tokens
from scaling.plots.interactive_law import (
    interactive_contours,
    interactive_exponents,
    interactive_isoflop,
    interactive_profiles,
    interactive_residuals,
)
from scaling.plots.profiles import profiles_of

RESAMPLES = 500  # of the approaches and minima, which the report makes itself
TOLERANCE = 0.05


@dataclass(frozen=True)
class Piece:
    """One figure of the page: `title` and `note` are text, `figure` is a Plotly document."""

    name: str
    title: str
    note: str
    figure: dict[str, Any]
    height: str = ""  # a class of the page's style

    def section(self) -> str:
        """The markup that holds its place."""
        title = html.escape(self.title)
        return (
            f'<section><h2>{title}</h2><div class="figure {self.height}" id="{self.name}" role="img" '
            f'aria-label="{title}"></div><p class="note">{html.escape(self.note)}</p></section>'
        )


def figures_of(
    points: Points, law: LawFit | None, curves: Sequence[Curve], found: Sequence[Approach]
) -> list[Piece]:
    """The figures in the order of the page."""
    counting = f"N: {points.counting['params']}. C: {points.counting['flops']}."
    compute = interactive_loss_vs_compute(points, law, curves)
    tokens = interactive_loss_vs_tokens(points, law, curves)
    pieces = [
        Piece("compute", "Loss against training compute", _compute_note(law), compute),
        Piece("tokens", "Loss against training tokens", f"Colour is model size. {counting}", tokens),
    ]
    minima = isoflop_minima(points, tolerance=TOLERANCE, bootstrap=RESAMPLES)
    if minima.minima:
        refused = [refusal.reason for refusal in minima.refused if refusal.sizes > 1]
        note = f"Stars are minima of parabolas in log N, with their 95% bootstrap intervals. {counting}"
        note += f" Hollow, without a minimum: {'; '.join(refused)}." if refused else ""
        valleys = interactive_isoflop(points, minima, TOLERANCE)
        pieces.append(Piece("isoflop", "IsoFLOP minima", note, valleys))
    if any(one.a is not None for one in found):
        note = "Bars are 95% bootstrap intervals; lines are exponents that papers print."
        exponents = interactive_exponents(found)
        pieces.append(Piece("exponents", "The exponent of the compute-optimal size", note, exponents, "low"))
    if law is None:
        return pieces
    if law.form.variables == ("params", "tokens"):
        note = f"Grey lines join equal loss by the fitted law, in nats per token. {counting}"
        contours = interactive_contours(law, points)
        pieces.append(Piece("contours", "Loss over parameters and tokens", note, contours))
    if profiles := profiles_of(law):
        note = "All other parameters are fitted anew at each value; shaded is the interval that this gives."
        panels = interactive_profiles(law, profiles)
        pieces.append(Piece("profiles", "Profiles of the parameters", note, panels, "low"))
    note = f"Of the fit to all points; a percent is 0.01 of log. {counting}"
    pieces.append(
        Piece("residuals", "What the law leaves over", note, interactive_residuals(law, points), "low")
    )
    return pieces


def _compute_note(law: LawFit | None) -> str:
    note = "Filled: measured and fitted. The dashed line is the lower envelope of the measured points."
    if law is not None:
        note += " The orange line is the fitted law, drawn to ten times the largest compute"
        note += f"; the band is its {law.bootstrap.level:.0%} bootstrap interval." if law.bootstrap else "."
        if law.holdout:
            note += " Hollow points were held out; the black bars are what the fit without them predicted."
    return note
