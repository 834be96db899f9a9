"""Our train step and MaxText's, compiled for the same absent TPUs: cycles, memory, collectives.

    python benchmarks/compile_peers.py --work /tmp/peers                           # our side alone
    python benchmarks/compile_peers.py --work /tmp/peers --peer /tmp/maxtext/bin/python
    python benchmarks/compile_peers.py --work /tmp/peers --markdown                # write docs/compile_peers.md

Needs the TPU compiler (pip install 'scaling-lab[tpu]') and no device. docs/compile_peers.md says how to install MaxText
into an environment of its own, with the same jax and libtpu. Each step is compiled in its own process at the usual
effort, which takes minutes and up to 5 GB; results are kept in the work directory and not compiled again. Prints JSON.

Cycles are the TPU compiler's `estimated_cycles` of every operation of its final program, loops multiplied. Kernels
written in Pallas have none: attention on both sides.
"""

import argparse
import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from scaling.runtime.environment import prepare_environment

_DOC = Path(__file__).resolve().parents[1] / "docs" / "compile_peers.md"
_GIB = 2**30
_NEVER = 2**62  # what the compiler writes for an operation that it does not price


@dataclasses.dataclass(frozen=True)
class Case:
    """One train step, as each side writes it down."""

    model: dict[str, Any]
    devices: str
    mesh: dict[str, int]
    rows: float  # of each device
    length: int
    remat: str
    peer: tuple[str, ...]  # MaxText's arguments besides those that follow from the fields above
    peer_topology: str
    peer_remat: str


_LLAMA2_7B = {"base": "llama-7b"}
_LLAMA3_8B = {
    "base": "llama-7b",
    "vocab_size": 128_256,
    "max_length": 8192,
    "n_kv_heads": 8,
    "d_ff": 14_336,
    "rotary_base": 500_000.0,
}
_GPT3_175B = {"base": "gpt3-175b", "layer_pattern": ["dense"], "band_width": None, "vocab_size": 50_304}
_MIXTRAL = {
    "base": "llama-7b",
    "max_length": 4096,
    "n_kv_heads": 8,
    "d_ff": 14_336,
    "rotary_base": 1_000_000.0,
    "mixture": {"experts": 8, "top_k": 2, "every": 1, "capacity_factor": 1.25},
}
# The LLaMA shapes that Marin trained by Levanter, with LLaMA 3's vocabulary.
_130M = {
    "base": "llama-7b",
    "vocab_size": 128_256,
    "max_length": 4096,
    "n_layers": 6,
    "d_model": 512,
    "n_heads": 8,
    "d_ff": 1792,
}
_520M = _130M | {"n_layers": 24, "d_model": 1024, "n_heads": 16, "n_kv_heads": 8, "d_ff": 3584}


def _shape(**sizes: int) -> tuple[str, ...]:
    given = (f"{name}={size}" for name, size in sizes.items())
    return ("model_name=default", "decoder_block=llama2", "mlp_activations=['silu','linear']", *given)


CASES = {
    "llama2-7b-v5e": Case(
        _LLAMA2_7B, "tpu-v5e:8x8", {"fsdp": 64}, 4, 2048, "full",
        ("model_name=llama2-7b",), "v5e-64", "full",
    ),
    "llama2-7b-v5p": Case(
        _LLAMA2_7B | {"max_length": 4096}, "tpu-v5p:4x4x4", {"fsdp": 64}, 4, 4096, "dots",
        ("model_name=llama2-7b",), "v5p-128", "minimal",
    ),
    "llama3-8b-v6e": Case(
        _LLAMA3_8B, "tpu-v6e:8x8", {"fsdp": 64}, 2, 8192, "full",
        ("model_name=llama3-8b",), "v6e-64", "full",
    ),
    "gpt3-175b-v5p": Case(
        _GPT3_175B, "tpu-v5p:8x8x8", {"fsdp": 64, "tensor": 8}, 0.25, 2048, "full",
        ("model_name=gpt3-175b", "opt_type=adamw", "override_model_config=true",
         "trainable_position_size=2048"), "v5p-1024", "full",
    ),
    "mixtral-8x7b-v5p": Case(
        _MIXTRAL, "tpu-v5p:4x4x4", {"fsdp": 64}, 2, 4096, "full",
        ("model_name=mixtral-8x7b", "sparse_matmul=false", "megablox=false", "capacity_factor=1.25"),
        "v5p-128", "full",
    ),
    "130m-v5p": Case(
        _130M, "tpu-v5p:2x2x4", {"data": 16}, 8, 4096, "none",
        _shape(base_emb_dim=512, base_num_query_heads=8, base_num_kv_heads=8, base_mlp_dim=1792,
               base_num_decoder_layers=6, head_dim=64, vocab_size=128_256), "v5p-32", "none",
    ),
    "520m-v5p": Case(
        _520M, "tpu-v5p:2x2x4", {"data": 16}, 16, 4096, "full",
        _shape(base_emb_dim=1024, base_num_query_heads=16, base_num_kv_heads=8, base_mlp_dim=3584,
               base_num_decoder_layers=24, head_dim=64, vocab_size=128_256), "v5p-32", "full",
    ),
}  # fmt: skip
SIDES = ("ours", "maxtext")


