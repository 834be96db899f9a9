"""Devices asked for: `KIND:COUNT`, `KIND:TOPOLOGY` or `KIND:TOPOLOGY*SLICES`."""

import math
import re

from scaling.config.base import Frozen
from scaling.config.hardware import Hardware
from scaling.config.load import find_config, names, read_yaml, validate
from scaling.runtime.errors import BadInputError
from scaling.runtime.files import cache_root
from scaling.runtime.suggest import did_you_mean, near

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


THIS_CPU = "cpu.json"  # in the cache directory: what `scaling.train.this_cpu` measured


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
            pass  # damaged: the nominal figures below, until it is measured again
    return validate(Hardware, read_yaml(find_config("hardware", name)), f"hardware {name}")


def _topology_of(hardware: Hardware, chips: int, text: str) -> tuple[int, ...]:
    """The most cube-like listed shape with so many chips."""
    shapes = [tuple(map(int, shape.split("x"))) for shape in hardware.topologies]
    fitting = [shape for shape in shapes if math.prod(shape) == chips]
    if not fitting:
        sizes = sorted({math.prod(shape) for shape in shapes})
        near = sorted(sizes, key=lambda size: abs(math.log(size / chips)))[:4]
        raise BadInputError(
            f"--on {text}: {hardware.name} has no slice of {chips} chips; near it: "
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
