"""From logical axis names to mesh axes: one frozen table, and the shardings that follow from it."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from flax import nnx
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from scaling.models.axes import constraining

MeshAxes = str | tuple[str, ...] | None
AnyMesh = Mesh | AbstractMesh


@dataclasses.dataclass(frozen=True)
class Rules:
    """The mesh axis, or axes, over which each logical axis is split; None replicates.

    The default is fully sharded data parallelism (ZeRO stage 3; Rajbhandari et al. 2020) with Megatron's
    tensor parallelism (Shoeybi et al. 2019): widths over `fsdp`, heads, feed-forward and vocabulary over
    `tensor`, and the batch over `data` and `fsdp` together.
    """

    batch: MeshAxes = ("data", "fsdp")
    length: MeshAxes = None
    act_embed: MeshAxes = None
    embed: MeshAxes = "fsdp"
    heads: MeshAxes = "tensor"
    head: MeshAxes = None
    mlp: MeshAxes = "tensor"
    vocab: MeshAxes = "tensor"
    position: MeshAxes = None
    norm: MeshAxes = None
    layers: MeshAxes = None

    def spec(self, axes: tuple[str | None, ...], shape: tuple[int, ...], mesh: AnyMesh) -> PartitionSpec:
        """The partition of an array whose axes have these logical names.

        An axis that its mesh axes do not divide is replicated (GPT-2's 50,257 pieces over 2 devices).

        Raises:
            ValueError: an unknown logical name, or one mesh axis used twice.
        """
        entries: list[MeshAxes] = []
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
            ways = 1
            for axis in mesh_axes:
                ways *= mesh.shape[axis]
            split = ways > 1 and size % ways == 0
            entries.append((mesh_axes if len(mesh_axes) > 1 else mesh_axes[0]) if split else None)
        while entries and entries[-1] is None:
            entries.pop()
        return PartitionSpec(*entries)


DEFAULT_RULES = Rules()


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
        axes, shape = node.get_metadata("axes"), value.shape
        fits = len(axes) <= len(shape) <= len(axes) + 1
        spec = rules.spec(logical_axes(node), shape, mesh) if fits else PartitionSpec()
        return node.replace(NamedSharding(mesh, spec))

    return jax.tree.map(of, tree, is_leaf=_is_variable)


def batch_sharding(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> NamedSharding:
    """The sharding of batch arrays (B, L): rows over the batch axes."""
    return NamedSharding(mesh, PartitionSpec(rules.batch))


@contextmanager
def constrained(mesh: Mesh, rules: Rules = DEFAULT_RULES) -> Iterator[None]:
    """While tracing inside, the constraints that models ask for are laid on `mesh` by `rules`."""

    def apply(x: jax.Array, axes: tuple[str | None, ...]) -> jax.Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, rules.spec(axes, x.shape, mesh)))

    if mesh.size == 1:
        yield
        return
    with constraining(apply):
        yield


def sharding_table(tree: Any, mesh: AnyMesh, rules: Rules = DEFAULT_RULES) -> list[tuple[str, str, str, str]]:
    """Rows (parameter, shape, logical axes, partition), sorted by name: what lies where."""
    rows = []
    leaves = jax.tree_util.tree_flatten_with_path(tree, is_leaf=_is_variable)[0]
    for path, node in leaves:
        if not _is_variable(node):
            continue
        axes, shape = logical_axes(node), node.get_value().shape
        spec = rules.spec(axes, shape, mesh)
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
