"""Seed noise: what runs that differ only in their seed disagree by, which no law can go below."""

import numpy as np

from scaling.laws.points import Points
from scaling.laws.sections import SeedNoise


def seed_noise(points: Points) -> SeedNoise | None:
    """Pooled standard deviation of log loss over sets of points that are the same but for the seed.

    Of records, the recipe says which are; of a CSV, equal params, tokens, flops, dataset and settings, where
    a column `seed` differs or there is none. None without such a set.
    """
    sets: dict[tuple[object, ...], list[int]] = {}
    settings = [v for v in (points.unique_tokens, points.learning_rate, points.batch_tokens) if v is not None]
    for i in range(len(points)):
        recipe = points.recipes[i] if points.recipes else ""
        numbers = (points.params[i], points.tokens[i], points.flops[i], *(v[i] for v in settings))
        sets.setdefault((recipe, points.dataset[i], *map(repr, numbers)), []).append(i)
    squares, freedom, n, n_sets = 0.0, 0, 0, 0
    for members in sets.values():
        if points.seeds is not None and len({points.seeds[i] for i in members}) < len(members):
            continue  # the same seed twice is one run written twice, or differs in what no column says
        if len(members) > 1:
            logs = np.log(points.loss[members])
            squares += float(((logs - logs.mean()) ** 2).sum())
            freedom += len(members) - 1
            n, n_sets = n + len(members), n_sets + 1
    if not freedom:
        return None
    by = "seed" if points.seeds is not None else "equal numbers"
    return SeedNoise(std_log_loss=float(np.sqrt(squares / freedom)), n_sets=n_sets, n_points=n, by=by)
