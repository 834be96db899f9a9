"""The figures of `scaling plot KIND`: each is a function, and an entry in `KINDS`.

Functions are named here and imported when they draw, so that listing the kinds imports no matplotlib.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from scaling.runtime.errors import BadInputError
from scaling.runtime.suggest import hint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from scaling.laws.read.inputs import Sources

# "module:function" in scaling.plots. The function takes (Sources, Options) and returns a Figure, or a Figure
# and its numbers as plain JSON; it raises BadInputError when the sources lack what it needs.
KINDS: dict[str, str] = {
    "loss-vs-compute": "losses:loss_vs_compute",
    "loss-vs-tokens": "losses:loss_vs_tokens",
    "predicted-vs-measured": "law_figures:predicted_vs_measured",
    "law": "law_figures:law_figure",
    "isoflop": "compute_optimal:isoflop_figure",
    "allocation": "compute_optimal:allocation_figure",
    "exponents": "compute_optimal:exponents_figure",
    "residuals": "law_figures:residuals_figure",
    "contours": "law_figures:contours_figure",
    "profiles": "uncertainty:profiles_figure",
    "bootstrap": "uncertainty:bootstrap_figure",
    "errors-by-reach": "by_reach:errors_by_reach_figure",
    "families": "losses:families_figure",
    "lr-bowls": "mup:lr_bowls_figure",
    "emergence": "emergence:emergence_of",
    "sharp-and-smooth": "emergence:sharp_and_smooth_of",
    "in-context": "few_shot:in_context_of",
}


@dataclass(frozen=True)
class Options:
    """Choices of the kinds that have any: the method of isoFLOP minima, resamples, scores."""

    method: str = "windowed"  # or parabola, akima
    tolerance: float = 0.05  # largest relative difference in compute within one budget
    bootstrap: int = 1000
    seed: int = 0  # of the resamples
    against: str | None = None  # flops, params, loss or step; None: the first that every score has
    tasks: Sequence[str] | None = None  # None: all
    shots: Sequence[int] | None = None
    metrics: Sequence[str] | None = None
    log_score: bool = False


def check_kind(kind: str) -> None:
    """Raises BadInputError if a kind is unknown; the message suggests a similar one or lists all."""
    if kind not in KINDS:
        raise BadInputError(f"figure {kind!r} is not known; {hint(kind, KINDS)}")


def draw(kind: str, sources: "Sources", options: Options | None = None) -> "Figure":
    """The figure of a kind; raises like `draw_and_tell`."""
    return draw_and_tell(kind, sources, options)[0]


def draw_and_tell(
    kind: str, sources: "Sources", options: Options | None = None
) -> tuple["Figure", dict[str, Any]]:
    """The figure of a kind and its numbers, empty for most kinds.

    Raises:
        BadInputError: the kind is unknown, or the sources lack what it needs.
    """
    check_kind(kind)
    from matplotlib import rc_context

    from scaling.plots.style import STYLE

    module, function = KINDS[kind].split(":")
    with rc_context(STYLE):
        drawn = getattr(import_module(f"scaling.plots.{module}"), function)(sources, options or Options())
    return drawn if isinstance(drawn, tuple) else (drawn, {})
