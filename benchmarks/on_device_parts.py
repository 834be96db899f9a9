"""The parts of `on_device.py`: one per process, which reports measurements as lines on standard output.

python benchmarks/on_device_parts.py kernels --smoke < /dev/null
"""

import argparse
import dataclasses
import importlib.metadata
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from scaling.config.devices import Devices, load_hardware, parse_devices
from scaling.config.load import dump_yaml, load_run
from scaling.config.run import RunConfig
from scaling.estimate.counts import train_flops_per_token
from scaling.estimate.estimate import on_devices
from scaling.runtime.errors import BadInputError

Report = Callable[[dict[str, Any]], None]
MARK = "on-device: "  # of the lines that are reports; libraries print others
_GPT = {"dropout": 0.0, "layer_pattern": ["dense"], "compute_dtype": "bfloat16", "scan_layers": True}
_TINY = {"vocab_size": 512, "n_layers": 2, "d_model": 64, "n_heads": 2, "d_ff": 256, "max_length": 128}
# Of each size: the named model, its changes, and tokens per sequence.
SIZES: dict[str, tuple[str, dict[str, Any], int]] = {
    "124m": ("gpt2-124m", _GPT, 1024),
    "1.3b": ("gpt3-1.3b", _GPT, 2048),
}
SMOKE: dict[str, tuple[str, dict[str, Any], int]] = {
    "124m": ("gpt2-124m", {**_GPT, **_TINY}, 128),
    "1.3b": ("gpt3-1.3b", {**_GPT, **_TINY, "d_model": 128, "d_ff": 512}, 128),
}
_ROWS = (32, 16, 8, 4, 2, 1)
_FILLED = 0.85  # of a device's memory, by the estimate
# What a driver calls a device, and its name in configs/hardware; the first that is contained in it.
_KINDS = (
    ("H100 PCIe", "h100-pcie"),
    ("H100", "h100-sxm"),
    ("H200", "h200"),
    ("A100-SXM4-40GB", "a100-40gb"),
    ("A100", "a100-80gb"),
    ("B200", "b200"),
    ("V100", "v100"),
    ("MI300X", "mi300x"),
    ("TPU v2", "tpu-v2"),
    ("TPU v3", "tpu-v3"),
    ("TPU v4", "tpu-v4"),
    ("TPU v5 lite", "tpu-v5e"),
    ("TPU v5e", "tpu-v5e"),
    ("TPU v5", "tpu-v5p"),
    ("TPU v6", "tpu-v6e"),
    ("TPU7x", "tpu7x"),
)


def hardware_name(kind: str, platform: str) -> str | None:
    """The name in configs/hardware of what a driver calls `kind`; None if it has none."""
    if platform == "cpu":
        return "cpu"
    return next((name for part, name in _KINDS if part.lower() in kind.lower()), None)


def device() -> Iterator[dict[str, Any]]:
    """What is here, and versions of what the results depend on."""
    import jax

    one = jax.devices()[0]
    found = {"kind": one.device_kind, "platform": one.platform}
    found["hardware"] = hardware_name(one.device_kind, one.platform)
    packages = ("jax", "jaxlib", "libtpu", "jax-cuda13-plugin", "jax-cuda12-plugin", "torch", "transformers")
    versions = {}
    for package in packages:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    yield found | {"versions": versions}


def one_of(name: str | None) -> Devices | None:
    """One device of a kind, also where no slice is sold so small; None if the kind is None."""
    if name is None:
        return None
    hardware = load_hardware(name)
    axes = hardware.inside.dimensions if hardware.inside else None
    return Devices(hardware=hardware, topology=(1,) * (axes or 1))


# Kernels


@dataclasses.dataclass(frozen=True)
class Variant:
    """One attention: shape, and what decides which keys are visible."""

    heads: int = 8
    key_heads: int = 8
    width: int = 64
    causal: bool = True
    options: tuple[str, ...] = ()  # segments, band, prefix, bias


