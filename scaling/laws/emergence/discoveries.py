"""Of the breaks that are reported over many tasks, how many are none?

The p-value of a break combines the two criteria of a verdict. By cross-validation, each left-out size says
how much more probable its score was with a break, and the total is compared with its standard error
(Student's t, one side). By AICc, exp(-delta / 2) is the relative likelihood of the curves without a break
(Burnham and Anderson 2002, section 2.9). The p-value is twice the smaller of the two (Bonferroni), because
evidence from one or two sizes also makes the standard error large. Of simulated smooth curves fewer have a
small p-value than it says (`tests/laws/test_emergence_breaks.py`).

Over all series of a document the p-values are adjusted by Benjamini and Hochberg (1995). Of the breaks with
q <= `RATE` at most that share is expected to be none, if the tests are independent or depend positively, as
scores of the same models do (Benjamini and Yekutieli 2001).
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

RATE = 0.1


def p_value(
    delta_aicc: float | None, delta_cv: float | None, error: float | None, sizes: int
) -> float | None:
    """The p-value of a break from the numbers of its verdict; None without them."""
    if delta_aicc is None or delta_cv is None or error is None:
        return None
    predicted = stdtr(sizes - 1, -delta_cv / max(error, 1e-12))
    return float(min(1.0, 2 * min(predicted, np.exp(-delta_aicc / 2))))


def q_values(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values; None is no test, and stays None."""
    tested = [(i, value) for i, value in enumerate(p) if value is not None]
    found: list[float | None] = [None] * len(p)
    least = 1.0
    for rank, (i, value) in zip(
        range(len(tested), 0, -1), sorted(tested, key=lambda one: -one[1]), strict=True
    ):
        least = min(least, value * len(tested) / rank)
        found[i] = float(np.clip(least, 0.0, 1.0))
    return found
