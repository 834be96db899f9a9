"""Several processes as one run: how they find each other, share results and end together.

`joined` is a no-op for one process, and everything here then costs nothing. What all must agree on goes
through the key-value store of `jax.distributed`, which needs no device and waits as long as it must; only the
vote on stopping, taken at every step, is a collective of the devices.
"""

import functools
import json
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import FrameType
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.runtime.errors import BadInputError, StorageError
from scaling.runtime.files import cache_root

T = TypeVar("T")

AUTO = "auto"  # the coordinator that JAX's own detection of clusters finds
TRY_AGAIN = (
    75  # exit code (EX_TEMPFAIL): the same command, started again on all, resumes from the last checkpoint
)
_ADDRESS = re.compile(r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{1,5}$")
_SHUTDOWN_SECONDS = 60  # that a process waits at its end for the others to come to theirs
_WAIT_MS = 7 * 86_400_000  # tokenising may take long; the death of a process ends any wait
_rounds = count()  # every process takes part in the same rounds, in the same order


class SharedError(Exception):
    """An error that every process of a run raises, at the same place: nothing waits for this one."""


def _asked(
    coordinator: str | None, processes: int | None, process_id: int | None, environment: Mapping[str, str]
) -> tuple[str | None, int | None, int | None]:
    """What options say, and the environment where they say nothing.

    Raises:
        BadInputError: no numbers, no address, or one of the three without the others.
    """

    def number(option: int | None, name: str) -> int | None:
        text = environment.get(name)
        if option is None and text is not None and not text.isdecimal():
            raise BadInputError(f"{name}={text!r}: give an integer")
        return option if option is not None or text is None else int(text)

    coordinator = coordinator or environment.get("SCALING_COORDINATOR")
    processes = number(processes, "SCALING_PROCESSES")
    process_id = number(process_id, "SCALING_PROCESS_ID")
    if processes is not None and processes < 1:
        raise BadInputError(f"--processes {processes}: give at least 1")
    if coordinator == AUTO or processes == 1:
        return coordinator, processes, process_id
    given = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if 0 < len(missing) < 3:
        raise BadInputError(
            f"{missing[0]}: missing; give --coordinator HOST:PORT, --processes and --process-id together "
            "(or SCALING_COORDINATOR, SCALING_PROCESSES, SCALING_PROCESS_ID), or --coordinator auto"
        )
    if coordinator is not None and not _ADDRESS.match(coordinator):
        raise BadInputError(
            f"--coordinator {coordinator}: give HOST:PORT, for example 10.0.0.1:8476, or auto"
        )
    if processes is not None and process_id is not None and not 0 <= process_id < processes:
        raise BadInputError(f"--process-id {process_id}: give a number from 0 to {processes - 1}")
    return coordinator, processes, process_id


def _cluster_of_several(environment: Mapping[str, str]) -> bool:
    """Whether a scheduler that JAX knows started this process as one of several."""
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES", "")
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1") if "SLURM_PROCID" in environment else "1"
    slices = environment.get("MEGASCALE_NUM_SLICES", "1")
    return "," in hosts or any(text.isdecimal() and int(text) > 1 for text in (tasks, slices))


@contextmanager
def joined(
    coordinator: str | None = None,
    processes: int | None = None,
    process_id: int | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[None]:
    """Inside, this process is one of its run's, as options, environment or cluster say; often the only one.

    An error that all processes raise (bad input, a loss that is not finite, a request to stop) passes
    through. Any other is of this process alone: the others wait for it in a collective, so it ends here and
    at once, which they notice.

    Raises:
        BadInputError: the options contradict each other, or no cluster is found.
    """
    coordinator, processes, process_id = _asked(coordinator, processes, process_id, environment)
    several = coordinator is not None or (processes is None and _cluster_of_several(environment))
    if processes == 1 or not several:
        yield
        return
    detected = coordinator in (None, AUTO)
    # Python's own handlers see SIGTERM: the service's would take it and do nothing (see `vote`).
    jax.config.update("jax_enable_preemption_service", False)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(
            None if detected else coordinator,
            processes,
            process_id,
            cluster_detection_method=None if detected else "deactivate",
            shutdown_timeout_seconds=_SHUTDOWN_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        line = (str(error).splitlines() or [""])[0]
        where = "the cluster that JAX detects" if detected else coordinator
        raise BadInputError(f"--coordinator {coordinator or AUTO}: cannot join {where}: {line}") from error
    try:
        yield
    except (SharedError, BadInputError):
        jax.distributed.shutdown()
        raise
    except BaseException as error:
        if isinstance(error, StorageError):
            print(f"scaling: {error}", file=sys.stderr)
        else:
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(TRY_AGAIN)
    jax.distributed.shutdown()


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that writes what all have in common."""
    return jax.process_index() == 0


def everywhere(function: Callable[[], T]) -> T:
    """What `function` returns here, once it has returned on every process.

    Raises:
        BadInputError: it did so on some process; then on all, with the words of the first of them.
    """
    if not several():
        return function()
    said, result = None, None
    try:
        result = function()
    except BadInputError as error:
        said = str(error)
    number = next(_rounds)
    client().key_value_set(f"scaling/{number}/{jax.process_index()}", json.dumps(said))
    answers = [
        json.loads(client().blocking_key_value_get(f"scaling/{number}/{process}", _WAIT_MS))
        for process in range(jax.process_count())
    ]
    for process, answer in enumerate(answers):
        if answer is not None:
            where = "" if process == jax.process_index() else f" (process {process})"
            raise BadInputError(answer + where)
    return result  # type: ignore[return-value]


def from_first(function: Callable[[], Any]) -> Any:
    """What `function`, called on the first process alone, returned there: plain JSON, the same everywhere.

    Raises:
        BadInputError: it did so there; then everywhere.
    """
    if not several():
        return function()
    key = f"scaling/{next(_rounds)}"
    if is_first():
        try:
            answer = {"value": function()}
        except BadInputError as error:
            answer = {"error": str(error)}
        client().key_value_set(key, json.dumps(answer))
    answer = json.loads(client().blocking_key_value_get(key, _WAIT_MS))
    if "error" in answer:
        raise BadInputError(answer["error"])
    return answer["value"]


def client() -> Any:
    """The key-value store that all processes of a run share."""
    from jax._src import distributed  # the store has no public name; Orbax reads it from here too

    return distributed.global_state.client


@functools.cache
def _votes() -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
    mesh = Mesh(np.array(jax.devices()), ("devices",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    largest = jax.jit(lambda x: x.max(), out_shardings=everywhere)
    return NamedSharding(mesh, PartitionSpec("devices")), largest


def vote(number: int | None) -> Callable[[], int | None]:
    """Put forward a signal number, or none; the largest that any process put forward, when it is called.

    Between the two the devices work on: whoever reads the answer a step later waits for nothing.
    """
    if not several():
        return lambda: number
    split, largest = _votes()
    mine = np.full(jax.local_device_count(), number or 0, np.int32)
    answer = largest(jax.make_array_from_process_local_data(split, mine))
    return lambda: int(answer) or None


def keep_compiled() -> None:
    """Let JAX keep compiled programs in the cache of this package, unless the user chose another place."""
    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        jax.config.update("jax_compilation_cache_dir", str(cache_root() / "xla"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


class RunFailedError(SharedError):
    """A run that cannot continue, in one line: a loss that is not finite, for example."""


class InterruptedRunError(SharedError):
    """A run that stopped on a signal, after it saved its state."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class StopRequest:
    """Remembers SIGTERM and SIGINT instead of ending the process."""

    signal_number: int | None = None

    def __init__(self) -> None:
        self._inside = 0
        self._old: dict[int, Any] = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal_number = number

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Catch the signals while inside, also more than once; does nothing off the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        if self._inside == 0:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._old[number] = signal.signal(number, self._remember)
        self._inside += 1
        try:
            yield self
        finally:
            self._inside -= 1
            if self._inside == 0:
                for caught, handler in self._old.items():
                    signal.signal(caught, handler)
