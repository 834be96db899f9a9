"""One estimate: everything that `scaling estimate` says, in the shape of its JSON."""

import dataclasses
from typing import Any

from scaling.config.devices import Devices
from scaling.config.errors import BadInputError
from scaling.config.hardware import PriceKind
from scaling.config.model import ModelConfig, TwoSidedConfig, network
from scaling.config.record import ParameterCounts
from scaling.config.run import RunConfig
from scaling.estimate.executed import hardware_flops
from scaling.estimate.flops import (
    AttentionConvention,
    forward_flops_per_token,
    train_flops_per_token,
)
from scaling.estimate.layout import Layout, layout_of
from scaling.estimate.memory import Memory, memory
from scaling.estimate.parameters import count_parameters
from scaling.estimate.price import Cost, cost
from scaling.estimate.time import StepTime, step_time
from scaling.estimate.work import work_of

PF_DAY = 1e15 * 86400.0  # FLOPs of a petaflop per second for a day


@dataclasses.dataclass(frozen=True)
class Shape:
    """What an estimate needs to know of a run besides its devices."""

    length: int
    target_length: int | None
    convention: AttentionConvention


def model_part(model: ModelConfig, shape: Shape) -> dict[str, Any]:
    """The keys that follow from the model alone."""
    counts: ParameterCounts = count_parameters(model)
    arguments = (model, shape.length, shape.convention, shape.target_length)
    return {
        "model": model.name,
        "family": model.family,
        "params": counts.model_dump(),
        "flops_per_token": {
            "forward": forward_flops_per_token(*arguments),
            "train": train_flops_per_token(*arguments),
            "hardware": hardware_flops(model, shape.length, 1, shape.target_length) / shape.length,
            "attention_convention": shape.convention,
            "length": shape.length,
            "target_length": shape.target_length if isinstance(model, TwoSidedConfig) else None,
        },
    }


def train_part(model: ModelConfig, shape: Shape, tokens: float) -> dict[str, Any]:
    """The keys of a whole run of so many tokens."""
    flops = tokens * train_flops_per_token(model, shape.length, shape.convention, shape.target_length)
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
                "memory_seconds": time.memory,
                "communication_seconds": time.communication,
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

    What does not fit has no price.

    Raises:
        BadInputError: the mesh does not multiply to the devices.
    """
    try:
        layout = layout_of(run, devices.count, target_length)
    except ValueError as error:
        raise BadInputError(f"--on {devices}: {error}") from error
    platform = devices.hardware.platform
    time = step_time(work_of(run, layout, platform), layout, devices, network(run.model).compute_dtype)
    steps = None if tokens is None else tokens / (layout.rows * layout.length)
    spent, peak = None, memory(run, layout, platform)
    capacity = devices.hardware.memory_bytes // devices.hardware.devices_per_chip
    if steps is not None and peak.total <= capacity:
        hours = steps * time.seconds / 3600
        spent = cost(devices, hours, time.spread, kind=price_kind, usd_per_device_hour=price)
    return OnDevices(
        layout=layout,
        memory=peak,
        capacity_bytes=capacity,
        time=time,
        steps=steps,
        cost=spent,
    )
