"""Sections of the report about the law: parameters, what to train next, tests, diagnostics of the fit."""

import html
import math
from collections.abc import Sequence

from scaling.laws.forms.laws import LAWS
from scaling.laws.frontier.approaches import Approach
from scaling.laws.law import Law
from scaling.laws.points import Points
from scaling.laws.sections import LEVEL
from scaling.plots.labels import (
    fixed,
    greek,
    markup,
    plain,
    scientific,
    short,
)
from scaling.plots.report_html import (
    Cell,
    html_table,
    maybe,
    number_cell,
    text_cell,
)

NONE = "\N{EN DASH}"
SYMBOLS = {"params": "N", "tokens": "D", "flops": "C", "unique_tokens": "U"}


def law_section(law: Law) -> str:
    """The equation, the parameters and their intervals; parameters that the data do not identify."""
    free = law.unidentified
    intervals = law.shown_intervals
    head = ["parameter", "value"]
    if intervals:
        head.append(f"{law.bootstrap.level if law.bootstrap else LEVEL:.0%} interval")
    rows = []
    for name, value in law.parameters.items():
        interval = intervals.get(name)
        row: list[Cell] = [(markup(name), "text")]
        row.append(number_cell("not identified") if name in free else number_cell(rounded(value, interval)))
        if intervals:
            row.append(number_cell(between(interval)))
        rows.append(row)
    note = ""
    if law.bootstrap:
        unit = "runs" if law.bootstrap.unit == "run" else "points"
        note = f"Percentiles of {law.bootstrap.n:,} bootstrap resamples of {unit}."
    elif law.method == "jackknife" and law.jackknife is not None:
        note = f"Jackknife over {law.jackknife.runs} runs, with Student\N{RIGHT SINGLE QUOTATION MARK}s t."
    elif law.method == "Hessian" and law.hessian is not None:
        note = f"From the curvature: {html.escape(law.hessian.estimator)}."
    else:
        note = html.escape(law.bootstrap_refused or "")
    if free:
        note += (
            f" Not identified: {', '.join(markup(name) for name in free)}. Other values fit the data as well."
        )
    return (
        f'<section><h2>The {html.escape(law.law)} law</h2><p class="equation">{markup(law.equation)}</p>'
        f'{html_table(head, rows)}<p class="note">{note}</p>{_limits(law)}</section>'
    )


def _limits(law: Law) -> str:
    """The limiting forms that the points do not exclude."""
    full = LAWS[law.law].equation
    items = []
    for one in law.limits:
        place = f"{one.parameter} {'infinite' if one.limit is None else f'= {one.limit:g}'}"
        form = f"the limiting form, {one.equation}"
        text = (
            f"The law {full} fits no better than with {place}; {form}, is reported."
            if one.adopted
            else f"The points do not exclude {place}: {form}."
        )
        items.append(f"<li>{markup(text)}</li>")
    return f"<ul>{''.join(items)}</ul>" if items else ""


def rounded(value: float | None, interval: Sequence[float | None] | None) -> str:
    """A value to two digits of the width of its interval; to three digits without a two-sided interval."""
    if value is None or not math.isfinite(value):
        return NONE if value is None else "\N{INFINITY}"
    low, high = interval or (None, None)
    width = 0.0 if low is None or high is None else abs(high - low)
    known = width > 0 and math.isfinite(width)
    return fixed(value, max(width / 10, 1e-6 * abs(value))) if known else plain(value)


def between(interval: Sequence[float | None] | None) -> str:
    """Both ends of an interval in the digits that it determines, or the only end."""
    low, high = interval or (None, None)
    if low is None:
        return NONE if high is None else f"below {rounded(high, None)}"
    if high is None:
        return f"above {rounded(low, None)}"
    return f"{rounded(low, interval)} {NONE} {rounded(high, interval)}"


