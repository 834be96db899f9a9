"""Inputs at the edges of what figures show: few points and many, one size, long and Unicode names."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from scaling.laws import LAWS, read_points
from scaling.laws.points import Count
from scaling.laws.read.curves import read_curves
from scaling.laws.read.inputs import Sources, join_points
from tests.laws.known import ladder, points_of
from tests.laws.valleys import valleys
from tests.plots.drawn_law import law_of
from tests.plots.sweep_of import write_sweep

LONG = "a-run-of-the-second-large-sweep-with-a-schedule-of-its-own-and-a-name-that-says-it-all-" * 2
UNICODE = "学習曲線 Ünïcode λ=½ 模型"


def _swept(**options) -> Sources:
    home = write_sweep(Path(mkdtemp()) / "sweep", **options)
    points = read_points(home)
    law = law_of(points, held_sizes=1, full=True)
    return Sources.of(points, law, read_curves(home), Sources((home,)).records)


def _noisy_curves() -> Sources:
    """Curves that begin far above every final loss and rise before they fall, as an untrained model's do."""
    given = _swept()
    noisy = []
    for i, curve in enumerate(given.curves):
        random = np.random.default_rng(i)
        early = 1 + 4 * np.exp(-np.arange(len(curve.loss)) / 3) * (curve.branch is None)
        noisy.append(replace(curve, loss=curve.loss * early * np.exp(0.15 * random.normal(size=len(early)))))
    return Sources.of(given.points, given.law, noisy, given.records)


def _families() -> Sources:
    """Six families with long names and two n-grams of nearly equal loss."""
    given = _swept()
    records = []
    kinds = [
        ("decoder", "causal"),
        ("encoder", "masked"),
        ("encoder_decoder", "spans"),
        ("prefix_decoder", "prefix"),
    ]
    for i, (family, objective) in enumerate(kinds):
        for record in given.records:
            points = tuple(
                p.model_copy(
                    update={
                        "bits_per_byte": (p.bits_per_byte or 1) * (1 + 0.05 * i),
                        "flops": p.flops * 1.3**i,
                    }
                )
                for p in record.points
            )
            records.append(
                record.model_copy(update={"family": family, "objective": objective, "points": points})
            )
    for order in (4, 5):
        record = given.records[0]
        counts = record.params.model_copy(update={"by_component": {f"grams_{k}": 1 for k in range(order)}})
        point = record.points[0].model_copy(update={"flops": 0.0, "bits_per_byte": 2.6 + 0.01 * order})
        records.append(record.model_copy(update={"family": "ngram", "params": counts, "points": (point,)}))
    return Sources.of(given.points, given.law, given.curves, records)


def _ladder_and_isoflop() -> Sources:
    """A ladder with a held-out size, and isoFLOP runs of less compute, as the demo has them."""
    first, second = ladder(0.002), replace(valleys(span=3, noise=1e-3), source="isoflop")
    points = join_points([first, second])
    return Sources.of(points, law_of(points, held_sizes=1, full=True))


def _without_minima() -> Sources:
    """Budgets whose least loss is at the smallest size: no minimum, no power law."""
    points = valleys(span=3, noise=1e-3)
    optimum = 10 * points.params.min()
    return Sources.of(points.subset(points.params > optimum), None)


def _many() -> Sources:
    """1,745 points of 40 sizes."""
    random = np.random.default_rng(0)
    params = np.geomspace(1e5, 2e9, 40)[random.integers(0, 40, 1745)]
    tokens = params * np.exp(random.uniform(-1, 6, 1745))
    loss = (1.7 + 400 / params**0.34 + 410 / tokens**0.28) * np.exp(0.01 * random.normal(size=1745))
    points = points_of(params, tokens, loss)
    return Sources.of(points, law_of(points, held_sizes=8))


def _few() -> Sources:
    return Sources.of(ladder(0.0, sizes=3, multiples=(20,)))


def _one_point() -> Sources:
    return Sources.of(ladder(0.0, sizes=1, multiples=(20,)))


def _one_size() -> Sources:
    points = points_of([1e6] * 5, [1e6, 2e6, 4e6, 8e6, 1.6e7], [4.0, 3.5, 3.2, 3.0, 2.9])
    return Sources.of(points, law_of(points, "tokens-power"))


def _long_names() -> Sources:
    points = ladder(0.002)
    groups = tuple(LONG + group for group in points.groups)
    counts = {
        "params": Count(column="non_embedding_parameters_" * 3, table=f"{LONG}.csv"),
        "flops": Count(column=LONG),
    }
    points = replace(points, groups=groups, labels=groups, counts=counts, source=f"/data/{LONG}.csv")
    return Sources.of(points, law_of(points, held_sizes=1))


def _unicode_names() -> Sources:
    points = ladder(0.002)
    groups = tuple(f"{UNICODE} {group}" for group in points.groups)
    counts = {"params": Count(column=UNICODE), "flops": Count("6nd")}
    points = replace(points, groups=groups, labels=groups, counts=counts, source=f"/data/{UNICODE}.csv")
    return Sources.of(points, law_of(points, held_sizes=1))


def _extreme() -> Sources:
    """Sizes from a thousand to ten trillion."""
    params = np.repeat(np.geomspace(1e3, 1e13, 9), 3)
    tokens = params * np.tile((1.0, 30.0, 1000.0), 9)
    points = points_of(params, tokens, 0.5 + 40 / params**0.3 + 60 / tokens**0.3)
    return Sources.of(points, law_of(points, held_sizes=1))


def _narrow() -> Sources:
    """Compute, sizes and losses all within a few percent."""
    params = np.repeat([1.00e8, 1.03e8, 1.06e8, 1.09e8], 3)
    tokens = np.tile([2.00e9, 2.05e9, 2.1e9], 4)
    points = points_of(params, tokens, 1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28)
    return Sources.of(points, law_of(points))


def _no_bootstrap() -> Sources:
    points = ladder(0.002)
    return Sources.of(points, law_of(points, held_sizes=1, resampled=False))


def _of_law(name: str) -> Callable[[], Sources]:
    def make() -> Sources:
        points = ladder(0.002)
        rates = 1e-2 * (points.params / 1e8) ** -0.2 * (points.tokens / 1e9) ** 0.1
        points = replace(
            points,
            error=0.9 - 2.0 * np.exp(-0.7 * points.loss),
            learning_rate=rates,
            batch_tokens=rates * 1e9,
            unique_tokens=points.tokens / 4,
        )
        return Sources.of(points, law_of(points, name, full=True))

    return make


INPUTS: dict[str, Callable[[], Sources]] = {
    name: cache(make)
    for name, make in {
        "sweep": _swept,
        "noisy curves": _noisy_curves,
        "families": _families,
        "ladder and isoFLOP": _ladder_and_isoflop,
        "without minima": _without_minima,
        "many": _many,
        "few": _few,
        "one point": _one_point,
        "one size": _one_size,
        "long names": _long_names,
        "Unicode names": _unicode_names,
        "extreme": _extreme,
        "narrow": _narrow,
        "no bootstrap": _no_bootstrap,
        **{name: _of_law(name) for name in LAWS if name != "chinchilla"},
    }.items()
}