VARIANTS = {
    "causal": Variant(),
    "causal, heads of 128": Variant(width=128),
    "both ways": Variant(causal=False),
    "grouped queries": Variant(key_heads=2),
    "one key head": Variant(key_heads=1),
    "segments": Variant(options=("segments",)),
    "band": Variant(options=("band",)),
    "prefix": Variant(options=("prefix", "segments")),
    "bias": Variant(causal=False, options=("bias",)),
}


def kernels(found: dict[str, Any], smoke: bool) -> Iterator[dict[str, Any]]:
    """Relative errors of each variant in bf16 against the reference in float32: as computed by the step's own
    choice, and by the reference in bf16, which shows what the type alone costs."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from scaling.config.mesh import MeshConfig
    from scaling.models.attention import attention
    from scaling.parallel.mesh import make_mesh, placed

    rows, length = (1, 128) if smoke else (2, 2048)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    for name, variant in VARIANTS.items():
        if name in found:
            continue
        random = np.random.default_rng(0)

        def drawn(heads: int, random: Any = random, width: int = variant.width) -> Any:
            return jnp.asarray(random.standard_normal((rows, length, heads, width)), jnp.bfloat16)

        q, dout = drawn(variant.heads), drawn(variant.heads)
        k, v = drawn(variant.key_heads), drawn(variant.key_heads)
        given: dict[str, Any] = {"causal": variant.causal}
        if "segments" in variant.options:
            given["segment_ids_BL"] = jnp.asarray(np.arange(length) // (length // 3), jnp.int32)[None].repeat(
                rows, 0
            )
        if "band" in variant.options:
            given["band"] = length // 8
        if "prefix" in variant.options:
            given["prefix_BM"] = jnp.asarray(np.arange(length) % (length // 3) < 20, jnp.int32)[None].repeat(
                rows, 0
            )
        if "bias" in variant.options:
            given["bias_HLM"] = jnp.asarray(
                random.standard_normal((variant.heads, length, length)), jnp.float32
            )

        def both(implementation: Any, q: Any, k: Any, v: Any, dout: Any, given: Any = given) -> Any:
            out, pull = jax.vjp(partial(attention, implementation=implementation, **given), q, k, v)
            return out, *pull(dout)

        exact = [a.astype(jnp.float32) for a in (q, k, v, dout)]
        with jax.default_matmul_precision("highest"):
            want = jax.jit(partial(both, "reference"))(*exact)
        plain = jax.jit(partial(both, "reference"))(q, k, v, dout)
        with placed(mesh):
            compiled = jax.jit(partial(both, None)).lower(q, k, v, dout).compile()
        got = compiled(q, k, v, dout)
        errors, by_type = (
            [_difference(a, b) for a, b in zip(arrays, want, strict=True)] for arrays in (got, plain)
        )
        fused = any(word in compiled.as_text() for word in ("tpu_custom_call", "__cudnn$"))
        agrees = all(a <= 2 * b + 1e-3 for a, b in zip(errors, by_type, strict=True))
        measured = {"fused": fused, "agrees": agrees, "errors": errors, "errors_of_the_type": by_type}
        yield {name: measured | {"milliseconds": 1e3 * _seconds(compiled, q, k, v, dout)}}


def _difference(a: Any, b: Any) -> float:
    """Root mean square of a - b over that of b."""
    import numpy as np

    x, y = np.asarray(a, np.float32), np.asarray(b, np.float32)
    return float(np.sqrt(np.square(x - y).mean() / np.square(y).mean()))


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Median seconds of a call."""
    import jax

    times = []
    for _ in range(6):
        began = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


# Training


def _run(size: tuple[str, dict[str, Any], int], rows: int, remat: str) -> RunConfig:
    base, changes, length = size
    return load_run(
        {
            "name": "on-device",
            "model": {"base": base, **changes, "remat": remat},
            "data": {"sequence_length": length},
            "train": {"steps": 1000, "batch_tokens": rows * length, "learning_rate": 1e-4},
        }
    )


