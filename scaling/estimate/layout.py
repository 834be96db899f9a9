"""How one step is laid out over devices: what memory, time and price are all computed from."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from scaling.config.mesh import DEFAULT_RULES, Rules
from scaling.config.run import RunConfig

BYTES = {"float32": 4, "bfloat16": 2, "int32": 4}  # per number
_LANES, _SUBLANES = 128, 8  # a TPU's vector registers: 8 rows of 128 numbers of 4 bytes


@dataclasses.dataclass(frozen=True)
class Layout:
    """Ways of each kind of parallelism, and the batch that is split over them.

    `interleave` and `sequence_parallel` describe runs of other trainers (Megatron's, which the estimates are
    compared with); the mesh of a RunConfig has neither.
    """

    data: int
    fsdp: int
    tensor: int
    rows: int  # sequences of the global batch
    length: int
    target_length: int | None = None
    accumulation: int = 1  # gradient accumulation: microbatches that the model takes one after the other
    stages: int = 1  # pipeline stages
    microbatches: int = 1  # pipeline microbatches in each of those
    interleave: int = 1  # virtual stages per device (Narayanan et al. 2021)
    sequence_parallel: bool = False  # norms and residuals split over `tensor` (Korthikanti et al. 2022)
    expert: int = 1  # ways that the experts of a mixture are split, and the batch outside them
    context: int = 1  # ways that every sequence is split, and parameters as over `fsdp`

    @property
    def devices(self) -> int:
        """Number of devices."""
        return self.batch_shards * self.context * self.tensor * self.stages

    @property
    def batch_shards(self) -> int:
        """Ways that the batch is split inside the layers."""
        return self.data * self.fsdp * self.expert

    @property
    def rows_on_a_device(self) -> int:
        """Sequences of one microbatch on one device."""
        return max(1, self.rows // (self.batch_shards * self.passes))

    @property
    def passes(self) -> int:
        """Microbatches per step."""
        return self.accumulation * self.microbatches

    @property
    def ticks(self) -> int:
        """Microbatches that a stage computes in one pass of the model, those of the bubble included."""
        return self.microbatches + self.stages - 1

    @property
    def waves(self) -> float:
        """Microbatches that a device holds outside the stages, where the stages split the batch too."""
        return self.microbatches / self.stages

    @property
    def tokens_on_a_device(self) -> int:
        """Positions of one microbatch on one device (of the source, in an encoder-decoder)."""
        return self.tokens_by_side["source"]

    @property
    def length_by_side(self) -> dict[str, int]:
        """Positions of a sequence, of the source and of the target."""
        return {"source": self.length, "target": self.target_length or self.length}

    @property
    def tokens_by_side(self) -> dict[str, int]:
        """Positions of one microbatch on one device, of the source and of the target.

        A length that `context` does not divide is not split.
        """
        return {
            side: self.rows_on_a_device * (length if length % self.context else length // self.context)
            for side, length in self.length_by_side.items()
        }

    @property
    def mesh(self) -> Mapping[str, int]:
        """The mesh axes that split parameters and batch."""
        return {
            "data": self.data,
            "stage": self.stages,
            "fsdp": self.fsdp,
            "expert": self.expert,
            "context": self.context,
            "tensor": self.tensor,
        }


def layout_of(run: RunConfig, n_devices: int, target_length: int | None = None) -> Layout:
    """The layout of a run on so many devices.

    Raises:
        ValueError: the product of the mesh is not the number of devices.
    """
    mesh = run.mesh.over(n_devices)
    return Layout(
        data=mesh.data,
        fsdp=mesh.fsdp,
        tensor=mesh.tensor,
        rows=run.train.batch_tokens // run.data.sequence_length,
        length=run.data.sequence_length,
        target_length=target_length or run.target_length,
        accumulation=run.train.accumulation,
        stages=mesh.stage,
        microbatches=mesh.parts,
        expert=mesh.expert,
        context=mesh.context,
    )


def shard_shape(
    axes: Sequence[str | None], shape: Sequence[int], mesh: Mapping[str, int], rules: Rules = DEFAULT_RULES
) -> tuple[int, ...]:
    """The shape of one device's shard of an array."""
    split = rules.split(axes, shape, mesh)
    return tuple(
        size // math.prod(mesh[axis] for axis in over) for size, over in zip(shape, split, strict=True)
    )


def array_bytes(shape: Sequence[int], dtype: str, platform: str) -> int:
    """Bytes of a dense array on a device.

    A TPU tiles the two innermost axes to (8, 128) numbers of 4 bytes or (16, 128) of 2, and chooses as
    innermost the two axes with the least padding.
    """
    width = BYTES[dtype]
    size = math.prod(shape) * width
    if platform != "tpu" or not shape:
        return size
    if len(shape) == 1:
        return _round_up(shape[0], _LANES) * width
    rows = _SUBLANES * 4 // width
    return min(
        size // (shape[minor] * shape[second]) * _round_up(shape[minor], _LANES) * _rows(shape[second], rows)
        for minor, second in itertools.permutations(range(len(shape)), 2)
    )


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _rows(size: int, rows: int) -> int:
    """The second-innermost axis as tiled: below a full tile, the next power of two."""
    return 1 << (size - 1).bit_length() if size < rows else _round_up(size, rows)
