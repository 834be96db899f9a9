"""Sections of the report about the runs: headline numbers, the table of runs or points, conventions."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scaling.config.record import RunRecord, read_record
from scaling.laws.law import Law
from scaling.laws.points import Points, Where
from scaling.laws.read.records import facts_of, read_records
from scaling.plots.labels import greek, scientific, short
from scaling.plots.report_html import (
    Cell,
    html_table,
    maybe,
    number_cell,
    text_cell,
)
from scaling.plots.report_law import between, rounded
from scaling.runtime.suggest import plural


def summary(points: Points, law: Law | None, records: Sequence[RunRecord]) -> str:
    """The headline numbers."""
    runs = len(records) or len(set(points.groups))
    tiles = [
        (f"{runs}", f"run{'s' * (runs != 1)}, {plural(len(points), 'finished token budget')}"),
        (f"{short(points.params.min())} \N{EN DASH} {short(points.params.max())}", "parameters N"),
        (f"{points.loss.min():.3f}", f"lowest validation loss, {points.loss_unit}"),
    ]
    if law is not None and law.holdout is not None:
        n = law.holdout.n
        tiles.append(
            (
                f"{100 * law.holdout.mean_abs_rel_error:.2g}%",
                f"mean error on {plural(n, 'held-out point')}",
            )
        )
    if law is not None and law.optimum is not None:
        within = [row for row in law.optimum.budgets if row.flops <= points.flops.max()]
        row = within[-1] if within else law.optimum.budgets[0]
        ends = row.tokens_per_param_interval
        text = f"tokens per parameter at {scientific(row.flops)} FLOPs"
        text += "" if ends is None else f" ({between(ends)})"
        tiles.append((rounded(row.tokens_per_param, ends), text))
    if law is not None and law.unidentified:
        free = ", ".join(map(greek, law.unidentified))
        tiles.append((free, f"of the {law.law} law: not identified by these runs"))
    cells = "".join(f"<div><b>{html.escape(a)}</b><span>{html.escape(b)}</span></div>" for a, b in tiles)
    return f'<section class="tiles">{cells}</section>'


def points_section(points: Points) -> str:
    """Every point by size and tokens, for sources without run records."""
    head = ["run", "N", "tokens", "FLOPs", "loss"]
    order = np.lexsort((np.array(points.labels), points.tokens, points.params))
    rows = [
        [
            text_cell(points.labels[i]),
            number_cell(short(points.params[i])),
            number_cell(short(points.tokens[i])),
            number_cell(scientific(points.flops[i])),
            number_cell(f"{points.loss[i]:.4f}"),
        ]
        for i in order
    ]
    return f"<section><h2>Points</h2>{html_table(head, rows)}</section>"


def conventions_section(points: Points, law: Law | None, records: Sequence[RunRecord]) -> str:
    """How N, C and loss are counted, and the versions of the software."""
    rows = [
        ("parameters N", points.counting["params"]),
        ("compute C of law and figures", points.counting["flops"]),
        ("loss", f"validation, {points.loss_unit}"),
        ("source", points.source),
        ("data", ", ".join(sorted({d for d in points.dataset if d})) or "not recorded"),
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
    table = html_table([], [[text_cell(a), text_cell(b)] for a, b in rows])
    return f"<section><h2>Conventions</h2>{table}</section>"


NONE = "\N{EN DASH}"
LAYERS = ("model.n_layers", "model.n_decoder_layers")


@dataclass(frozen=True)
class Run:
    """A run in the table: its record, its sweep, and the values of its config by dotted path."""

    record: RunRecord
    sweep: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> float | None:
        """A numeric setting; None if it is missing or not a number."""
        try:
            return float(self.settings[name])
        except (KeyError, ValueError):
            return None

    def shape(self) -> str:
        """Layers and width, as 12 × 768; encoder and decoder layers as 12+12 × 768."""
        layers = [self.settings[name] for name in LAYERS if name in self.settings]
        width = self.settings.get("model.d_model")
        if not layers:
            return NONE
        depth = "+".join(layers)
        return depth if width is None else f"{depth} \N{MULTIPLICATION SIGN} {width}"


def runs_of(directories: Sequence[Path], family: str | None = None, where: Where | None = None) -> list[Run]:
    """The selected runs in sweep or run directories, of one family or all."""
    found = []
    for directory in directories:
        selected = {record.id for record in read_records(directory, where)}
        for home in [directory, *sorted(path.parent for path in directory.glob("*/record.json"))]:
            record = read_record(home)
            if record is not None and record.id in selected and family in (None, record.family):
                found.append(Run(record, directory.resolve().name, facts_of(record, home)))
    return found


def runs_section(runs: Sequence[Run], params: str) -> str:
    """Every run by size and tokens, a line per finished budget; `params` names the count that is N."""

    def size(run: Run) -> float:
        return float(getattr(run.record.params, params))

    runs = sorted(runs, key=lambda run: (size(run), run.record.tokens, run.sweep, run.record.name))
    sweeps = {run.sweep for run in runs}
    devices = {_device(run.record) for run in runs}
    head = ["run", *(["sweep"] if len(sweeps) > 1 else []), "N", "depth \N{MULTIPLICATION SIGN} width"]
    head += ["tokens", "FLOPs", "loss", "bits per byte", "learning rate", "batch, tokens", "device seconds"]
    head += ["tokens per second", *(["device"] if len(devices) > 1 else []), "status"]
    rows: list[list[Cell]] = []
    for one in runs:
        run, cost, speed = one.record, device_seconds(one.record), one.record.tokens_per_second
        first: list[Cell] = [text_cell(run.name)]
        first += [text_cell(one.sweep)] * (len(sweeps) > 1)
        first += [number_cell(short(size(one))), number_cell(one.shape())]
        rate, batch = one.number("train.learning_rate"), one.number("train.batch_tokens")
        last = [number_cell(maybe(rate, ".3g")), number_cell(maybe(batch, ",.0f"))]
        last += [number_cell(maybe(cost, ",.0f" if (cost or 0) >= 10 else ".1f"))]
        last += [number_cell(NONE if speed is None else f"{float(f'{speed:.3g}'):,.0f}")]
        last += [text_cell(_device(run))] * (len(devices) > 1)
        last += [text_cell(run.status if run.error is None else f"{run.status}: {run.error}")]
        done = [
            (p.tokens, p.flops, p.loss, p.bits_per_byte) for p in sorted(run.points, key=lambda p: p.tokens)
        ]
        for i, measured in enumerate(
            done or [(run.tokens, run.flops, run.validation_loss, run.bits_per_byte)]
        ):
            blank = [("", kind) for _, kind in first], [("", kind) for _, kind in last]
            before, after = (first, last) if i == 0 else blank
            rows.append([*before, *_measured(*measured), *after])
    records = [run.record for run in runs]
    compute = sum(max([run.flops, *(p.flops for p in run.points)]) for run in records)
    seconds = sum(device_seconds(run) or 0.0 for run in records)
    total = [("", kind) for _, kind in rows[0]]
    total[0] = text_cell("all runs")
    total[head.index("FLOPs")] = number_cell(scientific(compute) if compute else NONE)
    total[head.index("device seconds")] = number_cell(f"{seconds:,.0f}")
    where = f" All runs: {next(iter(devices))}." if len(devices) == 1 and devices != {NONE} else ""
    return (
        f"<section><h2>Runs and their cost</h2>{html_table(head, rows, total)}"
        '<p class="note">One line per finished token budget, by size and tokens. FLOPs are counted matmul by '
        "matmul with causal attention. Device seconds are wall-clock seconds times devices, for all budgets "
        "of a run together; a trunk shared by several cooldown branches is counted once."
        f"{html.escape(where)}</p></section>"
    )


def by_source_section(runs: Sequence[Run], params: str) -> str:
    """The loss on each source of a mixture, a line per finished budget; empty without mixtures."""
    mixed = [run for run in runs if any(point.by_source for point in run.record.points)]
    names = sorted({name for run in mixed for point in run.record.points for name in point.by_source or {}})
    if not names:
        return ""
    rows: list[list[Cell]] = []
    for run in sorted(mixed, key=lambda run: (getattr(run.record.params, params), run.record.name)):
        size = short(getattr(run.record.params, params))
        for i, point in enumerate(sorted(run.record.points, key=lambda point: point.tokens)):
            first = [run.record.name, size] if i == 0 else ["", ""]
            losses = [(point.by_source or {}).get(name) for name in names]
            cells = [number_cell(first[1]), number_cell(short(point.tokens))]
            for one in losses:
                cells.append(number_cell(maybe(None if one is None else one.loss, ".4f")))
                cells.append(number_cell(maybe(None if one is None else one.bits_per_byte, ".4f")))
            rows.append([text_cell(first[0]), *cells])
    head = ["run", "N", "tokens"]
    for name in names:
        head += [f"{name}: loss", f"{name}: bits per byte"]
    return (
        f"<section><h2>Losses by source</h2>{html_table(head, rows)}"
        '<p class="note">Validation loss on each source of the mixture, in nats per token and in bits per '
        "byte.</p></section>"
    )


def _measured(tokens: float, flops: float, loss: float | None, bits: float | None) -> list[Cell]:
    cells = [short(tokens), scientific(flops), maybe(loss, ".4f"), maybe(bits, ".4f")]
    return [number_cell(text) for text in cells]


def _device(run: RunRecord) -> str:
    kind, count = run.device.get("kind"), run.device.get("count")
    if kind is None:
        return NONE
    return f"{kind}" if count in (None, 1) else f"{kind} \N{MULTIPLICATION SIGN} {count}"


def device_seconds(run: RunRecord) -> float | None:
    """Wall-clock seconds times devices; None if the record has no total."""
    total, count = run.seconds.get("total"), run.device.get("count")
    return None if total is None else total * (count if isinstance(count, int | float) else 1)
