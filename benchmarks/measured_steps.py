"""Measured train steps of public runs, as rows that the estimator can price.

The figures are those that the sources print (measured_steps.csv; measured_steps.yaml names the sources and what
is assumed of each). Megatron-LM's runs form attention matrices and have pipelines of their own, so they are
built in code.
"""

import csv
import dataclasses
from pathlib import Path
from typing import Any

from scaling.config.devices import Devices, parse_devices
from scaling.config.load import load_run, read_yaml
from scaling.config.model import DecoderConfig
from scaling.estimate import conventions
from scaling.estimate.counts import count_parameters, forward_flops
from scaling.estimate.layout import Layout, layout_of
from scaling.estimate.time import Rates, StepTime, step_time
from scaling.estimate.work import Work, work_of

_CSV = Path(__file__).with_suffix(".csv")
SOURCES: dict[str, dict[str, Any]] = read_yaml(Path(__file__).with_suffix(".yaml"))
# In the interval's calibration and in the document: rows that the project's shared tables hold.
SHARED = ("levanter", "maxtext-tpu7x", "korthikanti", "narayanan", "bloom", "llama", "palm")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One measured step: seconds, and the work that the estimator sees in it."""

    source: str
    run: str
    devices: Devices
    model: DecoderConfig
    layout: Layout
    remat: str
    seconds: float
    work: Work

    @property
    def platform(self) -> str:
        return self.devices.hardware.platform

    @property
    def params(self) -> int:
        return count_parameters(self.model).total

    def predicted(self, rates: Rates | None = None) -> StepTime:
        return step_time(self.work, self.layout, self.devices, rates=rates)

    @property
    def ratio(self) -> float:
        """Measured over predicted seconds."""
        return self.seconds / self.predicted().seconds

    @property
    def inside(self) -> bool:
        """Whether the estimate's interval holds the measured seconds."""
        ours = self.predicted()
        return ours.low <= self.seconds <= ours.high

    @property
    def mesh(self) -> str:
        """The axes that split something."""
        text = ", ".join(f"{axis} {ways}" for axis, ways in self.layout.mesh.items() if ways > 1)
        return text or "one device"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        ours = self.predicted()
        return {
            "source": self.source,
            "run": self.run,
            "devices": str(self.devices),
            "params": self.params,
            "length": self.layout.length,
            "mesh": self.mesh,
            "remat": self.remat,
            "measured_seconds": self.seconds,
            "predicted_seconds": ours.seconds,
            "predicted_interval": [ours.low, ours.high],
            "measured_over_predicted": self.ratio,
            "inside": self.inside,
            "bound": ours.bound,
        }


def _seconds(value: float, unit: str, model: DecoderConfig, layout: Layout, devices: Devices) -> float:
    """Seconds of a step from a printed figure."""
    tokens = layout.rows * layout.length
    flops = 3 * layout.rows * forward_flops(model, layout.length, "full").total / devices.chips
    if unit == "s":
        return value
    if unit == "tok/s/device":
        return tokens / devices.count / value
    if unit == "seq/s":
        return layout.rows / value
    if unit.startswith("device_hours/"):
        return value * 3600 / devices.count / float(unit.partition("/")[2])
    if unit == "tflops_full":
        return flops / (value * 1e12)
    if unit == "mfu_full":
        return flops / (value / 100 * devices.hardware.peak_flops["bfloat16"])
    raise ValueError(f"unit={unit}: see the head of {SOURCES}")


def _model(row: dict[str, str]) -> dict[str, Any]:
    """The model of a row: LLaMA's where gated, GPT's otherwise."""
    gated = row["gated"] == "1"
    widths = ("vocab_size", "n_layers", "d_model", "n_heads", "n_kv_heads", "d_head", "d_ff")
    banded = {"layer_pattern": ["banded"] * 5 + ["dense"], "band_width": int(row["window"])}
    return {
        **{name: int(row[name]) for name in widths},
        "name": row["run"],
        "max_length": int(row["length"]),
        "positions": "rotary",
        "bias": False,
        "tie_embeddings": row["tied"] == "1",
        "gated": gated,
        "activation": "silu" if gated else "gelu_tanh",
        "norm_kind": "rms" if gated else "layer",
        "compute_dtype": "bfloat16",
        "remat": row["remat"],
        "scan_layers": "stage=" in row["mesh"],
        **(banded if row["window"] != "0" else {}),
    }


def _from_table(row: dict[str, str]) -> Measured:
    rows, length = int(row["rows"]), int(row["length"])
    return sharded(
        row["source"],
        row["run"],
        row["devices"],
        _model(row),
        {axis: int(ways) for axis, ways in (one.split("=") for one in row["mesh"].split())},
        rows,
        length,
        (float(row["value"]), row["unit"]),
        accumulation=int(row["accumulation"]),
        interleave=int(row["interleave"]),
        optimizer=row["optimizer"],
    )


