"""Bootstrap pairs: which parameters of a law the data hold only together."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from scaling.laws.law import Law
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import footnote, panels
from scaling.plots.kinds import Options
from scaling.plots.scales import DistinctFormatter
from scaling.plots.style import ENVELOPE, LAW
from scaling.plots.words import greek, mathtext
from scaling.runtime.errors import BadInputError

Floats = NDArray[np.float64]
WIDE = 10.0  # a parameter that spans more than this factor is shown by its log
LOG = "log\N{SUBSCRIPT ONE}\N{SUBSCRIPT ZERO} "
INNER = (0.005, 0.995)  # of the resamples, on the axes


def pair_samples(law: Law) -> dict[str, Floats]:
    """(S,) resamples of each parameter under its label; a scale that spans decades as log10.

    What a limiting form holds is left out, as are resamples in which a parameter is infinite.

    Raises:
        BadInputError: the law has no resamples.
    """
    if law.bootstrap is None:
        raise BadInputError(f"bootstrap: the {law.law} law has no resamples; fit it with --bootstrap 1000")
    drawn_of = {name: np.asarray(values, float) for name, values in law.bootstrap.samples.items()}
    known = np.all([np.isfinite(drawn) for drawn in drawn_of.values()], axis=0)
    out = {}
    for name, drawn in drawn_of.items():
        drawn = drawn[known]
        if len(drawn) and np.ptp(drawn) == 0:
            continue
        wide = drawn.min() > 0 and np.quantile(drawn, 0.975) > WIDE * np.quantile(drawn, 0.025)
        out[f"{LOG}{name}" if wide else name] = np.log10(drawn) if wide else drawn
    return out


def bootstrap_figure(sources: Sources, options: Options) -> Figure:
    """Every pair of parameters over the resamples, and each one's histogram on the diagonal.

    Raises:
        BadInputError: no law, or one without resamples.
    """
    law = sources.need_law("bootstrap")
    samples = pair_samples(law)
    names = list(samples)
    n = len(names)
    side = max(5.0, 1.75 * n)
    figure, axes = panels(f"Bootstrap of the {law.law} law", n, n, (side, side * 0.92 + 0.4), pad=0.02)
    limits = {name: _limits(values) for name, values in samples.items()}
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            one = axes[i * n + j]
            if j > i:
                one.remove()
                continue
            one.axvline(_estimate(law, column), color=LAW, lw=0.9, zorder=3)
            if i == j:
                one.hist(samples[column], bins=30, range=limits[column], color=ENVELOPE, alpha=0.75)
                one.yaxis.set_major_locator(NullLocator())
            else:
                size = float(np.clip(900 / len(samples[column]), 2, 9))
                style: Any = {"s": size, "color": ENVELOPE, "alpha": 0.35, "lw": 0, "rasterized": True}
                one.scatter(samples[column], samples[row], **style)
                one.axhline(_estimate(law, row), color=LAW, lw=0.9, zorder=3)
                one.set_ylim(limits[row])
                one.yaxis.set_major_locator(MaxNLocator(nbins=3, prune="both"))
            one.set_xlim(limits[column])
            one.xaxis.set_major_locator(MaxNLocator(nbins=3, prune="both"))
            one.tick_params(labelsize=8, labelbottom=i == n - 1, labelleft=j == 0 and i > 0)
            one.xaxis.set_major_formatter(DistinctFormatter("plain"))
            one.yaxis.set_major_formatter(DistinctFormatter("plain"))
            one.set_xlabel(_symbol(column) if i == n - 1 else "")
            one.set_ylabel(_symbol(row) if j == 0 and i > 0 else "")
    unit = "runs" if law.bootstrap is not None and law.bootstrap.unit == "run" else "points"
    footnote(
        figure,
        f"{len(next(iter(samples.values()))):,} resamples of {unit}; lines: the estimate from all data. "
        f"{greek(law.equation)}. N: {law.counting.get('params', '')}.",
    )
    return figure


def _limits(values: Floats) -> tuple[float, float]:
    low, high = np.quantile(values, INNER)
    room = max(0.08 * (high - low), 1e-9 * max(abs(high), 1.0))
    return float(low - room), float(high + room)


def _symbol(label: str) -> str:
    name = label.removeprefix(LOG)
    return label.removesuffix(name) + mathtext(name)


def _estimate(law: Law, label: str) -> float:
    name = label.removeprefix(LOG)
    value = law.values()[name]
    return float(np.log10(value)) if name != label else value
