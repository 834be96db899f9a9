"""What reliability costs: steps with and without it, in turn (A B A B) in one run of a small model on the CPU.

    python benchmarks/reliability.py                # minutes; prints JSON
    python benchmarks/reliability.py --rounds 5 --steps 5

Both sides take the same steps with the product's compiled step and save a checkpoint at the end of a round.
"on" beats at every step, has the heartbeat's threads tell a real key-value store, holds a run directory's lock
and seals the checkpoint with checksums; "off" does none of it. Both intervals are more hurried than the
product's. The ratio is the median over rounds of on / off of neighbours; the quartiles say how sure it is.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of each side")
    parser.add_argument("--steps", type=int, default=20, help="a round, and between two checkpoints")
    arguments = parser.parse_args()

    from scaling.config.environment import choose_platform

    choose_platform()
    import jax

    from scaling.parallel import heartbeat
    from scaling.parallel.mesh import make_mesh
    from scaling.train.checkpoints import Checkpoints
    from scaling.train.lock import RunLock
    from scaling.train.step import TrainStep

    from throughput import SHAPES, model_config  # isort: skip
    import socket

    from scaling.config.data import DataConfig
    from scaling.config.run import RunConfig
    from scaling.config.train import TrainConfig

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    jax.distributed.initialize(f"127.0.0.1:{port}", 1, 0, cluster_detection_method="deactivate")
    heartbeat.several = lambda: True  # this process tells its store as one of several would

    shape = SHAPES["S"]
    run = RunConfig(
        model=model_config(shape),
        data=DataConfig(sequence_length=shape.length),
        train=TrainConfig(steps=1000, batch_tokens=shape.tokens // 4, learning_rate=1e-4),
    )
    compiled = TrainStep(run, make_mesh(run.mesh, jax.devices()[:1]))
    random = np.random.default_rng(0)
    tokens = random.integers(0, shape.vocab, (shape.rows // 4, shape.length + 1), dtype=np.int32)
    batch = compiled.place({"inputs": tokens[:, :-1], "targets": tokens[:, 1:]})
    state: Any = compiled.init(0)
    number = 0

    class Unsealed(Checkpoints):
        def _seal(self, step: int) -> None:
            self._manager.wait_until_finished()

    def steps(beat: Any) -> None:
        nonlocal state, number
        for _ in range(arguments.steps):
            state, metrics = compiled.step(state, batch, np.float32(1e-4), np.int32(number))
            beat()
            float(metrics["loss"])
            number += 1

    def round_of(checkpoints: Checkpoints, beat: Any) -> float:
        begin = time.perf_counter()
        steps(beat)
        checkpoints.save(number, state, {})
        checkpoints.wait()
        return time.perf_counter() - begin

    with tempfile.TemporaryDirectory() as folder:
        on, off = Checkpoints(Path(folder) / "on", 2), Unsealed(Path(folder) / "off", 2)
        steps(lambda: None)
        seconds: dict[str, list[float]] = {"off": [], "on": []}
        for turn in range(arguments.rounds + 1):
            plain = round_of(off, lambda: None)
            lock = RunLock(Path(folder), beat_seconds=1.0)
            lock.acquire()
            with heartbeat.Heartbeat(20.0) as heart:
                guarded = round_of(on, heart.beat)
            lock.release()
            if turn:  # the first warms up
                seconds["off"].append(plain)
                seconds["on"].append(guarded)
        on.close()
        off.close()
    ratios = [b / a for a, b in zip(seconds["off"], seconds["on"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    document = {
        "benchmark": "reliability",
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "params_shape": "S of benchmarks/throughput.py, 4 rows",
        "rounds": arguments.rounds,
        "steps_a_round": arguments.steps,
        "ratio": {"on/off": middle, "quartiles": [low, high]},
        "seconds": {side: statistics.median(values) for side, values in seconds.items()},
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
