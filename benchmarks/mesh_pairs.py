"""Which of two meshes is faster: the estimator against the TPU compiler's own cost model.

    python benchmarks/mesh_pairs.py              # prints JSON from the saved compilations, in a second
    python benchmarks/mesh_pairs.py --compile    # compiles what is missing from mesh_pairs.json, one at a time
    python benchmarks/mesh_pairs.py --markdown   # writes docs/mesh_pairs.md

Compiling needs libtpu and takes one to several minutes per step. Each result is saved at once, so that an
interrupted run goes on where it stopped. `--again` compiles everything anew: after a change of the train step.
"""

import argparse
import datetime
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.config.devices import parse_devices
from scaling.config.load import load_run
from scaling.config.run import RunConfig
from scaling.estimate.layout import layout_of
from scaling.estimate.time import StepTime, step_time
from scaling.estimate.work import work_of

_SAVED = Path(__file__).with_suffix(".json")
_DOC = Path(__file__).resolve().parents[1] / "docs" / "mesh_pairs.md"
# Layers run in a scan: the compiler's time does not grow with their number, so a few stand for many.
_SHAPES: dict[str, dict[str, Any]] = {
    "130m": {"d_model": 512, "n_layers": 6, "n_heads": 4, "d_ff": 2048, "vocab_size": 128256},
    "gpt2": {"d_model": 768, "n_layers": 12, "n_heads": 6, "d_ff": 3072, "vocab_size": 50304},
    "1b": {"d_model": 2048, "n_layers": 16, "n_heads": 16, "d_ff": 8192, "vocab_size": 32000},
    "7b": {"d_model": 4096, "n_layers": 32, "n_heads": 32, "d_ff": 16384, "vocab_size": 32000},
    "30b": {"d_model": 7168, "n_layers": 48, "n_heads": 56, "d_ff": 28672, "vocab_size": 32000},
}


@dataclass(frozen=True)
class Group:
    """Meshes of one shape on the same devices, compared pair by pair."""

    shape: str
    devices: str
    rows: int
    length: int
    remat: str
    meshes: tuple[str, ...]


GROUPS = (
    Group(
        "130m",
        "tpu-v5p:2x2x4",
        128,
        4096,
        "full",
        ("data=16", "fsdp=16", "data=4 fsdp=4", "data=4 tensor=4", "data=8 tensor=2"),
    ),
    Group("1b", "tpu-v5e:4x4", 64, 2048, "full", ("data=16", "fsdp=16", "fsdp=4 tensor=4", "data=4 fsdp=4")),
    Group(
        "7b",
        "tpu-v5p:2x2x4",
        64,
        2048,
        "full",
        ("fsdp=16", "fsdp=4 tensor=4", "fsdp=8 tensor=2", "data=2 fsdp=8"),
    ),
    Group("gpt2", "tpu-v6e:2x4", 64, 1024, "none", ("data=8", "fsdp=8", "data=4 tensor=2", "data=2 fsdp=4")),
    Group("1b", "tpu-v4:2x2x4", 32, 4096, "full", ("data=16", "fsdp=16", "fsdp=8 tensor=2", "data=2 fsdp=8")),
    Group(
        "7b",
        "tpu-v6e:4x8",
        64,
        4096,
        "full",
        ("fsdp=32", "fsdp=8 tensor=4", "fsdp=16 tensor=2", "data=2 fsdp=16"),
    ),
    Group(
        "30b",
        "tpu-v5p:4x4x4",
        128,
        2048,
        "full",
        ("fsdp=64", "fsdp=16 tensor=4", "fsdp=8 tensor=8", "fsdp=32 tensor=2"),
    ),
)


@dataclass(frozen=True)
class Step:
    """One train step: a shape on devices, split by a mesh."""

    group: Group
    mesh: str

    @property
    def key(self) -> str:
        one = self.group
        return f"{one.shape} {one.devices} {one.rows}x{one.length} {one.remat} {self.mesh}"

    @property
    def run(self) -> RunConfig:
        one = self.group
        return load_run(
            {
                "model": {
                    "name": one.shape,
                    **_SHAPES[one.shape],
                    "max_length": one.length,
                    "positions": "rotary",
                    "norm_kind": "rms",
                    "bias": False,
                    "compute_dtype": "bfloat16",
                    "remat": one.remat,
                    "scan_layers": True,
                },
                "data": {"sequence_length": one.length},
                "train": {"steps": 1, "batch_tokens": one.rows * one.length, "learning_rate": 1e-4},
                "mesh": {axis: int(ways) for axis, ways in (part.split("=") for part in self.mesh.split())},
            }
        )

    def estimated(self) -> StepTime:
        run, devices = self.run, parse_devices(self.group.devices)
        layout = layout_of(run, devices.count)
        return step_time(work_of(run, layout, devices.hardware.platform), layout, devices)


