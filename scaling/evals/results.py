"""An outcome as scores of a task: means over items, each with its interval."""

from typing import Any

import numpy as np

from scaling.config.record import TaskScores
from scaling.evals.ask import How, Outcome
from scaling.evals.intervals import summary
from scaling.evals.items import Source

_NAMED = 100  # unusable items that a document names


def task_scores(source: Source, how: How, outcome: Outcome) -> TaskScores:
    """Every metric that all items have, with the mean length of an answer."""
    asked = outcome.asked
    names: dict[str, Any] = {name: None for one in asked for name in one.values}
    first = [name for name in source.metrics if name in names]
    order = [*first, *(name for name in names if name not in first)]
    return TaskScores(
        task=source.name,
        shots=how.shots,
        template=how.template.name,
        n=len(asked),
        skipped=outcome.skipped,
        unusable=outcome.unusable[:_NAMED],
        chance=source.chance,
        answer_tokens=float(np.mean([len(one.answer) for one in asked])) if asked else None,
        scores={name: summary(np.array([one.values[name] for one in asked]), how.seed) for name in order},
    )