def run_that_fits(
    size: tuple[str, dict[str, Any], int], devices: Devices | None, smoke: bool
) -> RunConfig | None:
    """The largest batch that fits by the estimate, with as little recomputation as it allows.

    Eight rows without recomputation are preferred to more rows with it. None if nothing fits.
    """
    if smoke:
        return _run(size, 4, "none")
    if devices is None:
        return _run(size, 4, "full")
    for least in (8, 1):
        for remat in ("none", "dots", "full"):
            for rows in _ROWS:
                run = _run(size, rows, remat)
                expected = on_devices(run, devices, None)
                if rows >= least and expected.memory.total <= _FILLED * expected.capacity_bytes:
                    return run
    return None


def train(size: str, devices: Devices | None, smoke: bool) -> Iterator[dict[str, Any]]:
    """Compile and time the train step on one fixed random batch."""
    import jax
    import numpy as np

    from scaling.parallel.mesh import make_mesh
    from scaling.train.device import matmul_peak, peak_memory_bytes
    from scaling.train.dry_run import peak_bytes
    from scaling.train.step import TrainStep

    run = run_that_fits((SMOKE if smoke else SIZES)[size], devices, smoke)
    if run is None:
        yield {"skipped": f"the {size} model does not fit in the memory of one {devices}"}
        return
    yield {"estimate": _estimate(run, devices), **_described(run)}
    functions = TrainStep(run, make_mesh(run.mesh, jax.devices()[:1]))
    state = jax.block_until_ready(functions.init(0))
    after_init = peak_memory_bytes()
    tokens = np.random.default_rng(0).integers(0, run.model.vocab_size, _batch_shape(run), dtype=np.int32)
    batch = functions.place({"inputs": tokens[:, :-1], "targets": tokens[:, 1:]})
    arguments = (np.float32(1e-4), np.int32(0))
    began = time.perf_counter()
    step = functions.step.lower(state, batch, *arguments).compile()
    yield {
        "compile_seconds": time.perf_counter() - began,
        "compiled_peak_bytes": peak_bytes(step.memory_analysis()),
    }
    losses = []

    def steps(count: int) -> float:
        """Seconds per step of `count` steps that the host does not wait between."""
        nonlocal state
        began = time.perf_counter()
        for _ in range(count):
            state, metrics = step(state, batch, *arguments)
        losses.append(float(metrics["loss"]))
        return (time.perf_counter() - began) / count

    first = steps(3) and steps(2)
    count = 2 if smoke else max(2, min(20, round(2.0 / first)))
    seconds = [steps(count) for _ in range(5)]
    per_step = statistics.median(seconds)
    peak = peak_memory_bytes() if jax.default_backend() != "cpu" else None
    flops = train_flops_per_token(run.model, run.data.sequence_length, "causal")
    rate = run.train.batch_tokens / per_step
    yield {
        "step_seconds": per_step,
        "rounds": seconds,
        "losses": [losses[0], losses[-1]],
        "tokens_per_second": rate,
        "mfu": None if devices is None else _share(rate * flops, devices),
        "of_measured_matmul": rate * flops / matmul_peak("bfloat16"),
        # The device reports the peak of the process. Initialisation may be what reached it.
        "peak_bytes": peak,
        "peak_after_init_bytes": None if peak is None else after_init,
    }


def _batch_shape(run: RunConfig) -> tuple[int, int]:
    length = run.data.sequence_length
    return run.train.batch_tokens // length, length + 1


def _described(run: RunConfig) -> dict[str, Any]:
    rows, length = _batch_shape(run)
    return {
        "model": run.model.name,
        "rows": rows,
        "length": length - 1,
        "remat": getattr(run.model, "remat", None),
        "run": dump_yaml(run),
    }


def _estimate(run: RunConfig, devices: Devices | None) -> dict[str, Any] | None:
    if devices is None:
        return None
    part = on_devices(run, devices, None).as_dict(devices)
    return {
        "peak_bytes": part["memory"]["total_bytes"],
        "step_seconds": part["time"]["step_seconds"],
        "step_seconds_interval": part["time"]["step_seconds_interval"],
        "mfu": part["time"]["mfu"],
    }


def _share(flops: float, devices: Devices) -> float | None:
    """Of the data sheet's bf16 peak."""
    peak = devices.hardware.peak_flops.get("bfloat16")
    return None if peak is None else flops * devices.hardware.devices_per_chip / peak


