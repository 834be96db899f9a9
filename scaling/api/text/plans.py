"""Plans as text, and the YAML of the run that a plan writes."""

from pathlib import Path
from typing import Any

from scaling.api.text.blocks import Block, Bullets, Section, Text, decimals, seconds_in_words
from scaling.api.text.costs import Document, device_blocks, money
from scaling.config.load import dump_yaml
from scaling.config.run import RunConfig
from scaling.estimate.planner import size_name

_GIB = 2**30
_YEAR_HOURS = 24 * 365.25
_LONG_HOURS = _YEAR_HOURS / 2  # nobody trains for longer on the same devices


def _budget(budget: dict[str, Any]) -> str:
    value = budget["value"]
    words = {"usd": f"{value:,.10g} USD", "flops": f"{value:.4g} FLOPs"}
    return words.get(budget["kind"], f"{value:,.10g} device-hours")


def _layout(one: dict[str, Any]) -> str:
    if one["mesh"] is None:
        return "-"
    mesh = ",".join(f"{axis}={size}" for axis, size in one["mesh"].items() if size > 1) or "one device"
    return f"{mesh} remat={one['remat']} accumulation={one['accumulation']}"


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _loss(loss: dict[str, Any]) -> str:
    interval, value = loss["widened"], loss["predicted"]
    places = decimals(interval, value)
    bounds = f" [{interval[0]:.{places}f}, {interval[1]:.{places}f}]" if interval else ""
    return f"{value:.{places}f}{bounds} {loss['unit']}"


def plan_blocks(document: Document, run: RunConfig) -> list[Block]:
    """The page of a plan, in 80 columns."""
    model, train, loss, law = document["model"], run.train, document["loss"], document["law"]
    params, devices = document["params"], document["devices"]
    pieces, rows = loss["vocab_size"], model["vocab_size"]
    vocabulary = f"{pieces:,} pieces" + ("" if rows == pieces else f", padded to {rows:,} for sharding")
    counting = law["counts"].replace("_", " ")
    blocks: list[Block] = [
        Text(
            f"Plan for {_budget(document['budget'])} on {devices['kind']}:{devices['topology']}, "
            f"by the law {law['name']}"
        ),
        Section(
            "Model",
            [
                ("parameters", f"{params['total']:,} (the law's N, {counting}: {loss['params']:,})"),
                ("layers", f"{model['n_layers']} of width {model['d_model']}"),
                ("heads", f"{model['n_heads']} of {model['d_head']}"),
                ("vocabulary", vocabulary),
            ],
        ),
        Section(
            "Training",
            [
                ("tokens", f"{document['tokens']:,} ({_ratio(document['tokens_per_param'])} per parameter)"),
                ("steps", f"{document['steps']:,} of {train.batch_tokens:,} tokens"),
                ("FLOPs", f"{document['flops']:.3e} counted; 6ND {document['flops_6nd']:.3e}"),
                (
                    "learning rate",
                    f"{train.learning_rate:g}, warm-up {train.warmup_steps:,} steps, cosine to 10%",
                ),
                ("batch and rate", document["rules"]["batch"].partition(", equation")[0]),
                ("layout", f"{run.mesh}, remat {model['remat']}, accumulation {train.accumulation}"),
            ],
        ),
    ]
    rows_of_loss = [("predicted", _loss(loss)), ("interval", loss["interval_means"]), ("law", law["source"])]
    if loss["widening"]:
        rows_of_loss.append(("reach", loss["widening"]))
    if loss["reach"]:
        rows_of_loss.append(("warning" if loss["reach"]["far"] else "note", loss["reach"]["text"]))
    rows_of_loss += [("note", note) for note in (law["note"], *loss["notes"]) if note]
    blocks.append(Section("Loss", rows_of_loss))
    if document["inference"]:
        blocks.append(_inference_section(document))
    blocks += device_blocks(document, train.batch_tokens)
    if document["cost"] and document["budget"]["kind"] != "flops":
        blocks.append(Text("\nThe budget covers the upper end of the time and price intervals."))
    hours = document["time"]["train_hours"]
    if hours > _LONG_HOURS:
        blocks.append(
            Text(f"\nThe run takes {hours / _YEAR_HOURS:.3g} years: more devices, or a smaller budget.")
        )
    if document["confirmed"] is not None:
        blocks.append(_confirmed_section(document["confirmed"]))
    if document["alternatives"]:
        rejected = []
        for one in document["alternatives"]:
            what = f"{size_name(one['params'])} parameters" if one["what"] == "size" else _layout(one)
            rejected.append((what, one["reason"]))
        blocks.append(Section("Rejected", rejected))
    if document["would_help"]:
        blocks.append(Bullets("No larger model fits these devices. What would help:", document["would_help"]))
    return blocks


def _inference_section(document: Document) -> Section:
    served = document["inference"]
    alone, same = served["budget_alone"], served["same_loss"]
    higher = document["loss"]["predicted"] - alone["loss"]
    return Section(
        f"Serving {served['tokens']:.4g} tokens",
        [
            ("chosen for", served["definition"]),
            (
                "training alone",
                f"{size_name(alone['params'])} parameters on {alone['tokens']:.3g} tokens: loss lower by "
                f"{higher:.4f}, {alone['total_flops']:.3e} FLOPs in all",
            ),
            (
                "same loss",
                f"{size_name(same['params'])} parameters, compute-optimal: {same['total_flops']:.3e} FLOPs "
                "in all",
            ),
            ("this plan", f"{served['total_flops']:.3e} FLOPs in all, {served['saved']:.1%} less"),
        ],
    )


def _confirmed_section(confirmed: list[dict[str, Any]]) -> Section:
    rows = []
    for one in confirmed:
        verdict = "chosen" if one["chosen"] else "fits" if one["fits"] else "does not fit"
        sizes = f"{one['compiled_bytes'] / _GIB:.2f} GiB of {one['capacity_bytes'] / _GIB:.2f}"
        rows.append((_layout(one), f"{sizes} (estimated {one['estimated_bytes'] / _GIB:.2f}); {verdict}"))
    return Section("Compiled, quick effort: the compiler's memory decides", rows)


def run_yaml(document: Document, run: RunConfig, command: str, path: Path) -> str:
    """The run as YAML, under comments that say what it is, what to change in it, and what to expect."""
    cost, hours = document["cost"], document["time"]["train_hours"]
    price = money(cost["usd"]) if cost and cost["usd"] is not None else "price unknown"
    devices = document["devices"]
    return "\n".join(
        [
            f"# scaling train {path}",
            f"# Planned by: {command}",
            f"# To expect: {_loss(document['loss'])} by the law {document['law']['name']}, "
            f"{seconds_in_words(3600 * hours)} on {devices['kind']}:{devices['topology']}, {price}.",
            "# Before training set data.source and data.tokenizer: the default source, Python's own library, "
            f"is far less than {document['tokens']:.3g} tokens, and the law holds for its own tokenizer of "
            f"{document['loss']['vocab_size']:,} pieces.",
            dump_yaml(run),
        ]
    )
