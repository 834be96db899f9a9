"""Does an ability appear suddenly, or is the metric sharp? JAX is imported on fitting.

In reading order: `score_reader` and `score_table` (where scores come from), `metric_names` (what a metric's
name implies), `series` (one task over scale), `curve_shapes` and `fits` (candidate curves), `threshold`
(where), `breakthrough` (seeds), `foresight` (was it foreseen?), `verdict`, `analysis` (all of it),
`document`.
"""

from typing import TYPE_CHECKING, Any

from scaling.laws.emergence.document import Emergence, Verdict
from scaling.laws.emergence.score_reader import PUBLISHED, read_scores
from scaling.laws.emergence.score_table import SCALES, ScoreTable

if TYPE_CHECKING:
    from scaling.laws.emergence.analysis import Analysis, emergence

__all__ = [
    "PUBLISHED",
    "SCALES",
    "Analysis",
    "Emergence",
    "ScoreTable",
    "Verdict",
    "emergence",
    "read_scores",
]


def __getattr__(name: str) -> Any:
    if name in ("Analysis", "emergence"):
        from scaling.laws.emergence import analysis

        return getattr(analysis, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
