"""What one item scores: each metric a function of what the model said of it."""

import math
import re
import string
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Insertions, deletions and substitutions from one sequence to another (Levenshtein 1966)."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (x != y)))
        previous = row
    return previous[-1]


def edit_similarity(said: Sequence[Hashable], target: Sequence[Hashable]) -> float:
    """1 minus the edit distance over the longer length, in [0, 1]; 1 of two empty sequences."""
    longest = max(len(said), len(target))
    return 1.0 if longest == 0 else 1.0 - edit_distance(said, target) / longest


def posterior(scores: Sequence[float]) -> np.ndarray:
    """Probabilities of the choices (C,) from their scores in nats: a softmax over the choices of the item."""
    values = np.asarray(scores, np.float64)
    weights = np.exp(values - values.max())
    return weights / weights.sum()


def brier(probabilities: np.ndarray, right: Sequence[float]) -> float:
    """Squared distance to the truth summed over choices, in [0, 2] (Brier 1950, equation 2).

    `right` holds the grade of each choice; several right ones share the truth equally.
    """
    truth = np.asarray(right, np.float64)
    return float(((probabilities - truth / truth.sum()) ** 2).sum())


def right_log_prob(scores: Sequence[float], right: Sequence[float]) -> float:
    """Log of the probability, among the choices, of those graded above 0, in nats."""
    values = np.asarray(scores, np.float64)
    chosen = values[np.asarray(right) > 0]
    return _log_sum(chosen) - _log_sum(values)


def _log_sum(values: np.ndarray) -> float:
    top = values.max()
    return float(top + math.log(np.exp(values - top).sum()))


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased estimate that one of k samples is right, from `right` of `samples` that are.

    1 - C(n - c, k) / C(n, k) as a product (Chen et al. 2021, arXiv:2107.03374, equation 1 and figure 3).

    Raises:
        ValueError: k above the number of samples.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} needs at least {k} samples, not {samples}")
    if samples - right < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - right + 1, samples + 1))


_ARTICLES = re.compile(r"\b(a|an|the)\b")


def squad_normal(text: str) -> str:
    """Lower case, without punctuation and articles, single spaces (Rajpurkar et al. 2016, section 6.1)."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(_ARTICLES.sub(" ", kept).split())


def squad_exact(said: str, accepted: Sequence[str]) -> float:
    """Whether what was said equals an accepted answer after `squad_normal`."""
    return float(any(squad_normal(said) == squad_normal(answer) for answer in accepted))


def squad_f1(said: str, accepted: Sequence[str]) -> float:
    """The best F1 of words with an accepted answer; of an empty one, whether nothing was said."""
    return max(_f1(squad_normal(said).split(), squad_normal(answer).split()) for answer in accepted)


def _f1(said: list[str], target: list[str]) -> float:
    if not said or not target:
        return float(said == target)
    common = sum((Counter(said) & Counter(target)).values())
    return 2 * common / (len(said) + len(target))
