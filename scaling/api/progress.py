"""What the API says while it works: on stderr, where a person sees it and no program reads it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def say(text: str) -> None:
    """Print a line on stderr."""
    print(text, file=sys.stderr)


@contextmanager
def spinner(what: str) -> Iterator[None]:
    """A spinner where stderr is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    # Descriptor 2 is captured while the compiler runs.
    with os.fdopen(os.dup(2), "w") as stderr:
        columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
        with Progress(*columns, console=Console(file=stderr), transient=True) as progress:
            progress.add_task(what, total=None)
            yield


@contextmanager
def work_bar() -> Iterator[Callable[[str, float], None]]:
    """A bar that vanishes at the end, where stderr is a terminal: called with a phase and the share done."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda phase, share: bar.update(task, description=phase, completed=share)
