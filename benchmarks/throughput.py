"""Training speed against Hugging Face GPT-2 on torch, in turn (A B A B) in one run, on the same cores.

    python benchmarks/throughput.py                    # S and M on 2 cores, about 5 minutes
    python benchmarks/throughput.py --sides ours hf_sdpa hf_compiled     # torch.compile too: needs a C++ compiler
    python benchmarks/throughput.py --shapes 30k 100k 300k 1M
    python benchmarks/throughput.py --shapes S --rounds 3 --allocator tuned
    python benchmarks/throughput.py --sides ours --against CHECKOUT     # another state of this project

prints one JSON document: for each shape and side the median tokens/s over rounds, the MFU against the GEMM
peak that the same process measured, the processor time per token, and the ratio ours / theirs, the median of
the ratios of each round, of tokens/s and of tokens per second of processor time, which a busy machine moves
less. "ours" is the product's own program, which takes several short steps per dispatch. Both sides train the same GPT-2 shape in fp32 with AdamW, no dropout, on one fixed random batch. Each runs in
its own process, which waits while the other is timed. `--allocator tuned` keeps freed memory inside the
process (glibc reads its variables at the start): both sides get it, or neither.
"""

import argparse
import dataclasses
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from scaling.config.model import DecoderConfig
from scaling.estimate.counts import train_flops_per_token
from scaling.runtime.environment import ALLOCATOR


@dataclasses.dataclass(frozen=True)
class Shape:
    """A GPT-2 with tied head and biases, and a batch of `rows` x `length` tokens."""

    vocab: int
    length: int
    width: int
    layers: int
    heads: int
    rows: int

    @property
    def tokens(self) -> int:
        return self.rows * self.length


SHAPES = {
    "30k": Shape(vocab=257, length=128, width=32, layers=2, heads=2, rows=16),
    "100k": Shape(vocab=257, length=128, width=48, layers=3, heads=3, rows=16),
    "300k": Shape(vocab=257, length=128, width=72, layers=4, heads=6, rows=16),
    "1M": Shape(vocab=257, length=128, width=112, layers=7, heads=7, rows=16),
    "tiny": Shape(vocab=256, length=64, width=32, layers=2, heads=2, rows=4),
    "S": Shape(vocab=8192, length=256, width=256, layers=6, heads=8, rows=16),
    "M": Shape(vocab=8192, length=512, width=512, layers=8, heads=8, rows=4),
}
SIDES = ("ours", "hf_sdpa", "hf_eager", "hf_compiled")


class Trainee(NamedTuple):
    """One side, compiled or ready to be: `step` trains `batches` batches and returns the last loss in nats per
    token."""

    step: Callable[[], float]
    peak_flops: Callable[[], float]
    batches: int = 1


def model_config(shape: Shape) -> DecoderConfig:
    return DecoderConfig(
        vocab_size=shape.vocab,
        max_length=shape.length,
        n_layers=shape.layers,
        d_model=shape.width,
        n_heads=shape.heads,
    )


def build_ours(shape: Shape) -> Trainee:
    """The product's own compiled program, on one device."""
    import numpy as np

    from scaling.config.data import DataConfig
    from scaling.config.run import RunConfig
    from scaling.config.train import TrainConfig
    from scaling.train.device import matmul_peak
    from scaling.train.program import Program, Steps

    run = RunConfig(
        model=model_config(shape),
        data=DataConfig(sequence_length=shape.length),
        train=TrainConfig(steps=1000, batch_tokens=shape.tokens, learning_rate=1e-4, clip_norm=None),
    )
    program = Program(run)
    program.put(0, program.functions.init(0))
    random = np.random.default_rng(0)
    tokens = random.integers(0, shape.vocab, (shape.rows, shape.length + 1), dtype=np.int32)
    batch = {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}
    number = 0

    def take(count: int) -> Any:
        nonlocal number
        number += count
        return [batch] * count, [1e-4] * count, range(number - count, number)

    def step() -> float:
        request = Steps(program.at_once, shape.rows, number, 0, take)
        return program.step({0: request})[0].read()[-1]["loss"]

    return Trainee(step, lambda: matmul_peak("float32"), program.at_once)


