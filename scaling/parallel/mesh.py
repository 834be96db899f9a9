"""The device mesh of a run."""

from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh

from scaling.config.errors import BadInputError
from scaling.config.mesh import MeshConfig


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh with every axis of `config`, also those of size 1.

    Axes are Auto: the compiler propagates shardings from parameters, batch and the few constraints that the
    models ask for. A mesh smaller than the machine takes the first devices.

    Raises:
        BadInputError: the mesh does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    try:
        sizes = config.resolve(len(devices)).sizes()
    except ValueError as error:
        raise BadInputError(f"{error} (mesh.data, mesh.fsdp, mesh.tensor)") from error
    count = 1
    for size in sizes.values():
        count *= size
    return jax.make_mesh(
        tuple(sizes.values()),
        tuple(sizes),
        axis_types=(AxisType.Auto,) * len(sizes),
        devices=devices[:count],
    )
