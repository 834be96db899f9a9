"""Devices as a person writes them, the mesh over them, and the run that is laid out on them."""

import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from scaling.config.base import Frozen
from scaling.config.data import DataConfig
from scaling.config.hardware import Hardware
from scaling.config.load import (
    apply_override,
    find_config,
    load_model,
    model_names,
    names,
    parse_overrides,
    read_yaml,
    run_tree,
    validate,
)
from scaling.config.mesh import MeshConfig
from scaling.config.model import ModelConfig
from scaling.config.run import RunConfig
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root
from scaling.runtime.suggest import did_you_mean, hint, near

_SHAPE = re.compile(r"^([1-9][0-9]{0,5})((?:x[1-9][0-9]{0,3}){0,2})(?:\*([1-9][0-9]{0,3}))?$")


class Devices(Frozen):
    """Chips of one kind, in one or more slices of one shape."""

    hardware: Hardware
    topology: tuple[int, ...]  # chips along each axis of a slice; GPUs: the count alone
    slices: int = 1

    @property
    def chips(self) -> int:
        """Chips in all."""
        return math.prod(self.topology) * self.slices

    @property
    def count(self) -> int:
        """Devices as JAX counts them; the mesh multiplies to this."""
        return self.chips * self.hardware.devices_per_chip

    def __str__(self) -> str:
        shape = "x".join(map(str, self.topology))
        return f"{self.hardware.name}:{shape}" + (f"*{self.slices}" if self.slices > 1 else "")


THIS_CPU = "cpu.json"  # in the cache directory: what `scaling.train.device` measured


def this_cpu_is_measured() -> bool:
    """Whether this computer's own rates are known."""
    return (cache_root() / THIS_CPU).is_file()


def load_hardware(name: str) -> Hardware:
    """A kind of device by its name in `configs/hardware`, or by path; `cpu` as it was measured.

    Raises:
        BadInputError: no such kind, or a file that is not one.
    """
    if name == "cpu" and this_cpu_is_measured():
        try:
            return Hardware.model_validate_json((cache_root() / THIS_CPU).read_text())
        except (OSError, ValueError):
            pass  # damaged: use the nominal figures until it is measured again
    return validate(Hardware, read_yaml(find_config("hardware", name)), f"hardware {name}")


def _topology_of(hardware: Hardware, chips: int, text: str) -> tuple[int, ...]:
    """The most cube-like listed shape with so many chips."""
    shapes = [tuple(map(int, shape.split("x"))) for shape in hardware.topologies]
    fitting = [shape for shape in shapes if math.prod(shape) == chips]
    if not fitting:
        sizes = sorted({math.prod(shape) for shape in shapes})
        near = sorted(sizes, key=lambda size: abs(math.log(size / chips)))[:4]
        raise BadInputError(
            f"--on {text}: {hardware.name} has no slice of {chips} chips; the nearest are "
            f"{', '.join(map(str, sorted(near)))} (or give a shape such as {hardware.topologies[0]})"
        )
    return min(fitting, key=lambda shape: max(shape) / min(shape))


def _unknown(text: str, kind: str, shape: str) -> BadInputError:
    """An error about a kind of device that does not exist; `v5e-256` suggests tpu-v5e:256."""
    known = names("hardware")
    word, _, number = kind.rpartition("-")
    if not shape and word and _SHAPE.match(number):
        kind, shape = word, number
    if not (found := near(kind, known)):
        return BadInputError(f"--on {text}: hardware {kind!r} is not known; known: {', '.join(known)}")
    offered = [f"{one}:{shape or 'COUNT'}" for one in found]
    chips = " (a count is of chips)" if any(one.startswith("tpu") for one in found) else ""
    return BadInputError(f"--on {text}: hardware {kind!r} is not known; {did_you_mean(offered)}{chips}")


def parse_devices(text: str) -> Devices:
    """`h100-sxm:64`, `tpu-v5p:8x8x8`, `tpu-v5e:16x16*4` (four slices), `cpu:1`.

    Raises:
        BadInputError: an unknown kind, or a count or shape that the kind does not have.
    """
    kind, colon, shape = text.partition(":")
    if not kind.endswith((".yaml", ".yml")) and kind not in names("hardware"):
        raise _unknown(text, kind, shape)
    hardware = load_hardware(kind)
    match = _SHAPE.match(shape)
    if not colon or match is None:
        raise BadInputError(
            f"--on {text}: write KIND:COUNT or KIND:TOPOLOGY, for example h100-sxm:64 or tpu-v5p:8x8x8"
        )
    sizes = tuple(int(size) for size in (match[1] + match[2]).split("x"))
    slices = int(match[3] or 1)
    if hardware.platform != "tpu":
        if len(sizes) > 1 or slices > 1:
            raise BadInputError(f"--on {text}: {kind} takes a count of devices, for example {kind}:8")
        return Devices(hardware=hardware, topology=sizes)
    if len(sizes) == 1:
        sizes = _topology_of(hardware, sizes[0], text)
    elif hardware.inside is not None and len(sizes) != hardware.inside.dimensions:
        raise BadInputError(
            f"--on {text}: {kind} slices have {hardware.inside.dimensions} axes, "
            f"for example {hardware.topologies[0]}"
        )
    if hardware.inside is not None and math.prod(sizes) > hardware.inside.devices:
        raise BadInputError(
            f"--on {text}: the largest {kind} slice has {hardware.inside.devices} chips; "
            f"several slices are written {kind}:{hardware.topologies[-1]}*2"
        )
    return Devices(hardware=hardware, topology=sizes, slices=slices)


