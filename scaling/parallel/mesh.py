"""The device mesh of a run."""

import math
from collections.abc import Sequence

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh

from scaling.config.errors import BadInputError
from scaling.config.mesh import MeshConfig


def _sizes(config: MeshConfig, n_devices: int) -> dict[str, int]:
    try:
        return config.resolve(n_devices).sizes()
    except ValueError as error:
        raise BadInputError(f"{error} (mesh.data, mesh.fsdp, mesh.tensor)") from error


def abstract_mesh(config: MeshConfig, n_devices: int) -> AbstractMesh:
    """The shape of a mesh without devices; `n_devices` is what an axis of -1 is filled up to.

    Raises:
        BadInputError: an axis of -1 that no whole number fills.
    """
    known = math.prod(size for size in config.sizes().values() if size != -1)
    sizes = _sizes(config, max(n_devices, known))
    return AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with every axis of `config`, also those of size 1.

    Axes are Auto: the compiler propagates shardings from parameters, batch and the few constraints that the
    models ask for. A mesh smaller than the machine takes the first devices.

    Raises:
        BadInputError: the mesh does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _sizes(config, len(devices))
    count = math.prod(sizes.values())
    return jax.make_mesh(
        tuple(sizes.values()),
        tuple(sizes),
        axis_types=(AxisType.Auto,) * len(sizes),
        devices=devices[:count],
    )
