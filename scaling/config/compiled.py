"""What a compiler said about a train step for devices that are not there."""

import importlib.metadata
from typing import Literal

from scaling.config.base import Frozen

Effort = Literal["quick", "full"]

_COMPILERS = {"tpu": ("libtpu",), "gpu": ("jax-cuda13-plugin", "jax-cuda13-pjrt"), "cpu": ()}


class Traffic(Frozen):
    """Collectives of one kind in one step: how often they run, and bytes moved.

    `bytes` are of the whole array on one device: what an all-gather, all-to-all or permute results in, what
    an all-reduce or reduce-scatter starts from. In a ring of n each device sends (n - 1) / n of it, in an
    all-reduce twice that, in a permute all.
    """

    count: int
    bytes: int


class Collectives(Frozen):
    """Collectives of one step, on one device, by kind."""

    all_gather: Traffic
    reduce_scatter: Traffic
    all_reduce: Traffic
    all_to_all: Traffic
    collective_permute: Traffic


class OutOfMemory(Frozen):
    """By how much a program that the compiler refused is too large for a device."""

    needed_bytes: int
    capacity_bytes: int
    over_by_bytes: int


class Compiled(Frozen):
    """A compiled train step. Bytes and FLOPs are of one device; what the compiler did not say is null.

    `peak_bytes` is the most that lies in the device's memory at once while the step runs: arguments, which
    it overwrites by its outputs, and temporaries. Where the compiler ran out of memory it is what would have
    been needed.
    """

    backend: str  # tpu, cuda or cpu
    topology: str  # as the compiler calls it
    effort: Effort  # of the compiler; quick leaves out what makes a program fast, not what makes it fit
    compile_seconds: float  # tracing and lowering included
    argument_bytes: int
    output_bytes: int | None
    alias_bytes: int | None  # of the outputs that overwrite arguments
    temp_bytes: int | None
    peak_bytes: int
    generated_code_bytes: int | None
    flops_per_device: float  # matrix products of the step as written; scan bodies times their length
    collectives: Collectives | None
    notes: tuple[str, ...] = ()  # what could not be read from the program, a line each
    capacity_bytes: int
    fits: bool
    out_of_memory: OutOfMemory | None
    versions: dict[str, str]


def versions(platform: str) -> dict[str, str]:
    """Versions of what a compiled program comes from: tpu, gpu or cpu."""
    found = {}
    for package in ("jax", "jaxlib", "flax", "optax", *_COMPILERS[platform]):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