def build_hugging_face(shape: Shape, attention: str, threads: int) -> Trainee:
    """transformers' GPT2LMHeadModel with torch's AdamW, both as they come; `compiled` is torch.compile's."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=shape.vocab,
        n_positions=shape.length,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="sdpa" if attention == "compiled" else attention,
    )
    model = GPT2LMHeadModel(config).train()
    called = torch.compile(model) if attention == "compiled" else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1)
    tokens = torch.randint(0, shape.vocab, (shape.rows, shape.length))

    def step() -> float:
        optimizer.zero_grad()
        loss = called(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        return float(loss.item())

    def peak_flops() -> float:
        n, repeats, best = 1024, 4, float("inf")
        x = torch.ones(n, n)
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(repeats):
                torch.mm(x, x)
            best = min(best, time.perf_counter() - start)
        return repeats * 2.0 * n**3 / best

    return Trainee(step, peak_flops)


def work(side: str, shape: Shape, threads: int, warmup: int) -> None:
    """A worker: one JSON line when warm, then one for each line read: how many steps to time, at least."""
    start = time.perf_counter()
    if side == "ours":
        trainee = build_ours(shape)
    else:
        trainee = build_hugging_face(shape, side.removeprefix("hf_"), threads)
    for _ in range(warmup):
        loss = trainee.step()
    # Whatever a library prints on the way would spoil the protocol, so it has a line of its own mark.
    answer({"ready_seconds": time.perf_counter() - start, "warm_loss": loss})
    for line in sys.stdin:
        peak = trainee.peak_flops()
        seconds, busy = [], []
        for _ in range(-(-int(line) // trainee.batches)):
            start, begun = time.perf_counter(), time.process_time()
            trainee.step()
            seconds.append((time.perf_counter() - start) / trainee.batches)
            busy.append((time.process_time() - begun) / trainee.batches)
        answer(
            {
                "seconds": statistics.median(seconds),
                "processor_seconds": statistics.median(busy),
                "peak_flops": peak,
            }
        )


MARK = "throughput-worker: "


def answer(value: dict[str, Any]) -> None:
    print(MARK + json.dumps(value), flush=True)


class Worker:
    """A side in its own process, pinned to the cores that all sides share; `script` is this file of any checkout."""

    def __init__(self, side: str, script: Path, shape_name: str, arguments: argparse.Namespace) -> None:
        cores = sorted(os.sched_getaffinity(0))[: arguments.cores]
        environment = dict(os.environ, OMP_NUM_THREADS=str(len(cores)), JAX_PLATFORMS="cpu")
        environment["PYTHONPATH"] = str(script.parents[1])
        for name in ALLOCATOR:
            environment.pop(name, None)
        if arguments.allocator == "tuned":
            environment |= ALLOCATOR
        command = [sys.executable, str(script), "--worker", side, "--shapes", shape_name]
        command += ["--cores", str(len(cores)), "--warmup", str(arguments.warmup)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
        self.ready = self.read()

    def read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))
        raise SystemExit(f"a worker ended with exit code {self.process.wait()}; its error is above")

    def time(self, steps: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.read()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(shape_name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All sides of one shape, a round of each in turn."""
    shape = SHAPES[shape_name]
    flops_per_token = train_flops_per_token(model_config(shape), shape.length, "causal")
    script = Path(__file__).resolve()
    workers = {side: Worker(side, script, shape_name, arguments) for side in arguments.sides}
    if arguments.against is not None:
        other = arguments.against.resolve() / "benchmarks" / script.name
        workers["against"] = Worker("ours", other, shape_name, arguments)
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in workers}
    for _ in range(arguments.rounds):
        for side, worker in workers.items():
            rounds[side].append(worker.time(arguments.steps))
    result: dict[str, Any] = {
        "shape": dataclasses.asdict(shape),
        "flops_per_token": flops_per_token,
        "sides": {},
        "ratio": {},
        "processor_ratio": {},
    }
    for side, worker in workers.items():
        speeds = [shape.tokens / timed["seconds"] for timed in rounds[side]]
        peak = max(timed["peak_flops"] for timed in rounds[side])
        result["sides"][side] = {
            "tokens_per_second": statistics.median(speeds),
            "rounds": speeds,
            "gemm_peak_flops": peak,
            "processor_seconds_per_token": statistics.median(
                timed["processor_seconds"] / shape.tokens for timed in rounds[side]
            ),
            "mfu": statistics.median(speeds) * flops_per_token / peak,
            **worker.ready,
        }
        worker.close()
    for side in workers:
        if side != "ours" and "ours" in workers:
            for key, what in (("ratio", "seconds"), ("processor_ratio", "processor_seconds")):
                pairs = zip(rounds["ours"], rounds[side], strict=True)
                result[key][f"ours/{side}"] = statistics.median(b[what] / a[what] for a, b in pairs)
    return result


def versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("jax", "jaxlib", "torch", "transformers")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["S", "M"])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["ours", "hf_sdpa"])
    parser.add_argument("--against", type=Path, help="another checkout of this project, as a further side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="steps timed in a round; their median counts")
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--allocator", choices=("glibc", "tuned"), default="tuned")
    parser.add_argument("--worker", choices=SIDES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker, SHAPES[arguments.shapes[0]], arguments.cores, arguments.warmup)
        return
    if "hf_compiled" in arguments.sides and not any(map(shutil.which, ("g++", "clang++"))):
        print("hf_compiled is skipped: torch.compile needs g++ or clang++ on PATH", file=sys.stderr)
        arguments.sides.remove("hf_compiled")
    document = {
        "benchmark": "throughput",
        "machine": platform.machine(),
        "cores": arguments.cores,
        "allocator": arguments.allocator,
        "versions": versions(),
        "load_average": os.getloadavg()[0],
        "results": {name: compare(name, arguments) for name in arguments.shapes},
    }
    print(json.dumps(document, indent=2))


if __name__ == "__main__":
    main()
