"""Sections of the report about the law: the law, what to train next, its tests, and how the fit went."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from scaling.config.reach import reach
from scaling.laws.approaches import Approach
from scaling.laws.law import LawFit
from scaling.laws.points import Points
from scaling.laws.registry import LAWS
from scaling.plots.html_table import Cell, html_table, maybe, number_cell, text_cell
from scaling.plots.style import scientific, short


def law_section(law: LawFit) -> str:
    """The equation, the parameters and their intervals."""
    head = ["parameter", "value"]
    if law.intervals:
        head.append(f"{law.bootstrap.level:.0%} interval" if law.bootstrap else "interval")
    rows = []
    for name, value in law.parameters.items():
        shown = "\N{EN DASH}" if value is None else f"{value:.4g}"
        row = [text_cell(name + " (unidentified)" * (name in law.unidentified)), number_cell(shown)]
        if name in law.intervals:
            row.append(number_cell(_ends(*law.intervals[name])))
        rows.append(row)
    note = ""
    if law.bootstrap:
        unit = "whole runs" if law.bootstrap.unit == "run" else "points"
        note = f'<p class="note">Percentiles of {law.bootstrap.n:,} bootstrap resamples of {unit}.</p>'
    return (
        f'<section><h2>The law</h2><p class="equation">{html.escape(law.equation)}</p>'
        f"{html_table(head, rows)}{note}{_limits(law)}</section>"
    )


def _ends(low: float | None, high: float | None) -> str:
    """An interval, one-sided or none where the points do not hold the parameter."""
    if low is None and high is None:
        return "none"
    if low is None:
        return f"below {high:.4g}"
    return f"above {low:.4g}" if high is None else f"{low:.4g} \N{EN DASH} {high:.4g}"


def _limits(law: LawFit) -> str:
    """What the points do not exclude: the limiting forms of the law."""
    full = LAWS[law.law].equation
    items = []
    for one in law.limits:
        place = f"{one.parameter} {'infinite' if one.limit is None else f'= {one.limit:g}'}"
        form = f"the limiting form, {one.equation}"
        said = (
            f"The law {full} fits no better than with {place}: reported is {form}."
            if one.adopted
            else f"The points do not exclude {place}: {form}."
        )
        items.append(f"<li>{html.escape(said)}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def budgets_section(law: LawFit) -> str:
    """What the law would train at each budget; nothing for a law without an optimum."""
    if law.optimum is None:
        return ""
    head = ["compute, FLOPs", "parameters N", "tokens D", "tokens per parameter", "expected loss"]

    def around(text: str, interval: tuple[float, float] | None, form: str) -> Cell:
        ends = "" if interval is None else f" ({interval[0]:{form}} \N{EN DASH} {interval[1]:{form}})"
        return number_cell(text + ends)

    rows = [
        [
            number_cell(scientific(b.flops)),
            number_cell(short(b.params)),
            number_cell(short(b.tokens)),
            around(f"{b.tokens_per_param:.3g}", b.tokens_per_param_interval, ".3g"),
            around(f"{b.loss:.3f}", b.loss_interval, ".3f"),
        ]
        for b in law.optimum.budgets
    ]
    a, b = law.optimum.a, law.optimum.b
    largest = law.ranges["flops"][1]
    far = reach({"flops": law.optimum.budgets[-1].flops}, law.ranges, law.rolling)
    beyond = f" The last row is {html.escape(far.text)}." if far else ""
    return (
        "<section><h2>What to train next</h2>"
        f"<p>N<sub>opt</sub> grows as C<sup>{a:.3f}</sup> and D<sub>opt</sub> as C<sup>{b:.3f}</sup>.</p>"
        f"{html_table(head, rows)}"
        f'<p class="note">With C = 6ND. The largest compute measured is {scientific(largest)} FLOPs.'
        f"{beyond}</p></section>"
    )


def holdout_section(law: LawFit) -> str:
    """The held-out test, point by point; nothing where none was made."""
    test = law.holdout
    if test is None:
        return ""
    head = ["run", "N", "D", "FLOPs", "measured", "predicted", "interval of the law", "error"]
    rows = [
        [
            text_cell(p.group),
            number_cell(short(p.params)),
            number_cell(short(p.tokens)),
            number_cell(scientific(p.flops)),
            number_cell(f"{p.measured:.4f}"),
            number_cell(f"{p.predicted:.4f}"),
            number_cell("{:.4f} \N{EN DASH} {:.4f}".format(*p.interval) if p.interval else "\N{EN DASH}"),
            number_cell(f"{p.rel_error:+.2%}"),
        ]
        for p in test.predictions
    ]
    return (
        "<section><h2>Held-out test</h2>"
        f"<p>The law was fitted to {test.n_fitted} points without {html.escape(test.rule)}, and "
        f"then asked for those. Mean error {test.mean_abs_rel_error:.2%}, "
        f"largest {test.max_abs_rel_error:.2%}.</p>"
        f"{html_table(head, rows)}</section>"
    )


def diagnostics_section(law: LawFit) -> str:
    """How far the fit can be trusted as a computation."""
    rows = [
        ("objective", f"{law.objective.name}, delta {law.objective.delta:g}"),
        ("value reached", f"{law.objective.value:.6g}"),
        (
            "points",
            f"{law.n_points}" + (f", {law.n_selected} on the envelope" * (law.n_selected < law.n_points)),
        ),
        ("starts at the best optimum", f"{law.n_starts_at_best:,} of {law.n_starts:,}"),
        ("gradient norm", f"{law.gradient_norm:.1e}"),
        ("parameters at a bound", ", ".join(law.boundary_hits) or "none"),
        ("unidentified parameters", ", ".join(law.unidentified) or "none"),
        ("warnings", "; ".join(law.warnings) or "none"),
    ]
    if law.forced:
        rows.append(("forced", "the fit was refused and went on by --force"))
    table = html_table([], [[text_cell(a), text_cell(b)] for a, b in rows])
    return f"<section><h2>How the fit went</h2>{table}</section>"


def approaches_section(found: Sequence[Approach], points: Points) -> str:
    """The exponents of each approach to the optimum, and why one is missing."""
    rows = []
    for one in found:
        ends = [_between(interval) for interval in (one.a_interval, one.b_interval)]
        value = [maybe(one.a, ".3f"), ends[0], maybe(one.b, ".3f"), ends[1], str(one.n) if one.n else ""]
        said = "; ".join(one.notes) if one.refused is None else one.refused
        note = said.removeprefix(f"{points.source}: ")
        rows.append([text_cell(one.name), *map(number_cell, value), text_cell(note)])
    head = ["approach", "a", "95% interval", "b", "95% interval", "optima or points", "remarks"]
    return (
        "<section><h2>How compute should grow, by each approach</h2>"
        "<p>N<sub>opt</sub> grows as C<sup>a</sup> and D<sub>opt</sub> as C<sup>b</sup>; the approaches are "
        f"those of Hoffmann et al. 2022, section 3.</p>{html_table(head, rows)}</section>"
    )


def _between(interval: tuple[float, float] | None) -> str:
    return "\N{EN DASH}" if interval is None else "{:.3f} \N{EN DASH} {:.3f}".format(*interval)


def rolling_section(law: LawFit) -> str:
    """The law asked for each next larger size in turn, where law.json has it."""
    return _listed(
        law, "rolling", "Rolling held-out test", "Each time the law was fitted to what is smaller."
    )


def sensitivity_section(law: LawFit) -> str:
    """The law fitted in other ways, where law.json has it."""
    return _listed(
        law, "sensitivity", "Sensitivity", "The same law, fitted with one choice changed at a time."
    )


def _listed(law: LawFit, field: str, title: str, note: str) -> str:
    """A list of records in law.json as a table, a column a key; nothing where there is none."""
    given = getattr(law, field, None) or ()
    records = [one if isinstance(one, Mapping) else one.model_dump() for one in given]
    if not records:
        return ""
    flat = [_flat(record) for record in records]
    heads = [key for key in dict.fromkeys(key for record in flat for key in record)]
    rows = []
    for record in flat:
        cells = [record.get(key) for key in heads]
        rows.append([number_cell(_figures(v)) if _is_number(v) else text_cell(_figures(v)) for v in cells])
    heads = [key.replace("_", " ") for key in heads]
    return f"<section><h2>{title}</h2><p>{note}</p>{html_table(heads, rows)}</section>"


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's own values and those of a dictionary in it; lists of points are for law.json alone."""
    out: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            out |= {f"{inner}": v for inner, v in value.items() if not isinstance(v, Mapping | list)}
        elif isinstance(value, list | tuple) and not all(_is_number(v) or v is None for v in value):
            continue
        else:
            out[key] = value
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figures(value: Any) -> str:
    if value is None:
        return "\N{EN DASH}"
    if isinstance(value, list | tuple):
        return " \N{EN DASH} ".join(_figures(v) for v in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