def budgets_section(law: Law) -> str:
    """The compute-optimal model at each budget; empty for a law without an optimum."""
    if law.optimum is None:
        return ""
    head = [
        "compute, FLOPs",
        "parameters N",
        "tokens D",
        "tokens per parameter",
        "expected loss",
        "beyond the data",
    ]
    largest = law.ranges["flops"][1]

    def with_interval(value: float, interval: tuple[float, float] | None) -> Cell:
        ends = "" if interval is None else f" ({between(interval)})"
        return number_cell(rounded(value, interval) + ends)

    rows = [
        [
            number_cell(scientific(b.flops)),
            number_cell(short(b.params)),
            number_cell(short(b.tokens)),
            with_interval(b.tokens_per_param, b.tokens_per_param_interval),
            with_interval(b.loss, b.loss_widened),
            number_cell("" if b.reach is None else f"{plain(b.reach.times.get('flops', 1.0), 2)} times"),
        ]
        for b in law.optimum.budgets
    ]
    ends = law.optimum.intervals
    far = next((row for row in law.optimum.budgets if row.reach is not None and row.reach.far), None)
    warned = (
        "" if far is None or far.reach is None else f" At {scientific(far.flops)} FLOPs: {far.reach.text}."
    )
    warned = html.escape(warned)
    a, b = rounded(law.optimum.a, ends.get("a")), rounded(law.optimum.b, ends.get("b"))
    return (
        "<section><h2>What to train next</h2>"
        f"<p>N<sub>opt</sub> grows as C<sup>{a}</sup> and D<sub>opt</sub> as C<sup>{b}</sup>.</p>"
        f"{html_table(head, rows)}"
        f'<p class="note">With C = 6ND. Largest compute in the data: {scientific(largest)} FLOPs.{warned}</p>'
        "</section>"
    )


def holdout_section(law: Law) -> str:
    """The held-out test, point by point; empty without one."""
    test = law.holdout
    if test is None:
        return ""
    head = ["run", "N", "D", "FLOPs", "measured", "predicted", "interval", "error"]
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
        f"<p>A law fitted to {test.n_fitted} points, without {html.escape(test.rule)}, predicts those "
        f"with a mean error of {100 * test.mean_abs_rel_error:.2g}% and at most "
        f"{100 * test.max_abs_rel_error:.2g}%.</p>"
        f"{html_table(head, rows)}</section>"
    )


def diagnostics_section(law: Law) -> str:
    """Whether the search found the optimum, and its warnings."""
    rows = [
        ("objective", f"{law.objective.name}, delta {law.objective.delta:g}"),
        ("value reached", f"{law.objective.value:.6g}"),
        (
            "points",
            f"{law.n_points}"
            + (f", of which {law.n_selected} on the envelope" * (law.n_selected < law.n_points)),
        ),
        ("starts at the best optimum", f"{law.n_starts_at_best:,} of {law.n_starts:,}"),
        ("gradient norm", f"{law.gradient_norm:.1e}"),
        ("parameters at a bound", ", ".join(greek(name) for name in law.boundary_hits) or "none"),
        ("warnings", "; ".join(greek(warning) for warning in law.warnings) or "none"),
    ]
    test = law.lack_of_fit
    if test is not None and test.p is not None:
        words = f"F({test.dof}, {test.pure_dof}) = {test.f:.2f}, p = {test.p:.2g}, against seeds"
        rows.insert(-1, ("lack of fit", f"{words} that differ by {test.seeds_std:.2%}"))
    if law.forced:
        rows.append(("forced", "the data would be refused; the law was fitted with --force"))
    table = html_table([], [[text_cell(a), text_cell(b)] for a, b in rows])
    return f"<section><h2>Fit diagnostics</h2>{table}</section>"


def approaches_section(found: Sequence[Approach], points: Points) -> str:
    """The exponents by each approach, and why one is missing."""
    rows, remarks = [], []
    for one in found:
        cells = [rounded(one.a, one.a_interval), between(one.a_interval)]
        cells += [rounded(one.b, one.b_interval), between(one.b_interval), str(one.n) if one.n else NONE]
        rows.append([text_cell(one.name), *map(number_cell, cells)])
        text = "; ".join(one.notes) if one.refused is None else f"not possible: {one.refused}"
        if text:
            remarks.append(html.escape(f"{one.name}: {text.replace(f'{points.source}: ', '')}."))
    notes = "".join(f'<p class="note">{remark}</p>' for remark in remarks)
    optima = [
        [
            text_cell(one.name),
            number_cell(scientific(place.flops)),
            number_cell(short(place.params)),
            number_cell(_counts(place.params_interval)),
            number_cell(short(place.tokens)),
            number_cell(_counts(place.tokens_interval)),
        ]
        for one in found
        for place in one.at
    ]
    if optima:
        heads = ["approach", "compute, FLOPs", "N_opt", "95% interval", "D_opt", "95% interval"]
        about = "The optimum at the largest compute of the data, and at ten times that:"
        notes = f"<p>{about}</p>{html_table(heads, optima)}{notes}"
    head = ["approach", "a", "95% interval", "b", "95% interval", "optima or points"]
    return (
        "<section><h2>Compute-optimal scaling by each approach</h2>"
        "<p>N<sub>opt</sub> grows as C<sup>a</sup> and D<sub>opt</sub> as C<sup>b</sup>; the approaches "
        f"follow Hoffmann et al. 2022, section 3.</p>{html_table(head, rows)}{notes}</section>"
    )


