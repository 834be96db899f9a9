"""The estimator's memory against the compilers', over sizes, topologies, meshes and rematerialisation.

    python benchmarks/memory.py                     # TPUs: 72 compiles, cached: three quarters of an hour at first
    python benchmarks/memory.py --effort full       # as training compiles: well over an hour
    python benchmarks/memory.py --on gpu            # GPUs: 45 compiles, about 20 minutes
    python benchmarks/memory.py --on gpu --dropout 0.1 --models gpt2-124m        # where probabilities are kept
    python benchmarks/memory.py --markdown          # and write docs/memory.md, or docs/memory-gpu.md

Needs a compiler: pip install 'scaling-lab[tpu]' or 'scaling-lab[cuda]'; no device. Prints JSON. Arguments are what
lies on a device from step to step; the peak is `scaling dryrun`'s `peak_bytes`.
"""

import argparse
import dataclasses
import datetime
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from scaling.runtime.environment import prepare_environment

prepare_environment("tpu")

from scaling.config.devices import parse_devices  # noqa: E402
from scaling.config.load import load_model, load_run  # noqa: E402
from scaling.config.run import RunConfig  # noqa: E402
from scaling.estimate.layout import layout_of  # noqa: E402
from scaling.estimate.memory import memory  # noqa: E402
from scaling.train.compiled_cache import compiled_step  # noqa: E402