LEAST_WIDTH = 128  # of a shard: the TPU compiler gathers narrower ones by summing arrays of zeros
MOST_TENSOR = 8  # most ways in which the default mesh splits heads: the devices of one host


def run_for(
    name: str | dict[str, Any], devices: Devices | None, mesh: str | None, changes: Iterable[str]
) -> RunConfig:
    """A run, or a model with one sequence for each batch shard of the devices; by name, path or tree.

    `changes` are `key=value` overrides; those of a model need no `model.` in front. Without devices the run
    is laid out on one.

    Raises:
        BadInputError: an unknown name, a bad override, or a mesh that does not multiply to the devices.
    """
    changes = list(changes)
    where = name if isinstance(name, str) else str(name.get("name", "config"))
    if _names_run(name):
        tree = {"name": "run", **run_tree(name)}
    else:
        own = [text for text in changes if text.partition(".")[0] not in ("data", "train", "mesh")]
        changes = [text for text in changes if text not in own]
        model = load_model(name, own)
        # A rate and a budget are required, but nothing that is estimated or compiled depends on them.
        train = {"learning_rate": 1e-3, "steps": 1}
        tree = {"model": model.model_dump(), "data": {"sequence_length": model.max_length}, "train": train}
    for parts, value in parse_overrides(changes):
        tree = apply_override(tree, parts, value)
    given = parse_mesh(mesh) if mesh is not None else tree.get("mesh") or {}
    tree["mesh"] = given
    if devices is None:
        tree["mesh"] = {}
    elif not given:
        shape = validate(ModelConfig, tree.get("model") or {}, f"{where}: model")
        tree["mesh"] = default_mesh(shape.d_model, shape.n_heads, devices, shape.experts or 1)
    sizes: MeshConfig = validate(MeshConfig, tree["mesh"], "mesh")
    if devices is not None:
        try:
            sizes = sizes.over(devices.count)
        except ValueError as error:
            raise BadInputError(f"--on {devices}: {error}") from error
    tree["mesh"] = sizes.model_dump()
    if isinstance(tree.get("train"), dict) and "batch_tokens" not in tree["train"]:
        accumulation = tree["train"].get("accumulation", 1)  # validation below refuses what is not a number
        rows = (
            (sizes.batch_shards() or 1) * sizes.parts * (accumulation if isinstance(accumulation, int) else 1)
        )
        length = validate(DataConfig, tree.get("data", {}), "data").sequence_length
        tree["train"] = {**tree["train"], "batch_tokens": max(1, rows) * length}
    return validate(RunConfig, tree, where)


def _names_run(name: str | dict[str, Any]) -> bool:
    """Whether a name, a YAML file or a tree is a run; otherwise it is a model."""
    if isinstance(name, dict):
        return "train" in name or "model" in name
    if name.endswith((".yaml", ".yml")):
        tree = read_yaml(Path(name))
        return "train" in tree or "model" in tree or tree.get("base") in names("runs")
    return name not in model_names() and name in names("runs")


def parse_mesh(text: str) -> dict[str, int]:
    """`fsdp=8,tensor=2` to axis sizes.

    Raises:
        BadInputError: an unknown axis, one given twice, or a size that is not a number of devices.
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        axis, equals, size = (piece.strip() for piece in part.partition("="))
        if axis not in MeshConfig.model_fields:
            raise BadInputError(
                f"--mesh {text}: {axis!r} is not a mesh axis; {hint(axis, MeshConfig.model_fields)}"
            )
        if axis in sizes:
            raise BadInputError(f"--mesh {text}: {axis} is given twice")
        if not equals or not size.removeprefix("-").isdecimal() or (int(size) < 1 and int(size) != -1):
            raise BadInputError(f"--mesh {text}: {part!r}: give a number of devices, as fsdp=8,tensor=2")
        sizes[axis] = int(size)
    return sizes


def default_mesh(width: int, heads: int, devices: Devices, experts: int = 1) -> dict[str, int]:
    """The mesh where none is given: experts over as many devices as divide them, then fully sharded as far as
    the width allows, then tensor parallel, then replicated."""
    left, slices = devices.count // devices.slices, devices.slices
    least = LEAST_WIDTH if devices.hardware.platform == "tpu" else 1
    expert = _largest_divisor(left, lambda n: experts % n == 0)
    left //= expert
    fsdp = _largest_divisor(left, lambda n: width % n == 0 and width // n >= least)
    left //= fsdp
    tensor = _largest_divisor(left, lambda n: heads % n == 0 and n <= MOST_TENSOR)
    return {"data": slices * left // tensor, "fsdp": fsdp, "expert": expert, "tensor": tensor}


def _largest_divisor(number: int, accepted: Callable[[int], bool]) -> int:
    return max((n for n in range(1, number + 1) if number % n == 0 and accepted(n)), default=1)
