"""The real train step, compiled for devices that you do not have.

`scaling.runtime.environment.prepare_environment` must have run before JAX was imported.
"""

import math
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from scaling.config.devices import Devices
from scaling.config.mesh import MeshConfig
from scaling.config.record import (
    AttentionChoice,
    Collectives,
    Compiled,
    Effort,
    OutOfMemory,
    Profile,
    versions,
)
from scaling.config.run import RunConfig
from scaling.models.attention import choices
from scaling.parallel.absent import (
    TARGETS,
    Noise,
    absent_devices,
    captured_noise,
    compiler_name,
    parse_out_of_memory,
    usable_memory,
)
from scaling.parallel.links import Place, places_of
from scaling.parallel.mesh import batch_sharding, make_mesh
from scaling.parallel.profile import profile_program
from scaling.parallel.program_costs import count_collectives, matmul_flops
from scaling.runtime.errors import BadInputError
from scaling.train.step import TrainStep

_BACKENDS = {"tpu": "tpu", "gpu": "cuda", "cpu": "cpu"}
# XLA's effort O0. It takes a third to a fifth of the time of the usual one and gives the same collectives
# (except for all-reduces that the other joins) and a peak that is 0 to 5% lower (docs/log.md).
_QUICK = 9


def dry_run(run: RunConfig, devices: Devices, effort: Effort = "quick") -> Compiled:
    """Compile the step that `scaling train` runs, for devices that you do not have.

    `effort` is the TPU compiler's: training uses `full`, which takes minutes where `quick` takes seconds;
    other compilers have one effort.

    Raises:
        BadInputError: the mesh does not take all of the devices, the compiler is not installed, does not know
            the topology, or fails for a reason of its own.
    """
    try:
        mesh = run.mesh.over(devices.count)
    except ValueError as error:
        raise BadInputError(f"--on {devices}: {error}") from error
    with captured_noise() as noise:
        found = absent_devices(devices)
        began = time.perf_counter()
        step = TrainStep(run, make_mesh(mesh, found))
        arguments = abstract_arguments(step)
        with choices() as attentions:
            lowered = step.step.lower(*arguments)
        result = _compile(lowered, devices, effort, noise, places_of(step.mesh))
        seconds = time.perf_counter() - began
        usable = usable_memory(found[0]) if devices.hardware.platform == "tpu" else None
    capacity = usable or _nominal_memory(devices)
    said: dict[str, Any] = {
        "backend": _BACKENDS[devices.hardware.platform],
        "topology": compiler_name(devices) + (f"*{devices.slices}" if devices.slices > 1 else ""),
        "effort": effort if devices.hardware.platform == "tpu" else "full",
        "compile_seconds": seconds,
        "flops_per_device": step_flops(run) / devices.count,
        "versions": versions(devices.hardware.platform),
        "attention": [AttentionChoice(**choice._asdict()) for choice in dict.fromkeys(attentions)],
    }
    if isinstance(result, OutOfMemory):
        return Compiled(
            **said,
            argument_bytes=_bytes_on_a_device(arguments),
            output_bytes=None,
            alias_bytes=None,
            temp_bytes=None,
            peak_bytes=result.needed_bytes,
            generated_code_bytes=None,
            collectives=None,
            capacity_bytes=result.capacity_bytes,
            fits=False,
            out_of_memory=result,
        )
    memory, collectives, notes, profile = result
    peak = peak_bytes(memory)
    return Compiled(
        **said,
        argument_bytes=memory.argument_size_in_bytes,
        output_bytes=memory.output_size_in_bytes,
        alias_bytes=memory.alias_size_in_bytes,
        temp_bytes=memory.temp_size_in_bytes,
        peak_bytes=peak,
        generated_code_bytes=memory.generated_code_size_in_bytes,
        collectives=collectives,
        notes=notes,
        capacity_bytes=capacity,
        fits=peak <= capacity,
        out_of_memory=None,
        profile=profile,
    )


def abstract_arguments(step: TrainStep) -> tuple[Any, ...]:
    """The step's arguments as shapes, types and shardings: state, batch, learning rate, step number."""
    run = step.run
    state = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        step.abstract_state,
        step.state_shardings,
    )
    batch = {
        name: jax.ShapeDtypeStruct(shape, dtype, sharding=batch_sharding(shape, step.mesh, step.rules))
        for name, (shape, dtype) in run.batch_arrays().items()
    }
    return state, batch, jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)


