"""Hardware configuration: what a device can do, what joins it to others, and what it costs to rent."""

import datetime
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from scaling.config.base import Frozen

PriceKind = Literal["on-demand", "spot", "committed-1y", "committed-3y"]


class Efficiency(Frozen):
    """Share of a rated figure that is reached in practice; `low` and `high` are the spread that was seen."""

    typical: float = Field(gt=0, le=1)
    low: float = Field(gt=0, le=1)
    high: float = Field(gt=0, le=1)
    source: str

    @model_validator(mode="after")
    def _ordered(self) -> "Efficiency":
        if not self.low <= self.typical <= self.high:
            raise ValueError(f"low={self.low}, typical={self.typical}, high={self.high} must rise")
        return self


class Network(Frozen):
    """One network that joins devices.

    `torus`: each chip has a link in both directions of each of `dimensions` axes; `bandwidth` is bytes a
    second of one link in one direction. `switch`: any device reaches any other; `bandwidth` is bytes a second
    that one device can send (and receive as much at the same time).
    """

    name: str  # NVLink 4, ICI, InfiniBand NDR
    kind: Literal["torus", "switch"]
    bandwidth: PositiveFloat
    latency: PositiveFloat  # seconds a message takes to a neighbour
    dimensions: Literal[2, 3] | None = None  # of a torus
    devices: PositiveInt  # chips it reaches: one switch domain, or the largest slice
    source: str

    @model_validator(mode="after")
    def _check(self) -> "Network":
        if (self.kind == "torus") != (self.dimensions is not None):
            raise ValueError("dimensions is given for a torus, and only there")
        return self


class Price(Frozen):
    """A list price of one chip for one hour."""

    kind: PriceKind
    per_chip_hour: PositiveFloat
    currency: Literal["USD"] = "USD"
    provider: str
    region: str
    source: str
    date: datetime.date  # when the source said so


class Hardware(Frozen):
    """One kind of accelerator. Rates are of one chip (a GPU is a chip); memory and cores are per chip too."""

    name: str
    title: str  # NVIDIA H100 SXM 80 GB
    platform: Literal["tpu", "gpu", "cpu"]
    peak_flops: dict[Literal["bfloat16", "float16", "float32"], PositiveFloat]  # dense FLOP/s, data sheet
    matmul: Efficiency  # share of peak_flops that large bf16 matmuls reach
    memory_bytes: PositiveInt
    memory_bandwidth: PositiveFloat  # bytes a second, data sheet
    devices_per_chip: PositiveInt = 1  # JAX devices a chip shows as: 2 for TPU v2, v3 and tpu7x
    chips_per_host: PositiveInt
    inside: Network | None  # the fast network: NVLink, ICI
    between: Network | None  # the network between hosts or slices
    watts: PositiveFloat  # drawn by one chip in training, its share of host and network included
    watts_source: str
    peak_source: str
    memory_source: str
    topologies: tuple[str, ...] = ()  # TPU: shapes sold or compiled for, smallest first
    prices: tuple[Price, ...] = ()
