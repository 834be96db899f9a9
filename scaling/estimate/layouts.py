"""The layouts of a model over devices, fastest first: mesh, rematerialisation, accumulation.

Accumulation never makes a step faster, so a mesh starts without it and doubles its microbatches only when it
does not fit: the search visits layouts in the order of their step time, and the first that fits is the
fastest.
"""

import dataclasses
import heapq
import itertools
from collections.abc import Iterator

from scaling.config.devices import LEAST_WIDTH, MOST_TENSOR, Devices
from scaling.config.mesh import MeshConfig
from scaling.config.model import DecoderConfig, Remat
from scaling.config.run import RunConfig
from scaling.estimate.counts import count_parameters
from scaling.estimate.layout import Layout
from scaling.estimate.memory import Memory, memory
from scaling.estimate.time import StepTime, step_time
from scaling.estimate.work import work_of

# Share of a device's memory that a plan leaves free. The estimate is within 15% of the compilers'
# (docs/memory.md), and the runtime keeps some for itself.
MARGIN = 0.10
REMATS: tuple[Remat, ...] = ("none", "dots", "full")
_STATE_BYTES = 16  # a parameter, its gradient and AdamW's two moments, in float32


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One layout with its step time and memory."""

    layout: Layout
    remat: Remat
    time: StepTime
    memory: Memory
    room: float  # bytes of a device that a plan may fill

    @property
    def fits(self) -> bool:
        """Whether the peak leaves the margin free."""
        return self.memory.total <= self.room

    @property
    def mesh(self) -> MeshConfig:
        """The mesh as a run's config has it."""
        return MeshConfig(**self.layout.mesh)

    @property
    def tokens_per_second(self) -> float:
        """Over all devices."""
        return self.layout.rows * self.layout.length / self.time.seconds

    @property
    def slow_tokens_per_second(self) -> float:
        """At the slow end of the step time, which a budget must cover."""
        return self.layout.rows * self.layout.length / self.time.high

    @property
    def shortfall(self) -> str:
        """By how much the layout exceeds the memory that a plan may fill."""
        return f"does not fit by {(self.memory.total - self.room) / 2**30:.2f} GiB"

    def __str__(self) -> str:
        return f"{self.mesh}, remat {self.remat}, accumulation {self.layout.accumulation}"


def room_bytes(devices: Devices) -> float:
    """Bytes of one device that a plan may fill."""
    return (1 - MARGIN) * (devices.hardware.memory_bytes // devices.hardware.devices_per_chip)


def tensor_ways(heads: int, devices: Devices) -> list[int]:
    """Ways of tensor parallelism that split the heads and the devices of a slice, up to one host's eight."""
    inside = devices.count // devices.slices
    return [n for n in (1, 2, 4, 8) if n <= MOST_TENSOR and heads % n == 0 and inside % n == 0]


def meshes(model: DecoderConfig, devices: Devices, rows: int) -> Iterator[tuple[int, int, int]]:
    """(data, fsdp, tensor) that use every device, split the rows evenly and have room for the training state.

    `fsdp` splits parameters along the width; on a TPU into parts of at least 128, because the compiler
    gathers narrower ones by adding up arrays of zeros. Only `data` crosses slices.
    """
    least = LEAST_WIDTH if devices.hardware.platform == "tpu" else 1
    state = _STATE_BYTES * count_parameters(model).total
    inside = devices.count // devices.slices
    for tensor in tensor_ways(model.n_heads, devices):
        left = inside // tensor
        for fsdp in range(1, left + 1):
            if left % fsdp or model.d_model % fsdp or (fsdp > 1 and model.d_model // fsdp < least):
                continue
            if rows % (devices.count // tensor) or state / (fsdp * tensor) > room_bytes(devices):
                continue
            yield devices.count // tensor // fsdp, fsdp, tensor


def by_time(runs: dict[Remat, RunConfig], devices: Devices, rows: int) -> Iterator[Candidate]:
    """Layouts of a run in the order of their step time, those that do not fit included.

    `runs` maps each rematerialisation policy to the run under it; their own mesh and batch are not read.
    """
    platform, room, order = devices.hardware.platform, room_bytes(devices), itertools.count()
    heap: list[tuple[float, int, Layout, Remat, StepTime]] = []

    def push(layout: Layout, remat: Remat) -> None:
        run = runs[remat]
        time = step_time(work_of(run, layout, platform), layout, devices, run.model.compute_dtype)
        heapq.heappush(heap, (time.seconds, next(order), layout, remat, time))

    first = runs[REMATS[0]]
    assert isinstance(first.model, DecoderConfig)
    for data, fsdp, tensor in meshes(first.model, devices, rows):
        layout = Layout(data, fsdp, tensor, rows, first.data.sequence_length)
        for remat in runs:
            push(layout, remat)
    while heap:
        _, _, layout, remat, time = heapq.heappop(heap)
        candidate = Candidate(layout, remat, time, memory(runs[remat], layout, platform), room)
        yield candidate
        more = 2 * layout.accumulation
        if not candidate.fits and rows % (layout.batch_shards * more) == 0:
            push(dataclasses.replace(layout, accumulation=more), remat)


def fastest(candidates: Iterator[Candidate]) -> tuple[Candidate | None, list[Candidate]]:
    """The first layout that fits, and the faster ones that do not."""
    refused: list[Candidate] = []
    for candidate in candidates:
        if candidate.fits:
            return candidate, refused
        refused.append(candidate)
    return None, refused
