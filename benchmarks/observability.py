"""What watching a run costs: goodput's clock, spike detection and TensorBoard, on against off, in turn.

    python benchmarks/observability.py            # a minute or two on 2 CPU cores

Blocks of steps of one small model, with and without, alternate in one process. Prints JSON: the median ratio of
neighbouring blocks with a bootstrap interval, and, what a busy machine moves less, the share of a step's time
that is spent inside the calls that watch.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from scaling.config.environment import choose_platform
from scaling.config.load import load_run
from scaling.config.run import RunConfig
from scaling.train.clock import Clock
from scaling.train.inputs import Inputs, open_inputs
from scaling.train.progress import Silent
from scaling.train.run_directory import RunDirectory
from scaling.train.spikes import SpikeDetector
from scaling.train.step import TrainStep


class Bench:
    def __init__(self, run: RunConfig, directory: RunDirectory, inputs: Inputs) -> None:
        self.run, self.directory, self.batches = run, directory, inputs.batches
        self.functions = TrainStep(run, inputs.mesh)
        self.state = self.functions.init(0)
        self.clock = Clock(lambda: self.batches.wait_seconds)
        assert run.train.spikes is not None
        self.detector = SpikeDetector(run.train.spikes)
        self.step, self.inside = 0, 0.0

    def block(self, steps: int, watched: bool) -> float:
        """Seconds of so many steps; the metrics of each are read after the next was dispatched, as a run does."""
        begin = time.perf_counter()
        pending: Any = None
        for _ in range(steps):
            batch = self.functions.place(next(self.batches))
            self.state, metrics = self.functions.step(
                self.state, batch, np.float32(1e-3), np.int32(self.step)
            )
            self.step += 1
            if pending is not None:
                self.observe(pending, watched)
            pending = metrics
        self.observe(pending, watched)
        return time.perf_counter() - begin

    def observe(self, metrics: Any, watched: bool) -> None:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not watched:
            return
        began = time.perf_counter()
        elapsed = self.clock.charge("step")
        self.detector.judge(values)
        if self.step % self.run.train.log_every == 0:
            line = {
                "step": self.step,
                "branch": None,
                **values,
                "seconds": self.clock.step,
                "elapsed": elapsed,
            }
            self.directory.append_metrics(line)
        self.inside += time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=12, help="pairs of blocks, with and without")
    parser.add_argument("--steps", type=int, default=10, help="steps of a block")
    options = parser.parse_args()
    choose_platform()
    run = load_run("cpu", ["train.spikes=true", "train.checkpoint_every=100", "train.log_every=10"])
    inputs = open_inputs(run, Silent())
    ratios, off = [], 0.0
    with tempfile.TemporaryDirectory() as folder, RunDirectory(Path(folder) / "run", run) as directory:
        bench = Bench(run, directory, inputs)
        for watched in (False, True):  # compiled, and the libraries that watch imported
            bench.block(2 * run.train.log_every, watched)
        bench.inside, on = 0.0, 0.0
        for pair in range(options.blocks):
            order = (False, True) if pair % 2 == 0 else (True, False)
            seconds = {watched: bench.block(options.steps, watched) for watched in order}
            ratios.append(seconds[True] / seconds[False])
            on, off = on + seconds[True], off + seconds[False]
        inside = bench.inside / on
    inputs.batches.close()
    draws = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    print(
        json.dumps(
            {
                "steps": options.blocks * options.steps,
                "step_ms_off": round(1000 * off / options.blocks / options.steps, 3),
                "median_ratio_on_over_off": round(float(np.median(ratios)), 4),
                "interval_95": [round(float(low), 4), round(float(high), 4)],
                "share_of_step_inside_the_calls": round(inside, 5),
                "goal": 0.02,
                "reached": bool(inside < 0.02),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
