"""The estimator's step time against published runs, and the spread that every time and price carries.

    python benchmarks/step_time.py              # prints JSON
    python benchmarks/step_time.py --markdown   # and writes docs/step_time.md

Pure arithmetic. Measured figures are the papers'; what they leave unsaid of a layout is said in the table.
"""

import argparse
import datetime
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.config.devices import parse_devices
from scaling.config.load import load_run
from scaling.config.model import DecoderConfig
from scaling.estimate import conventions
from scaling.estimate.counts import forward_flops
from scaling.estimate.layout import Layout, layout_of
from scaling.estimate.time import SPREAD, StepTime, step_time
from scaling.estimate.work import work_of

_DOC = Path(__file__).resolve().parents[1] / "docs" / "step_time.md"


@dataclass(frozen=True)
class Row:
    """One published run: seconds of a step as measured, and as predicted."""

    run: str
    devices: str
    layout: str
    measured: float
    predicted: StepTime
    source: str

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured / self.predicted.seconds

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run,
            "devices": self.devices,
            "layout": self.layout,
            "measured_seconds": self.measured,
            "predicted_seconds": self.predicted.seconds,
            "measured_over_predicted": self.ratio,
            "bound": self.predicted.bound,
            "source": self.source,
        }


def megatron_row(
    run: str,
    on: str,
    shape: tuple[int, int, int],
    ways: tuple[int, int, int],
    batch: int,
    micro: int,
    recompute: conventions.Recompute,
    source: str,
    *,
    seconds: float | None = None,
    tflops: float | None = None,
    interleave: int = 1,
    vocab: int = 51200,
) -> Row:
    """A run of Megatron-LM; `tflops` a device counts the recomputed forward pass, as its papers do."""
    (heads, width, layers), (data, tensor, stages) = shape, ways
    model = DecoderConfig(vocab_size=vocab, max_length=2048, n_layers=layers, d_model=width, n_heads=heads)
    layout = Layout(
        data=data,
        fsdp=1,
        tensor=tensor,
        rows=batch,
        length=2048,
        microbatches=batch // (micro * data),
        stages=stages,
        interleave=interleave,
        sequence_parallel=recompute == "selective",
    )
    if seconds is None:
        flops = forward_flops(model, 2048, "full")
        passes = 4 * (flops.linear + flops.pairs) + 3 * flops.head
        seconds = batch * passes / (tflops or 0.0) / 1e12 / layout.devices
    predicted = step_time(conventions.megatron_work(model, layout, recompute), layout, parse_devices(on))
    text = f"data {data}, tensor {tensor}, stages {stages}, microbatch {micro}, {recompute} recomputation"
    return Row(run, on, text, seconds, predicted, source)


def sharded_row(
    run: str,
    on: str,
    model: dict[str, Any] | str,
    mesh: dict[str, int],
    batch_tokens: int,
    length: int,
    seconds: float,
    source: str,
    accumulation: int = 1,
) -> Row:
    """A run of a fully sharded trainer, taken for this lab's own."""
    config = load_run(
        {
            "model": model,
            "data": {"sequence_length": length},
            "train": {
                "steps": 1,
                "batch_tokens": batch_tokens,
                "learning_rate": 1e-4,
                "accumulation": accumulation,
            },
            "mesh": mesh,
        }
    )
    devices = parse_devices(on)
    layout = layout_of(config, devices.count)
    predicted = step_time(work_of(config, layout, devices.hardware.platform), layout, devices)
    text = ", ".join(f"{axis} {size}" for axis, size in mesh.items()) + f", remat {config.model.remat}"
    return Row(run, on, text, seconds, predicted, source)


_KORTHIKANTI = "Korthikanti et al. 2022, arXiv:2205.05198, table 5"
_NARAYANAN = "Narayanan et al. 2021, arXiv:2104.04473, table 1"

# heads, width, layers; tensor, stages; batch, microbatch, interleaved stages; seconds full, selective
_ITERATIONS = {
    "22B": ((64, 6144, 48), (1, 8, 1), 4, 4, 1, 1.42, 1.10),
    "175B": ((96, 12288, 96), (1, 8, 8), 64, 1, 3, 18.13, 13.75),
    "530B": ((128, 20480, 105), (1, 8, 35), 280, 1, 3, 49.05, 37.83),
    "1T": ((160, 25600, 128), (1, 8, 64), 512, 1, 1, 94.42, 71.49),
}
# heads, width, layers; data, tensor, stages; batch; TFLOP/s a GPU
_WEAK_SCALING = {
    "1.7B": ((24, 2304, 24), (32, 1, 1), 512, 137.0),
    "3.6B": ((32, 3072, 30), (32, 2, 1), 512, 138.0),
    "7.5B": ((32, 4096, 36), (32, 4, 1), 512, 142.0),
    "18.4B": ((48, 6144, 40), (32, 8, 1), 1024, 135.0),
    "39.1B": ((64, 8192, 48), (32, 8, 2), 1536, 138.0),
    "76.1B": ((80, 10240, 60), (32, 8, 4), 1792, 140.0),
    "145.6B": ((96, 12288, 80), (24, 8, 8), 2304, 148.0),
    "310.1B": ((128, 16384, 96), (15, 8, 16), 2160, 155.0),
    "529.6B": ((128, 20480, 105), (9, 8, 35), 2520, 163.0),
    "1008B": ((160, 25600, 128), (6, 8, 64), 3072, 163.0),
}
_PALM = {
    "name": "palm-540b",
    "vocab_size": 256000,
    "max_length": 2048,
    "n_layers": 118,
    "d_model": 18432,
    "n_heads": 48,
    "n_kv_heads": 1,
    "d_head": 256,
    "d_ff": 73728,
    "gated": True,
    "activation": "silu",
    "bias": False,
    "positions": "rotary",
    "compute_dtype": "bfloat16",
    "remat": "full",
}


