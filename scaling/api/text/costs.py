"""Estimates, compiled steps and plans as text: every figure with its unit and what it rests on."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scaling.api.text.blocks import (
    Block,
    Bullets,
    Section,
    Table,
    Text,
    seconds_in_words,
    significant,
    table,
)

if TYPE_CHECKING:
    from scaling.config.record import Compiled
    from scaling.config.run import RunConfig
    from scaling.estimate.memory import Memory

Document = Mapping[str, Any]
_GIB, _MIB = 2**30, 2**20


def in_bytes(size: float) -> str:
    """GiB, or MiB below a tenth of one."""
    return f"{size / _GIB:.2f} GiB" if size >= _GIB / 10 else f"{size / _MIB:.1f} MiB"


def money(usd: float) -> str:
    """Dollars to three digits, which is more than an estimate knows; cents below ten dollars."""
    return f"{significant(usd)} USD"


def models_blocks(rows: Sequence[Document]) -> list[Block]:
    """The named models, a row each."""
    cells = [
        (
            row["model"],
            f"{row['params']['total']:,}",
            f"{row['params']['non_embedding']:,}",
            str(row["n_layers"]),
            str(row["d_model"]),
            str(row["n_heads"] or "-"),
            f"{row['train_flops_per_token']:.2e}",
        )
        for row in rows
    ]
    columns = ("model", "parameters", "without embeddings", "layers", "width", "heads", "FLOPs/token")
    note = "Training FLOPs per token at the model's full length, matmul by matmul, causal attention."
    return [table("", columns, cells), Text(note)]


def estimate_blocks(document: Document, run: "RunConfig") -> list[Block]:
    """The page of an estimate."""
    params, flops = document["params"], document["flops_per_token"]
    rows = [(name.replace("_", " "), f"{size:>18,}") for name, size in params["by_component"].items()]
    rows += [
        ("total", f"{params['total']:>18,}"),
        ("without embeddings", f"{params['non_embedding']:>18,}"),
        ("without embeddings, with head", f"{params['non_embedding_with_head']:>18,}"),
    ]
    if params["active"] != params["total"]:
        rows.append(("active per token", f"{params['active']:>18,}"))
    blocks: list[Block] = [
        Text(f"{document['model']} ({document['family'].replace('_', '-')})"),
        Section("Parameters", rows),
    ]
    target = f" and {flops['target_length']}" if flops["target_length"] else ""
    blocks.append(
        Section(
            f"FLOPs per token, sequences of {flops['length']}{target}, "
            f"{flops['attention_convention']} attention",
            [
                ("forward", f"{flops['forward']:.4e}"),
                ("forward and backward", f"{flops['train']:.4e}"),
                ("executed", f"{flops['hardware']:.4e}  (remat={getattr(run.model, 'remat', 'none')})"),
            ],
        )
    )
    if document["train"]:
        train = document["train"]
        two_sided = document["family"].endswith("encoder_decoder")
        remark = "  (as if every token passed both sides; it passes one)" if two_sided else ""
        blocks.append(
            Section(
                f"Training on {train['tokens']:.4g} tokens",
                [
                    ("FLOPs", f"{train['flops']:.4e}, {train['pf_days']:,.4g} PF-days"),
                    ("6ND", f"{train['flops_6nd']:.4e}{remark}"),
                ],
            )
        )
    return blocks + (device_blocks(document, run.train.batch_tokens) if document["memory"] else [])


def device_blocks(document: Document, batch_tokens: int) -> list[Block]:
    """Memory, time and cost on devices."""
    devices, memory, time, cost = (document[key] for key in ("devices", "memory", "time", "cost"))
    mesh = ", ".join(f"{axis}={size}" for axis, size in devices["mesh"].items() if size > 1) or "one device"
    parts = ("params", "optimizer", "gradients", "activations", "batch")
    rows = [(part, f"{in_bytes(memory[f'{part}_bytes']):>12}") for part in parts]
    over = memory["total_bytes"] - memory["capacity_bytes"]
    verdict = "fits" if memory["fits"] else f"does not fit: {in_bytes(over)} too many"
    peak = f"{in_bytes(memory['total_bytes']):>12} of {in_bytes(memory['capacity_bytes'])}, {verdict}"
    title = f"Memory of one of {devices['count']} devices ({devices['kind']}:{devices['topology']}; {mesh})"
    blocks: list[Block] = [Section(title, [*rows, ("peak", peak)])]
    low, high = time["step_seconds_interval"]
    rows = [
        ("per step", f"{time['step_seconds']:.3g} s [{low:.3g}, {high:.3g}], {batch_tokens:,} tokens"),
        (
            "bound by",
            f"{time['bound']}; MFU {time['mfu']:.1%}, HFU {time['hfu']:.1%} of the data sheet's peak",
        ),
    ]
    if time["train_hours"] is not None:
        low, high = (3600 * hours for hours in time["train_hours_interval"])
        total = seconds_in_words(3600 * time["train_hours"])
        rows.append(("the run", f"about {total} ({seconds_in_words(low)} to {seconds_in_words(high)})"))
    blocks.append(Section("Time", rows))
    if cost:
        blocks.append(Section("Cost", _cost_rows(cost)))
    if not memory["fits"]:
        blocks.append(
            Bullets("Not priced, because it does not fit. What would help:", document["would_help"])
        )
    return blocks


def _cost_rows(cost: Document) -> list[tuple[str, str]]:
    rows = [("device-hours", significant(cost["device_hours"]))]
    if cost["usd"] is not None:
        low, high = significant(cost["usd_low"]), significant(cost["usd_high"])
        rows.append(("price", f"about {money(cost['usd'])} ({low} to {high})"))
        rate = f"{cost['usd_per_device_hour']:.4g} USD per device-hour, {cost['price_kind']}"
        dated = f", {cost['price_date']}" if cost["price_date"] else ""
        rows.append(("at", rate + dated))
        rows.append(("source", cost["price_source"]))
    if cost["price_note"]:
        rows.append(("note", cost["price_note"]))
    kg = cost["kg_co2"]
    carbon = f"{significant(kg / 1000)} t" if kg >= 1000 else f"{significant(kg)} kg"
    rows.append(("energy", f"{significant(cost['kwh'])} kWh, {carbon} CO2"))
    rows.append(("assuming", cost["energy_assumption"]))
    return rows


def compiled_blocks(
    run: "RunConfig",
    devices: str,
    count: int,
    compiled: "Compiled",
    estimated: "Memory",
    helps: Sequence[str],
) -> list[Block]:
    """What the compiler says of a step, next to the estimate."""
    rows = [
        ("arguments (parameters, optimizer state, batch)", compiled.argument_bytes, estimated.arguments),
        ("temporaries (gradients, activations)", compiled.temp_bytes, None),
        ("peak", compiled.peak_bytes, estimated.total),
        ("capacity", compiled.capacity_bytes, None),
    ]
    cells = [
        (
            name,
            "-" if size is None else f"{size / _GIB:.2f}",
            "" if ours is None else f"{ours / _GIB:.2f}",
            "" if ours is None or size is None else f"{ours / size - 1:+.1%}",
        )
        for name, size, ours in rows
    ]
    blocks: list[Block] = [
        Text(
            f"{run.model.name} on {devices}, {count} devices as {run.mesh}; {run.train.batch_tokens:,} "
            f"tokens per step, {compiled.flops_per_device:.3e} FLOPs per device and step"
        ),
        table("", ("memory per device, GiB", "compiler", "estimate", "difference"), cells),
    ]
    spare = compiled.capacity_bytes - compiled.peak_bytes
    if compiled.fits:
        blocks.append(Text(f"Fits, with {spare / _GIB:.2f} GiB to spare."))
    else:
        blocks.append(Text(f"Does not fit: {max(0, -spare) / _GIB:.2f} GiB too much. What would help:"))
        blocks += [Text(f"  {line}") for line in helps]
    if compiled.collectives is not None and (moved := _collectives(compiled.collectives.model_dump())):
        blocks.append(moved)
    blocks += [Text(line) for line in _attention(compiled)]
    blocks += [Text(f"Note: {note}.") for note in compiled.notes]
    versions = ", ".join(f"{name} {version}" for name, version in compiled.versions.items())
    how = f"{compiled.effort} effort"
    return [*blocks, Text(f"Compiled in {compiled.compile_seconds:.0f} s ({how}) by {versions}.")]


def _attention(compiled: "Compiled") -> list[str]:
    """Whether each kind of attention runs a fused kernel, on platforms that have one."""
    if compiled.backend == "cpu":
        return []
    return [
        f"Attention ({one.attention}): {one.implementation}"
        + (" kernel." if one.why_not is None else f", no fused kernel: {one.why_not}.")
        for one in compiled.attention
    ]


def _collectives(collectives: Mapping[str, Document]) -> Table | None:
    rows = [
        (kind.replace("_", "-"), f"{traffic['count']:,}", f"{traffic['bytes'] / _GIB:.2f}")
        for kind, traffic in collectives.items()
        if traffic["count"]
    ]
    return table("", ("collective", "per step", "GiB"), rows) if rows else None
