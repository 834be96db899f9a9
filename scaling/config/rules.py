"""Which mesh axes split which logical axes: one frozen table, read by the trainer and by the estimator."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class Rules:
    """The mesh axis, or axes, over which each logical axis is split; None replicates.

    The default is fully sharded data parallelism (ZeRO stage 3; Rajbhandari et al. 2020) with Megatron's
    tensor parallelism (Shoeybi et al. 2019): widths over `fsdp`, heads, feed-forward and vocabulary over
    `tensor`, and the batch over `data`, `fsdp` and `expert` together. Inside a mixture the experts lie over
    `expert` and the rows over the rest (Lepikhin et al. 2020, arXiv:2006.16668, section 3.2). Sequences lie
    over `context` (Liu et al. 2023, arXiv:2310.01889), and so do widths, as over `fsdp`: no device holds what
    another one could. Layers lie over `stage`, and outside them the batch does.
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
        """For each axis of an array, the mesh axes of several devices that split it; () where it is whole.

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
