"""`scaling report`: one HTML page that tells a sweep, opens from disk, and asks the network for nothing."""

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from plotly.offline import get_plotlyjs

from scaling.config.errors import BadInputError
from scaling.config.files import write_atomically
from scaling.config.record import RunRecord
from scaling.laws.law import LawFit
from scaling.laws.points import Points, points_from_records, read_records
from scaling.plots.curves import Curve, read_curves
from scaling.plots.interactive import interactive_loss_vs_compute, interactive_loss_vs_tokens
from scaling.plots.page import PAGE
from scaling.plots.style import scientific, short

Cell = tuple[str, str]  # text or markup already escaped, and its class


def write_report(
    source: Path | Points,
    law: LawFit | None,
    out: Path,
    params: str = "non_embedding_with_head",
    flops: str = "6nd",
    title: str | None = None,
    family: str | None = None,
) -> Path:
    """Write the page for a sweep directory, or for points read before (which have no records or curves).

    Args:
        source: a sweep or run directory, or points.
        law: the fitted law; None leaves its sections out.
        out: the HTML file.
        params: for a directory, which count of parameters is N.
        flops: for a directory, "6nd" or "counted".
        family: whose runs are meant, where the directory has several families.
        title: of the page; the directory's name where absent.

    Raises:
        BadInputError: the directory has no finished run, the law is not of loss, or `out` cannot be written.
    """
    records: Sequence[RunRecord] = ()
    curves: Sequence[Curve] = ()
    if isinstance(source, Points):
        points = source
    else:
        records = read_records(source)
        points = points_from_records(records, source, params, flops, family)
        records = [record for record in records if family in (None, record.family)]
        curves = read_curves(source, params, flops, family)
    if law is not None and law.form.target != "loss":
        raise BadInputError(
            f"a report shows losses; {law.law} predicts {law.form.target}: give a law of loss"
        )
    name = title or Path(points.source).resolve().name
    page = render(name, points, law, records, curves, params)
    write_atomically(out, page.encode())
    return out


def render(
    title: str,
    points: Points,
    law: LawFit | None,
    records: Sequence[RunRecord],
    curves: Sequence[Curve],
    params: str = "non_embedding_with_head",
) -> str:
    """The page as text."""
    sections = [_summary(points, law, records)]
    sections.append(_figure("compute", "Loss against training compute", _compute_note(law)))
    sections.append(
        _figure(
            "tokens",
            "Loss against training tokens",
            f"Colour is model size N: {html.escape(points.counting['params'])}.",
        )
    )
    if law is not None:
        sections += [_law(law), _budgets(law), _holdout(law), _diagnostics(law)]
    sections += [_runs(records, params) if records else _points(points), _conventions(points, law, records)]
    figures = {
        "compute": interactive_loss_vs_compute(points, law, curves),
        "tokens": interactive_loss_vs_tokens(points, law, curves),
    }
    values = {
        "{{title}}": html.escape(title),
        "{{body}}": "\n".join(filter(None, sections)),
        "{{figures}}": embed(figures),
        "{{plotly}}": get_plotlyjs(),
    }
    # In one pass over the template's own marks, so that a run named "{{plotly}}" stays a name.
    parts = PAGE
    out = []
    while parts:
        at = {mark: parts.find(mark) for mark in values}
        mark = min((m for m in at if at[m] >= 0), key=at.__getitem__, default=None)
        if mark is None:
            out.append(parts)
            break
        out += [parts[: at[mark]], values[mark]]
        parts = parts[at[mark] + len(mark) :]
    return "".join(out)


