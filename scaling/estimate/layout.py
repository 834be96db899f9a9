"""How one step is laid out over devices: what memory, time and price are all computed from."""

import dataclasses
from collections.abc import Mapping

from scaling.config.run import RunConfig


@dataclasses.dataclass(frozen=True)
class Layout:
    """Ways of each kind of parallelism, and the batch that is split over them.

    `interleave` and `sequence_parallel` describe other trainers' runs (Megatron's, which the estimates are
    held against); the mesh of a RunConfig has neither.
    """

    data: int
    fsdp: int
    tensor: int
    rows: int  # sequences of a whole batch
    length: int
    target_length: int | None = None
    accumulation: int = 1  # parts of a batch that the whole model takes one by one
    stages: int = 1  # pipeline stages
    microbatches: int = 1  # parts of each of those that follow each other through the stages
    interleave: int = 1  # virtual stages a device holds (Narayanan et al. 2021)
    sequence_parallel: bool = False  # norms and residuals split over `tensor` (Korthikanti et al. 2022)
    expert: int = 1  # ways that the experts of a mixture are split, and the batch outside them
    context: int = 1  # ways that every sequence is split, and parameters as over `fsdp`

    @property
    def devices(self) -> int:
        """Devices in all."""
        return self.batch_shards * self.context * self.tensor * self.stages

    @property
    def batch_shards(self) -> int:
        """Ways the batch is split inside the layers."""
        return self.data * self.fsdp * self.expert

    @property
    def rows_on_a_device(self) -> int:
        """Sequences of one microbatch on one device."""
        return max(1, self.rows // (self.batch_shards * self.passes))

    @property
    def passes(self) -> int:
        """Microbatches of a step."""
        return self.accumulation * self.microbatches

    @property
    def ticks(self) -> int:
        """Microbatches that a stage computes in one pass of the model, those of the bubble with them."""
        return self.microbatches + self.stages - 1

    @property
    def waves(self) -> float:
        """Microbatches' rows that a device has outside the stages, where the batch is split over them too."""
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

        A length that `context` does not divide is whole on each device.
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
        ValueError: the mesh does not multiply to the devices.
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
