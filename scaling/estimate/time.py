"""Seconds of a train step: a roofline over matrix products, memory traffic and collectives.

Matrix products run at the rate that large ones reach on the device, times what the mix of shapes in a real
step holds of it. Elementwise work runs at memory bandwidth. Tensor parallelism waits for its collectives;
those of data parallelism run beside the computation and cost only what is longer than it. The three shares
below were chosen before the comparison and not fitted to it: `benchmarks/step_time.py` holds the sum against
published runs, and the spread of those ratios is the interval of every time and price.
"""

import dataclasses
from typing import Literal

from scaling.config.devices import Devices
from scaling.estimate.layout import Layout
from scaling.estimate.network import axis_links
from scaling.estimate.work import Traffic, Work

Bound = Literal["compute", "memory", "communication"]

_SUSTAINED = 0.85  # of the rate of large matrix products, over the shapes of a whole step
_BANDWIDTH = 0.80  # of the data sheet's memory bandwidth and of links
_HIDDEN = 0.9  # of the computation beside which gradients and gathered weights travel
# Measured over predicted seconds: the fastest and the slowest of 21 published runs (docs/step_time.md).
SPREAD = (0.92, 1.21)


@dataclasses.dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step and where they go; `low` and `high` bound the seconds."""

    compute: float
    memory: float  # elementwise work and the optimizer's update, at memory bandwidth
    communication: float  # what is not hidden behind computation
    idle: float  # of the pipeline
    model_flops: float  # of the whole step, over all devices
    hardware_flops: float
    peak_flops: float  # of all devices together
    slower: float  # by which the device's large matrix products may be slower than typical, 1 or more
    faster: float  # or faster, 1 or less

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute + self.memory + self.communication + self.idle

    @property
    def spread(self) -> tuple[float, float]:
        """Shares of the estimate between which the seconds lie.

        The spread of published runs, and that of the device's matrix rate for the time they take.
        """
        share = self.compute / self.seconds
        return (
            SPREAD[0] * (1 - share + share * self.faster),
            SPREAD[1] * (1 - share + share * self.slower),
        )

    @property
    def low(self) -> float:
        """Seconds at the fast end."""
        return self.seconds * self.spread[0]

    @property
    def high(self) -> float:
        """Seconds at the slow end."""
        return self.seconds * self.spread[1]

    @property
    def mfu(self) -> float:
        """Model FLOPs (causal attention) over what the data sheet's peak could do in that time."""
        return self.model_flops / self.seconds / self.peak_flops

    @property
    def hfu(self) -> float:
        """Executed FLOPs over what the data sheet's peak could do."""
        return self.hardware_flops / self.seconds / self.peak_flops

    @property
    def bound(self) -> Bound:
        """What takes the most time."""
        parts: dict[Bound, float] = {
            "compute": self.compute + self.idle,
            "memory": self.memory,
            "communication": self.communication,
        }
        return max(parts, key=lambda name: parts[name])


def _peak(devices: Devices, dtype: str) -> float:
    """FLOP/s of one JAX device in the compute type, or the nearest that the device has."""
    peaks = devices.hardware.peak_flops
    order = ("bfloat16", "float16", "float32") if dtype == "bfloat16" else ("float32", "bfloat16", "float16")
    chosen = next(peaks[name] for name in order if name in peaks)  # type: ignore[index]
    return chosen / devices.hardware.devices_per_chip


def step_time(work: Work, layout: Layout, devices: Devices, dtype: str = "bfloat16") -> StepTime:
    """Seconds of one step that does `work`, laid out as `layout` on these devices, in the compute type."""
    hardware = devices.hardware
    peak = _peak(devices, dtype)
    compute = work.hardware_flops / layout.devices / (peak * hardware.matmul.typical * _SUSTAINED)
    bandwidth = hardware.memory_bandwidth / hardware.devices_per_chip * _BANDWIDTH
    memory = work.bytes_moved / bandwidth
    links = axis_links(devices, layout)

    def seconds(traffic: tuple[Traffic, ...]) -> float:
        each = (one.count * links[one.axis].seconds(one.kind, one.size) for one in traffic)
        return sum(each) / _BANDWIDTH

    exposed = seconds(work.waited_for)
    hidden = seconds(work.beside)
    exposed += max(0.0, hidden - _HIDDEN * (compute + memory))
    idle = 0.0
    if layout.stages > 1:
        filling = (layout.stages - 1) / (layout.interleave * layout.microbatches)
        idle = filling * (compute + memory + exposed)
    return StepTime(
        compute=compute,
        memory=memory,
        communication=exposed,
        idle=idle,
        model_flops=work.model_flops,
        hardware_flops=work.hardware_flops,
        peak_flops=peak * layout.devices,
        slower=hardware.matmul.typical / hardware.matmul.low,
        faster=hardware.matmul.typical / hardware.matmul.high,
    )