def _counts(interval: tuple[float, float] | None) -> str:
    """Both ends of an interval of parameters or tokens."""
    return NONE if interval is None else f"{short(interval[0])} {NONE} {short(interval[1])}"


def rolling_section(law: Law) -> str:
    """The rolling held-out test; empty if law.json has none."""
    if not law.rolling:
        return ""
    head = ["fitted up to, FLOPs", "predicted up to", "points fitted", "points predicted", "mean error"]
    head += ["largest error", "inside the 95% interval"]
    rows = [
        [
            number_cell(scientific(cut.flops)),
            number_cell(f"{plain(cut.extrapolation, 2)} times"),
            number_cell(str(cut.n_fitted)),
            number_cell(str(cut.n)),
            number_cell(f"{100 * cut.mean_abs_rel_error:.2g}%"),
            number_cell(f"{100 * cut.max_abs_rel_error:.2g}%"),
            number_cell(maybe(cut.inside, ".0%")),
        ]
        for cut in law.rolling
    ]
    note = "Each row: a law fitted to the runs up to a compute, and its errors on the runs beyond."
    return f"<section><h2>Rolling held-out test</h2><p>{note}</p>{html_table(head, rows)}</section>"


def comparison_section(law: Law) -> str:
    """The laws compared by rolled error; empty if law.json has no comparison."""
    found = law.comparison
    if found is None:
        return ""
    rows = [
        [
            text_cell(one.law),
            number_cell(str(one.n_parameters)),
            number_cell(maybe(one.rms, ".2%")),
            number_cell(maybe(one.se, ".2%")),
            number_cell(maybe(one.aicc, ".1f")),
            number_cell(maybe(one.weight, ".2f")),
        ]
        for one in found.laws
    ]
    head = ["law", "parameters", "rolled error", "standard error", "AICc", "weight"]
    text = (
        f"{found.chosen} is the simplest law within one standard error of the best. Each law predicts "
        f"{found.n_runs} runs from the runs below {found.n_cut_offs} cut-offs of compute."
        if found.reason is None
        else f"Not compared: {found.reason}."
    )
    left = "".join(
        f'<p class="note">{html.escape(f"{name}: {reason}")}.</p>' for name, reason in found.refused.items()
    )
    for one in found.predictions:
        at = ", ".join(f"{SYMBOLS.get(name, name)} = {short(value)}" for name, value in one.at.items())
        ends = "" if one.interval is None else f" ({between(one.interval)})"
        value = f"{rounded(one.value, one.interval)}{ends}"
        left += f"<p>Average of the laws at {html.escape(at)}: {value}.</p>"
    table = html_table(head, rows)
    return f"<section><h2>Laws by rolled error</h2><p>{html.escape(text)}</p>{table}{left}</section>"


def sensitivity_section(law: Law) -> str:
    """The law fitted with other choices; empty if law.json has none."""
    if not law.sensitivity:
        return ""
    names = list(law.parameters)
    where = next((row.at for row in law.sensitivity if row.at), {})
    at = ", ".join(f"{SYMBOLS.get(name, name)} = {short(value)}" for name, value in where.items())
    rows: list[list[Cell]] = []
    for row in law.sensitivity:
        cells = [text_cell(row.change), number_cell(str(row.n))]
        if row.refused is None:
            cells += [number_cell(rounded(row.parameters.get(name), None)) for name in names]
            cells += [
                number_cell(maybe(row.a, ".3f")),
                number_cell(maybe(row.prediction, ".4g")),
                text_cell(""),
            ]
        else:
            cells += [number_cell(NONE)] * (len(names) + 2) + [text_cell(f"not possible: {row.refused}")]
        rows.append(cells)
    target = law.form.target.replace("_", " ")
    head = ["change", "points", *map(greek, names), "exponent a", f"predicted {target}", "remarks"]
    if all(row.refused is None for row in law.sensitivity):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return (
        "<section><h2>Sensitivity</h2><p>The same law fitted again with one choice changed at a time"
        f"{f'; predictions at {html.escape(at)}' if at else ''}.</p>{html_table(head, rows)}</section>"
    )
