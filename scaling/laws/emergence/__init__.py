"""Does an ability appear suddenly, or is the metric sharp? JAX is imported on fitting."""

from typing import TYPE_CHECKING, Any

from scaling.laws.emergence.document import Emergence, Verdict
from scaling.laws.emergence.read import PUBLISHED, read_scores
from scaling.laws.emergence.scores import SCALES, Scores

if TYPE_CHECKING:
    from scaling.laws.emergence.answer import Answer, emergence

__all__ = ["PUBLISHED", "SCALES", "Answer", "Emergence", "Scores", "Verdict", "emergence", "read_scores"]


def __getattr__(name: str) -> Any:
    if name in ("Answer", "emergence"):
        from scaling.laws.emergence import answer

        return getattr(answer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