def compile_ours(case: Case, dump: Path) -> dict[str, int]:
    """Compile our step in this process; returns the compiler's account of memory."""
    prepare_environment("tpu")
    from scaling.config.devices import parse_devices
    from scaling.config.load import load_run
    from scaling.parallel.absent import absent_devices
    from scaling.parallel.mesh import make_mesh
    from scaling.train.dry_run import abstract_arguments
    from scaling.train.step import TrainStep

    devices = parse_devices(case.devices)
    run = load_run(
        {
            "name": "peers",
            "model": case.model | {"remat": case.remat, "scan_layers": True, "compute_dtype": "bfloat16"},
            "data": {"sequence_length": case.length},
            "train": {
                "steps": 10,
                "batch_tokens": round(case.rows * devices.count) * case.length,
                "learning_rate": 1e-3,
            },
            "mesh": case.mesh,
        }
    )
    step = TrainStep(run, make_mesh(run.mesh.over(devices.count), absent_devices(devices)))
    lowered = step.step.lower(*abstract_arguments(step))
    memory = lowered.compile({"xla_dump_to": str(dump), "xla_dump_hlo_as_text": True}).memory_analysis()
    return {
        "argument_bytes": memory.argument_size_in_bytes,
        "temp_bytes": memory.temp_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes,
    }


def compile_theirs(case: Case, dump: Path, python: str) -> dict[str, int]:
    """Compile MaxText's step by its own `train_compile`; returns the compiler's account, which it prints."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_dump_to={dump} --xla_dump_hlo_as_text"}
    prepare_environment("tpu", environment=environment)
    mesh = {"data": 1, "fsdp": 1, "tensor": 1} | case.mesh
    said = subprocess.run(
        [
            python,
            "-m",
            "maxtext.trainers.pre_train.train_compile",
            *case.peer,
            f"compile_topology={case.peer_topology}",
            "compile_topology_num_slices=1",
            f"per_device_batch_size={case.rows}",
            f"max_target_length={case.length}",
            f"remat_policy={case.peer_remat}",
            *(f"ici_{axis}_parallelism={size}" for axis, size in mesh.items()),
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    found = dict(re.findall(r"\b(\w+)_size_in_bytes=(\d+)", said.stdout))
    if said.returncode or not found:
        raise RuntimeError("MaxText's train_compile failed:\n" + (said.stdout + said.stderr)[-3000:])
    return {f"{name}_bytes": int(found[name]) for name in ("argument", "temp", "output", "alias")}


def read_program(folder: Path) -> dict[str, Any]:
    """Cycles of all operations that have them, calls of kernels, and bytes of collectives, of a dump."""
    from scaling.parallel.program_costs import count_collectives

    finals = sorted(folder.glob("**/*.after_codegen.txt"), key=lambda path: path.stat().st_size)
    text = finals[-1].read_text()
    cycles, kernels = _cycles(text)
    collectives = count_collectives(text)[0].model_dump()
    return {
        "cycles": cycles,
        "kernel_calls": kernels,
        "collective_bytes": sum(each["bytes"] for each in collectives.values()),
        "collectives": {kind: each["bytes"] for kind, each in collectives.items() if each["bytes"]},
    }


def _cycles(text: str) -> tuple[int, int]:
    """Estimated cycles of one run of a program, and how many kernels it calls."""
    from scaling.parallel.hlo import Instruction, parse
    from scaling.parallel.loops import Value, evaluate, trip_count, unchanged

    module = parse(text)
    totals = [0.0, 0.0]

    def run(computation: str, arguments: list[Value], times: float) -> None:
        for one in module.computations.get(computation, {}).values():
            if one.opcode == "while":
                count = trip_count(module, computation, one, arguments) or 1
                run(one.called("body"), [unchanged(module, computation, one, arguments)], times * count)
            elif one.opcode == "conditional":
                branches = one.branches()
                for branch in branches:
                    run(branch, [None], times / len(branches))
            elif one.opcode == "call":
                given = [evaluate(module, computation, name, arguments) for name in one.operands]
                run(one.called("to_apply"), given, times)
            elif one.opcode == "custom-call" and "tpu_custom_call" in one.rest:
                totals[1] += times
            elif cycles := _estimate(one):
                totals[0] += cycles * times

    def _estimate(one: Instruction) -> int:
        match = re.search(r'"estimated_cycles":"(\d+)"', one.rest)
        return int(match[1]) if match and int(match[1]) < _NEVER else 0

    run(module.entry, [], 1)
    return round(totals[0]), round(totals[1])


def measure(name: str, side: str, work: Path, python: str | None, compiling: bool) -> dict[str, Any] | None:
    """A case's figures on one side, from the work directory if they are there; None where nothing is known."""
    path = work / f"{name}.{side}.json"
    if path.exists():
        return json.loads(path.read_text())
    if not compiling or (side == "maxtext" and python is None):
        return None
    dump = work / f"{name}.{side}.dump"
    dump.mkdir(parents=True, exist_ok=True)
    if side == "maxtext":
        memory = compile_theirs(CASES[name], dump, str(python))
    else:  # in a process of its own, whose memory is given back
        command = [sys.executable, __file__, "--work", str(work), "--compile", name]
        memory = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    memory["peak_bytes"] = (
        memory["argument_bytes"] + memory["temp_bytes"] + memory["output_bytes"] - memory["alias_bytes"]
    )
    found = memory | read_program(dump)
    path.write_text(json.dumps(found, indent=1))
    return found


