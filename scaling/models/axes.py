"""Logical axis names: on parameters where they are created, on activations where they matter.

Models name what an axis is ("embed", "heads", "batch"); `scaling.parallel` maps names to mesh axes, and tells
the models while a step is traced on what it will run (`Placement`).
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
    """What a step is traced for: a mesh, and how logical axes are split over it."""

    mesh: Mesh
    partition: Callable[[Axes, tuple[int, ...]], PartitionSpec]
    partition_in_stage: Callable[[Axes, tuple[int, ...]], PartitionSpec]
    microbatches: int = 1  # that follow each other through pipeline stages

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return int(self.mesh.shape.get("stage", 1))

    def inside_stage(self) -> "Placement":
        """The placement inside a stage: its rows are split over the rest of the mesh."""
        return dataclasses.replace(self, partition=self.partition_in_stage)

    @property
    def platform(self) -> str:
        """cpu, tpu or gpu, also of devices that are only compiled for."""
        return self.mesh.devices.flat[0].platform


_PLACEMENT: ContextVar[Placement | None] = ContextVar("placement", default=None)


def param(value: jax.Array, *axes: str | None) -> nnx.Param:
    """A parameter that carries the logical name of each of its axes, and its shape, as plain metadata.

    An optimizer's arrays inherit both, so that those of another shape can be recognised.

    Raises:
        ValueError: as many names as axes are needed.
    """
    if value.ndim != len(axes):
        raise ValueError(f"a parameter of shape {value.shape} needs {value.ndim} axis names, got {axes}")
    return nnx.Param(value, axes=axes, own_shape=value.shape)


def placement() -> Placement | None:
    """What the step that is traced will run on; None if that is unknown."""
    return _PLACEMENT.get()


def platform() -> str:
    """The platform that the step being traced will run on; by default JAX's default back end."""
    placed = _PLACEMENT.get()
    return jax.default_backend() if placed is None else placed.platform


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Constrain the sharding of `x` by its logical axes; does nothing on one device."""
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