def torch_train(size: str, devices: Devices | None, smoke: bool, where: str) -> Iterator[dict[str, Any]]:
    """transformers' GPT-2 under torch.compile and bf16 autocast, with the batch that `train` chose."""
    try:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        yield {"skipped": f"{error.name} is not installed"}
        return
    if where == "cuda" and not torch.cuda.is_available():
        yield {"skipped": "torch has no CUDA here"}
        return
    run = run_that_fits((SMOKE if smoke else SIZES)[size], devices, smoke)
    if run is None:
        yield {"skipped": f"the {size} model does not fit in the memory of one device"}
        return
    model_config, (rows, length) = run.model, _batch_shape(run)
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    config = GPT2Config(
        vocab_size=model_config.vocab_size,
        n_positions=length - 1,
        n_embd=model_config.d_model,
        n_layer=model_config.n_layers,
        n_head=model_config.n_heads,
        n_inner=model_config.d_ff,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="sdpa",
    )
    model = GPT2LMHeadModel(config).to(where).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=where == "cuda"
    )
    tokens = torch.randint(0, config.vocab_size, (rows, length - 1), device=where)

    @torch.compile
    def loss_of(ids: Any) -> Any:
        with torch.autocast(where, dtype=torch.bfloat16):
            return model(input_ids=ids, labels=ids).loss

    def steps(count: int) -> float:
        began = time.perf_counter()
        for _ in range(count):
            optimizer.zero_grad()
            loss = loss_of(tokens)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        loss.item()
        return (time.perf_counter() - began) / count

    try:
        began = time.perf_counter()
        steps(1)
        yield {"rows": rows, "compile_seconds": time.perf_counter() - began}
        first = steps(2)
        count = 2 if smoke else max(2, min(20, round(2.0 / first)))
        seconds = [steps(count) for _ in range(5)]
    except torch.OutOfMemoryError:
        yield {"skipped": f"transformers runs out of memory at {rows} rows of {length - 1}"}
        return
    per_step = statistics.median(seconds)
    peak = torch.cuda.max_memory_allocated() if where == "cuda" else None
    yield {
        "step_seconds": per_step,
        "rounds": seconds,
        "tokens_per_second": rows * (length - 1) / per_step,
        "peak_bytes": peak,
    }


# The compiler's view


def dryrun(size: str, devices: Devices | None, smoke: bool) -> Iterator[dict[str, Any]]:
    """`scaling dryrun --profile` of the step that `train` times; without --profile where that fails.

    Where the compiler has no topology of one device, each device of the smallest one computes that step.
    """
    run = None if devices is None else run_that_fits((SMOKE if smoke else SIZES)[size], devices, smoke)
    if devices is None or run is None:
        yield {
            "skipped": f"the {size} model does not fit" if devices else "configs/hardware lacks this device"
        }
        return
    hardware = devices.hardware
    try:
        compiled_for = parse_devices(f"{hardware.name}:1")
    except BadInputError:
        compiled_for = parse_devices(f"{hardware.name}:{hardware.topologies[0]}")
    options = ["--on", str(compiled_for), "--mesh", f"data={compiled_for.count}", "--json"]
    options += ["--batch-tokens", str(run.train.batch_tokens * compiled_for.count)]
    with tempfile.TemporaryDirectory(prefix="scaling-on-device-") as folder:
        path = Path(folder) / "run.yaml"
        path.write_text(dump_yaml(run))
        command = [sys.executable, "-m", "scaling.cli", "dryrun", str(path), *options]
        for extra in (["--profile"], []):
            result = subprocess.run(command + extra, capture_output=True, text=True)
            if result.returncode == 0:
                break
            why = (result.stderr.strip().splitlines() or ["no message"])[-1]
            yield {"profile_error" if extra else "skipped": why}
        else:
            return
    compiled = json.loads(result.stdout)["compiled"]
    profile = compiled.get("profile")
    yield {
        "on": str(compiled_for),
        "profile": profile and {key: profile.get(key) for key in ("step_seconds", "by_kind")},
        "peak_bytes": compiled["peak_bytes"],
        "compile_seconds": compiled["compile_seconds"],
    }


