"""Logical axis names: on parameters where they are created, on activations where they matter.

Models name what an axis is ("embed", "heads", "batch"); `scaling.parallel` says on which mesh axis it lies.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
from flax import nnx

Axes = tuple[str | None, ...]
Constrain = Callable[[jax.Array, Axes], jax.Array]

_CONSTRAIN: ContextVar[Constrain | None] = ContextVar("constrain", default=None)


def param(value: jax.Array, *axes: str | None) -> nnx.Param:
    """A parameter that carries the logical name of each of its axes as plain metadata.

    Raises:
        ValueError: as many names as axes are needed.
    """
    if value.ndim != len(axes):
        raise ValueError(f"a parameter of shape {value.shape} needs {value.ndim} axis names, got {axes}")
    return nnx.Param(value, axes=axes)


def constrain(x: jax.Array, *axes: str | None) -> jax.Array:
    """Ask for `x` to be laid out by its logical axes; does nothing outside `constraining`."""
    apply = _CONSTRAIN.get()
    return x if apply is None else apply(x, axes)


@contextmanager
def constraining(apply: Constrain) -> Iterator[None]:
    """While tracing inside, `constrain` calls `apply(x, logical axes)`."""
    token = _CONSTRAIN.set(apply)
    try:
        yield
    finally:
        _CONSTRAIN.reset(token)