def step_flops(run: RunConfig) -> float:
    """FLOPs of the matrix products of one step over all devices, rematerialisation included.

    Counted in the step's own jaxpr, as traced for one CPU: there all of it is plain array code. A kernel of
    another platform computes the same numbers, and may skip more or less of what the mask hides.
    """
    alone = run.model_copy(update={"mesh": MeshConfig()})
    step = TrainStep(alone, make_mesh(alone.mesh, jax.devices("cpu")[:1]))
    return matmul_flops(step.step.trace(*abstract_arguments(step)).jaxpr)


def peak_bytes(memory: Any) -> int:
    """The most memory of a device in use at once, from the compiler's account of a program.

    It gives two upper bounds. The sum of arguments, temporaries and outputs that overwrite no argument is
    what it compares with the device's memory (a program is refused as soon as it comes within 5 MiB of
    `usable_memory`), but counts gaps between temporaries, which it closes only when it must. Its own peak
    counts what is alive at once, without gaps, but includes on-chip memory. The smaller of the two is taken.
    """
    total = (
        memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
    )
    return min(total, memory.peak_memory_in_bytes or total)


def _compile(
    lowered: Any, devices: Devices, effort: Effort, noise: Noise, where: Sequence[Place]
) -> tuple[Any, Collectives | None, tuple[str, ...], Profile | None] | OutOfMemory:
    """The compiler's account of memory, collectives, notes on them and where the time goes, or by how much
    memory fell short.

    Only at full effort does the TPU compiler choose the tiles of its loops: without that, its cycles are up
    to ten times those of the program that trains.
    """
    tpu = devices.hardware.platform == "tpu"
    with tempfile.TemporaryDirectory(prefix="scaling-dryrun-") as folder:
        options: dict[str, Any] = {}
        if tpu:
            # libtpu and jaxlib may differ in how they encode a program; libtpu's own print always reads.
            options = {"xla_dump_to": folder, "xla_dump_hlo_as_text": True, "xla_dump_large_constants": True}
            options |= {"optimization_level": _QUICK} if effort == "quick" else {}
        try:
            compiled = lowered.compile(options)
        except jax.errors.JaxRuntimeError as error:
            out_of_memory = parse_out_of_memory(str(error))
            if out_of_memory is None:
                said = str(error).partition("\n")[0] or " | ".join(noise.last_lines())
                raise BadInputError(f"--on {devices}: the compiler failed: {said[:600]}") from error
            return out_of_memory
        text = _printed(Path(folder), "after_optimizations") if tpu else compiled.as_text()
        final = _printed(Path(folder), "after_codegen") if tpu and effort == "full" else ""
        if devices.hardware.platform == "gpu":
            final = text
    collectives, notes = _collectives(text)
    profile = None
    if final:
        try:
            profile = profile_program(final, devices, where)
        except (ValueError, LookupError) as error:  # LookupError: a print of a form that is not known
            notes += (f"the profile could not be read from the compiled program: {error}",)
    return compiled.memory_analysis(), collectives, notes, profile


def _printed(folder: Path, stage: str) -> str:
    """The largest program that the compiler wrote at a stage; empty if it wrote none."""
    prints = sorted(folder.glob(f"*.{stage}.txt"), key=lambda path: path.stat().st_size)
    return prints[-1].read_text() if prints else ""


def _collectives(text: str) -> tuple[Collectives | None, tuple[str, ...]]:
    try:
        return count_collectives(text)
    except ValueError as error:
        return None, (f"the collectives could not be read from the compiled program: {error}",)


def _nominal_memory(devices: Devices) -> int:
    """Bytes of one device: as its driver reports them if that is known, otherwise from the data sheet."""
    if devices.hardware.name in TARGETS:
        return TARGETS[devices.hardware.name].memory_bytes
    return devices.hardware.memory_bytes // devices.hardware.devices_per_chip


def _bytes_on_a_device(arguments: Any) -> int:
    """Bytes of abstract arguments on one device; scalars without a sharding are on each."""
    total = 0
    for leaf in jax.tree.leaves(arguments):
        shape = leaf.sharding.shard_shape(leaf.shape) if leaf.sharding is not None else leaf.shape
        total += math.prod(shape) * leaf.dtype.itemsize
    return total
