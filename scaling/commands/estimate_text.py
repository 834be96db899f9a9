"""An estimate in words, for a person: every figure with its unit and what it rests on."""

from collections.abc import Sequence
from math import floor, log10
from textwrap import wrap
from typing import Any

from scaling.config.run import RunConfig
from scaling.tables import seconds_in_words

COLUMNS = 80
_GIB, _MIB = 2**30, 2**20


def section(title: str, rows: list[tuple[str, str]]) -> list[str]:
    """A title and its rows, below an empty line; values wrap within the columns of a terminal."""
    width = max(len(name) for name, _ in rows)
    lines = ["", *wrap(title, COLUMNS, subsequent_indent="  ", break_long_words=False)]
    for name, value in rows:
        first = f"  {name:{width}}  "
        lines += wrap(
            value,
            COLUMNS,
            initial_indent=first,
            subsequent_indent=" " * len(first),
            break_long_words=False,
            break_on_hyphens=False,
            drop_whitespace=len(value) + len(first) > COLUMNS,
        ) or [first]
    return lines


def decimals(ends: Sequence[float] | None, value: float) -> int:
    """Decimals that leave the width of an interval two digits; of a value without one, four digits."""
    width = abs(value) / 100 if ends is None else ends[1] - ends[0]
    return 4 if width <= 0 else min(8, max(0, 1 - floor(log10(width))))


def bullets(items: Sequence[str]) -> list[str]:
    """Items on lines of their own, within the columns of a terminal."""
    return [
        line
        for item in items
        for line in wrap(item, COLUMNS, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
    ]


def in_bytes(size: float) -> str:
    """GiB, or MiB below a tenth of one."""
    return f"{size / _GIB:.2f} GiB" if size >= _GIB / 10 else f"{size / _MIB:.1f} MiB"


def money(usd: float) -> str:
    """Dollars to three digits, which is more than an estimate knows; cents below ten dollars."""
    return f"{_digits(usd)} USD"


def _digits(value: float) -> str:
    """Three significant digits, without an exponent; two decimals below 10."""
    if value < 10:
        return f"{value:,.2f}"
    unit = 10 ** (floor(log10(value)) - 2)
    return f"{round(value / unit) * unit:,.10g}"


def estimate_text(document: dict[str, Any], run: RunConfig) -> str:
    """The page that `scaling estimate` prints."""
    params, flops = document["params"], document["flops_per_token"]
    lines = [f"{document['model']} ({document['family'].replace('_', '-')})"]
    rows = [(name.replace("_", " "), f"{size:>18,}") for name, size in params["by_component"].items()]
    rows += [
        ("total", f"{params['total']:>18,}"),
        ("without embeddings", f"{params['non_embedding']:>18,}"),
        ("without embeddings, with head", f"{params['non_embedding_with_head']:>18,}"),
    ]
    if params["active"] != params["total"]:
        rows.append(("active a token", f"{params['active']:>18,}"))
    lines += section("Parameters", rows)
    target = f" and {flops['target_length']}" if flops["target_length"] else ""
    lines += section(
        f"FLOPs per token, sequences of {flops['length']}{target}, {flops['attention_convention']} attention",
        [
            ("forward", f"{flops['forward']:.4e}"),
            ("forward and backward", f"{flops['train']:.4e}"),
            ("executed", f"{flops['hardware']:.4e}  (remat={getattr(run.model, 'remat', 'none')})"),
        ],
    )
    if document["train"]:
        train = document["train"]
        lines += section(
            f"Training on {train['tokens']:.4g} tokens",
            [
                ("FLOPs", f"{train['flops']:.4e}, {train['pf_days']:,.4g} PF-days"),
                ("6ND", f"{train['flops_6nd']:.4e}{_of_both_sides(document)}"),
            ],
        )
    if document["memory"]:
        lines += device_lines(document, run)
    return "\n".join(lines)


def _of_both_sides(document: dict[str, Any]) -> str:
    """What the shorthand leaves out of a model of two sides."""
    if not document["family"].endswith("encoder_decoder"):
        return ""
    return "  (as if every token passed both sides; it passes one)"


def device_lines(document: dict[str, Any], run: RunConfig) -> list[str]:
    """Memory, time and cost of a document that has them."""
    devices, memory, time, cost = (document[key] for key in ("devices", "memory", "time", "cost"))
    mesh = ", ".join(f"{axis}={size}" for axis, size in devices["mesh"].items() if size > 1) or "one device"
    parts = ("params", "optimizer", "gradients", "activations", "batch")
    rows = [(part, f"{in_bytes(memory[f'{part}_bytes']):>12}") for part in parts]
    over = memory["total_bytes"] - memory["capacity_bytes"]
    verdict = "fits" if memory["fits"] else f"does not fit: {in_bytes(over)} too many"
    rows.append(
        (
            "peak",
            f"{in_bytes(memory['total_bytes']):>12} of {in_bytes(memory['capacity_bytes'])}, {verdict}",
        )
    )
    title = f"Memory of one of {devices['count']} devices ({devices['kind']}:{devices['topology']}; {mesh})"
    lines = section(title, rows)
    low, high = time["step_seconds_interval"]
    tokens = run.train.batch_tokens
    rows = [
        ("a step", f"{time['step_seconds']:.3g} s [{low:.3g}, {high:.3g}], {tokens:,} tokens"),
        (
            "bound by",
            f"{time['bound']}; MFU {time['mfu']:.1%}, HFU {time['hfu']:.1%} of the data sheet's peak",
        ),
    ]
    if time["train_hours"] is not None:
        low, high = (3600 * hours for hours in time["train_hours_interval"])
        whole = seconds_in_words(3600 * time["train_hours"])
        rows.append(("the run", f"about {whole} ({seconds_in_words(low)} to {seconds_in_words(high)})"))
    lines += section("Time", rows)
    if cost:
        rows = [("device-hours", _digits(cost["device_hours"]))]
        if cost["usd"] is not None:
            low, high = _digits(cost["usd_low"]), _digits(cost["usd_high"])
            rows.append(("price", f"about {money(cost['usd'])} ({low} to {high})"))
            rate = f"{cost['usd_per_device_hour']:.4g} USD per device-hour, {cost['price_kind']}"
            dated = f", {cost['price_date']}" if cost["price_date"] else ""
            rows.append(("at", rate + dated))
            rows.append(("source", cost["price_source"]))
        if cost["price_note"]:
            rows.append(("note", cost["price_note"]))
        kg = cost["kg_co2"]
        carbon = f"{_digits(kg / 1000)} t" if kg >= 1000 else f"{_digits(kg)} kg"
        rows.append(("energy", f"{_digits(cost['kwh'])} kWh, {carbon} CO2"))
        rows.append(("assuming", cost["energy_assumption"]))
        lines += section("Cost", rows)
    if not memory["fits"]:
        lines += ["", "Not priced, because it does not fit. What would help:"]
        lines += bullets(document["would_help"])
    return lines
