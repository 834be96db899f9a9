"""A plan in words, and the run that it writes."""

from pathlib import Path
from typing import Any

from scaling.commands.estimate_text import device_lines, money, section
from scaling.config.load import dump_yaml
from scaling.config.run import RunConfig
from scaling.tables import seconds_in_words

_GIB = 2**30


def _budget(budget: dict[str, Any]) -> str:
    value = budget["value"]
    words = {"usd": f"{value:,.10g} USD", "flops": f"{value:.4g} FLOPs"}
    return words.get(budget["kind"], f"{value:,.10g} device-hours")


def _layout(one: dict[str, Any]) -> str:
    if one["mesh"] is None:
        return "-"
    mesh = ",".join(f"{axis}={size}" for axis, size in one["mesh"].items() if size > 1) or "one device"
    return f"{mesh} remat={one['remat']} accumulation={one['accumulation']}"


def _loss(loss: dict[str, Any]) -> str:
    interval = loss["interval"]
    bounds = f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
    return f"{loss['predicted']:.4f}{bounds} nats a token"


def plan_text(document: dict[str, Any], run: RunConfig) -> str:
    """The page that `scaling plan` prints."""
    model, train, loss, law = document["model"], run.train, document["loss"], document["law"]
    params, devices = document["params"], document["devices"]
    lines = [
        f"Plan for {_budget(document['budget'])} on {devices['kind']}:{devices['topology']}, "
        f"by the law {law['name']}"
    ]
    vocabulary = f"{model['vocab_size']:,}, a multiple of 128, so that it splits over devices"
    counting = law["counts"].replace("_", " ")
    lines += section(
        "Model",
        [
            ("parameters", f"{params['total']:,}; N of the law {loss['params']:,} ({counting})"),
            ("layers", f"{model['n_layers']} of width {model['d_model']}"),
            ("heads", f"{model['n_heads']} of {model['d_head']}"),
            ("vocabulary", vocabulary),
        ],
    )
    lines += section(
        "Training",
        [
            (
                "tokens",
                f"{document['tokens']:,} ({document['tokens_per_param']:.1f} a parameter), "
                f"{document['steps']:,} steps of {train.batch_tokens:,}",
            ),
            (
                "FLOPs",
                f"{document['flops']:.4e} counted, causal attention; 6ND {document['flops_6nd']:.4e}",
            ),
            (
                "learning rate",
                f"{train.learning_rate:g}, warm-up {train.warmup_steps:,} steps, cosine to 10%",
            ),
            ("batch and rate", document["rules"]["batch"].partition(", equation")[0]),
            ("layout", f"{run.mesh}, remat {model['remat']}, accumulation {train.accumulation}"),
        ],
    )
    rows = [("predicted", _loss(loss)), ("interval", loss["interval_means"]), ("law", law["source"])]
    rows += [("note", note) for note in (law["note"], loss["extrapolation"]) if note]
    lines += section("Loss", rows)
    if document["inference"]:
        lines += _inference_lines(document)
    lines += device_lines(document, run)
    if document["confirmed"] is not None:
        lines += _confirmed_lines(document["confirmed"])
    if document["alternatives"]:
        rows = []
        for one in document["alternatives"]:
            what = f"{one['params']:.3e} parameters" if one["what"] == "size" else _layout(one)
            rows.append((what, one["reason"]))
        lines += section("Rejected", rows)
    return "\n".join(lines)


def _inference_lines(document: dict[str, Any]) -> list[str]:
    served, alone = document["inference"], document["inference"]["budget_alone"]
    more = document["flops"] / alone["train_flops"]
    return section(
        f"Serving {served['tokens']:.4g} tokens",
        [
            ("chosen for", served["definition"]),
            ("budget alone", f"{alone['params']:,} parameters, {alone['tokens']:,} tokens"),
            ("all FLOPs", f"{served['total_flops']:.4e} in place of {alone['total_flops']:.4e}"),
            ("saved", f"{served['saved']:.1%}"),
            ("training", f"{more:.2f} times the FLOPs of the budget alone"),
        ],
    )


def _confirmed_lines(confirmed: list[dict[str, Any]]) -> list[str]:
    rows = []
    for one in confirmed:
        verdict = "chosen" if one["chosen"] else "fits" if one["fits"] else "does not fit"
        sizes = f"{one['compiled_bytes'] / _GIB:.2f} GiB of {one['capacity_bytes'] / _GIB:.2f}"
        rows.append((_layout(one), f"{sizes} (estimated {one['estimated_bytes'] / _GIB:.2f}); {verdict}"))
    return section("Compiled, quick effort: the compiler's memory decides", rows)


def run_yaml(document: dict[str, Any], run: RunConfig, command: str, path: Path) -> str:
    """The run as YAML that opens with what it is, what to change in it, and what to expect."""
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
            f"is far less than {document['tokens']:.3g} tokens, and a tokenizer may have "
            f"{document['model']['vocab_size']:,} pieces at most.",
            dump_yaml(run),
        ]
    )
