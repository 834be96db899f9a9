"""From what a person types after `estimate` or `dryrun` to the run that is meant."""

from collections.abc import Callable, Iterable
from pathlib import Path

from scaling.config.data import DataConfig
from scaling.config.devices import Devices
from scaling.config.load import (
    apply_override,
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
from scaling.runtime.suggest import hint

LEAST_WIDTH = 128  # of a shard: the TPU compiler gathers narrower ones by adding up arrays of zeros
MOST_TENSOR = 8  # ways that the default mesh splits heads: one host's devices


def run_for(name: str, devices: Devices | None, mesh: str | None, changes: Iterable[str]) -> RunConfig:
    """A named run, or a model with one sequence for each batch shard of the devices.

    `changes` are `key=value` overrides; those of a model need no `model.` in front. Without devices the run
    is laid out on one.

    Raises:
        BadInputError: an unknown name, a bad override, or a mesh that does not multiply to the devices.
    """
    changes = list(changes)
    if _names_run(name):
        tree = {"name": "run", **run_tree(name)}
    else:
        own = [text for text in changes if text.partition(".")[0] not in ("data", "train", "mesh")]
        changes = [text for text in changes if text not in own]
        model = load_model(name, own)
        # Rate and budget are asked for, and shape nothing that is estimated or compiled.
        train = {"learning_rate": 1e-3, "steps": 1}
        tree = {"model": model.model_dump(), "data": {"sequence_length": model.max_length}, "train": train}
    for parts, value in parse_overrides(changes):
        tree = apply_override(tree, parts, value)
    asked = parse_mesh(mesh) if mesh is not None else tree.get("mesh") or {}
    tree["mesh"] = asked
    if devices is None:
        tree["mesh"] = {}
    elif not asked:
        shape = validate(ModelConfig, tree.get("model") or {}, f"{name}: model")
        mixture = getattr(shape, "mixture", None)
        experts = 1 if mixture is None else mixture.experts
        tree["mesh"] = default_mesh(shape.d_model, getattr(shape, "n_heads", 1), devices, experts)
    sizes: MeshConfig = validate(MeshConfig, tree["mesh"], "mesh")
    if devices is not None:
        try:
            sizes = sizes.over(devices.count)
        except ValueError as error:
            raise BadInputError(f"--on {devices}: {error}") from error
    tree["mesh"] = sizes.model_dump()
    if isinstance(tree.get("train"), dict) and "batch_tokens" not in tree["train"]:
        accumulation = tree["train"].get("accumulation", 1)  # what is no number is refused below
        rows = (
            (sizes.batch_shards() or 1) * sizes.parts * (accumulation if isinstance(accumulation, int) else 1)
        )
        length = validate(DataConfig, tree.get("data", {}), "data").sequence_length
        tree["train"] = {**tree["train"], "batch_tokens": max(1, rows) * length}
    return validate(RunConfig, tree, name)


def _names_run(name: str) -> bool:
    """Whether a name or a YAML file is of a run; else it is taken for a model."""
    if name.endswith((".yaml", ".yml")):
        tree = read_yaml(Path(name))
        return "train" in tree or "model" in tree or tree.get("base") in names("runs")
    return name not in model_names() and name in names("runs")


def parse_mesh(text: str) -> dict[str, int]:
    """`fsdp=8,tensor=2` to axis sizes.

    Raises:
        BadInputError: an unknown axis, one given twice, or a size that is no number of devices.
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
    """Experts over as many devices as they divide, then fully sharded as far as the width goes, then tensor
    parallel, then replicated."""
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
