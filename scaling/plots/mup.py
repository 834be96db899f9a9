"""Loss against learning rate, one bowl a width, standard beside muP: whether the optimum moves."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from scaling.config.load import load_run, read_yaml
from scaling.config.model import Parametrization, TransformerConfig
from scaling.config.record import read_record
from scaling.laws.read.inputs import Sources
from scaling.plots.kinds import Options
from scaling.plots.style import GRID, INK, LAW, MUTED, STYLE, size_colours
from scaling.runtime.errors import BadInputError
from scaling.train.coordinate_check import CoordinateCheck


@dataclass(frozen=True)
class Bowl:
    """Final losses of one width under one parametrisation, by learning rate, means over seeds.

    `spread` is the standard deviation of one loss over seeds, pooled over rates; None of one seed.
    """

    parametrization: Parametrization
    width: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    spread: float | None

    @property
    def best(self) -> int:
        """Which rate has the lowest loss."""
        return int(np.argmin(self.losses))

    @property
    def bracketed(self) -> bool:
        """Whether rates on both sides of the best were tried."""
        return 0 < self.best < len(self.rates) - 1

    def parabola(self) -> tuple[float, float, float]:
        """Coefficients, the square's first, of the parabola in log2 rate through the lowest and its two
        neighbours."""
        around = slice(self.best - 1, self.best + 2)
        fitted = np.polyfit(np.log2(self.rates[around]), self.losses[around], 2)
        return float(fitted[0]), float(fitted[1]), float(fitted[2])

    def optimum(self) -> float:
        """log2 of the rate at the parabola's lowest point; at the edge of the grid the edge itself."""
        if not self.bracketed:
            return math.log2(self.rates[self.best])
        square, linear, _ = self.parabola()
        return -linear / (2 * square) if square > 0 else math.log2(self.rates[self.best])

    def interval(self) -> tuple[float | None, float | None]:
        """log2 rates between which the optimum lies: beyond the neighbours of the lowest the loss was higher.

        None is an open end, where the lowest loss is at the edge of the grid.
        """
        lower = math.log2(self.rates[self.best - 1]) if self.best > 0 else None
        upper = math.log2(self.rates[self.best + 1]) if self.best + 1 < len(self.rates) else None
        return lower, upper


def bowls_of(sources: Sources, options: Options) -> tuple[Figure, dict[str, Any]]:
    """The kind `lr-bowls`: the figure, and the bowls in numbers."""
    bowls = read_bowls(*sources.paths)
    return bowls_figure(bowls), bowls_as_dict(bowls)


def read_bowls(*directories: Path) -> list[Bowl]:
    """The bowls of sweep directories, from configs and records of their finished Transformers.

    Raises:
        BadInputError: no width has finished runs at three learning rates.
    """
    for directory in directories:
        if not directory.is_dir():
            raise BadInputError(f"{directory}: is not a sweep directory; lr-bowls reads runs, not a CSV")
    found: dict[tuple[Parametrization, int], dict[float, list[float]]] = {}
    for config in sorted(path for directory in directories for path in directory.glob("*/config.yaml")):
        record = read_record(config.parent)
        if record is None or record.status != "finished" or not record.points:
            continue
        run = load_run(read_yaml(config))
        if isinstance(run.model, TransformerConfig):
            rates = found.setdefault((run.model.parametrization, run.model.d_model), {})
            rates.setdefault(run.train.learning_rate, []).append(record.points[-1].loss)
    bowls = [_bowl(*key, rates) for key, rates in sorted(found.items()) if len(rates) >= 3]
    if not bowls:
        where = ", ".join(map(str, directories))
        raise BadInputError(f"{where}: lr-bowls needs finished runs at three learning rates of one width")
    return bowls


def _bowl(kind: Parametrization, width: int, by_rate: dict[float, list[float]]) -> Bowl:
    rates = sorted(by_rate)
    variances = [float(np.var(by_rate[rate], ddof=1)) for rate in rates if len(by_rate[rate]) > 1]
    spread = math.sqrt(sum(variances) / len(variances)) if variances else None
    losses = tuple(float(np.mean(by_rate[rate])) for rate in rates)
    return Bowl(kind, width, tuple(rates), losses, spread)


def shift(bowls: Sequence[Bowl], kind: Parametrization) -> float | None:
    """By how many factors of 2 the optimum moves from the narrowest to the widest; None of fewer than two."""
    own = sorted((bowl for bowl in bowls if bowl.parametrization == kind), key=lambda bowl: bowl.width)
    return own[-1].optimum() - own[0].optimum() if len(own) > 1 else None


def bowls_as_dict(bowls: Sequence[Bowl]) -> dict[str, Any]:
    """Plain JSON."""
    return {
        "shift_log2": {kind: shift(bowls, kind) for kind in get_args(Parametrization)},
        "bowls": [
            {
                "parametrization": bowl.parametrization,
                "width": bowl.width,
                "learning_rates": bowl.rates,
                "losses": bowl.losses,
                "spread": bowl.spread,
                "optimum_log2": bowl.optimum(),
                "optimum": 2 ** bowl.optimum(),
                "interval_log2": bowl.interval(),
                "bracketed": bowl.bracketed,
            }
            for bowl in bowls
        ],
    }


