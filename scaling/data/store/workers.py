"""Worker processes that make shards: fresh interpreters without JAX, which end when their parent does.

They are not started by `multiprocessing`, which would run the parent's main module again: a script or a
notebook that prepares data needs no `if __name__ == "__main__"`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from typing import Any

from scaling.data.sources.interface import Part
from scaling.data.store.manifest import Shard
from scaling.data.store.tokenise import ShardMaker
from scaling.runtime.errors import BadInputError

Task = tuple[int, Sequence[Part]]
"""The number of a shard, and its parts."""
Report = Callable[[int, int], None]
"""Called with the number of a shard and the bytes of its text that are tokenised so far."""
_REPORT_SECONDS = 0.2
_MAIN = "from scaling.data.store.workers import main; main()"


def make_shards(maker: ShardMaker, tasks: Sequence[Task], workers: int, report: Report) -> Iterator[Shard]:
    """Make shards, each in one of `workers` processes (1: in this one); yields them as they are finished.

    Raises:
        BadInputError: a part cannot be read, or a worker has ended.
        OSError: a shard cannot be written.
    """
    if workers == 1 or len(tasks) == 1:
        for number, parts in tasks:
            yield maker.make(number, parts, partial(report, number))
        return
    pool = [_Worker(maker) for _ in range(min(workers, len(tasks)))]
    waiting = list(reversed(tasks))
    try:
        for worker in pool:
            worker.begin(waiting.pop())
        while busy := {worker.connection: worker for worker in pool if worker.number is not None}:
            for connection in wait(list(busy)):
                worker = busy[connection]  # type: ignore[index]
                what, content = worker.receive()
                if what == "progress":
                    assert worker.number is not None
                    report(worker.number, content)
                    continue
                worker.number = None
                if waiting:
                    worker.begin(waiting.pop())
                yield content
    finally:
        for worker in pool:
            worker.close()


class _Worker:
    """A process, and the number of the shard that it makes."""

    def __init__(self, maker: ShardMaker) -> None:
        self.number: int | None = None
        self.connection, theirs = Pipe()
        path = os.pathsep.join(one or os.getcwd() for one in sys.path)
        # One core each: libraries that start threads would only contend.
        environment = os.environ | {
            "PYTHONPATH": path,
            "TOKENIZERS_PARALLELISM": "false",
            "RAYON_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN, str(theirs.fileno())],
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno() if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
        )
        theirs.close()
        self._send(maker)

    def begin(self, task: Task) -> None:
        self.number = task[0]
        self._send(task)

    def receive(self) -> tuple[str, Any]:
        """The next message; raises what the worker raised."""
        try:
            what, content = self.connection.recv()
        except (EOFError, ConnectionError):
            raise self._ended() from None
        if what == "error":
            raise content
        return what, content

    def _send(self, message: Any) -> None:
        try:
            self.connection.send(message)
        except ConnectionError:
            raise self._ended() from None

    def _ended(self) -> BadInputError:
        code = self._process.wait()
        reason = f"by signal {-code}, perhaps for lack of memory" if code < 0 else f"with code {code}"
        return BadInputError(
            f"a worker process ended {reason}; finished shards are kept: run the command again, with fewer "
            "--workers if memory is short"
        )

    def close(self) -> None:
        self.connection.close()
        if self.number is not None:
            self._process.terminate()
        self._process.wait()


def _has_descriptor(stream: Any) -> bool:
    try:
        return isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False


def main() -> None:
    """A worker process; its argument is the file descriptor of its end of the pipe."""
    with contextlib.suppress(EOFError, ConnectionError):
        _work(Connection(int(sys.argv[1])))


def _work(connection: Connection) -> None:
    """Make the received shards until the parent closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both; the parent ends its workers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # temporary files are removed on the way out
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    maker: ShardMaker = connection.recv()
    while True:
        try:
            number, parts = connection.recv()
        except EOFError:
            return
        said = 0.0

        def progress(done: int) -> None:
            nonlocal said
            if time.monotonic() - said > _REPORT_SECONDS:
                said = time.monotonic()
                connection.send(("progress", done))

        try:
            connection.send(("shard", maker.make(number, parts, progress)))
        except (BadInputError, OSError) as error:
            connection.send(("error", error))


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent was killed."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