# Resuming


def resume(smoke: bool) -> Iterator[dict[str, Any]]:
    """A run stopped after half of its steps and continued, against the same run in one piece."""
    import jax
    import numpy as np

    from scaling.parallel.mesh import make_mesh
    from scaling.parallel.processes import InterruptedRunError
    from scaling.train.checkpoints import Checkpoints
    from scaling.train.loop import train as train_run
    from scaling.train.progress import Silent, Status
    from scaling.train.step import TrainStep

    steps = 6 if smoke else 40
    size = (
        _TINY
        if smoke
        else {"vocab_size": 8192, "n_layers": 6, "d_model": 512, "n_heads": 8, "max_length": 512}
    )
    length = size["max_length"]

    class Stops(Silent):
        def advance(self, units: int, status: Status) -> None:
            if status.step == steps // 2:
                os.kill(os.getpid(), signal.SIGTERM)

    with tempfile.TemporaryDirectory(prefix="scaling-on-device-") as folder:
        path = Path(folder)
        for i in range(8):  # a small corpus, so that nothing is downloaded
            words = (f"{'abcdefgh'[(i * j) % 8] * (1 + j % 3)} {j % 7}\n" for j in range(20_000))
            (path / f"{i}.txt").write_text("".join(words))
        run = load_run(
            {
                "name": "resume",
                "model": {**size, "dropout": 0.1, "compute_dtype": "bfloat16", "scan_layers": True},
                "data": {
                    "source": f"text:{path}/*.txt",
                    "sequence_length": length,
                    "validation_fraction": 0.2,
                },
                "train": {"steps": steps, "batch_tokens": 4 * length, "learning_rate": 1e-3, "log_every": 1},
            }
        )
        train_run(run, path / "whole")
        resumed_at = None
        try:
            train_run(run, path / "halves", Stops())
        except InterruptedRunError:
            resumed_at = Checkpoints(path / "halves" / "checkpoints", keep=1).latest()
            train_run(run, path / "halves")
        functions = TrainStep(run, make_mesh(run.mesh))
        states = []
        for name in ("whole", "halves"):
            restored = Checkpoints(path / name / "checkpoints", keep=1).restore(
                functions.abstract_state, functions.state_shardings, print
            )
            assert restored is not None
            states.append([np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(restored[0])])
        losses = [_losses(path / name / "metrics.jsonl") for name in ("whole", "halves")]
    yield {
        "steps": steps,
        "resumed_at": resumed_at,
        "same_losses": losses[0] == losses[1] and len(losses[0]) == steps,
        "same_state": all(np.array_equal(a, b) for a, b in zip(*states, strict=True)),
        "largest_difference": max(float(np.abs(a - b).max(initial=0)) for a, b in zip(*states, strict=True)),
    }


def _losses(path: Path) -> dict[int, float]:
    lines = map(json.loads, path.read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def _work(part: str, given: dict[str, Any], smoke: bool, peer: str) -> Iterator[dict[str, Any]]:
    name, _, size = part.partition("-")
    one = one_of(given.get("device", {}).get("hardware"))
    match name:
        case "device":
            return device()
        case "kernels":
            return kernels(given["found"], smoke)
        case "train":
            return train(size, one, smoke)
        case "torch":
            return torch_train(size, one, smoke, peer)
        case "resume":
            return resume(smoke)
        case "dryrun":
            return dryrun(size, one, smoke)
    raise ValueError(f"no part {part!r}")


def _end_with_parent() -> None:
    """End this process when its standard input closes: whatever ended the parent, the device is free."""
    for _ in sys.stdin:
        pass
    os._exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--peer-device", default="cuda")
    arguments = parser.parse_args()
    if arguments.smoke:
        os.environ["JAX_PLATFORMS"] = "cpu"
    given = json.loads(sys.stdin.readline() or "{}")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for report in _work(arguments.part, given, arguments.smoke, arguments.peer_device):
        print(MARK + json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
