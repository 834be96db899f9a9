"""The device mesh of a run, and how arrays are laid out on it."""

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
from flax import nnx
from jax.experimental.mesh_utils import create_device_mesh, create_hybrid_device_mesh
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from scaling.config.mesh import DEFAULT_RULES, RUN_AXIS, MeshConfig, Rules
from scaling.models.axes import MeshPlacement, placed_on
from scaling.runtime.errors import BadInputError


def _sizes(config: MeshConfig, n_devices: int) -> dict[str, int]:
    try:
        return config.resolve(n_devices).sizes()
    except ValueError as error:
        raise BadInputError(f"{error} (mesh.{', mesh.'.join(config.sizes())})") from error


def abstract_mesh(config: MeshConfig, n_devices: int) -> AbstractMesh:
    """The shape of a mesh without devices; `n_devices` is what an axis of -1 is filled up to.

    Raises:
        BadInputError: an axis of -1 that the devices do not fill evenly.
    """
    known = math.prod(size for size in config.sizes().values() if size != -1)
    sizes = _sizes(config, max(n_devices, known))
    return AbstractMesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes))


def run_ways(runs: int, config: MeshConfig, n_devices: int) -> int:
    """Devices that split a stack of `runs`: the most that divide it and leave each run its mesh."""
    known = math.prod(size for size in config.sizes().values() if size != -1)
    rest = -1 in config.sizes().values()

    def fits(ways: int) -> bool:
        taken = ways * known
        return runs % ways == 0 and taken <= n_devices and not (rest and n_devices % taken)

    return max((ways for ways in range(1, runs + 1) if fits(ways)), default=1)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None, runs: int = 1) -> Mesh:
    """A mesh with every axis of `config`, also those of size 1.

    With several `runs` it has an axis `run` in front, over the devices that one run leaves idle; an axis of
    -1 takes what is left after that.

    Axes are Auto: the compiler propagates shardings from parameters, batch and the few constraints of the
    models. A mesh smaller than the machine takes the first devices. On TPU the inner axes follow
    complete rings of the torus if possible; several slices split the `data` axis, so that only gradients
    cross the slow network between them.

    Raises:
        BadInputError: the mesh does not fit the devices.
    """
    devices = jax.devices() if devices is None else devices
    ways = run_ways(runs, config, len(devices))
    sizes = _sizes(config, len(devices) // ways)
    shape = tuple(sizes.values())
    if runs > 1:
        array = create_device_mesh(
            (ways, *shape), devices[: ways * math.prod(shape)], allow_split_physical_axes=True
        )
        return Mesh(array, (RUN_AXIS, *sizes), axis_types=(AxisType.Auto,) * (1 + len(sizes)))
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


AnyMesh = Mesh | AbstractMesh


def partition(
    rules: Rules, axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: AnyMesh
) -> PartitionSpec:
    """The partition of an array whose axes have these logical names.

    Raises:
        ValueError: an unknown logical name, or one mesh axis used twice.
    """
    return _partition(rules, axes, shape, mesh.shape)


def _partition(
    rules: Rules, axes: tuple[str | None, ...], shape: tuple[int, ...], sizes: Mapping[str, int]
) -> PartitionSpec:
    entries = [
        None if not split else split[0] if len(split) == 1 else split
        for split in rules.split(axes, shape, sizes)
    ]
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def _is_variable(node: Any) -> bool:
    return isinstance(node, nnx.Variable)


def logical_axes(variable: nnx.Variable) -> tuple[str | None, ...]:
    """A parameter's logical axes, with `layers` in front where layers are stacked."""
    axes = tuple(variable.get_metadata("axes"))
    ndim = len(variable.get_value().shape)
    return ("layers",) * (ndim - len(axes)) + axes


def shardings(tree: Any, mesh: Mesh, rules: Rules = DEFAULT_RULES) -> Any:
    """A tree like `tree` (modules, optimizer states, plain arrays) with a NamedSharding at every array.

    Parameters, and optimizer moments shaped like them, follow their logical axes; everything else
    (counters, factored moments of another shape) is replicated.
    """

    def of(node: Any) -> Any:
        if not _is_variable(node):
            return NamedSharding(mesh, PartitionSpec())
        value = node.get_value()
        if not jax.tree.leaves(value):
            return node  # an optimizer that keeps nothing for this parameter
        own_shape, shape = tuple(node.get_metadata("own_shape")), value.shape
        fits = shape[-len(own_shape) :] == own_shape
        spec = partition(rules, logical_axes(node), shape, mesh) if fits else PartitionSpec()
        return node.replace(NamedSharding(mesh, spec))

    return jax.tree.map(of, tree, is_leaf=_is_variable)


def batch_sharding(shape: tuple[int, ...], mesh: Mesh, rules: Rules = DEFAULT_RULES) -> NamedSharding:
    """The sharding of an array (B, ...) of a batch: its rows over the batch axes, its positions over those
    of `length`."""
    axes = ("batch", "length", *[None] * len(shape))[: len(shape)]
    return NamedSharding(mesh, partition(rules, axes, shape, mesh))


def batch_share(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> tuple[int, int]:
    """(index, count): which of `count` equal shares of a batch this process reads.

    Processes whose devices hold the same rows, as those that split heads or lengths do, read the same share.

    Raises:
        BadInputError: the mesh leaves a process out, or splits the rows of a batch unevenly over processes.
    """
    devices: list[jax.Device] = list(mesh.devices.flat)
    present = {device.process_index for device in devices}
    if len(present) < jax.process_count():
        raise BadInputError(
            f"mesh: takes {len(devices)} of {jax.device_count()} devices and leaves processes out; its axes "
            f"must multiply to {jax.device_count()} (or give one of them -1)"
        )
    sharding = batch_sharding((len(devices),), mesh, rules)
    shard: tuple[int, ...] = sharding.shard_shape((len(devices),))
    ways = len(devices) // shard[0]
    parts: dict[int, set[int]] = {process: set() for process in present}
    device: Any
    for device, (rows,) in sharding.devices_indices_map((ways,)).items():
        parts[device.process_index] |= set(range(*rows.indices(ways)))
    return share_of(parts, jax.process_index(), ways)


def share_of(parts: Mapping[int, set[int]], process: int, ways: int) -> tuple[int, int]:
    """`batch_share` of a process, from the parts of a batch (of `ways`) that each process's devices hold."""
    groups = sorted({tuple(sorted(held)) for held in parts.values()})
    sizes = {len(group) for group in groups}
    if len(sizes) > 1 or sum(map(len, groups)) != ways:
        raise BadInputError(
            f"mesh: its {ways} parts of a batch are spread unevenly over {len(parts)} processes; make data x "
            "fsdp x expert a multiple of the processes, or tensor one of a process's devices"
        )
    return groups.index(tuple(sorted(parts[process]))), len(groups)


def placed(mesh: Mesh, rules: Rules = DEFAULT_RULES, microbatches: int = 1) -> AbstractContextManager[None]:
    """While tracing inside, the constraints of models are mapped to `mesh` by `rules`; so many parts
    of a batch follow each other where the mesh has pipeline stages."""
    one_stage = {**mesh.shape, "stage": 1}
    return placed_on(
        MeshPlacement(
            mesh,
            lambda axes, shape: partition(rules, axes, shape, mesh),
            lambda axes, shape: _partition(rules, axes, shape, one_stage),
            microbatches,
        )
    )


def sharding_table(tree: Any, mesh: AnyMesh, rules: Rules = DEFAULT_RULES) -> list[tuple[str, str, str, str]]:
    """Rows (parameter, shape, logical axes, partition), sorted by name."""
    rows = []
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_variable)[0]
    for path, node in leaves:
        if not _is_variable(node):
            continue
        axes, shape = logical_axes(node), node.get_value().shape
        spec = partition(rules, axes, shape, mesh)
        entries = [*spec, *[None] * (len(shape) - len(spec))]
        layout = ", ".join("-" if e is None else e if isinstance(e, str) else "+".join(e) for e in entries)
        rows.append(
            (
                jax.tree_util.keystr(path, simple=True, separator="."),
                " x ".join(map(str, shape)),
                ", ".join(str(axis) for axis in axes),
                layout,
            )
        )
    return sorted(rows)