def rows() -> list[Row]:
    """Every published run."""
    found = []
    for name, (shape, ways, batch, micro, interleave, full, selective) in _ITERATIONS.items():
        on = f"a100-80gb:{ways[1] * ways[2]}"
        for recompute, seconds in (("full", full), ("selective", selective)):
            found.append(
                megatron_row(
                    f"Megatron {name}",
                    on,
                    shape,
                    ways,
                    batch,
                    micro,
                    recompute,  # type: ignore[arg-type]
                    _KORTHIKANTI,
                    seconds=seconds,
                    interleave=interleave,
                )
            )
    for name, (shape, ways, batch, tflops) in _WEAK_SCALING.items():
        on = f"a100-80gb:{ways[0] * ways[1] * ways[2]}"
        found.append(
            megatron_row(f"Megatron {name}", on, shape, ways, batch, 1, "full", _NARAYANAN, tflops=tflops)
        )
    found.append(
        megatron_row(
            "BLOOM 176B",
            "a100-80gb:384",
            (112, 14336, 70),
            (8, 4, 12),
            2048,
            2,
            "full",
            "Le Scao et al. 2022, arXiv:2211.05100, section 3.4: 150 TFLOP/s per GPU, microbatch of 2",
            tflops=150.0,
            vocab=250880,
        )
    )
    found.append(
        sharded_row(
            "LLaMA 65B",
            "a100-80gb:2048",
            {"base": "llama-65b", "remat": "dots"},
            {"fsdp": 256, "tensor": 8},
            4 * 2**20,
            2048,
            4 * 2**20 / (380.0 * 2048),
            "Touvron et al. 2023, arXiv:2302.13971, section 2.4: 380 tokens/s per GPU, 4M tokens per batch; the mesh "
            "is assumed",
        )
    )
    found.append(
        sharded_row(
            "PaLM 540B",
            "tpu-v4:12x16x16*2",
            _PALM,
            {"data": 2, "fsdp": 256, "tensor": 12},
            2048 * 2048,
            2048,
            2048 * 2048 / 238.3e3,
            "Chowdhery et al. 2022, arXiv:2204.02311, section 4: 238.3K tokens/s, batch 2048, 12-way model and "
            "256-way fully sharded in each of two pods",
        )
    )
    return found


def percentile(values: list[float], share: float) -> float:
    """Linear between order statistics."""
    ordered = sorted(values)
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])


def markdown(found: list[Row]) -> str:
    """The table of docs/step_time.md."""
    ratios = [row.ratio for row in found]
    lines = [
        "# Step time: the estimator against published runs",
        "",
        "For a reader who asks how far to trust an estimated time or price.",
        "",
        "```",
        "python benchmarks/step_time.py --markdown",
        "```",
        "",
        f"{datetime.date.today().isoformat()}; pure arithmetic.",
        "",
        f"Measured over predicted seconds, for {len(found)} runs: median {percentile(ratios, 0.5):.2f}, tenth to",
        f"ninetieth percentile {percentile(ratios, 0.1):.2f} to {percentile(ratios, 0.9):.2f}, range "
        f"{min(ratios):.2f} to {max(ratios):.2f}.",
        f"Every time and price has an interval: {SPREAD[0]:g} to {SPREAD[1]:g} times the estimate, the range of these",
        "runs, widened by the spread of the device's own rate of matrix products (configs/hardware). These are large",
        "batches, tuned by experts; all but one ran on A100s. Few sequences per device, slow input or an untuned",
        "machine may take longer than the interval says.",
        "",
        "| run | devices | layout | measured, s | predicted, s | ratio | source |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.run} | {row.devices} | {row.layout} | {row.measured:.2f} | {row.predicted.seconds:.2f} "
        f"| {row.ratio:.2f} | {row.source} |"
        for row in found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help=f"write docs/{_DOC.name}")
    arguments = parser.parse_args()
    found = rows()
    if arguments.markdown:
        _DOC.write_text(markdown(found))
    ratios = [row.ratio for row in found]
    summary = {
        "runs": len(found),
        "median": percentile(ratios, 0.5),
        "tenth": percentile(ratios, 0.1),
        "ninetieth": percentile(ratios, 0.9),
    }
    print(
        json.dumps({"benchmark": "step_time", **summary, "rows": [row.as_dict() for row in found]}, indent=2)
    )


if __name__ == "__main__":
    main()