def steps() -> Iterator[Step]:
    """Every step, the groups in turn so that an early stop leaves pairs of several kinds."""
    for group in GROUPS:
        for mesh in group.meshes:
            yield Step(group, mesh)


def saved() -> dict[str, dict[str, Any]]:
    """What was compiled, by the step's key."""
    return json.loads(_SAVED.read_text(encoding="utf-8")) if _SAVED.exists() else {}


def compile_step(step: Step) -> dict[str, Any]:
    """The compiler's seconds of a step, by kind."""
    from scaling.train.dry_run import dry_run

    found = dry_run(step.run, parse_devices(step.group.devices), "full")
    profile = found.profile
    if profile is None:
        return {"fits": found.fits, "notes": list(found.notes)}
    return {
        "fits": found.fits,
        "step_seconds": profile.step_seconds,
        "by_kind": dict(profile.by_kind),
        "collective_seconds": profile.collective_seconds,
        "versions": dict(found.versions),
        "date": datetime.date.today().isoformat(),
    }


def pairs() -> list[dict[str, Any]]:
    """Every pair of meshes that both compile: seconds by the compiler and by the estimator, and who is faster."""
    done, found = saved(), []
    for group in GROUPS:
        times = {
            mesh: (done[key]["step_seconds"], Step(group, mesh).estimated().seconds)
            for mesh in group.meshes
            if "step_seconds" in done.get(key := Step(group, mesh).key, {})
        }
        for a, b in itertools.combinations(times, 2):
            (compiled_a, ours_a), (compiled_b, ours_b) = times[a], times[b]
            found.append(
                {
                    "shape": group.shape,
                    "devices": group.devices,
                    "meshes": [a, b],
                    "compiled_seconds": [compiled_a, compiled_b],
                    "estimated_seconds": [ours_a, ours_b],
                    "agree": (compiled_a < compiled_b) == (ours_a < ours_b),
                }
            )
    return found


def markdown(found: list[dict[str, Any]]) -> str:
    """docs/mesh_pairs.md."""
    agreed = sum(pair["agree"] for pair in found)
    lines = [
        "# Mesh choice: the estimator and the TPU compiler",
        "",
        "Does the estimator choose the mesh that the compiled program is faster on?",
        "",
        "```",
        "python benchmarks/mesh_pairs.py --compile",
        "python benchmarks/mesh_pairs.py --markdown",
        "```",
        "",
        f"{datetime.date.today().isoformat()}. They agree on the faster mesh in {agreed} of {len(found)} pairs. Seconds "
        "of the compiler are",
        "its own cost model's for the compiled step at full effort (`scaling dryrun --profile`); nothing was run.",
        "",
        "| shape | devices | meshes | compiler, s | estimator, s | agree |",
        "|---|---|---|---|---|---|",
    ]
    for pair in found:
        (a, b), compiled, ours = pair["meshes"], pair["compiled_seconds"], pair["estimated_seconds"]
        lines.append(
            f"| {pair['shape']} | {pair['devices']} | {a}; {b} | {compiled[0]:.4f}; {compiled[1]:.4f} "
            f"| {ours[0]:.4f}; {ours[1]:.4f} | {'yes' if pair['agree'] else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--compile", action="store_true", help="compile what is missing")
    parser.add_argument("--again", action="store_true", help="compile everything anew")
    parser.add_argument("--only", default="", help="steps whose key contains this")
    parser.add_argument("--markdown", action="store_true", help=f"write docs/{_DOC.name}")
    arguments = parser.parse_args()
    if arguments.compile or arguments.again:
        from scaling.runtime.environment import prepare_environment

        prepare_environment("tpu")
        for step in steps():
            done = saved()
            if arguments.only in step.key and (arguments.again or step.key not in done):
                done[step.key] = compile_step(step)
                _SAVED.write_text(json.dumps(dict(sorted(done.items())), indent=1) + "\n", encoding="utf-8")
                print(step.key, done[step.key].get("step_seconds"), flush=True)
    found = pairs()
    if arguments.markdown:
        _DOC.write_text(markdown(found), encoding="utf-8")
    agreed = sum(pair["agree"] for pair in found)
    print(
        json.dumps({"benchmark": "mesh_pairs", "pairs": len(found), "agree": agreed, "rows": found}, indent=2)
    )


if __name__ == "__main__":
    main()
