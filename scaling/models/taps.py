"""Intermediate activations for a listener, by name.

Nothing is kept, and nothing is added to the program, unless a listener exists while it is traced. The model
must then run unrolled and without rematerialisation: values traced inside a scan do not exist outside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jax import Array

_LISTENER: ContextVar[list[tuple[str, Array]] | None] = ContextVar("listener", default=None)


def tap(name: str, value: Callable[[], Array]) -> None:
    """Pass `value()` to the listener; without one it is not called."""
    seen = _LISTENER.get()
    if seen is not None:
        seen.append((name, value()))


@contextmanager
def listening() -> Iterator[list[tuple[str, Array]]]:
    """A list that collects names and values, layer by layer, while a model is traced inside."""
    seen: list[tuple[str, Array]] = []
    token = _LISTENER.set(seen)
    try:
        yield seen
    finally:
        _LISTENER.reset(token)
