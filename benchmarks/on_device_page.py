"""docs/on_device.md from the results of `on_device.py`."""

from collections.abc import Sequence
from typing import Any

_GIB = 2**30
_HEAD = """# On a device: kernels, speed, memory and time as measured

For a reader who asks how far the numbers of this project hold on real hardware. One command on one GPU or TPU, at
most eight minutes:

```
pip install 'scaling-lab[cuda]' torch transformers     # or 'scaling-lab[tpu]'
python benchmarks/on_device.py --markdown
```

It compares every attention variant with the readable reference; trains GPT-2 124M and a 1.3B model in bf16 (tokens/s,
MFU, peak memory), on NVIDIA GPUs next to `transformers` with `torch.compile`; compares peak memory and step time with
the estimates and with `scaling dryrun --profile`; and checks that an interrupted run resumes bit for bit. A model that
does not fit in one device's memory is skipped. Results are written after every measurement to
a file per device below `benchmarks/`: a run that is killed, or that reaches its eight minutes, continues when it is
started again. `--smoke` runs every part at tiny sizes on a CPU.
"""
_NOTHING = """
No device has been measured yet. What this project says of time and memory on GPUs and TPUs comes from their
compilers ([TPU](memory.md), [GPU](memory-gpu.md)) and from published measurements ([step time](step_time.md)).
"""


def page(documents: Sequence[dict[str, Any]]) -> str:
    """The page, with a section per device; without any it says so."""
    return _HEAD + ("".join(map(_section, documents)) if documents else _NOTHING)


def _section(document: dict[str, Any]) -> str:
    device, parts = document["device"], document["parts"]
    versions = ", ".join(f"{name} {version}" for name, version in device["versions"].items())
    lines = ["", f"## {device['kind']}", "", f"{versions}.", "", *_training(parts), *_kernels(parts)]
    lines += _resume(parts)
    missing = [f"{name} ({part['status']}: {part['why']})" for name, part in parts.items() if part["why"]]
    if missing:
        lines += ["", f"Not measured: {'; '.join(missing)}."]
    return "\n".join(lines) + "\n"


def _found(parts: dict[str, Any], name: str) -> dict[str, Any]:
    return parts.get(name, {}).get("found", {})


def _training(parts: dict[str, Any]) -> list[str]:
    lines = [
        "| model | batch | tokens/s | MFU | transformers | step, measured | estimated | profile | peak, measured "
        "| estimated | compiled |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for size in ("124m", "1.3b"):
        ours, peer, compiled = (_found(parts, f"{name}-{size}") for name in ("train", "torch", "dryrun"))
        if "step_seconds" not in ours:
            continue
        estimate, profile = ours["estimate"] or {}, compiled.get("profile") or {}
        cells = [
            f"{ours['model']}, {ours['remat']}",
            f"{ours['rows']} x {ours['length']:,}",
            f"{ours['tokens_per_second']:,.0f}",
            _as(ours["mfu"], "{:.1%}"),
            _as(peer.get("tokens_per_second"), "{:,.0f}"),
            _milliseconds(ours["step_seconds"]),
            _milliseconds(estimate.get("step_seconds")),
            _milliseconds(profile.get("step_seconds")),
            _gib(ours["peak_bytes"]),
            _gib(estimate.get("peak_bytes")),
            _gib(ours["compiled_peak_bytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", "Rematerialisation follows the model's name. Peaks in GiB, steps in milliseconds."]


def _kernels(parts: dict[str, Any]) -> list[str]:
    found = _found(parts, "kernels")
    if not found:
        return []
    lines = [
        "",
        "| attention | kernel | agrees | largest relative error | of the type alone |",
        "|---|---|---|---|---|",
    ]
    for name, row in found.items():
        errors = f"{max(row['errors']):.1e} | {max(row['errors_of_the_type']):.1e}"
        yes = {True: "yes", False: "no"}
        lines.append(
            f"| {name} | {'fused' if row['fused'] else 'blocks'} | {yes[row['agrees']]} | {errors} |"
        )
    return lines


def _resume(parts: dict[str, Any]) -> list[str]:
    found = _found(parts, "resume")
    if not found:
        return []
    same = found["same_losses"] and found["same_state"]
    outcome = "equals it bit for bit" if same else f"differs by up to {found['largest_difference']:.1e}"
    return [
        "",
        f"A run of {found['steps']} steps, interrupted at step {found['resumed_at']} and resumed, compared with the "
        f"uninterrupted run: {outcome}.",
    ]


def _as(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _milliseconds(seconds: float | None) -> str:
    return _as(None if seconds is None else 1e3 * seconds, "{:,.1f}")


def _gib(size: float | None) -> str:
    return _as(None if size is None else size / _GIB, "{:.2f}")
