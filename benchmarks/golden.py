"""What real steps exchange and hold: collectives and memory of ahead-of-time compiled train steps, in a file.

    python benchmarks/golden.py                    # compile again and compare; exit 1 where something differs
    python benchmarks/golden.py --write            # compile again and write benchmarks/golden.json
    python benchmarks/golden.py --models t5-11b    # these alone, in both

A change of sharding rules that adds a collective changes a line of benchmarks/golden.json, which review sees.
Collectives and bytes follow the compiler: under other versions than the file's, compare one commit with the next.

Needs the compiler: pip install 'scaling-lab[tpu]'; no TPU. About a minute a case.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from scaling.runtime.environment import prepare_environment

prepare_environment("tpu")

from scaling.config.devices import parse_devices  # noqa: E402
from scaling.config.load import load_model, load_run  # noqa: E402
from scaling.config.mesh import MeshConfig  # noqa: E402
from scaling.config.run import RunConfig  # noqa: E402
from scaling.train.compiled_cache import compiled_step  # noqa: E402

FILE = Path(__file__).with_name("golden.json")

# (model, devices, mesh); one sequence of the model's length a device, or a microbatch of each stage.
CASES: list[tuple[str, str, dict[str, int]]] = [
    ("bert-large", "tpu-v4:2x2x4", {"data": 16}),
    ("bert-large", "tpu-v4:2x2x4", {"fsdp": 16}),
    ("bert-large", "tpu-v4:2x2x4", {"fsdp": 4, "tensor": 4}),
    ("bert-large", "tpu-v4:2x2x4", {"stage": 4, "fsdp": 4}),
    ("gpt3-13b", "tpu-v5p:4x4x8", {"fsdp": 128}),
    ("gpt3-13b", "tpu-v5p:4x4x8", {"fsdp": 32, "tensor": 4}),
    ("gpt3-13b", "tpu-v5p:4x4x8", {"stage": 4, "fsdp": 32}),
    ("gpt3-13b", "tpu-v5p:4x4x8", {"fsdp": 32, "context": 4}),
    ("gpt3-175b", "tpu-v5p:8x8x8", {"fsdp": 64, "tensor": 8}),
    ("gpt3-175b", "tpu-v5p:8x8x8", {"data": 2, "fsdp": 32, "tensor": 8}),
    ("gpt3-175b", "tpu-v5p:8x8x8", {"stage": 4, "fsdp": 16, "tensor": 8}),
    ("gpt3-175b", "tpu-v5p:8x8x8", {"fsdp": 16, "context": 4, "tensor": 8}),
    ("t5-11b", "tpu-v5p:4x4x8", {"fsdp": 32, "tensor": 4}),
    ("t5-11b", "tpu-v5p:4x4x8", {"data": 4, "fsdp": 8, "tensor": 4}),
    ("t5-11b", "tpu-v5p:4x4x8", {"fsdp": 8, "tensor": 16}),
    ("t5-11b", "tpu-v5p:4x4x8", {"stage": 4, "fsdp": 8, "tensor": 4}),
]


def name_of(case: tuple[str, str, dict[str, int]]) -> str:
    """The key of a case in the file."""
    model, on, mesh = case
    return f"{model} on {on} over {','.join(f'{axis}={size}' for axis, size in mesh.items())}"


def run_of(case: tuple[str, str, dict[str, int]]) -> RunConfig:
    """The run that a case compiles."""
    model, _, axes = case
    length, mesh = load_model(model).max_length, MeshConfig(**axes)
    rows = (mesh.batch_shards() or 1) * mesh.parts
    shape = {"dropout": 0.0, "scan_layers": True, "remat": "full", "compute_dtype": "bfloat16"}
    return load_run(
        {
            "name": "golden",
            "model": {"base": model, **shape},
            "data": {"sequence_length": length},
            "train": {"steps": 10, "batch_tokens": rows * length, "learning_rate": 1e-3},
            "mesh": axes,
        }
    )


def measured(case: tuple[str, str, dict[str, int]]) -> dict[str, Any]:
    """A line of the file, and the versions that it was compiled by."""
    compiled = compiled_step(run_of(case), parse_devices(case[1]), "quick")
    said = None if compiled.collectives is None else compiled.collectives.model_dump()
    kinds = {kind: [one["count"], one["bytes"]] for kind, one in (said or {}).items() if one["count"]}
    return {
        "argument_bytes": compiled.argument_bytes,
        "peak_bytes": compiled.peak_bytes,
        "collectives": kinds,
        "versions": compiled.versions,
    }


def read() -> dict[str, Any]:
    """The golden file: case to argument and peak bytes of a device, and [count, bytes] of each collective."""
    held: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {"versions": {}, "steps": {}}
    return held


def write(held: dict[str, Any]) -> None:
    """One line a case, so that a difference is one line."""
    lines = [f"  {json.dumps(name)}: {json.dumps(step)}" for name, step in held["steps"].items()]
    FILE.write_text(
        f'{{"versions": {json.dumps(held["versions"])},\n "steps": {{\n' + ",\n".join(lines) + "\n}}\n"
    )


def differences(golden: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What changed of a case, by name: collectives in count or bytes, arguments at all, the peak by over 1%."""
    said = []
    kinds = sorted({*golden["collectives"], *found["collectives"]})
    for kind in kinds:
        old, new = (side["collectives"].get(kind, [0, 0]) for side in (golden, found))
        if old != new:
            said.append(f"{kind}: {old[0]} of {old[1]:,} bytes became {new[0]} of {new[1]:,}")
    for name, slack in (("argument_bytes", 0.0), ("peak_bytes", 0.01)):
        if abs(found[name] / golden[name] - 1) > slack:
            said.append(f"{name}: {golden[name]:,} became {found[name]:,}")
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write benchmarks/{FILE.name}")
    parser.add_argument("--models", nargs="+", default=None, help="only these")
    arguments = parser.parse_args()
    held, changed = read(), []
    for case in CASES:
        if arguments.models and case[0] not in arguments.models:
            continue
        name, found = name_of(case), measured(case)
        versions = found.pop("versions")
        if arguments.write:
            held["versions"], held["steps"][name] = versions, found
            write(held)
            said = ["written"]
        elif versions != held["versions"]:
            print(
                f"the file is of {held['versions']}, this compiler {versions}: write it on both sides",
                file=sys.stderr,
            )
            sys.exit(2)
        elif name not in held["steps"]:
            said = ["not in the file"]
        else:
            said = differences(held["steps"][name], found)
        changed += said
        print(f"{name}: {'; '.join(said) or 'as before'}", file=sys.stderr, flush=True)
    print(json.dumps({"benchmark": "golden", "versions": held["versions"], "changed": len(changed)}))
    sys.exit(1 if changed and not arguments.write else 0)


if __name__ == "__main__":
    main()
