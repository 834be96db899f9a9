"""A sweep of 8 learning rates x 2 seeds of one small model, four ways, in turn in one run.

    python benchmarks/stacked.py                              # a model of 100k parameters, 100 steps per run
    python benchmarks/stacked.py --model cpu-33k --tokens 100000 --sides processes sweep

- `processes`: one process per run, one after the other. `--alone` of the runs are trained so, and the time is
  scaled up to all of them.
- `sweep`: `scaling sweep`, one process that compiles once.
- `workers`: `scaling sweep --workers 2`.
- `stack`: `scaling sweep --stack 16`: one program by jax.vmap.

Prints JSON: seconds and processor seconds of each side, and how many times as long `processes` takes. Wall times of a
busy machine vary; the processor time is printed next to them.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scaling.config.load import dump_yaml, load_sweep
from scaling.runtime.environment import choose_platform
from scaling.sweep.design import expand

RATES = [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2, 1.28e-1]
SIDES = {
    "processes": [],
    "sweep": ["--stack", "off"],
    "workers": ["--workers", "2"],
    "stack": ["--stack", "16"],
}


def children() -> float:
    """Processor seconds of the processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def timed(commands: list[list[str]]) -> tuple[float, float]:
    """Seconds, and seconds of processor time, of commands of `scaling` one after the other."""
    begun, used = time.perf_counter(), children()
    for command in commands:
        done = subprocess.run([sys.executable, "-m", "scaling.cli", *command], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
    return time.perf_counter() - begun, children() - used


def sweep_tree(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "name": "rates",
        "design": "grid",
        "axes": {"train.learning_rate": RATES},
        "seeds": [0, 1],
        "base": {
            "model": arguments.model,
            "data": {"sequence_length": 128},
            "train": {
                "tokens": arguments.tokens, "batch_tokens": 2048, "learning_rate": 1e-3, "warmup_steps": 10,
                "eval_tokens": 16384,
            },
        },
    }  # fmt: skip


def measure(side: str, folder: Path, sweep: Path, runs: list[Path], alone: int) -> dict[str, float]:
    if side != "processes":
        out = folder / "sweep"
        seconds, busy = timed([["sweep", str(sweep), "--out", str(out), "--yes", *SIDES[side]]])
        return {"seconds": seconds, "processor_seconds": busy}
    commands = [["train", str(path), "--out", str(folder / path.stem)] for path in runs[:alone]]
    seconds, busy = timed(commands)
    factor = len(runs) / len(commands)
    return {"seconds": seconds * factor, "processor_seconds": busy * factor}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="cpu-96k")
    parser.add_argument("--tokens", type=int, default=204_800)
    parser.add_argument("--alone", type=int, default=4, help="runs to train in processes of their own")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    arguments = parser.parse_args()
    choose_platform()
    times: dict[str, list[dict[str, float]]] = {side: [] for side in arguments.sides}
    with tempfile.TemporaryDirectory(prefix="stacked-") as name:
        folder = Path(name)
        config = load_sweep(sweep_tree(arguments))
        (folder / "sweep.yaml").write_text(dump_yaml(config))
        runs = []
        for run in expand(config):
            runs.append(folder / f"{run.name}.yaml")
            runs[-1].write_text(dump_yaml(run))
        for number in range(arguments.rounds):
            for side in arguments.sides:
                place = folder / f"{side}-{number}"
                place.mkdir()
                times[side].append(measure(side, place, folder / "sweep.yaml", runs, arguments.alone))
    median = {
        side: {key: statistics.median(one[key] for one in times[side]) for key in times[side][0]}
        for side in times
    }
    document: dict[str, Any] = {
        "benchmark": "stacked",
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "model": arguments.model,
        "tokens": arguments.tokens,
        "runs": len(runs),
        "sides": median,
    }
    if "processes" in median:
        document["times_as_long_in_processes"] = {
            side: {key: median["processes"][key] / one[key] for key in one}
            for side, one in median.items()
            if side != "processes"
        }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