_GIB = 2**30
_DOCS = Path(__file__).resolve().parents[1] / "docs"
_FILES = {"tpu": _DOCS / "memory.md", "gpu": _DOCS / "memory-gpu.md"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One train step: a named model with changes, laid out on devices."""

    model: str
    devices: str
    mesh: dict[str, int]
    remat: str
    rows: int
    accumulation: int = 1
    length: int | None = None  # None is the model's maximum
    changes: dict[str, Any] = dataclasses.field(default_factory=dict)


# (model, devices, mesh, rows per batch by policy, accumulation)
_Grid = list[tuple[str, str, dict[str, int], dict[str, int], int]]
_TPUS: _Grid = [
    ("gpt2-124m", "tpu-v5e:4x4", {"fsdp": 16}, {"none": 16, "dots": 32, "full": 32}, 1),
    ("gpt2-355m", "tpu-v6e:4x4", {"data": 16}, {"none": 16, "dots": 16, "full": 16}, 1),
    ("gpt2-1.5b", "tpu-v5e:8x8", {"fsdp": 64}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("gpt3-350m", "tpu-v4:2x2x4", {"data": 16}, {"none": 16, "dots": 16, "full": 32}, 1),
    ("gpt3-350m", "tpu-v5e:4x4", {"fsdp": 16}, {"none": 128, "dots": 128, "full": 128}, 4),
    ("gpt3-760m", "tpu-v6e:8x8", {"data": 4, "fsdp": 16}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("gpt3-1.3b", "tpu-v5e:4x4", {"fsdp": 16}, {"none": 16, "dots": 16, "full": 16}, 1),
    ("gpt3-1.3b", "tpu-v4:4x4x4", {"data": 8, "fsdp": 8}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("gpt3-2.7b", "tpu-v5p:2x4x4", {"fsdp": 32}, {"none": 32, "dots": 32, "full": 64}, 1),
    (
        "gpt3-2.7b",
        "tpu-v5e:8x8",
        {"data": 2, "fsdp": 16, "tensor": 2},
        {"none": 32, "dots": 32, "full": 64},
        1,
    ),
    ("gpt3-6.7b", "tpu-v5p:4x4x4", {"fsdp": 16, "tensor": 4}, {"none": 32, "dots": 32, "full": 64}, 1),
    ("gpt3-6.7b", "tpu-v6e:8x8", {"fsdp": 64}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("gpt3-13b", "tpu-v4:4x4x8", {"fsdp": 32, "tensor": 4}, {"none": 32, "dots": 32, "full": 64}, 1),
    ("gpt3-13b", "tpu-v5p:4x4x8", {"fsdp": 128}, {"none": 128, "dots": 128, "full": 128}, 1),
    ("gpt3-175b", "tpu-v5p:8x8x8", {"fsdp": 64, "tensor": 8}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("bert-base", "tpu-v5e:4x4", {"data": 16}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("bert-large", "tpu-v4:2x2x4", {"fsdp": 16}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("t5-large", "tpu-v6e:4x4", {"fsdp": 16}, {"none": 32, "dots": 32, "full": 32}, 1),
    ("t5-11b", "tpu-v5p:4x4x8", {"fsdp": 32, "tensor": 4}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("llama-7b", "tpu-v6e:8x8", {"fsdp": 64}, {"none": 64, "dots": 64, "full": 64}, 1),
]
_GPUS: _Grid = [
    ("gpt2-124m", "h100-sxm:8", {"data": 8}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("gpt2-1.5b", "h100-sxm:8", {"fsdp": 8}, {"none": 32, "dots": 64, "full": 64}, 1),
    ("gpt3-1.3b", "a100-40gb:8", {"fsdp": 8}, {"none": 64, "dots": 64, "full": 64}, 4),
    ("gpt3-6.7b", "h100-sxm:32", {"fsdp": 16, "tensor": 2}, {"none": 32, "dots": 32, "full": 64}, 1),
    ("gpt3-13b", "b200:32", {"fsdp": 32}, {"none": 32, "dots": 32, "full": 64}, 1),
    ("gpt3-175b", "h100-sxm:512", {"fsdp": 64, "tensor": 8}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("bert-large", "a100-80gb:8", {"fsdp": 8}, {"none": 64, "dots": 64, "full": 64}, 1),
    ("t5-large", "h200:8", {"fsdp": 8}, {"none": 32, "dots": 32, "full": 32}, 1),
    ("llama-7b", "h100-sxm:64", {"fsdp": 64}, {"none": 64, "dots": 64, "full": 64}, 1),
    # Compiled after the estimator had learned from those above.
    ("gpt3-2.7b", "h200:16", {"fsdp": 16}, {"none": 32, "dots": 32, "full": 64}, 1),
    ("gpt2-355m", "a100-40gb:16", {"data": 2, "fsdp": 8}, {"none": 64, "dots": 128, "full": 128}, 1),
    ("roberta-large", "h100-sxm:8", {"fsdp": 4, "tensor": 2}, {"none": 32, "dots": 32, "full": 64}, 1),
]
# What the grids leave out: split sequences, unrolled layers, dropout, float32, grouped heads, large vocabularies.
_UNROLLED = {"dropout": 0.1, "compute_dtype": "float32", "scan_layers": False}
_LLAMA3 = {"vocab_size": 128256, "n_kv_heads": 8, "d_ff": 14336, "rotary_base": 500000.0, "max_length": 8192}
_LONG = {"max_length": 4096}
_MORE = {
    "tpu": [
        Case("gpt2-124m", "tpu-v5e:4x4", {"fsdp": 4, "context": 4}, "full", 16, 1, 4096, _LONG),
        *(
            Case("gpt2-355m", "tpu-v5e:4x4", {"fsdp": 4, "context": 4}, remat, 8, 1, 4096, _LONG)
            for remat in ("full", "dots", "none")
        ),
        Case("gpt2-124m", "tpu-v5e:2x2", {"context": 4}, "full", 4),
        Case("t5-base", "tpu-v5e:2x4", {"fsdp": 2, "context": 4}, "full", 16),
        Case("bert-base", "tpu-v5e:2x4", {"fsdp": 2, "context": 4}, "none", 16),
        Case("gpt2-774m", "tpu-v5e:4x4", {"fsdp": 16}, "none", 16, changes=_UNROLLED),
        *(
            Case("gpt2-774m", "tpu-v5e:2x4", mesh, remat, rows, changes={**_UNROLLED, "n_layers": 3})
            for mesh, remat, rows in (
                ({"fsdp": 8}, "none", 8),
                ({"fsdp": 8}, "full", 8),
                ({"data": 8}, "full", 8),
                ({"fsdp": 4, "tensor": 2}, "none", 4),
            )
        ),
    ],
    "gpu": [
        *(
            Case("llama-7b", "h100-sxm:64", {"fsdp": 64}, remat, 64, 1, 8192, _LLAMA3)
            for remat in ("full", "dots")
        ),
        *(
            Case("gpt2-355m", "h100-sxm:16", {"fsdp": 4, "context": 4}, remat, 8, 1, 4096, _LONG)
            for remat in ("full", "none")
        ),
        *(
            Case("gpt2-774m", "h100-sxm:8", {"data": 8}, remat, 8, changes={**_UNROLLED, "n_layers": 3})
            for remat in ("full", "none")
        ),
        Case("bert-large", "h100-sxm:8", {"fsdp": 8}, "full", 64, changes={"n_layers": 4}),
        Case("t5-large", "h100-sxm:8", {"fsdp": 8}, "full", 32, changes={"n_layers": 4}),
        Case("roberta-large", "h100-sxm:8", {"fsdp": 4, "tensor": 2}, "full", 64, changes={"n_layers": 4}),
    ],
}
CASES = {
    on: [
        Case(model, devices, mesh, remat, rows, accumulation)
        for model, devices, mesh, by_policy, accumulation in grid
        for remat, rows in by_policy.items()
    ]
    + _MORE[on]
    for on, grid in (("tpu", _TPUS), ("gpu", _GPUS))
}


def run_of(case: Case, dropout: float | None = None) -> RunConfig:
    """The run that a case compiles."""
    length = case.length or load_model(case.model).max_length
    model = {"base": case.model, "dropout": 0.0, "scan_layers": True, "compute_dtype": "bfloat16"}
    model |= {**case.changes, "remat": case.remat}
    return load_run(
        {
            "name": "memory",
            "model": model if dropout is None else {**model, "dropout": dropout},
            "data": {"sequence_length": length},
            "train": {
                "steps": 10,
                "batch_tokens": case.rows * length,
                "learning_rate": 1e-3,
                "accumulation": case.accumulation,
            },
            "mesh": case.mesh,
        }
    )


def compare(case: Case, effort: str, dropout: float | None) -> Any:
    """One row: what the compiler says, what the estimator says."""
    run, devices = run_of(case, dropout), parse_devices(case.devices)
    compiled = compiled_step(run, devices, effort)  # type: ignore[arg-type]
    ours = memory(run, layout_of(run, devices.count), devices.hardware.platform)
    return {
        **dataclasses.asdict(case),
        "dropout": run.model.dropout,
        "argument_bytes": compiled.argument_bytes,
        "peak_bytes": compiled.peak_bytes,
        "estimated_argument_bytes": ours.arguments,
        "estimated_peak_bytes": ours.total,
        "argument_error": ours.arguments / compiled.argument_bytes - 1,
        "peak_error": ours.total / compiled.peak_bytes - 1,
        "phase": ours.phase,
        "versions": compiled.versions,
    }


def _changes(row: dict[str, Any]) -> str:
    """What a case changes of its named model, in a few words."""
    changes = dict(row["changes"])
    words = {
        "dropout": "dropout",
        "compute_dtype": "float32",
        "scan_layers": "unrolled",
        "n_kv_heads": "grouped",
    }
    said = [word for name, word in words.items() if name in changes]
    said += [f"{changes['n_layers']} layers"] if "n_layers" in changes else []
    said += [f"{changes['vocab_size']:,} tokens"] if "vocab_size" in changes else []
    return ", ".join(([f"{row['length']:,} long"] if row["length"] else []) + said)


def summary(rows: list[dict[str, Any]]) -> dict[str, float]:
    """The figures that the issue is judged by."""
    peaks = [abs(row["peak_error"]) for row in rows]
    return {
        "cases": len(rows),
        "worst_argument_error": max(abs(row["argument_error"]) for row in rows),
        "median_peak_error": statistics.median(peaks),
        "worst_peak_error": max(peaks),
    }


def markdown(rows: list[dict[str, Any]], on: str, effort: str) -> str:
    """The table of docs/memory.md or docs/memory-gpu.md."""
    s = summary(rows)
    versions = ", ".join(f"{name} {version}" for name, version in rows[0]["versions"].items())
    compiler, how = {
        "tpu": (f"the TPU compiler, effort `{effort}`", f"--effort {effort}"),
        "gpu": ("the CUDA compiler", "--on gpu"),
    }[on]
    lines = [
        f"# Memory: the estimator against {compiler.partition(',')[0]}",
        "",
        "How far to trust an estimate of memory. No device is needed:",
        "",
        "```",
        f"python benchmarks/memory.py {how} --markdown",
        "```",
        "",
        f"{datetime.date.today().isoformat()}, {compiler}: {versions}.",
        "",
        f"Over {s['cases']:.0f} train steps: arguments within {s['worst_argument_error']:.3%}; peak within",
        f"{s['median_peak_error']:.1%} in the median and {s['worst_peak_error']:.1%} at worst. GiB of one device.",
        "",
        "| model | devices | mesh | remat | rows | arguments | difference | peak | estimated | difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        mesh = ", ".join(f"{axis} {size}" for axis, size in row["mesh"].items())
        rows_shown = f"{row['rows']}" + (
            f" in {row['accumulation']} parts" if row["accumulation"] > 1 else ""
        )
        lines.append(
            f"| {', '.join(filter(None, (row['model'], _changes(row))))} | {row['devices']} | {mesh} | {row['remat']} | {rows_shown} "
            f"| {row['argument_bytes'] / _GIB:.3f} | {row['argument_error']:+.4%} "
            f"| {row['peak_bytes'] / _GIB:.2f} | {row['estimated_peak_bytes'] / _GIB:.2f} "
            f"| {row['peak_error']:+.1%} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--on", choices=list(CASES), default="tpu", help="whose compiler")
    parser.add_argument("--effort", choices=["quick", "full"], default="quick")
    parser.add_argument(
        "--remat", nargs="+", choices=["none", "dots", "full"], default=["full", "dots", "none"]
    )
    parser.add_argument("--dropout", type=float, default=None, help="of every case, instead of its own")
    parser.add_argument("--models", nargs="+", default=None, help="only these")
    parser.add_argument("--markdown", action="store_true", help="write the table of docs/")
    arguments = parser.parse_args()
    rows = []
    for case in CASES[arguments.on]:
        if case.remat not in arguments.remat or (arguments.models and case.model not in arguments.models):
            continue
        row = compare(case, arguments.effort, arguments.dropout)
        rows.append(row)
        print(
            f"{row['model']} {row['devices']} {row['mesh']} {row['remat']} {_changes(row)}: "
            f"{row['peak_bytes'] / _GIB:.2f} GiB, estimated {row['peak_error']:+.1%}",
            file=sys.stderr,
            flush=True,
        )
    if arguments.markdown:
        _FILES[arguments.on].write_text(markdown(rows, arguments.on, arguments.effort))
    print(
        json.dumps(
            {"benchmark": "memory", "effort": arguments.effort, **summary(rows), "rows": rows}, indent=2
        )
    )


if __name__ == "__main__":
    main()
