"""What reliability and watching cost of a step: with and without them, in turn (A B A B) in one run.

    python benchmarks/overhead.py                        # shape S of benchmarks/throughput.py, 10 minutes on 2 cores
    python benchmarks/overhead.py --rounds 3 --steps 2

Both sides take the same steps with the product's compiled step and save a checkpoint at the end of a round. "on"
beats at every step while the heartbeat's threads tell a real key-value store, holds a run directory's lock, charges
the clock of goodput, judges every loss for a spike, appends every loss to metrics.jsonl and TensorBoard, and seals
the checkpoint with checksums; "off" does none of it. The threads are more hurried than the product's, and so are
checkpoints and metrics.

Prints JSON: the median of on / off over neighbouring rounds with its quartiles, and, what a busy machine moves less,
the share of the time of "on" that its main thread spends inside those calls.
"""

import argparse
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
from throughput import SHAPES, model_config

from scaling.config.data import DataConfig
from scaling.config.run import RunConfig
from scaling.config.train import SpikesConfig, TrainConfig
from scaling.parallel import heartbeat
from scaling.parallel.mesh import make_mesh
from scaling.runtime.environment import choose_platform
from scaling.train.checkpoints import Checkpoints
from scaling.train.lock import RunLock
from scaling.train.record import Clock
from scaling.train.run_directory import RunDirectory
from scaling.train.spikes import SpikeDetector
from scaling.train.step import TrainStep


class Unsealed(Checkpoints):
    """Without checksums."""

    def _seal(self, step: int) -> None:
        self._manager.wait_until_finished()


class Bench:
    """One state, stepped by both sides."""

    def __init__(self, run: RunConfig, folder: Path) -> None:
        shape = SHAPES["S"]
        self.functions = TrainStep(run, make_mesh(run.mesh, jax.devices()[:1]))
        random = np.random.default_rng(0)
        tokens = random.integers(0, shape.vocab, (shape.rows, shape.length + 1), dtype=np.int32)
        self.batch = self.functions.place({"inputs": tokens[:, :-1], "targets": tokens[:, 1:]})
        self.state: Any = self.functions.init(0)
        self.folder, self.directory = folder, RunDirectory(folder, run)
        self.checkpoints = {True: Checkpoints(folder / "on", 2), False: Unsealed(folder / "off", 2)}
        self.clock, self.detector = Clock(), SpikeDetector(SpikesConfig())
        self.number, self.inside = 0, 0.0

    def round(self, steps: int, on: bool) -> float:
        """Seconds of so many steps and a checkpoint."""
        begin = time.perf_counter()
        with self._guards() if on else nullcontext(lambda: None) as beat:
            for _ in range(steps):
                self.state, metrics = self.functions.step(
                    self.state, self.batch, np.float32(1e-4), np.int32(self.number)
                )
                self.number += 1
                values = {name: float(value) for name, value in jax.device_get(metrics).items()}
                if on:
                    self._watch(values, beat)
            self.checkpoints[on].save(self.number, self.state, {})
            self.checkpoints[on].wait()
        return time.perf_counter() - begin

    @contextmanager
    def _guards(self) -> Iterator[Callable[[], None]]:
        lock = RunLock(self.folder, beat_seconds=1.0)
        lock.acquire()
        try:
            with heartbeat.Heartbeat(20.0) as heart:
                yield heart.beat
        finally:
            lock.release()

    def _watch(self, values: dict[str, float], beat: Callable[[], None]) -> None:
        begin = time.perf_counter()
        beat()
        self.clock.charge("step")
        self.detector.judge(values)
        self.directory.append_metrics({"step": self.number, "branch": None, **values})
        self.inside += time.perf_counter() - begin

    def close(self) -> None:
        for checkpoints in self.checkpoints.values():
            checkpoints.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="of each side")
    parser.add_argument("--steps", type=int, default=8, help="a round, and between two checkpoints")
    arguments = parser.parse_args()
    choose_platform()
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    jax.distributed.initialize(f"127.0.0.1:{port}", 1, 0, cluster_detection_method="deactivate")
    heartbeat.several = lambda: True  # this process tells its store as one of several would

    shape = SHAPES["S"]
    run = RunConfig(
        model=model_config(shape),
        data=DataConfig(sequence_length=shape.length),
        train=TrainConfig(steps=1000, batch_tokens=shape.tokens, learning_rate=1e-4),
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(run, Path(folder))
        for on in (False, True):  # compiled, and what watches imported
            bench.round(2, on)
        bench.inside = 0.0
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(arguments.rounds):
            for on in (False, True) if turn % 2 == 0 else (True, False):
                seconds[on].append(bench.round(arguments.steps, on))
        bench.close()
    ratios = [on / off for off, on in zip(seconds[False], seconds[True], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    document = {
        "benchmark": "overhead",
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "rounds": arguments.rounds,
        "steps_a_round": arguments.steps,
        "on_over_off": round(middle, 4),
        "quartiles": [round(low, 4), round(high, 4)],
        "share_inside_the_calls": round(bench.inside / sum(seconds[True]), 5),
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