def embed(value: object) -> str:
    """JSON that no text in it can end: `<`, `>` and `&` are written as escapes inside its strings."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _summary(points: Points, law: LawFit | None, records: Sequence[RunRecord]) -> str:
    runs = len(records) or len(set(points.groups))
    tiles = [
        (f"{runs}", f"{'run' if runs == 1 else 'runs'}, {len(points)} finished token budgets"),
        (f"{short(points.params.min())} \N{EN DASH} {short(points.params.max())}", "parameters N"),
        (f"{points.loss.min():.3f}", "lowest validation loss, nats per token"),
    ]
    if law is not None and law.holdout is not None:
        n = law.holdout.n
        tiles.append(
            (f"{law.holdout.mean_abs_rel_error:.2%}", f"mean error on {n} held-out point{'s' * (n != 1)}")
        )
    if law is not None and law.optimum is not None:
        row = next((b for b in law.optimum.budgets if b.flops >= points.flops.max()), law.optimum.budgets[-1])
        tiles.append(
            (f"{row.tokens_per_param:.3g}", f"tokens per parameter at {scientific(row.flops)} FLOPs")
        )
    cells = "".join(f"<div><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>" for a, b in tiles)
    return f'<section class="tiles">{cells}</section>'


def _figure(name: str, title: str, note: str) -> str:
    return (
        f'<section><h2>{title}</h2><div class="figure" id="{name}" role="img" aria-label="{title}"></div>'
        f'<p class="note">{note}</p></section>'
    )


def _compute_note(law: LawFit | None) -> str:
    note = "Filled: measured and fitted. The dashed line is the lower envelope of the measured points."
    if law is not None:
        note += " The orange line is the fitted law, drawn to ten times the largest compute"
        note += f"; the band is its {law.bootstrap.level:.0%} bootstrap interval." if law.bootstrap else "."
        if law.holdout:
            note += " Hollow points were held out; the black bars are what the fit without them predicted."
    return note


def _law(law: LawFit) -> str:
    head = ["parameter", "value"]
    if law.intervals:
        head.append(f"{law.bootstrap.level:.0%} interval" if law.bootstrap else "interval")
    rows = []
    for name, value in law.parameters.items():
        row = [_text(name), _number(f"{value:.4g}")]
        if name in law.intervals:
            row.append(_number("{:.4g} \N{EN DASH} {:.4g}".format(*law.intervals[name])))
        rows.append(row)
    note = ""
    if law.bootstrap:
        unit = "whole runs" if law.bootstrap.unit == "run" else "points"
        note = f'<p class="note">Percentiles of {law.bootstrap.n:,} bootstrap resamples of {unit}.</p>'
    return (
        f'<section><h2>The law</h2><p class="equation">{html.escape(law.equation)}</p>'
        f"{_table(head, rows)}{note}</section>"
    )


def _budgets(law: LawFit) -> str:
    if law.optimum is None:
        return ""
    head = ["compute, FLOPs", "parameters N", "tokens D", "tokens per parameter", "expected loss"]

    def around(text: str, interval: tuple[float, float] | None, form: str) -> Cell:
        ends = "" if interval is None else f" ({interval[0]:{form}} \N{EN DASH} {interval[1]:{form}})"
        return _number(text + ends)

    rows = [
        [
            _number(scientific(b.flops)),
            _number(short(b.params)),
            _number(short(b.tokens)),
            around(f"{b.tokens_per_param:.3g}", b.tokens_per_param_interval, ".3g"),
            around(f"{b.loss:.3f}", b.loss_interval, ".3f"),
        ]
        for b in law.optimum.budgets
    ]
    a, b = law.optimum.a, law.optimum.b
    largest = law.ranges["flops"][1]
    return (
        "<section><h2>What to train next</h2>"
        f"<p>N<sub>opt</sub> grows as C<sup>{a:.3f}</sup> and D<sub>opt</sub> as C<sup>{b:.3f}</sup>.</p>"
        f"{_table(head, rows)}"
        f'<p class="note">With C = 6ND. The largest compute measured is {scientific(largest)} FLOPs: '
        "what lies far beyond it is an extrapolation.</p></section>"
    )


def _holdout(law: LawFit) -> str:
    test = law.holdout
    if test is None:
        return ""
    head = ["run", "N", "D", "FLOPs", "measured", "predicted", "interval of the law", "error"]
    rows = [
        [
            _text(p.group),
            _number(short(p.params)),
            _number(short(p.tokens)),
            _number(scientific(p.flops)),
            _number(f"{p.measured:.4f}"),
            _number(f"{p.predicted:.4f}"),
            _number("{:.4f} \N{EN DASH} {:.4f}".format(*p.interval) if p.interval else "\N{EN DASH}"),
            _number(f"{p.rel_error:+.2%}"),
        ]
        for p in test.predictions
    ]
    return (
        "<section><h2>Held-out test</h2>"
        f"<p>The law was fitted to {test.n_fitted} points without {html.escape(test.rule)}, and "
        f"then asked for those. Mean error {test.mean_abs_rel_error:.2%}, "
        f"largest {test.max_abs_rel_error:.2%}.</p>"
        f"{_table(head, rows)}</section>"
    )


def _diagnostics(law: LawFit) -> str:
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
        ("warnings", "; ".join(law.warnings) or "none"),
    ]
    if law.forced:
        rows.append(("forced", "the fit was refused and went on by --force"))
    return (
        f"<section><h2>How the fit went</h2>{_table([], [[_text(a), _text(b)] for a, b in rows])}</section>"
    )


def _runs(records: Sequence[RunRecord], params: str) -> str:
    head = [
        "run",
        "N",
        "tokens",
        "FLOPs",
        "loss",
        "bits per byte",
        "device s",
        "tokens/s",
        "device",
        "status",
    ]
    rows = []
    seconds = compute = 0.0
    for run in records:
        n = getattr(run.params, params)
        speed = "\N{EN DASH}" if run.tokens_per_second is None else f"{run.tokens_per_second:,.0f}"
        kind, count = run.device.get("kind"), run.device.get("count")
        device = (
            "\N{EN DASH}"
            if kind is None
            else f"{kind}"
            if count in (None, 1)
            else f"{kind} \N{MULTIPLICATION SIGN} {count}"
        )
        cost = _device_seconds(run)
        seconds += cost or 0.0
        status = run.status if run.error is None else f"{run.status}: {run.error}"
        done = sorted(run.points, key=lambda p: p.tokens)
        compute += _trained_flops(run)
        for i, point in enumerate(done):
            rows.append(
                [
                    _text(run.name if i == 0 else ""),
                    _number(short(n) if i == 0 else ""),
                    _number(short(point.tokens)),
                    _number(scientific(point.flops)),
                    _number(f"{point.loss:.4f}"),
                    _number(_maybe(point.bits_per_byte, ".4f")),
                    _number(_maybe(cost, ",.1f") if i == 0 else ""),
                    _number(speed if i == 0 else ""),
                    _text(device if i == 0 else ""),
                    _text(status if i == 0 else ""),
                ]
            )
        if not done:
            blank = [
                _number(_maybe(v, f)) for v, f in ((run.validation_loss, ".4f"), (run.bits_per_byte, ".4f"))
            ]
            start = [
                _text(run.name),
                _number(short(n)),
                _number(short(run.tokens)),
                _number(scientific(run.flops)),
            ]
            rows.append(
                [*start, *blank, _number(_maybe(cost, ",.1f")), _number(speed), _text(device), _text(status)]
            )
    total = [
        _text("all runs"),
        *[_number("")] * 2,
        _number(scientific(compute) if compute else "\N{EN DASH}"),
    ]
    total += [*[_number("")] * 2, _number(f"{seconds:,.1f}"), *[_number("")] * 3]
    return (
        f"<section><h2>Every run, and what it cost</h2>{_table(head, rows, total)}"
        '<p class="note">One line a finished token budget. FLOPs are counted matmul by matmul with causal '
        "attention; device seconds are wall-clock seconds times devices, of the whole run; the total "
        "counts a trunk shared by several cooldown branches once.</p></section>"
    )


def _device_seconds(run: RunRecord) -> float | None:
    total = run.seconds.get("total")
    count = run.device.get("count")
    return None if total is None else total * (count if isinstance(count, int | float) else 1)


def _trained_flops(run: RunRecord) -> float:
    return max([run.flops, *(p.flops for p in run.points)])


def _points(points: Points) -> str:
    head = ["run", "N", "tokens", "FLOPs", "loss"]
    rows = [
        [
            _text(points.labels[i]),
            _number(short(points.params[i])),
            _number(short(points.tokens[i])),
            _number(scientific(points.flops[i])),
            _number(f"{points.loss[i]:.4f}"),
        ]
        for i in range(len(points))
    ]
    return f"<section><h2>Every point</h2>{_table(head, rows)}</section>"


def _conventions(points: Points, law: LawFit | None, records: Sequence[RunRecord]) -> str:
    rows = [
        ("parameters N", points.counting["params"]),
        ("compute C of law and figures", points.counting["flops"]),
        ("loss", "validation, nats per token"),
        ("source", points.source),
        ("data", ", ".join(sorted({d for d in points.dataset if d})) or "not named"),
    ]
    versions = dict(law.versions) if law is not None else {}
    ran: dict[str, set[str]] = {}
    for run in records:
        for name, number in run.versions.items():
            ran.setdefault(name, set()).add(number)
        if run.git_commit:
            ran.setdefault("git commit", set()).add(run.git_commit[:12])
    if ran:
        text = ", ".join(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in sorted(ran.items()))
        rows.append(("trained with", text))
    if versions:
        rows.append(
            ("fitted with", ", ".join(f"{name} {number}" for name, number in sorted(versions.items())))
        )
    table = _table([], [[_text(a), _text(b)] for a, b in rows])
    return f"<section><h2>What is counted, and how</h2>{table}</section>"


def _maybe(value: float | None, form: str) -> str:
    return "\N{EN DASH}" if value is None else format(value, form)


def _text(value: object) -> Cell:
    return html.escape(str(value)), "text"


def _number(value: str) -> Cell:
    return html.escape(value), "number"


def _table(head: Sequence[str], rows: Sequence[Sequence[Cell]], foot: Sequence[Cell] = ()) -> str:
    row: Callable[[Sequence[Cell]], str] = lambda cells: (  # noqa: E731
        "<tr>" + "".join(f'<td class="{kind}">{text}</td>' for text, kind in cells) + "</tr>"
    )
    kinds = [kind for _, kind in rows[0]] if rows else []
    titles = "".join(
        f'<th class="{kind}">{html.escape(name)}</th>' for name, kind in zip(head, kinds, strict=False)
    )
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    bottom = f"<tfoot>{row(foot)}</tfoot>" if foot else ""
    return f'<div class="scroll"><table>{top}<tbody>{"".join(map(row, rows))}</tbody>{bottom}</table></div>'
