"""Training several small runs at once in worker processes, each with its own share of the CPU cores.

A small model cannot keep many cores busy: two runs at once on one core each finish sooner than one after the
other on both. A worker trains one run after another; the parent assigns the runs, the most expensive first,
and shows the progress that workers report.
"""

import ctypes
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from scaling.config.record import RunRecord
from scaling.config.run import RunConfig
from scaling.parallel.processes import InterruptedRunError, RunFailedError, StopRequest
from scaling.runtime.errors import BadInputError
from scaling.train.loop import RunOutcome
from scaling.train.progress import Reporter, Status

_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
_POLL_SECONDS = 0.5  # between checks for a stop signal


def available_cores() -> list[int]:
    """The CPU cores available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def check_workers(workers: int) -> None:
    """Refuse a number of workers that is not possible here.

    Raises:
        BadInputError: not positive, or more than one with an accelerator or with several processes per run.
    """
    import jax

    from scaling.parallel.processes import several

    if workers < 1:
        raise BadInputError(f"workers={workers} is not accepted; give 1 or more")
    if workers == 1:
        return
    if several():
        raise BadInputError(f"workers={workers}: each run already uses several processes; give 1")
    if (platform := jax.default_backend()) != "cpu":
        raise BadInputError(f"workers={workers}: runs on the {platform} train one at a time; give 1")


def train_at_once(
    runs: Sequence[tuple[RunConfig, Path]],
    workers: int,
    reporter: Reporter,
    cost: Callable[[RunConfig], float],
) -> Iterator[RunOutcome]:
    """Train each run in its directory, up to `workers` at a time; yields outcomes as runs end.

    Args:
        runs: configurations and their run directories.
        workers: number of processes, which share the cores evenly.
        reporter: shows progress and messages.
        cost: expected cost of a run in any unit; the most expensive run starts first.

    Raises:
        InterruptedRunError: stopped by a signal; the workers saved their runs and ended.
    """
    todo = sorted(runs, key=lambda item: cost(item[0]))
    cores = available_cores()
    pool = [_Worker(cores[i::workers] or cores, reporter) for i in range(min(workers, len(todo)))]
    try:
        with StopRequest().listening() as stop:
            stopped: int | None = None
            while todo or any(worker.run for worker in pool):
                if stopped is None and (stopped := stop.signal_number) is not None:
                    todo.clear()
                    for worker in pool:
                        worker.stop()
                for worker in pool:
                    if worker.run is None and todo:
                        worker.begin(*todo.pop())
                busy = {w.connection: w for w in pool if w.run is not None}
                for connection in wait(list(busy), _POLL_SECONDS):
                    outcome = busy[cast(Connection, connection)].receive()
                    if outcome is not None and stop.signal_number is None:
                        yield outcome
            if stopped is not None:
                raise InterruptedRunError("stopped by a signal; the runs in progress were saved", stopped)
    finally:
        for worker in pool:
            worker.close()


class _Worker:
    """A worker process, seen from the parent."""

    def __init__(self, cores: list[int], reporter: Reporter) -> None:
        self.cores, self.reporter = cores, reporter.another()
        self.run: RunConfig | None = None
        self._start()

    def _start(self) -> None:
        # A fresh interpreter, because the threads of JAX do not survive a fork.
        context = get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.cores, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self, run: RunConfig, path: Path) -> None:
        """Start a run; a dead worker is replaced first."""
        if not self.process.is_alive():
            self.connection.close()
            self._start()
        self.run = run
        self.connection.send((run, path))

    def receive(self) -> RunOutcome | None:
        """Handle one message; returns the outcome if the run has ended."""
        assert self.run is not None
        try:
            what, content = self.connection.recv()
        except (EOFError, ConnectionError):
            self.process.join()
            what, content = "failed", f"its process ended with code {self.process.exitcode}"
        if what not in ("finished", "failed", "stopped"):
            getattr(self.reporter, what)(*content)
            return None
        run, self.run = self.run, None
        self.reporter.finish()
        record = RunRecord.model_validate_json(content) if what == "finished" else None
        return RunOutcome(run, record, None if record else RunFailedError(str(content)))

    def stop(self) -> None:
        """Make the run in progress save a checkpoint and end."""
        if self.run is not None and self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, signal.SIGTERM)

    def close(self) -> None:
        """End the process after saving the run in progress."""
        self.stop()
        while self.run is not None:
            self.receive()
        self.connection.close()
        self.process.join()


class _Relay(Reporter):
    """The reporter of a worker, which sends everything to the parent."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self, name: str, total: int, done: int) -> None:
        """Report the start of a run."""
        self._connection.send(("start", (name, total, done)))

    def advance(self, units: int, status: Status) -> None:
        """Report progress."""
        self._connection.send(("advance", (units, status)))

    def message(self, text: str) -> None:
        """Report a line for the user."""
        self._connection.send(("message", (text,)))

    def finish(self) -> None:
        """Nothing: the outcome ends the run."""

    def __exit__(self, *_: object) -> None: ...


def _work(connection: Connection, cores: list[int], parent: int) -> None:
    """The worker process: train the received runs until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the parent sends SIGTERM
    _end_with(parent)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)  # before JAX sizes its thread pool
    from scaling.train.loop import train
    from scaling.train.program import Programs

    relay, programs = _Relay(connection), Programs()
    while True:
        try:
            run, path = connection.recv()
        except EOFError:
            return
        outcome: tuple[str, Any]
        try:
            outcome = ("finished", train(run, path, relay, programs).model_dump_json())
        except InterruptedRunError as error:
            outcome = ("stopped", str(error))
        except Exception as error:  # whatever stopped this run must not stop the others
            outcome = ("failed", (str(error).splitlines() or [type(error).__name__])[0])
        connection.send(outcome)


def _end_with(parent: int) -> None:
    """Make the kernel send SIGTERM to this process when its parent is killed."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    except (OSError, AttributeError):
        return  # not Linux: a worker without parent finishes its run
    if os.getppid() != parent:  # it was killed before the call
        os._exit(1)
