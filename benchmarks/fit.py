"""Fit speed against SciPy's L-BFGS-B looped over the same starts, on the same objective, in one run.

    python benchmarks/fit.py

prints one JSON document: wall and processor seconds for 4,500 starts on 240 points, for 4,000 bootstrap resamples, and for the
loop (measured on `--loop` starts and scaled up), with the objective each side reached.
Processor seconds are those of the whole process, all threads: a busy neighbour stretches wall seconds only.

    python benchmarks/fit.py --command [--against CHECKOUT] [--rounds 3]

measures the default `scaling fit` of 18 and of 100 points from the start of its process to the end, in turn with
that of another checkout of the project.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from scaling.laws.forms.laws import LAWS
from scaling.laws.points import Points
from scaling.laws.solving.optimise import optimise
from scaling.laws.solving.problem import Problem
from scaling.laws.uncertainty.bootstrap import bootstrap_parameters

DELTA = 1e-3


class Clock:
    """Wall and processor seconds since it was made."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self, scale: float = 1.0) -> dict[str, float]:
        """Both, times `scale`."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {"wall": round(wall * scale, 2), "cpu": round(cpu * scale, 2)}


def synthetic(n: int = 240) -> Points:
    """Hoffmann's law with heavy-tailed noise of 1%."""
    random = np.random.default_rng(zlib.crc32(b"fit"))
    params, tokens = 10 ** random.uniform(7, 10, n), 10 ** random.uniform(9, 11.5, n)
    loss = (1.69 + 406.4 / params**0.34 + 410.7 / tokens**0.28) * np.exp(0.01 * random.standard_t(4, n))
    names = tuple(map(str, range(n)))
    one, flops = np.ones(n), 6 * params * tokens
    counting = {"params": "synthetic", "flops": "6ND"}
    return Points(params, tokens, flops, loss, one, names, names, ("",) * n, None, counting, "synthetic")


def huber_and_gradient(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    e, a, b, alpha, beta = theta
    t = np.stack([np.full(len(y), e), a - alpha * x[:, 0], b - beta * x[:, 1]])
    top = t.max(axis=0)
    p = np.exp(t - top)
    total = p.sum(axis=0)
    residual = top + np.log(total) - y
    p /= total
    size = np.abs(residual)
    value = np.where(size <= DELTA, size**2 / 2, DELTA * (size - DELTA / 2)).sum()
    s = np.clip(residual, -DELTA, DELTA) * p
    gradient = np.array(
        [s[0].sum(), s[1].sum(), s[2].sum(), -(s[1] * x[:, 0]).sum(), -(s[2] * x[:, 1]).sum()]
    )
    return float(value), gradient


def default_command(checkout: Path, csv: Path) -> dict[str, float]:
    """Wall and processor seconds of `scaling fit CSV` in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(checkout), "JAX_ENABLE_COMPILATION_CACHE": "false"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "scaling.cli", "fit", str(csv)]
    subprocess.run(command, cwd=checkout, env=environment, check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 2), "cpu": round(cpu, 2)}


def compare_commands(against: Path | None, rounds: int) -> dict[str, object]:
    """Seconds of the default command by number of points and checkout, and the ratio of their medians."""
    checkouts = {"here": Path(__file__).resolve().parents[1]}
    if against is not None:
        checkouts["against"] = against.resolve()
    out: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as directory:
        for n in (18, 100):
            points, csv = synthetic(n), Path(directory) / f"{n}.csv"
            rows = zip(points.params, points.tokens, points.loss, strict=True)
            csv.write_text("params,tokens,loss\n" + "".join(f"{p:.0f},{t:.0f},{v:.6f}\n" for p, t, v in rows))
            seen: dict[str, list[dict[str, float]]] = {name: [] for name in checkouts}
            for _ in range(rounds):
                for name, checkout in checkouts.items():
                    seen[name].append(default_command(checkout, csv))
            median = {
                name: {k: float(np.median([one[k] for one in runs])) for k in ("wall", "cpu")}
                for name, runs in seen.items()
            }
            row: dict[str, object] = {"seconds": seen, "median": median}
            if against is not None:
                row["ratio"] = {
                    k: round(median["here"][k] / median["against"][k], 3) for k in ("wall", "cpu")
                }
            out[f"{n} points"] = row
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--command", action="store_true", help="the default `scaling fit` instead")
    parser.add_argument("--against", type=Path, help="another checkout, for --command")
    parser.add_argument("--rounds", type=int, default=3, help="for --command")
    parser.add_argument("--loop", type=int, default=60, help="starts given to SciPy")
    parser.add_argument("--resamples", type=int, default=4000)
    args = parser.parse_args()
    if args.command:
        print(json.dumps(compare_commands(args.against, args.rounds), indent=2))
        return
    law, points = LAWS["chinchilla"], synthetic()
    problem = Problem.of(law, points, DELTA)

    clock = Clock()
    best = optimise(problem, 0)
    first = clock.read()
    clock = Clock()
    optimise(problem, 0)
    again = clock.read()
    clock = Clock()
    bootstrap_parameters(best, points, args.resamples, 0)
    bootstrap = clock.read()

    starts = law.starts(problem.x, problem.log_target, problem.reference)
    some = starts[np.random.default_rng(0).choice(len(starts), args.loop, replace=False)]
    lower, upper = np.array(law.bounds).T
    values = []
    clock = Clock()
    for start in np.clip(some, lower, upper):
        out = minimize(
            lambda t: tuple(v / DELTA for v in huber_and_gradient(t, problem.x, problem.log_target)),
            start,
            jac=True,
            method="L-BFGS-B",
            bounds=law.bounds,
            options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-10},
        )
        values.append(out.fun * DELTA)
    loop = clock.read(len(starts) / args.loop)
    print(
        json.dumps(
            {
                "points": len(points),
                "starts": best.n_starts,
                "starts_at_best": best.n_at_best,
                "seconds_with_compilation": first,
                "seconds": again,
                "bootstrap_resamples": args.resamples,
                "bootstrap_seconds": bootstrap,
                "scipy_loop_seconds": loop,
                "faster_with_compilation": {k: round(loop[k] / first[k], 1) for k in loop},
                "faster": {k: round(loop[k] / again[k], 1) for k in loop},
                "objective": best.value,
                "scipy_objective": min(values),
                "scipy_share_within_1e-4": float(np.mean(np.array(values) < best.value * (1 + 1e-4))),
                "gradient_norm": best.gradient,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
