"""Looking at activations from outside: what a model computes on the way, told to whoever listens.

Nothing is kept, and nothing enters the program, unless a listener is there while it is traced. The model must
then run unrolled and without rematerialisation: what is traced inside a scan does not exist outside it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jax import Array

_LISTENER: ContextVar[list[tuple[str, Array]] | None] = ContextVar("listener", default=None)


def tap(name: str, value: Callable[[], Array]) -> None:
    """Tell a listener what `value()` gives; without one it is not called."""
    seen = _LISTENER.get()
    if seen is not None:
        seen.append((name, value()))


@contextmanager
def listening() -> Iterator[list[tuple[str, Array]]]:
    """While tracing inside, the list fills with names and values, layer by layer."""
    seen: list[tuple[str, Array]] = []
    token = _LISTENER.set(seen)
    try:
        yield seen
    finally:
        _LISTENER.reset(token)
