"""Hardware configuration: what a device can do, what joins it to others, and what it costs to rent."""

import datetime
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from scaling.config.base import Frozen

PriceKind = Literal["on-demand", "spot", "committed-1y", "committed-3y"]


class Efficiency(Frozen):
    """Share of a rated figure that is reached in practice, and the spread that was seen."""

    typical: float = Field(gt=0, le=1)
    """Typical share of the rated figure, 0 to 1."""
    low: float = Field(gt=0, le=1)
    """Lowest share seen."""
    high: float = Field(gt=0, le=1)
    """Highest share seen."""
    source: str
    """Where the shares come from."""

    @model_validator(mode="after")
    def _ordered(self) -> "Efficiency":
        if not self.low <= self.typical <= self.high:
            raise ValueError(f"low={self.low}, typical={self.typical}, high={self.high} must rise")
        return self


class Network(Frozen):
    """One network that joins devices.

    In a `torus`, each chip has a link in both directions of each of `dimensions` axes. In a `switch`, any
    device reaches any other, and can send and receive at full bandwidth at the same time.
    """

    name: str
    """Name, as NVLink 4 or ICI."""
    kind: Literal["torus", "switch"]
    """Topology."""
    bandwidth: PositiveFloat
    """Bytes per second in one direction: of one link (`torus`), or of one device (`switch`)."""
    latency: PositiveFloat
    """Seconds that a message to a neighbour takes."""
    dimensions: Literal[2, 3] | None = None
    """Dimensions of a torus."""
    devices: PositiveInt
    """Chips it connects: one switch domain, or the largest slice."""
    source: str
    """Where the figures come from."""

    @model_validator(mode="after")
    def _check(self) -> "Network":
        if (self.kind == "torus") != (self.dimensions is not None):
            raise ValueError("dimensions is given for a torus, and only there")
        return self


class Price(Frozen):
    """A list price of one chip for one hour."""

    kind: PriceKind
    """Terms of the price."""
    per_chip_hour: PositiveFloat
    """Price of one chip for one hour, in `currency`."""
    currency: Literal["USD"] = "USD"
    """Currency."""
    provider: str
    """Who rents it out."""
    region: str
    """Where."""
    source: str
    """Where the price was published."""
    date: datetime.date
    """Day on which the source was read."""


class Hardware(Frozen):
    """One kind of accelerator. Rates are of one chip (a GPU is a chip); memory and cores are per chip too."""

    name: str
    title: str
    """Full name, as NVIDIA H100 SXM 80 GB."""
    platform: Literal["tpu", "gpu", "cpu"]
    """JAX platform."""
    peak_flops: dict[Literal["bfloat16", "float16", "float32"], PositiveFloat]
    """Dense FLOP/s of a chip by type, from the data sheet."""
    matmul: Efficiency
    """Share of `peak_flops` that large bfloat16 matrix products reach."""
    attention: Efficiency | None = None
    """Share of `peak_flops` that fused attention reaches, forward and backward, at heads of 128 and long
    sequences; null is the platform's."""
    memory_bytes: PositiveInt
    """Bytes of memory per chip."""
    memory_bandwidth: PositiveFloat
    """Bytes per second between a chip and its memory, from the data sheet."""
    clock_hz: PositiveFloat | None = None
    """Clock of a TPU's cores, in which its compiler counts cycles."""
    clock_source: str | None = None
    """Where the clock comes from."""
    devices_per_chip: PositiveInt = 1
    """JAX devices per chip: 2 for TPU v2, v3 and tpu7x."""
    chips_per_host: PositiveInt
    """Chips per host."""
    inside: Network | None
    """The fast network (NVLink, ICI); null is none."""
    between: Network | None
    """The network between hosts or slices; null is none."""
    watts: PositiveFloat
    """Watts drawn by one chip in training, including its share of host and network."""
    watts_source: str
    """Where `watts` comes from."""
    peak_source: str
    """Where `peak_flops` comes from."""
    memory_source: str
    """Where the figures of the memory come from."""
    topologies: tuple[str, ...] = ()
    """Slices of a TPU that are sold or can be compiled for, smallest first."""
    prices: tuple[Price, ...] = ()
    """List prices."""
