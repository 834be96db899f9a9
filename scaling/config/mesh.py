"""How a step is split: over the axes of a device mesh, and into blocks on one device."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from pydantic import Field, field_validator, model_validator

from scaling.config.base import Frozen

_ALWAYS_SAID = ("data", "fsdp", "tensor")
RUN_AXIS = "run"  # in front of the others where several runs train at once; no config sets it


class MeshConfig(Frozen):
    """Devices along each mesh axis; -1 on at most one axis takes all remaining devices.

    Outside the experts, the devices of `expert` are replicas, as those of `data` are. Outside the layers, the
    batch is split over `stage` too.
    """

    data: int = 1
    """Devices that hold replicas of the model and split the batch."""
    fsdp: int = 1
    """Devices that shard parameters and optimizer state, and split the batch."""
    tensor: int = 1
    """Devices that split heads, feed-forward width and vocabulary."""
    expert: int = 1
    """Devices that split the experts of a mixture, and the batch outside them."""
    context: int = 1
    """Devices that split each sequence, and shard parameters as `fsdp` does."""
    stage: int = Field(default=1, ge=1)
    """Pipeline stages: groups of devices that each hold a share of the layers."""
    microbatches: int | None = Field(default=None, ge=1)
    """Parts in which a batch passes through the stages, a multiple of `stage`; null is one per stage."""

    @field_validator("data", "fsdp", "tensor", "expert", "context")
    @classmethod
    def _positive_or_rest(cls, value: int) -> int:
        if value < 1 and value != -1:
            raise ValueError("give a positive number of devices, or -1 for all that are left")
        return value

    @model_validator(mode="after")
    def _one_rest(self) -> "MeshConfig":
        if list(self.sizes().values()).count(-1) > 1:
            raise ValueError("only one mesh axis can be -1 (all devices that are left)")
        return self

    def sizes(self) -> dict[str, int]:
        """Axis name to size, in the order of the device mesh (outermost first)."""
        return {
            "data": self.data,
            "stage": self.stage,
            "fsdp": self.fsdp,
            "expert": self.expert,
            "context": self.context,
            "tensor": self.tensor,
        }

    def batch_shards(self) -> int | None:
        """Ways the batch is split inside the layers; None while an axis is still -1."""
        ways = (self.data, self.fsdp, self.expert)
        return None if -1 in ways else math.prod(ways)

    @property
    def parts(self) -> int:
        """Microbatches that follow each other through the stages; 1 without stages."""
        return self.microbatches or self.stage

    def check_stages(self, stacks: Mapping[str, int] | None, pattern: int) -> None:
        """Check that the axis `stage` divides the stacks of layers, given by the field that counts them.

        `stacks` is None for layers that are not all alike; kinds of layers repeat every `pattern` layers.

        Raises:
            ValueError: layers, or microbatches, do not come to the same for every stage.
        """
        if self.stage == 1:
            if self.microbatches is not None:
                raise ValueError(
                    f"mesh.microbatches={self.microbatches} needs mesh.stage of 2 or more "
                    "(train.accumulation splits a batch without stages)"
                )
            return
        if stacks is None:
            raise ValueError(
                f"mesh.stage={self.stage}: only Transformers whose layers have parameters of their own and "
                "no mixture of experts are split into stages; give 1"
            )
        for field, layers in stacks.items():
            if layers % (self.stage * pattern):
                repeats = f" in repetitions of model.layer_pattern ({pattern} layers)" if pattern > 1 else ""
                raise ValueError(f"mesh.stage={self.stage} does not divide {field}={layers}{repeats}")
        if self.parts % self.stage:
            raise ValueError(f"mesh.microbatches={self.parts} is not a multiple of mesh.stage={self.stage}")

    def check_experts(self, experts: int | None) -> None:
        """Check that the axis `expert` divides the experts of a mixture; None is a model without one.

        Raises:
            ValueError: there is nothing to split, or it does not split evenly.
        """
        if self.expert == 1:
            return
        if experts is None:
            raise ValueError(f"mesh.expert={self.expert}: the model has no mixture of experts; give 1")
        if self.expert != -1 and experts % self.expert:
            raise ValueError(
                f"mesh.expert={self.expert} does not divide the model's mixture.experts={experts}"
            )

    def check_context(self, length: int, splits: bool) -> None:
        """Check that the axis `context` divides rows of this length; `splits` is whether the family can be.

        Raises:
            ValueError: the family reads a sequence step by step, or a length does not split evenly.
        """
        if self.context == 1:
            return
        if not splits:
            raise ValueError(
                f"mesh.context={self.context}: only Transformers split a sequence over devices; give 1"
            )
        if self.context != -1 and length % self.context:
            raise ValueError(f"mesh.context={self.context} does not divide data.sequence_length={length}")

    def resolve(self, n_devices: int) -> "MeshConfig":
        """The mesh with -1 replaced for `n_devices`.

        Raises:
            ValueError: the axes do not multiply to the number of devices.
        """
        sizes = self.sizes()
        known = math.prod(size for size in sizes.values() if size != -1)
        if -1 in sizes.values():
            if n_devices % known:
                raise ValueError(
                    f"mesh {self}: the other axes do not divide {n_devices} devices, so -1 has no value"
                )
            sizes = {axis: n_devices // known if size == -1 else size for axis, size in sizes.items()}
        elif known > n_devices:
            raise ValueError(f"mesh {self} needs {known} devices; there are {n_devices}")
        return self.model_copy(update=sizes)

    def over(self, n_devices: int) -> "MeshConfig":
        """The mesh that takes all of `n_devices`, with -1 replaced.

        Raises:
            ValueError: the axes do not multiply to the number of devices.
        """
        resolved = self.resolve(n_devices)
        if (size := math.prod(resolved.sizes().values())) != n_devices:
            raise ValueError(
                f"mesh {self} takes {size} of {n_devices} devices: its axes must multiply to {n_devices}, "
                f"and -1 on one of them takes what is left"
            )
        return resolved

    def __str__(self) -> str:
        sizes = self.sizes().items()
        said = [f"{axis}={size}" for axis, size in sizes if axis in _ALWAYS_SAID or size != 1]
        return ",".join(said + ([f"microbatches={self.microbatches}"] if self.microbatches else []))


MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Rules:
    """The mesh axis, or axes, over which each logical axis is split; None replicates.

    The default is fully sharded data parallelism (ZeRO stage 3; Rajbhandari et al. 2020) with Megatron's
    tensor parallelism (Shoeybi et al. 2019): widths over `fsdp`, heads, feed-forward and vocabulary over
    `tensor`, and the batch over `data`, `fsdp` and `expert` together. Inside a mixture the experts are split
    over `expert` and the rows over the rest (Lepikhin et al. 2020, arXiv:2006.16668, section 3.2). Sequences
    are split over `context` (Liu et al. 2023, arXiv:2310.01889), and so are widths, as over `fsdp`, so that
    no array is replicated needlessly. Layers are split over `stage`, and outside them the batch is.
    """

    batch: MeshAxes = ("stage", "data", "fsdp", "expert")
    expert_batch: MeshAxes = ("data", "fsdp")  # rows, where experts are split too
    length: MeshAxes = "context"
    act_embed: MeshAxes = None
    embed: MeshAxes = ("fsdp", "context")
    heads: MeshAxes = "tensor"
    head: MeshAxes = None
    mlp: MeshAxes = "tensor"
    vocab: MeshAxes = "tensor"
    position: MeshAxes = None
    norm: MeshAxes = None
    layers: MeshAxes = "stage"
    expert: MeshAxes = "expert"

    def split(
        self, axes: Sequence[str | None], shape: Sequence[int], mesh: Mapping[str, int]
    ) -> list[tuple[str, ...]]:
        """For each axis of an array, the mesh axes of several devices that split it; () if it is not split.

        An axis that its mesh axes do not divide is replicated (GPT-2's 50,257 pieces over 2 devices).

        Raises:
            ValueError: an unknown logical name, or one mesh axis used twice.
        """
        entries: list[tuple[str, ...]] = []
        used: set[str] = set()
        for name, size in zip(axes, shape, strict=True):
            if name is not None and not hasattr(self, name):
                raise ValueError(f"no rule for the logical axis {name!r}")
            rule = getattr(self, name) if name is not None else None
            mesh_axes = (rule,) if isinstance(rule, str) else tuple(rule or ())
            twice = used & set(mesh_axes)
            if twice:
                raise ValueError(f"axes {axes} would use mesh axis {sorted(twice)[0]!r} twice")
            used |= set(mesh_axes)
            split = tuple(axis for axis in mesh_axes if mesh[axis] > 1)
            ways = math.prod(mesh[axis] for axis in split)
            entries.append(split if size % ways == 0 else ())
        return entries


DEFAULT_RULES = Rules()


Bounds = tuple[tuple[int, int], ...]

# Narrower blocks skip more of the masked half, at the price of smaller matrix products and a longer graph.
_SMALLEST_BLOCK = 128
_MOST_BLOCKS = 8
# Logits formed at once on a device if no chunk is given: 2**25 fp32 numbers are 128 MiB.
_LOGITS_AT_ONCE = 2**25
# But the logits of no fewer tokens on an accelerator: every chunk also reads and writes the head's gradient
# in fp32, which then takes about a tenth of the time of the chunk's products (docs/log.md).
_TOKENS_AT_ONCE = 2048
# With fewer positions per chunk than this the loop costs more than the memory it saves.
_FEWEST_POSITIONS = 64


def attention_blocks(length: int, block: int | None = None) -> Bounds:
    """Cuts of a sequence into the blocks of attention; the last one takes the remainder."""
    if block is None:
        block = max(_SMALLEST_BLOCK, -(-length // _MOST_BLOCKS))
    return tuple((start, min(start + block, length)) for start in range(0, length, block))


def logits_chunk(
    rows: int, length: int, vocab_size: int, chunk: int | None = None, platform: str = "cpu"
) -> int:
    """Positions of each of a device's `rows` sequences whose logits are formed at once, at most `length`.

    Raises:
        ValueError: a chunk below one position.
    """
    if chunk is None:
        tokens = max(_LOGITS_AT_ONCE // vocab_size, 0 if platform == "cpu" else _TOKENS_AT_ONCE)
        most = max(_FEWEST_POSITIONS, tokens // rows)
        fewest = -(-length // most)
        # Chunks of one length; up to twice as many if then nothing is filled up.
        counts = [count for count in range(fewest, 2 * fewest + 1) if length % count == 0] or [fewest]
        chunk = -(-length // counts[0])
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 position, got {chunk}")
    return min(chunk, length)