def bowls_figure(bowls: Sequence[Bowl]) -> Figure:
    """A panel a parametrisation; minima of the parabolas marked, with the bracket that surely holds them."""
    kinds = [kind for kind in get_args(Parametrization) if any(b.parametrization == kind for b in bowls)]
    colours = size_colours([bowl.width for bowl in bowls])
    low, high = min(min(b.losses) for b in bowls), max(max(b.losses) for b in bowls)
    high = min(high, low + 1.6 * (max(b.losses[b.best] for b in bowls) - low) + 1.0)  # divergence is cut off
    with rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(kinds), 4.8), layout="constrained")
        for axes, kind in zip(
            figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0], kinds, strict=True
        ):
            for bowl in (b for b in bowls if b.parametrization == kind):
                colour, at = colours[bowl.width], bowl.optimum()
                axes.plot(bowl.rates, bowl.losses, color=colour, lw=1.4, marker="o", ms=4.5, mec="white")
                least = bowl.losses[bowl.best]
                if bowl.bracketed:
                    least = float(np.polyval(bowl.parabola(), at))
                    ends = [2.0**end for end in bowl.interval() if end is not None]
                    axes.plot(ends, [least - 0.012 * (high - low)] * 2, color=colour, lw=1.2, alpha=0.6)
                axes.axvline(2.0**at, color=colour, lw=0.9, ls=(0, (2, 2)), alpha=0.7, zorder=1)
                face = colour if bowl.bracketed else "white"
                axes.plot([2.0**at], [least], marker="v", ms=9, mfc=face, mec=colour, ls="", zorder=6)
            moved = shift(bowls, kind)
            name = {"standard": "Standard", "mup": "muP"}[kind]
            by = f"{moved or 0:+.2f}".replace("-", "\N{MINUS SIGN}")
            note = "" if moved is None else f": moves by {by} factors of 2"
            axes.set_title(name + note)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("Learning rate at the base width" if kind == "mup" else "Learning rate")
            axes.set_ylim(low - 0.06 * (high - low), high)
            axes.grid(color=GRID, lw=0.7)
            axes.spines[["top", "right"]].set_visible(False)
        figure.axes[0].set_ylabel("Validation loss (nats per token)")
        handles = [
            Line2D([], [], color=c, marker="o", ms=4.5, label=f"width {w}") for w, c in colours.items()
        ]
        handles.append(Line2D([], [], color=MUTED, marker="v", ms=8, ls="", label="parabola's minimum"))
        handles.append(Line2D([], [], color=MUTED, lw=1.2, alpha=0.6, label="bracket of the minimum"))
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), labelcolor=INK)
    return figure


def coordinates_figure(check: CoordinateCheck) -> Figure:
    """A column a kind of activation, the standard parametrisation above muP, both on the same scale."""
    layers = check.layers()
    last = max(m.step for m in check.measured)
    colours = [colormaps["viridis"](place) for place in np.linspace(0.0, 0.86, max(1, last))]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.15 * len(layers) + 0.6, 5.0), layout="constrained")
        panels = figure.subplots(2, len(layers), squeeze=False, sharex=True, sharey="col")
        for row, kind in zip(panels, get_args(Parametrization), strict=True):
            for axes, layer in zip(row, layers, strict=True):
                verdict, found = check.verdict(kind, layer), check.slope(kind, layer)
                for m in check.of(kind, layer)[1:]:
                    axes.plot(m.widths, m.change, color=colours[m.step - 1], lw=1.5, marker="o", ms=3.5)
                axes.set_xscale("log", base=2)
                axes.set_yscale("log", base=2)
                axes.xaxis.set_minor_locator(NullLocator())
                axes.yaxis.set_minor_formatter(NullFormatter())
                axes.set_xticks(check.measured[0].widths, map(str, check.measured[0].widths))
                axes.tick_params(labelsize=8.5)
                axes.grid(color=GRID, lw=0.7)
                axes.spines[["top", "right"]].set_visible(False)
                axes.set_title(
                    f"{verdict}, slope {found:+.2f}",
                    fontsize=9,
                    fontweight="normal",
                    color=INK if verdict == "flat" else LAW,
                    pad=4,
                )
            row[0].set_ylabel({"standard": "standard", "mup": "muP"}[kind] + "\nRMS of the change")
        for axes, layer in zip(panels[0], layers, strict=True):
            axes.annotate(
                layer, (0.5, 1.16), xycoords="axes fraction", ha="center", fontsize=10.5, fontweight="bold"
            )
        handles = [Line2D([], [], color=colours[i], lw=1.5, label=f"step {i + 1}") for i in range(last)]
        figure.supxlabel("Width (d_model)", fontsize=10.5, color=INK)
        figure.legend(handles=handles, loc="outside right center", labelcolor=MUTED)
    return figure
