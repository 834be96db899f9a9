"""What a model knows of its surroundings while it is traced: logical axes, the mesh, and a listener.

Models name what an axis is ("embed", "heads", "batch") on parameters where they are created, and on
activations where it matters. `scaling.parallel` maps the names to mesh axes, and says through `MeshPlacement`
what a step will run on.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding, PartitionSpec

Axes = tuple[str | None, ...]


@dataclasses.dataclass(frozen=True)
class MeshPlacement:
    """The mesh that a step is traced for, and how logical axes are split over it."""

    mesh: Mesh
    partition: Callable[[Axes, tuple[int, ...]], PartitionSpec]
    partition_in_stage: Callable[[Axes, tuple[int, ...]], PartitionSpec]
    microbatches: int = 1  # that follow each other through pipeline stages

    @property
    def stages(self) -> int:
        """Pipeline stages."""
        return int(self.mesh.shape.get("stage", 1))

    def inside_stage(self) -> "MeshPlacement":
        """The placement inside a stage: its rows are split over the rest of the mesh."""
        return dataclasses.replace(self, partition=self.partition_in_stage)

    @property
    def platform(self) -> str:
        """cpu, tpu or gpu, also of devices that are only compiled for."""
        return self.mesh.devices.flat[0].platform


_PLACEMENT: ContextVar[MeshPlacement | None] = ContextVar("placement", default=None)


def param(value: jax.Array, *axes: str | None) -> nnx.Param:
    """A parameter that carries the logical name of each of its axes, and its shape, as plain metadata.

    An optimizer's arrays inherit both, which identifies arrays of another shape.

    Raises:
        ValueError: the number of names is not the number of axes.
    """
    if value.ndim != len(axes):
        raise ValueError(f"a parameter of shape {value.shape} needs {value.ndim} axis names, got {axes}")
    return nnx.Param(value, axes=axes, own_shape=value.shape)


def placement() -> MeshPlacement | None:
    """Where the traced step will run; None if unknown."""
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
def placed_on(where: MeshPlacement) -> Iterator[None]:
    """While tracing inside, `constrain` and the choice of kernels follow `where`."""
    token = _PLACEMENT.set(where)
    try:
        yield
    finally:
        _PLACEMENT.reset(token)


_LISTENER: ContextVar[list[tuple[str, Array]] | None] = ContextVar("listener", default=None)


def tap(name: str, value: Callable[[], Array]) -> None:
    """Pass an intermediate activation `value()` to the listener; without one it is not computed."""
    seen = _LISTENER.get()
    if seen is not None:
        seen.append((name, value()))


@contextmanager
def listening() -> Iterator[list[tuple[str, Array]]]:
    """A list that collects names and values, layer by layer, while a model is traced inside.

    The model must run unrolled and without rematerialisation: values traced inside a scan do not exist
    outside it.
    """
    seen: list[tuple[str, Array]] = []
    token = _LISTENER.set(seen)
    try:
        yield seen
    finally:
        _LISTENER.reset(token)
