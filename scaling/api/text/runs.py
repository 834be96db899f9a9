"""Runs and sweeps as text: plans, ledgers, records, launches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.api.text.blocks import Block, Table, Text, count_in_words, seconds_in_words, table

if TYPE_CHECKING:
    from scaling.config.record import RunRecord
    from scaling.config.run import RunConfig
    from scaling.sweep.directory import LedgerEntry
    from scaling.sweep.run_cost import RunCost
    from scaling.sweep.stacking import StackChoice
    from scaling.train.coordinate_check import CoordinateCheck

Document = Mapping[str, Any]


def forecast_table(title: str, forecasts: Sequence["RunCost"], total_seconds: float | None = None) -> Table:
    """The plan of a sweep: a row per run, and a row for the sum, which takes `total_seconds`."""
    rows = [
        (
            f.name,
            "-" if f.params is None else count_in_words(f.params),
            count_in_words(f.batch_tokens),
            f"{f.learning_rate:.2g}",
            count_in_words(f.steps),
            _budgets(f.budgets),
            f"{f.flops:.2e}",
            seconds_in_words(f.seconds),
        )
        for f in forecasts
    ]
    if len(forecasts) > 1:
        seconds = sum(f.seconds for f in forecasts) if total_seconds is None else total_seconds
        rows.append(
            (
                f"{len(forecasts)} runs",
                "",
                "",
                "",
                count_in_words(sum(f.steps for f in forecasts)),
                f"{sum(len(f.budgets) for f in forecasts)} budgets",
                f"{sum(f.flops for f in forecasts):.2e}",
                seconds_in_words(seconds),
            )
        )
    columns = ("run", "params", "batch tokens", "rate", "steps", "token budgets", "FLOPs", "time")
    return table(title, columns, rows)


def _budgets(tokens: Sequence[int]) -> str:
    words = [count_in_words(one) for one in tokens]
    return ", ".join(words) if len(words) < 3 else f"{words[0]} to {words[-1]}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def ledger_table(title: str, entries: Sequence["LedgerEntry"]) -> Table:
    """A row per run: how far it is, what it reached, what it took."""
    rows = []
    for entry in entries:
        r = entry.record
        rows.append(
            (
                entry.name,
                entry.status,
                "-" if r is None else f"{r.tokens / max(1, r.budget_tokens):.0%}",
                "-" if r is None or r.params.total is None else count_in_words(r.params.total),
                "-" if r is None else count_in_words(r.tokens),
                _number(r.flops if r else None, ".2e"),
                _number(r.validation_loss if r else None, ".4f"),
                _number(r.bits_per_byte if r else None, ".4f"),
                "-" if r is None else seconds_in_words(r.seconds.get("total", 0.0)),
                "-" if r is None else str(len(r.points)),
                _number(r.tokens_per_second if r else None, ",.0f"),
                _number(r.mfu if r else None, ".1%"),
                _number(r.goodput.share if r and r.goodput else None, ".0%"),
                entry.note or _rewinds(r),
            )
        )
    words = "run status done params tokens FLOPs loss bits/byte time points tok/s MFU goodput note"
    return table(title, words.split(" "), rows, left=2, words_last=True)


def source_losses(entries: Sequence["LedgerEntry"]) -> Table | None:
    """The last validation loss of each run on each source of its mixture; None where none has a mixture."""
    found = {e.name: e.record.by_source for e in entries if e.record and e.record.by_source}
    names = list(dict.fromkeys(name for losses in found.values() for name in losses))
    if not found:
        return None
    rows = [
        (run, *(_number(losses[name].loss if name in losses else None, ".4f") for name in names))
        for run, losses in found.items()
    ]
    return table("Validation loss by source", ("run", *names), rows)


def _rewinds(record: "RunRecord | None") -> str:
    count = 0 if record is None else len(record.rewinds)
    return "" if count == 0 else f"{count} rewind{'s' if count > 1 else ''}"


def goodput_text(entries: Sequence["LedgerEntry"]) -> str | None:
    """Where the wall time of all runs went, in one line; None where none has any."""
    found = [entry.record.goodput for entry in entries if entry.record and entry.record.goodput]
    wall = sum(one.wall for one in found)
    if wall <= 0:
        return None
    names = {
        "compile": "compiling",
        "data_wait": "waiting for data",
        "evaluation": "evaluation",
        "checkpoint": "checkpoints",
        "restart": "starts",
        "lost": "steps done again",
        "other": "other",
    }
    parts = [(name, sum(getattr(one, field) for one in found) / wall) for field, name in names.items()]
    rest = ", ".join(f"{name} {part:.1%}" for name, part in parts if part >= 0.0005)
    share = sum(one.productive for one in found) / wall
    return f"Goodput {share:.1%} of {seconds_in_words(wall)} wall time" + (f"; {rest}" if rest else "")


def data_text(one: Document) -> str:
    """A corpus of `data_of` in words."""
    split = f"Split {one['split']}."
    if one["tokens_per_epoch"] is None:
        return f"Data {one['source']}: not prepared here; training downloads and prepares it first. {split}"
    low, high = _epochs(one["epochs_of_smallest_budget"]), _epochs(one["epochs"])
    if low != high:
        reach = f"budgets of {low} to {high} epochs"
    else:
        reach = f"{high} epoch{'' if high == '1' else 's'}"
    text = (
        f"Data {one['source']}: {count_in_words(one['documents'])} documents, "
        f"{one['bytes'] / 1e6:,.3g} MB, about {count_in_words(one['tokens_per_epoch'])} training tokens "
        f"(estimated from file sizes); {reach}. {split}"
    )
    if one["max_epochs"] is not None and one["epochs"] > one["max_epochs"]:
        text += f" More than data.max_epochs={one['max_epochs']}: training would be refused."
    return text


def data_blocks(one: Document) -> list[Block]:
    """A corpus of `data_of` in words, or a mixture as a table."""
    if "sources" not in one:
        return [Text(data_text(one))]
    rows = []
    for name, source in one["sources"].items():
        known = source["tokens_per_epoch"] is not None
        rows.append(
            (
                name,
                "-" if source["weight"] is None else f"{source['weight']:g}",
                f"{source['bytes'] / 1e6:,.3g}" if known else "-",
                count_in_words(source["tokens_per_epoch"]) if known else "-",
                count_in_words(source["tokens"]),
                _reach(source) if known else "-",
                _runs_out(source) if known else "not prepared here",
            )
        )
    heads = ("source", "weight", "MB", "tokens/epoch", "read", "epochs", "note")
    return [table("Mixture (estimated from file sizes)", heads, rows, words_last=True)]


def _reach(source: Document) -> str:
    """The epochs of the smallest and of the largest budget."""
    low, high = _epochs(source["epochs_of_smallest_budget"]), _epochs(source["epochs"])
    return high if low == high else f"{low} to {high}"


def _runs_out(source: Document) -> str:
    """What happens to a source with `max_epochs`."""
    most, epochs = source["max_epochs"], source["epochs"]
    if most is None:
        return ""
    if source["exhausted"] == "cap":
        return f"capped at {most}" if epochs >= 0.999 * most else f"cap of {most}"
    return f"refused: max_epochs={most}" if epochs > most else f"at most {most}"


def _epochs(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.2g}"


def trained_blocks(record: "RunRecord", directory: Path) -> list[Block]:
    """The loss at each budget of a run, and where its time went."""
    blocks: list[Block] = []
    for point in record.points:
        bits = f", {point.bits_per_byte:.4f} bits per byte" if point.bits_per_byte else ""
        blocks.append(
            Text(f"{record.name}: loss {point.loss:.4f} nats per token{bits} after {point.tokens:,} tokens")
        )
    if record.by_source and record.mixture:
        rows = [
            (
                name,
                _number(share.weight, "g"),
                count_in_words(share.tokens),
                _epochs(share.epochs),
                _number(record.by_source[name].loss, ".4f"),
                _number(record.by_source[name].bits_per_byte, ".4f"),
            )
            for name, share in record.mixture.items()
        ]
        heads = ("source", "weight", "tokens", "epochs", "loss", "bits/byte")
        blocks.append(table("Validation losses by source", heads, rows))
    share = record.seconds["input_wait"] / max(record.seconds["total"], 1e-9)
    mfu = f", {record.mfu:.1%} of the matmul peak" if record.mfu else ""
    seconds = record.seconds["total"]
    return [*blocks, Text(f"{seconds:.0f} s{mfu}, {share:.1%} of it waiting for input; {directory}")]


def train_plan_blocks(
    run: "RunConfig",
    forecast: "RunCost",
    data: Document,
    mesh: Mapping[str, int],
    devices: int,
    sharding: Sequence[Sequence[str]],
) -> list[Block]:
    """What a run would take, its data, and how its parameters would be sharded."""
    blocks: list[Block] = [forecast_table(f"Run {run.name} ({run.id()})", [forecast]), *data_blocks(data)]
    size = 1
    for axis in mesh.values():
        size *= axis
    if size > devices:
        blocks.append(
            Text(
                f"The time is that of {size} devices like this machine's {devices}: for others, "
                "scaling estimate RUN --on KIND:COUNT"
            )
        )
    objective = run.objective
    blocks.append(Text(f"Objective {objective.name}: one token of loss is {objective.token_of_loss}."))
    if not sharding:
        return blocks
    sizes = [f"{axis}={size}" for axis, size in mesh.items() if size > 1]
    columns = ("parameter", "shape", "axes", "partition")
    if sizes:
        grid = table(f"Sharding on {', '.join(sizes)}", columns, sharding, left=4)
    else:
        grid = table("Parameters, all on one device", columns[:3], [row[:3] for row in sharding], left=3)
    return [*blocks, Text(""), grid]


def sweep_plan_blocks(
    name: str,
    directory: Path,
    forecasts: Sequence["RunCost"],
    workers: int,
    seconds: float,
    left: float,
    data: Sequence[Document],
    stacks: Sequence["StackChoice"],
) -> list[Block]:
    """What a sweep would take: a row per run, how runs are stacked, what is left of it, its data."""
    blocks: list[Block] = [forecast_table(f"Sweep {name}", forecasts, seconds)]
    if workers > 1:
        blocks.append(Text(f"Times are those of {workers} runs at once, each on its share of the CPU cores."))
    for stack in stacks:
        if stack.lanes > 1:
            faster = "" if stack.speedup is None else f", estimated {stack.speedup:.1f} times as fast"
            blocks.append(
                Text(
                    f"{len(stack.runs)} runs of one shape train in one program, {stack.lanes} at a time"
                    f"{faster}: {stack.runs[0]} to {stack.runs[-1]}."
                )
            )
    if left < seconds:
        blocks.append(
            Text(f"Some runs are finished in {directory}: about {seconds_in_words(left)} are left.")
        )
    return [*blocks, *(block for one in data for block in data_blocks(one))]


def mup_blocks(check: "CoordinateCheck") -> list[Block]:
    """The largest slope of each kind of activation, where and when, and whether it is flat."""
    rows = []
    for kind in check.parametrizations():
        for layer in check.layers():
            row = check.largest(kind, layer)
            found = row.largest.judged
            rows.append(
                (
                    kind,
                    layer,
                    check.verdict(kind, layer),
                    f"{row.slope:+.2f}",
                    "" if found is None else f"{found.standard_error:.2f}",
                    row.growth,
                    f"{row.place.stack} {row.place.depth or ''}".strip() or "-",
                    str(row.largest.step or "start"),
                )
            )
    heads = ("parametrization", "activation", "verdict", "slope", "s.e.", "growing", "layer", "step")
    widths = ", ".join(map(str, check.widths))
    title = (
        f"Largest slope of log size against log width: widths {widths} (base {check.base_width}), "
        f"{check.seeds} seeds"
    )
    blocks: list[Block] = [table(title, heads, rows, left=3, keys=2)]
    for kind in check.parametrizations():
        moving = check.not_flat(kind)
        what = f"not flat: {', '.join(moving)}" if moving else "flat"
        row = check.largest(kind)
        blocks.append(
            Text(f"{kind}: {what}; largest slope {row.largest.judged} ({row}), tolerance {check.tolerance:g}")
        )
    return blocks


def launch_blocks(document: Document) -> list[Block]:
    """The slice of each run of a sweep, its hours and its price."""
    rows = [
        (
            row["run"],
            row["slice"],
            ",".join(f"{axis}={size}" for axis, size in row["mesh"].items() if size > 1) or "-",
            count_in_words(row["params"]),
            str(row["hosts"]),
            _rounded(row["hours"]),
            _rounded(row["usd"]),
            "submit" if row["submit"] and row["reason"] == "new" else row["reason"],
        )
        for row in document["runs"]
    ]
    longest = _rounded(max(row["hours"] for row in document["runs"]))
    rows.append((f"{len(rows)} runs", "", "", "", "", longest, _rounded(document["usd"]), ""))
    title = (
        f"Sweep {document['sweep']} on {document['engine']}: each run on the smallest {document['device']} "
        f"within {document['within_hours']:g} hours"
    )
    columns = ("run", "slice", "mesh", "params", "hosts", "hours", "USD", "action")
    blocks: list[Block] = [table(title, columns, rows, left=3, words_last=True)]
    price = document["price"]
    if price["usd_per_device_hour"] is not None:
        note = f"; {price['note']}" if price["note"] else ""
        by = "" if price["kind"] == "given" else f" of {price['source'].partition(':')[0]}"
        dated = f" ({price['date']})" if price["date"] else ""
        rate = f"{price['usd_per_device_hour']:g} USD per device-hour"
        blocks.append(Text(f"{rate}, {price['kind']}{by}{dated}{note}."))
    turns = "runs take turns" if document["engine"] == "local" else "runs are submitted together"
    blocks.append(
        Text(
            f"Last line: hours of the longest run ({turns}), USD of all, for "
            f"{_rounded(document['device_hours'])} device-hours. Intervals are in --json."
        )
    )
    return blocks


def _rounded(value: float | None) -> str:
    """Three significant digits: hours and prices are estimates."""
    if value is None:
        return "-"
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 100 else f"{value:.3g}"
