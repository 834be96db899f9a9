"""The device mesh of a run."""

import math
from collections.abc import Sequence

import jax
from jax.experimental.mesh_utils import create_device_mesh, create_hybrid_device_mesh
from jax.sharding import AbstractMesh, AxisType, Mesh

from scaling.config.mesh import MeshConfig
from scaling.runtime.errors import BadInputError


def _sizes(config: MeshConfig, n_devices: int) -> dict[str, int]:
    try:
        return config.resolve(n_devices).sizes()
    except ValueError as error:
        raise BadInputError(f"{error} (mesh.{', mesh.'.join(config.sizes())})") from error


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
    models ask for. A mesh smaller than the machine takes the first devices. On TPU the inner axes lie along
    whole rings of the torus where they can; several slices split the `data` axis, for only gradients then
    cross the slow network between them.

    Raises:
        BadInputError: the mesh does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    sizes = _sizes(config, len(devices))
    shape = tuple(sizes.values())
    devices = devices[: math.prod(shape)]
    slices = len({getattr(d, "slice_index", 0) for d in devices}) if devices[0].platform == "tpu" else 1
    if sizes["data"] % slices:
        raise BadInputError(
            f"mesh.data={sizes['data']} does not divide over {slices} slices: give a multiple of {slices}"
        )
    # Unlike jax.make_mesh, which refuses most meshes on a three-dimensional torus and all of several slices.
    if slices > 1:
        inside = (shape[0] // slices, *shape[1:])
        between = (slices, *(1 for _ in shape[1:]))
        array = create_hybrid_device_mesh(inside, between, devices, allow_split_physical_axes=True)
    else:
        array = create_device_mesh(shape, devices, allow_split_physical_axes=True)
    return Mesh(array, tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))
