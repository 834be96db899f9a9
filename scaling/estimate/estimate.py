"""One estimate: everything that `scaling estimate` prints, as the keys of its JSON."""

import dataclasses
from typing import Any

from scaling.config.devices import Devices
from scaling.config.hardware import PriceKind
from scaling.config.model import ModelConfig
from scaling.config.run import RunConfig
from scaling.estimate.counts import (
    count_parameters,
    forward_flops_per_token,
    hardware_flops,
    train_flops_per_token,
)
from scaling.estimate.families.base import AttentionConvention
from scaling.estimate.layout import Layout, layout_of
from scaling.estimate.memory import Memory, memory
from scaling.estimate.price import Cost, cost
from scaling.estimate.time import StepTime, step_time
from scaling.estimate.work import work_of
from scaling.runtime.errors import BadInputError

PF_DAY = 1e15 * 86400.0  # FLOPs of a petaflop per second for a day


def model_part(
    model: ModelConfig,
    length: int,
    target_length: int | None = None,
    convention: AttentionConvention = "causal",
) -> dict[str, Any]:
    """The keys that follow from the model alone."""
    counts = (model, length, convention, target_length)
    return {
        "model": model.name,
        "family": model.family,
        "params": count_parameters(model).model_dump(),
        "flops_per_token": {
            "forward": forward_flops_per_token(*counts),
            "train": train_flops_per_token(*counts),
            "hardware": hardware_flops(model, length, 1, target_length) / length,
            "attention_convention": convention,
            "length": length,
            "target_length": target_length if model.two_sided else None,
        },
    }


def train_part(
    model: ModelConfig,
    tokens: float,
    length: int,
    target_length: int | None = None,
    convention: AttentionConvention = "causal",
) -> dict[str, Any]:
    """The keys of a run of so many tokens."""
    flops = tokens * train_flops_per_token(model, length, convention, target_length)
    return {
        "tokens": tokens,
        "flops": flops,
        "pf_days": flops / PF_DAY,
        "flops_6nd": 6.0 * count_parameters(model).multiplied * tokens,
    }


@dataclasses.dataclass(frozen=True)
class OnDevices:
    """An estimate of a run on devices."""

    layout: Layout
    memory: Memory
    capacity_bytes: int
    time: StepTime
    steps: float | None
    cost: Cost | None

    @property
    def fits(self) -> bool:
        """Whether the peak is within the device's memory."""
        return self.memory.total <= self.capacity_bytes

    def as_dict(self, devices: Devices) -> dict[str, Any]:
        """The keys `devices`, `memory`, `time` and `cost`."""
        memory, time = self.memory, self.time
        hours = None if self.steps is None else self.steps * time.seconds / 3600
        return {
            "devices": {
                "kind": devices.hardware.name,
                "count": devices.count,
                "topology": str(devices).partition(":")[2],
                "mesh": dict(self.layout.mesh),
            },
            "memory": {
                "params_bytes": memory.params,
                "optimizer_bytes": memory.optimizer,
                "gradients_bytes": memory.gradients,
                "activations_bytes": memory.activations,
                "batch_bytes": memory.batch,
                "total_bytes": memory.total,
                "capacity_bytes": self.capacity_bytes,
                "fits": self.fits,
                "peak_phase": memory.phase,
            },
            "time": {
                "step_seconds": time.seconds,
                "step_seconds_interval": [time.low, time.high],
                "train_hours": hours,
                "train_hours_interval": None if hours is None else [hours * share for share in time.spread],
                "mfu": time.mfu,
                "hfu": time.hfu,
                "bound": time.bound,
                "compute_seconds": time.compute,
                "attention_seconds": time.attention,
                "memory_seconds": time.memory,
                "communication_seconds": time.communication,
                "overhead_seconds": time.overhead,
                "idle_seconds": time.idle,
            },
            "cost": None if self.cost is None else self.cost.model_dump(),
        }


def on_devices(
    run: RunConfig,
    devices: Devices,
    tokens: float | None,
    *,
    target_length: int | None = None,
    price_kind: PriceKind = "on-demand",
    price: float | None = None,
) -> OnDevices:
    """Memory, time and price of a run on devices; hours and price where the tokens are known.

    A run that does not fit has no price.

    Raises:
        BadInputError: the product of the mesh is not the number of devices, or the model is an n-gram.
    """
    try:
        layout = layout_of(run, devices.count, target_length)
    except ValueError as error:
        raise BadInputError(f"--on {devices}: {error}") from error
    platform = devices.hardware.platform
    time = step_time(work_of(run, layout, platform), layout, devices, run.model.compute_dtype)
    steps = None if tokens is None else tokens / (layout.rows * layout.length)
    spent, peak = None, memory(run, layout, platform)
    capacity = devices.hardware.memory_bytes // devices.hardware.devices_per_chip
    if steps is not None and peak.total <= capacity:
        hours = steps * time.seconds / 3600
        spent = cost(devices, hours, time.spread, kind=price_kind, usd_per_device_hour=price)
    return OnDevices(layout=layout, memory=peak, capacity_bytes=capacity, time=time, steps=steps, cost=spent)


def would_help(run: RunConfig, argument_bytes: float, capacity_bytes: float) -> list[str]:
    """What to change so that a step that does not fit takes less memory, cheapest first."""
    helps = []
    if run.model.remat != "full":
        helps.append("--remat full (computes the forward pass again instead of keeping it)")
    rows = run.train.batch_tokens // run.data.sequence_length // run.train.accumulation
    if rows > (run.mesh.batch_shards() or 1):
        helps.append(f"--accumulation {2 * run.train.accumulation} (half as many sequences at once)")
        helps.append("a smaller --batch-tokens")
    if run.mesh.data > 1:
        helps.append("fsdp in place of data in --mesh (shards parameters and optimizer state too)")
    if argument_bytes > capacity_bytes // 2:
        if run.train.optimizer == "adamw":
            helps.append("--optimizer adafactor (keeps next to no state)")
        helps.append("more devices along fsdp or tensor (parameters and optimizer state take over half)")
    else:
        helps.append("more devices along tensor (splits the activations of a sequence)")
        helps.append("a shorter --length")
    return helps
