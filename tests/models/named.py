"""The parameters of a module by name."""

from typing import Any

import jax
from flax import nnx


def named_parameters(module: Any) -> dict[str, nnx.Variable]:
    """As `tensors` calls them: `layers.attention.query`."""
    found = jax.tree_util.tree_flatten_with_path(module, is_leaf=lambda node: isinstance(node, nnx.Variable))
    return {
        ".".join(str(getattr(part, "name", getattr(part, "key", part))) for part in path): leaf
        for path, leaf in found[0]
        if isinstance(leaf, nnx.Variable)
    }
