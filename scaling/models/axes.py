"""Logical axis names: on parameters where they are created, on activations where they matter.

Models name what an axis is ("embed", "heads", "batch"); `scaling.parallel` says on which mesh axis it lies,
and while a step is traced tells the models on what it will run (`Placement`).
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Axes = tuple[str | None, ...]


@dataclasses.dataclass(frozen=True)
class Placement:
    """What a step is being traced for: a mesh, and how logical axes are split over it."""

    mesh: Mesh
    partition: Callable[[Axes, tuple[int, ...]], PartitionSpec]
    partition_in_stage: Callable[[Axes, tuple[int, ...]], PartitionSpec]
    microbatches: int = 1  # that follow each other through pipeline stages

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return int(self.mesh.shape.get("stage", 1))

    def inside_stage(self) -> "Placement":
        """The same for what one stage computes: its rows lie over what is left of the mesh."""
        return dataclasses.replace(self, partition=self.partition_in_stage)

    @property
    def platform(self) -> str:
        """cpu, tpu or gpu (also of devices that are not there)."""
        return self.mesh.devices.flat[0].platform


_PLACEMENT: ContextVar[Placement | None] = ContextVar("placement", default=None)


def param(value: jax.Array, *axes: str | None) -> nnx.Param:
    """A parameter that carries the logical name of each of its axes, and its shape, as plain metadata.

    An optimizer's arrays inherit both: those of another shape are told by it.

    Raises:
        ValueError: as many names as axes are needed.
    """
    if value.ndim != len(axes):
        raise ValueError(f"a parameter of shape {value.shape} needs {value.ndim} axis names, got {axes}")
    return nnx.Param(value, axes=axes, own_shape=value.shape)


def placement() -> Placement | None:
    """What the step that is being traced will run on; None where nobody said."""
    return _PLACEMENT.get()


def platform() -> str:
    """The platform that the step being traced will run on; the default back end where nobody said."""
    placed = _PLACEMENT.get()
    return jax.default_backend() if placed is None else placed.platform


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Ask for `x` to be laid out by its logical axes; does nothing on one device."""
    placed = _PLACEMENT.get()
    if placed is None or placed.mesh.size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(placed.mesh, placed.partition(axes, x.shape)))


@contextmanager
def placed_on(where: Placement) -> Iterator[None]:
    """While tracing inside, `constrain` and the choice of kernels follow `where`."""
    token = _PLACEMENT.set(where)
    try:
        yield
    finally:
        _PLACEMENT.reset(token)