def sharded(
    source: str,
    run: str,
    on: str,
    model: dict[str, Any] | str,
    mesh: dict[str, int],
    rows: int,
    length: int,
    figure: tuple[float, str],
    *,
    accumulation: int = 1,
    interleave: int = 1,
    optimizer: str = "adamw",
) -> Measured:
    """A run of another trainer, taken for one of this lab; `figure` is the printed value and its unit."""
    config = load_run(
        {
            "model": model,
            "data": {"sequence_length": length},
            "train": {
                "steps": 1,
                "batch_tokens": rows * length,
                "learning_rate": 1e-4,
                "accumulation": accumulation,
                "optimizer": optimizer,
            },
            "mesh": mesh,
        }
    )
    assert isinstance(config.model, DecoderConfig)
    devices = parse_devices(on)
    layout = dataclasses.replace(layout_of(config, devices.count), interleave=interleave)
    seconds = _seconds(*figure, config.model, layout, devices)
    work = work_of(config, layout, devices.hardware.platform)
    return Measured(source, run, devices, config.model, layout, config.model.remat, seconds, work)


def megatron(
    source: str,
    run: str,
    shape: tuple[int, int, int],
    ways: tuple[int, int, int],
    batch: tuple[int, int],
    recompute: conventions.Recompute,
    *,
    seconds: float | None = None,
    tflops: float | None = None,
    interleave: int = 1,
    vocab: int = 51200,
) -> Measured:
    """A run of Megatron-LM on A100s; `tflops` per device count the recomputed forward pass.

    `shape` is heads, width, layers; `ways` data, tensor, stages; `batch` sequences and those of a microbatch.
    """
    (heads, width, layers), (data, tensor, stages), (rows, micro) = shape, ways, batch
    model = DecoderConfig(
        name=run, vocab_size=vocab, max_length=2048, n_layers=layers, d_model=width, n_heads=heads
    )
    layout = Layout(
        data=data,
        fsdp=1,
        tensor=tensor,
        rows=rows,
        length=2048,
        microbatches=rows // (micro * data),
        stages=stages,
        interleave=interleave,
        sequence_parallel=recompute == "selective",
    )
    if seconds is None:
        flops = forward_flops(model, 2048, "full")
        passes = 4 * (flops.linear + flops.pairs) + 3 * flops.head
        seconds = rows * passes / (tflops or 0.0) / 1e12 / layout.devices
    devices = parse_devices(f"a100-80gb:{layout.devices}")
    work = conventions.megatron_work(model, layout, recompute)
    return Measured(source, run, devices, model, layout, recompute, seconds, work)


# heads, width, layers; data, tensor, stages; batch, microbatch; interleaved stages; seconds full, selective
_ITERATIONS = {
    "22B": ((64, 6144, 48), (1, 8, 1), (4, 4), 1, 1.42, 1.10),
    "175B": ((96, 12288, 96), (1, 8, 8), (64, 1), 3, 18.13, 13.75),
    "530B": ((128, 20480, 105), (1, 8, 35), (280, 1), 3, 49.05, 37.83),
    "1T": ((160, 25600, 128), (1, 8, 64), (512, 1), 1, 94.42, 71.49),
}
# heads, width, layers; data, tensor, stages; batch; TFLOP/s per GPU
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
_LLAMA = {"base": "llama-65b", "remat": "dots"}


def measured_steps() -> list[Measured]:
    """Every row, in the order of the sources."""
    with _CSV.open(encoding="utf-8", newline="") as file:
        found = [_from_table(row) for row in csv.DictReader(file)]
    for name, (shape, ways, batch, interleave, full, selective) in _ITERATIONS.items():
        seconds: dict[conventions.Recompute, float] = {"full": full, "selective": selective}
        for recompute, value in seconds.items():
            run = f"Megatron {name}, {recompute}"
            found.append(
                megatron(
                    "korthikanti", run, shape, ways, batch, recompute, seconds=value, interleave=interleave
                )
            )
    for name, (shape, ways, rows, tflops) in _WEAK_SCALING.items():
        found.append(megatron("narayanan", f"Megatron {name}", shape, ways, (rows, 1), "full", tflops=tflops))
    bloom = ((112, 14336, 70), (8, 4, 12), (2048, 2))
    found.append(megatron("bloom", "BLOOM 176B", *bloom, "full", tflops=150.0, vocab=250880))
    a100, mesh = "a100-80gb:2048", {"fsdp": 256, "tensor": 8}
    found.append(sharded("llama", "LLaMA 65B", a100, _LLAMA, mesh, 2048, 2048, (380.0, "tok/s/device")))
    v4, mesh = "tpu-v4:12x16x16*2", {"data": 2, "fsdp": 256, "tensor": 12}
    found.append(sharded("palm", "PaLM 540B", v4, _PALM, mesh, 2048, 2048, (2048 * 2048 / 238.3e3, "s")))
    return found
