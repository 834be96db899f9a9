"""The progress of `scaling data prepare` on stderr."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scaling.api.progress import say

if TYPE_CHECKING:
    from scaling.data.store.prepare import Done, Progress

_LINE_SECONDS = 10.0


@contextmanager
def preparation_bar() -> Iterator["Progress"]:
    """A bar with MB of text per second and the time left; not on a terminal, a line every 10 seconds."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    begin = said = time.monotonic()
    if not console.is_terminal:

        def report(done: "Done") -> None:
            nonlocal said
            if time.monotonic() - said >= _LINE_SECONDS:
                said = time.monotonic()
                say(line(done, said - begin))

        yield report
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(max(4, min(30, console.width - 50))),
        TextColumn("{task.percentage:.0f}%"),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("preparing", total=None, speed="")

        def update(done: "Done") -> None:
            speed = done.text / max(time.monotonic() - begin, 1e-9) / 1e6
            bar.update(
                task,
                description=f"shard {done.shards}/{done.of}",
                completed=done.read,
                total=max(1, done.total),
                speed=f"{speed:.1f} MB/s",
            )

        yield update


def line(done: "Done", seconds: float) -> str:
    """One line: shards, share, speed, time left."""
    share = done.read / max(1, done.total)
    now = max(seconds, 1e-9)
    left = (
        ""
        if done.began >= done.read
        else f", {_clock((done.total - done.read) * now / (done.read - done.began))} left"
    )
    return f"shard {done.shards}/{done.of}, {share:.0%}, {done.text / now / 1e6:.1f} MB/s{left}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
