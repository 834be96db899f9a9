"""How compute should be shared between parameters and tokens, by each approach side by side."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scaling.laws.frontier.approaches import Approach, compare_approaches
from scaling.laws.points import Points
from scaling.laws.read.inputs import Sources
from scaling.plots.figures import counting_note, dress, footnote, panels
from scaling.plots.kinds import Options
from scaling.plots.scales import log_axis
from scaling.plots.style import INK, MUTED
from scaling.runtime.errors import BadInputError

# Okabe and Ito (2008): blue, vermillion, green, purple.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499")
MARKERS = "os^D"
LINES = ("-", "-", (0, (5, 2)), (2, (2, 2)))
NOTES = 3  # of what an approach says of itself, the figure repeats so much
PAPERS = {  # what papers print for a in N_opt = k C^a
    "Kaplan et al. 2020: 0.73": (0.73,),  # arXiv:2001.08361, section 1.2
    "Hoffmann et al. 2022: 0.46, 0.49, 0.50": (0.50, 0.49, 0.46),  # arXiv:2203.15556, table 2
}


def approaches_of(sources: Sources, options: Options) -> tuple[Approach, ...]:
    """Every approach to the sources' optimum; a law that has none is not asked.

    Raises:
        BadInputError: none of them is possible; the message is the first one's.
    """
    found = compare_approaches(
        sources.points,
        sources.curves,
        sources.law,
        options.method,  # type: ignore[arg-type]
        options.bootstrap,
        options.seed,
    )
    if all(one.a is None for one in found):
        raise BadInputError(f"no approach finds an optimum; {found[0].name}: {found[0].refused}")
    return found


def allocation_figure(sources: Sources, options: Options) -> Figure:
    """N_opt and D_opt against compute with bands, and the exponents a on one axis."""
    points, found = sources.points, approaches_of(sources, options)
    figure = Figure(figsize=(9.0, 7.4), layout="constrained")
    figure.suptitle("Compute-optimal parameters and tokens", x=0.015, ha="left")
    upper, lower = figure.subfigures(2, 1, height_ratios=[1.5, 1], squeeze=False)[:, 0]  # own margins
    left, right = upper.subplots(1, 2)
    axes = lower.subplots()
    for one in (left, right, axes):
        dress(one)
    _powers(left, found, "params", "$N_{opt}$ (parameters)")
    _powers(right, found, "tokens", "$D_{opt}$ (tokens)")
    _exponents(axes, found)
    footnote(figure, counting_note(points), "Bands and bars: 95% intervals.", *remarks(found, points))
    return figure


def exponents_figure(sources: Sources, options: Options) -> Figure:
    """The exponents a of N_opt in compute with their intervals, next to published ones."""
    points, found = sources.points, approaches_of(sources, options)
    figure, (axes,) = panels(
        "Exponent a of the compute-optimal size, $N_{opt} \\propto C^a$", 1, 1, (8.4, 3.6)
    )
    _exponents(axes, found)
    footnote(figure, counting_note(points), "Bars: 95% bootstrap intervals.", *remarks(found, points))
    return figure


def _powers(axes: Axes, found: Sequence[Approach], field: str, label: str) -> None:
    """The optima of each approach, and its power law with the band."""
    for one, colour, marker, style in zip(found, COLOURS, MARKERS, LINES, strict=True):
        if one.a is None:
            continue
        flops = np.array([at.flops for at in one.line])
        # Optima read off curves before their cooldown, or without an interval, are no measurements: faint.
        faint = one.a_interval is None
        # Approaches that agree lie on each other: the dashes of the later ones let the first be seen.
        axes.plot(
            flops,
            [getattr(at, field) for at in one.line],
            color=colour,
            lw=1.0 if faint else 1.7,
            ls=style,
            zorder=4,
        )
        ends = [getattr(at, f"{field}_interval") for at in one.line]
        if all(end is not None for end in ends):
            low, high = np.array(ends).T
            axes.fill_between(flops, low, high, color=colour, alpha=0.14, lw=0, zorder=1)
        if [at.flops for at in one.optima] != flops.tolist():  # not read off the line itself
            x, y = [at.flops for at in one.optima], [getattr(at, field) for at in one.optima]
            axes.scatter(
                x,
                y,
                s=16,
                marker=marker,
                color=colour,
                edgecolor="white",
                lw=0.4,
                zorder=3,
                alpha=0.3 if faint or one.name.startswith("envelope") else 0.8,
            )
    log_axis(axes.xaxis, "Training compute C (FLOPs)", "flops", ticks=5)
    log_axis(axes.yaxis, label, "count", ticks=6)


def _exponents(axes: Axes, found: Sequence[Approach]) -> None:
    """One row per approach, with the value and its interval in figures at the right."""
    rows = [(one, colour, marker) for one, colour, marker in zip(found, COLOURS, MARKERS, strict=True)]
    for y, (one, colour, marker) in enumerate(rows):
        said = "not possible (see below)"
        if one.a is not None:
            if one.a_interval is not None:
                axes.plot(one.a_interval, [y, y], color=colour, lw=2, zorder=4, solid_capstyle="round")
            axes.scatter(one.a, y, s=52, marker=marker, color=colour, edgecolor="white", lw=0.6, zorder=5)
            said = exponent_text(one.a, one.a_interval)
        axes.text(
            1.01, y, said, transform=axes.get_yaxis_transform(), va="center", fontsize=9,
            color=MUTED if one.a is None else INK,
        )  # fmt: skip
    for (name, values), style in zip(PAPERS.items(), ((0, (4, 2)), (0, (1, 1.2))), strict=True):
        for value in values:
            axes.axvline(value, color=MUTED, lw=0.8, ls=style, zorder=1)
        axes.annotate(
            name, (max(values), 1.0), xycoords=axes.get_xaxis_transform(), xytext=(0, 4),
            textcoords="offset points", ha="right" if len(values) > 1 else "center", va="bottom", fontsize=8,
            color=MUTED,
        )  # fmt: skip
    shown: list[float] = [0.40, 0.80, *(one.a for one in found if one.a is not None)]
    shown += [end for one in found if one.a_interval for end in one.a_interval]
    # A resample may put an end anywhere: the axis stops at what an exponent can mean.
    axes.set_xlim(max(min(shown) - 0.04, -0.3), min(max(shown) + 0.04, 1.4))
    axes.set_yticks(range(len(rows)), [one.name for one, _, _ in rows])
    for tick, (_, colour, _) in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(colour)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("Exponent a of $N_{opt}$ in compute (0.5: equal growth of parameters and tokens)")


def exponent_text(value: float, interval: tuple[float, float] | None) -> str:
    """An exponent in as many digits as its interval determines, and the interval."""
    if interval is None:
        return f"{value:.2f}, no interval"
    width = interval[1] - interval[0]
    digits = 2 if width >= 0.02 else 3
    return f"{value:.{digits}f} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def remarks(found: Sequence[Approach], points: Points) -> tuple[str, ...]:
    """Why an approach is missing, and what each says of itself."""
    out = []
    for one in found:
        if one.refused is not None:
            out.append(f"{one.name}: {one.refused.removeprefix(f'{points.source}: ')}.")
        elif one.notes:
            more = f"; and {len(one.notes) - NOTES} more" if len(one.notes) > NOTES else ""
            out.append(f"{one.name}: {'; '.join(one.notes[:NOTES])}{more}.")
    return tuple(out)