_PAGE = """# Train steps next to MaxText's, as the TPU compiler sees them

For a reader who asks whether the train step is well compiled. Both sides are compiled for the same TPUs, which need not
exist, by the same libtpu: same shape, batch, mesh and rematerialisation, float32 weights, bfloat16 compute, AdamW.

```
python benchmarks/compile_peers.py --work WORK --peer MAXTEXT/bin/python --markdown
```

MaxText needs Python 3.12 and an environment of its own; nothing of it is in this repository:

```
python3.12 -m venv MAXTEXT
MAXTEXT/bin/pip install "maxtext[tpu]==0.2.5" jax==0.12.0.1 jaxlib==0.12.0.1 libtpu==0.0.52
```

The benchmark runs its `maxtext.trainers.pre_train.train_compile` with the arguments in `CASES`. Mixtral drops tokens
beyond a capacity of 1.25 on both sides; GPT-3 has dense attention in every layer and AdamW on both.

Cycles are the compiler's estimates of all operations of the final program except kernels written in Pallas
(attention), loops multiplied. They do not include waiting for collectives. Peak is arguments plus temporaries plus new
outputs of one device; collectives are the bytes of the arrays that one device exchanges per step. A dash is a step that was
not compiled.

"""


def markdown(rows: dict[str, dict[str, dict[str, Any] | None]]) -> str:
    """The page docs/compile_peers.md."""

    def cell(side: dict[str, Any] | None, name: str, unit: float, digits: int) -> str:
        return "-" if side is None else f"{side[name] / unit:.{digits}f}"

    lines = [
        "| step | devices | rows x length, remat | cycles, 1e9: ours | MaxText | ratio | peak, GiB: ours | MaxText "
        "| collectives, GB: ours | MaxText | kernel calls |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, sides in rows.items():
        ours, theirs = sides.get("ours"), sides.get("maxtext")
        if ours is None and theirs is None:
            continue
        ratio = f"{ours['cycles'] / theirs['cycles']:.2f}" if ours and theirs else "-"
        calls = ", ".join("-" if side is None else str(side["kernel_calls"]) for side in (ours, theirs))
        case = CASES[name]
        columns = [
            f"{name.rpartition('-')[0]}",
            case.devices,
            f"{case.rows:g} x {case.length:,}, {case.remat}",
            *(cell(side, "cycles", 1e9, 3) for side in (ours, theirs)),
            ratio,
            *(cell(side, "peak_bytes", _GIB, 2) for side in (ours, theirs)),
            *(cell(side, "collective_bytes", 1e9, 1) for side in (ours, theirs)),
            calls,
        ]
        lines.append("| " + " | ".join(columns) + " |")
    return _PAGE + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="directory of dumps and results")
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of the environment with MaxText")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), metavar="CASE")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument(
        "--known", action="store_true", help="compile nothing: only what the work directory has"
    )
    parser.add_argument("--markdown", action="store_true", help="write the table of docs/compile_peers.md")
    parser.add_argument("--compile", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.compile:
        dump = arguments.work / f"{arguments.compile}.ours.dump"
        print(json.dumps(compile_ours(CASES[arguments.compile], dump)))
        return
    rows = {
        name: {
            side: measure(name, side, arguments.work, arguments.peer, not arguments.known)
            for side in arguments.sides
        }
        for name in arguments.only
    }
    if arguments.markdown:
        _DOC.write_text(markdown(rows))
    print(json.dumps({"benchmark": "compile_peers", "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
