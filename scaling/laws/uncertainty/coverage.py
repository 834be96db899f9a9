"""Whether the rolled hold-out kept the coverage that its intervals promise."""

from collections.abc import Sequence
from math import comb

from scaling.laws.sections import CutOff

SIGNIFICANT = 0.05


def binomial_tail(hits: int, n: int, share: float) -> float:
    """P(X <= hits) of a binomial X of n trials."""
    return float(sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits + 1)))


def missed_coverage(rolling: Sequence[CutOff] | None, level: float) -> str | None:
    """A warning where fewer rolled predictions were inside their intervals than `level` promises.

    The later runs are predicted from several cut-offs, so that the predictions are not independent: the test
    is binomial in the number of different runs predicted (of the first cut-off), at the share of all
    predictions that were inside.
    """
    judged = [(cut.n, cut.inside) for cut in rolling or () if cut.inside is not None]
    if not judged:
        return None
    predictions = sum(n for n, _ in judged)
    inside = sum(round(n * share) for n, share in judged)
    runs = max(n for n, _ in judged)
    chance = binomial_tail(int(runs * inside / predictions), runs, level)
    if inside >= level * predictions or chance >= SIGNIFICANT:
        return None
    return (
        f"the rolled hold-out misses: {inside} of {predictions} predictions were inside their {level:.0%} "
        f"intervals (binomial p = {chance:.1g} for {runs} runs): intervals of predictions are too narrow"
    )
