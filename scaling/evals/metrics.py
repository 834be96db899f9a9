"""What one item scores, and the mean over items with its 95% interval.

The interval of a share is Wilson's, or exact where none or all items are right; of other means, the
percentile bootstrap.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from scipy.special import logsumexp, softmax

from scaling.config.record import Score, wilson

# From the probabilities of the choices, from generated text, and from the probability of the given answer.
CHOICE_METRICS = ("choice_accuracy", "choice_log_prob", "brier")
TEXT_METRICS = ("exact_match", "edit_similarity", "squad_exact", "squad_f1")
ANSWER_METRICS = ("answer_log_prob", "token_accuracy", "likeliest_match")
# The accuracy of choices under other normalisations, which every task with choices gets too.
ACCURACIES = ("choice_accuracy_per_token", "choice_accuracy_unconditional", "acc_norm", "acc_bytes")
METRICS = (*CHOICE_METRICS, *TEXT_METRICS, *ANSWER_METRICS)

_RESAMPLES = 2000


# -- one item --------------------------------------------------------------------------------------------


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Insertions, deletions and substitutions from one sequence to another (Levenshtein 1966)."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (x != y)))
        previous = row
    return previous[-1]


def edit_similarity(text: Sequence[Hashable], target: Sequence[Hashable]) -> float:
    """1 minus the edit distance over the longer length, in [0, 1]; 1 for two empty sequences."""
    longest = max(len(text), len(target))
    return 1.0 if longest == 0 else 1.0 - edit_distance(text, target) / longest


def choice_probabilities(scores: Sequence[float]) -> np.ndarray:
    """Probabilities (C,) of the choices of an item from their log-probabilities in nats: a softmax."""
    return np.asarray(softmax(np.asarray(scores, np.float64)))


def brier(probabilities: np.ndarray, grades: Sequence[float]) -> float:
    """Squared distance to the truth summed over choices, in [0, 2] (Brier 1950, equation 2).

    Several right choices share the truth in proportion to their grades.
    """
    truth = np.asarray(grades, np.float64)
    return float(((probabilities - truth / truth.sum()) ** 2).sum())


def right_log_prob(scores: Sequence[float], grades: Sequence[float]) -> float:
    """Log of the probability, among the choices, of those graded above 0, in nats."""
    values = np.asarray(scores, np.float64)
    return float(logsumexp(values[np.asarray(grades) > 0]) - logsumexp(values))


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased estimate of the probability that one of k samples is right, from `right` of `samples`.

    1 - C(n - c, k) / C(n, k) as a product (Chen et al. 2021, arXiv:2107.03374, equation 1 and figure 3).

    Raises:
        ValueError: k exceeds the number of samples.
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


def squad_exact(text: str, accepted: Sequence[str]) -> float:
    """Whether a text equals an accepted answer after `squad_normal`."""
    return float(any(squad_normal(text) == squad_normal(answer) for answer in accepted))


def squad_f1(text: str, accepted: Sequence[str]) -> float:
    """The best F1 of words with an accepted answer; for an empty answer, whether the text is empty."""
    return max(_f1(squad_normal(text).split(), squad_normal(answer).split()) for answer in accepted)


def _f1(words: list[str], target: list[str]) -> float:
    if not words or not target:
        return float(words == target)
    common = sum((Counter(words) & Counter(target)).values())
    return 2 * common / (len(words) + len(target))


# -- means over items ------------------------------------------------------------------------------------


def zero_bound(n: int) -> float:
    """The share that remains possible after 0 of n items: the p with (1 - p)^n = 5%.

    The one-sided bound of Clopper and Pearson (1934), about 3 / n: the rule of three (Hanley and
    Lippman-Hand 1983).
    """
    return 1.0 - 0.05 ** (1.0 / n)


def share(successes: int, n: int) -> Score:
    """`successes` of `n` items with Wilson's interval; for none or all of them, the exact one-sided bound."""
    if successes == 0:
        return Score(value=0.0, interval=(0.0, zero_bound(n)), kind="exact")
    if successes == n:
        return Score(value=1.0, interval=(1.0 - zero_bound(n), 1.0), kind="exact")
    return Score(value=successes / n, interval=wilson(successes, n), kind="wilson")


def mean(values: np.ndarray, seed: int = 0) -> Score:
    """The mean over items (n,) with the percentile bootstrap (Efron 1979).

    If all values are equal there is nothing to resample, and the interval is null rather than of zero width.
    """
    values = np.asarray(values, np.float64)
    centre = float(values.mean())
    if len(values) < 2 or np.all(values == values[0]):
        return Score(value=centre, interval=None, kind="none")
    rng = np.random.default_rng((seed, len(values)))
    means = np.empty(_RESAMPLES)
    block = max(1, 2**22 // len(values))
    for start in range(0, _RESAMPLES, block):
        rows = min(block, _RESAMPLES - start)
        means[start : start + rows] = values[rng.integers(0, len(values), (rows, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Score(value=centre, interval=(float(low), float(high)), kind="bootstrap")


def summary(values: np.ndarray, seed: int = 0) -> Score:
    """Values that are all 0 or 1 as a share, others as a mean."""
    values = np.asarray(values, np.float64)
    if np.all((values == 0) | (values == 1)):
        return share(int(values.sum()), len(values))
    return mean(values, seed)
