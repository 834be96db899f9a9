"""The estimator's memory against the compilers', over sizes, topologies, meshes and rematerialisation.

    python benchmarks/memory.py                     # TPUs: 60 compiles, cached: half an hour the first time
    python benchmarks/memory.py --effort full       # as training compiles: well over an hour
    python benchmarks/memory.py --on gpu            # GPUs: 36 compiles, about 15 minutes
    python benchmarks/memory.py --on gpu --dropout 0.1 --models gpt2-124m        # where probabilities are kept
    python benchmarks/memory.py --markdown          # and write docs/memory.md, or docs/memory-gpu.md

Needs a compiler: pip install 'scaling-lab[tpu]' or 'scaling-lab[cuda]'; no device. Prints JSON. Arguments are what
lies on a device from step to step; the peak is `scaling dryrun`'s `peak_bytes`.
"""

import argparse
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

# (model, devices, mesh, rows a batch by policy, accumulation)
Case = tuple[str, str, dict[str, int], dict[str, int], int]
TPUS: list[Case] = [
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
GPUS: list[Case] = [
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
CASES = {"tpu": TPUS, "gpu": GPUS}


def run_of(
    model: str, mesh: dict[str, int], remat: str, rows: int, accumulation: int, dropout: float
) -> RunConfig:
    """The run that a case compiles."""
    length = load_model(model).max_length
    return load_run(
        {
            "name": "memory",
            "model": {
                "base": model,
                "dropout": dropout,
                "scan_layers": True,
                "remat": remat,
                "compute_dtype": "bfloat16",
            },
            "data": {"sequence_length": length},
            "train": {
                "steps": 10,
                "batch_tokens": rows * length,
                "learning_rate": 1e-3,
                "accumulation": accumulation,
            },
            "mesh": mesh,
        }
    )


def compare(case: Case, remat: str, effort: str, dropout: float) -> Any:
    """One row: what the compiler says, what the estimator says."""
    model, on, mesh, rows, accumulation = case
    run, devices = run_of(model, mesh, remat, rows[remat], accumulation, dropout), parse_devices(on)
    compiled = compiled_step(run, devices, effort)  # type: ignore[arg-type]
    ours = memory(run, layout_of(run, devices.count), devices.hardware.platform)
    return {
        "model": model,
        "devices": on,
        "mesh": mesh,
        "remat": remat,
        "rows": rows[remat],
        "accumulation": accumulation,
        "dropout": dropout,
        "argument_bytes": compiled.argument_bytes,
        "peak_bytes": compiled.peak_bytes,
        "estimated_argument_bytes": ours.arguments,
        "estimated_peak_bytes": ours.total,
        "argument_error": ours.arguments / compiled.argument_bytes - 1,
        "peak_error": ours.total / compiled.peak_bytes - 1,
        "phase": ours.phase,
        "versions": compiled.versions,
    }


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
        "For a reader who asks how far to trust an estimate of memory. No device is needed:",
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
            f"| {row['model']} | {row['devices']} | {mesh} | {row['remat']} | {rows_shown} "
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
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--models", nargs="+", default=None, help="only these")
    parser.add_argument("--markdown", action="store_true", help="write the table of docs/")
    arguments = parser.parse_args()
    rows = []
    for case in CASES[arguments.on]:
        if arguments.models and case[0] not in arguments.models:
            continue
        for remat in arguments.remat:
            row = compare(case, remat, arguments.effort, arguments.dropout)
            rows.append(row)
            print(
                f"{row['model']} {row['devices']} {row['mesh']} {remat}: {row['peak_bytes'] / _GIB:.2f} GiB, "
                f"estimated {row['peak_error']:+.1%}",
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
